//! Reads `Retry-After` (RFC 9110, section 10.2.3). Pure: the time is an argument.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The pause that a value asks for, in seconds or as a date; none: it is neither.
#[must_use]
pub fn pause(value: &[u8], now: Timestamp) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More than a number holds is longer than any.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::from(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses() {
        let now = "2026-11-22T08:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("301", Some(301)),
            ("Sun, 22 Nov 2026 08:00:30 GMT", Some(30)),
            ("Sunday, 22-Nov-26 08:00:30 GMT", Some(30)),
            ("Sun, 22 Nov 2026 07:00:00 GMT", Some(0)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(3_600)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(pause(value.as_bytes(), now), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!((pause(b"99999999999999999999999", now), pause(b"\xff", now)), (Some(Duration::MAX), None));
    }
}
