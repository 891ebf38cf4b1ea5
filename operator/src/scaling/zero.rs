//! When a pipeline sleeps, that is, has no workers, and what keeps it from losing its place meanwhile.

use std::time::Duration;

/// How often offsets are renewed within the time that brokers keep them.
const RENEWALS: u32 = 4;
/// However long they keep them.
const RENEWED_AT_LEAST_EVERY: Duration = Duration::from_secs(86_400);
/// For how long they keep them at least, where they do not tell: a commit costs little, and a lost place cannot be found again.
const ASSUMED: Duration = Duration::from_secs(4 * 3_600);

/// For how long nothing has come and nothing was waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet(Option<Duration>);

impl Quiet {
    /// Takes in whether anything came or waits. What came while nobody looked is seen by where partitions end.
    pub fn look(&mut self, at: Duration, anything: bool) {
        self.0 = if anything { None } else { self.0.or(Some(at)) };
    }

    /// Whether that is so for long enough.
    pub fn is_long(&self, now: Duration, idle: Duration) -> bool {
        self.0.is_some_and(|since| now.saturating_sub(since) >= idle)
    }
}

/// Whether a group without members must commit its offsets again, that long after it did last: brokers drop them after
/// `offsets.retention.minutes`, and the group would begin anew. `retention`: what they are set to, if they tell.
#[must_use]
pub fn renewal_is_due(since_last: Duration, retention: Option<Duration>) -> bool {
    since_last >= (retention.unwrap_or(ASSUMED) / RENEWALS).min(RENEWED_AT_LEAST_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_only_what_was_seen() {
        let second = Duration::from_secs;
        let mut quiet = Quiet::default();
        assert!(!quiet.is_long(second(900), second(60)), "nobody has looked yet");
        quiet.look(second(0), false);
        quiet.look(second(50), false);
        assert!(!quiet.is_long(second(59), second(60)) && quiet.is_long(second(60), second(60)));
        quiet.look(second(60), true);
        assert!(!quiet.is_long(second(200), second(60)));
    }

    #[test]
    fn offsets_are_renewed_in_time() {
        let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
        for (since_last, retention, due) in [
            (day, Some(7 * day), true),
            (23 * hour, Some(7 * day), false),
            (hour, Some(4 * hour), true),
            (hour, Some(5 * hour), false),
            (day, Some(90 * day), true),
            (hour, None, true),
        ] {
            assert_eq!(renewal_is_due(since_last, retention), due, "{since_last:?} of {retention:?}");
        }
    }
}
