//! Durations as text with units (`250ms`, `5s`, `1m30s`): the form in which they stand in objects, options and files.

use std::time::Duration;

use jiff::SignedDuration;

/// Parses a duration such as `250ms` or `1m30s` and checks its bounds.
///
/// # Errors
/// What is wrong, in words that tell what to change.
pub fn parse_bounded(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is not a duration: write a number with a unit, such as `250ms` or `5s`"))?;
    let parsed = Duration::try_from(parsed).map_err(|_| format!("`{text}` is negative"))?;
    if (min..=max).contains(&parsed) {
        Ok(parsed)
    } else {
        Err(format!("`{text}` is out of bounds: it must be from {} to {}", format(min), format(max)))
    }
}

/// Writes a duration in its largest unit that leaves no rest.
#[must_use]
pub fn format(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

/// Serde for durations as text, for `#[serde(with = "penstock_crds::duration::text")]`.
pub mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `250ms`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*duration))
    }

    /// Reads `250ms`.
    ///
    /// # Errors
    /// When the text is no duration or out of any bounds that make sense.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_bounded(&text, Duration::ZERO, Duration::from_secs(366 * 86_400)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_words() {
        let (min, max) = (Duration::from_millis(1), Duration::from_secs(60));
        for (text, expected) in [
            ("250ms", Ok(250)),
            ("1m", Ok(60_000)),
            ("1.5s", Ok(1_500)),
            ("1ms", Ok(1)),
            ("0s", Err("from 1ms to 1m")),
            ("2m", Err("from 1ms to 1m")),
            ("-1s", Err("negative")),
            ("5", Err("with a unit")),
            ("soon", Err("with a unit")),
            ("99999999999999999999h", Err("with a unit")),
            ("", Err("with a unit")),
        ] {
            match (parse_bounded(text, min, max), expected) {
                (Ok(d), Ok(ms)) => assert_eq!(d, Duration::from_millis(ms), "{text}"),
                (Err(e), Err(part)) => assert!(e.contains(part), "{text}: {e}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn formatted_durations_read_back() {
        for ms in [0, 1, 999, 1_000, 61_000, 3_600_000, 90_000, 1_500] {
            let d = Duration::from_millis(ms);
            assert_eq!(parse_bounded(&format(d), Duration::ZERO, Duration::MAX), Ok(d));
        }
    }
}
