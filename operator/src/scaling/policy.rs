//! What a pipeline's `spec.scaling` says, and what the autoscaler takes for granted.

use std::time::Duration;

/// How many looks a window has at least.
const LOOKS: u32 = 6;

/// By what workers are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The fewest workers; 0: it may sleep.
    pub min: u32,
    /// The most workers.
    pub max: u32,
    /// How old a waiting record may become.
    pub drain: Duration,
    /// For how long nothing must have come before it sleeps.
    pub idle: Duration,
    /// How often it is looked at.
    pub interval: Duration,
    /// Whether partitions with one number go to the same worker, whatever their topics.
    pub co_partitioned: bool,
}

impl Policy {
    /// For how long a smaller number must have been enough before it is taken.
    #[must_use]
    pub fn window(&self) -> Duration {
        // One look is no window.
        (2 * self.drain).clamp(Duration::from_secs(60), Duration::from_secs(300)).max(LOOKS * self.interval)
    }

    /// How old a reading may be.
    #[must_use]
    pub fn stale(&self) -> Duration {
        3 * self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_more_than_one_look() {
        for (drain, interval, window) in [(5, 5, 60), (60, 5, 120), (900, 5, 300), (30, 60, 360)] {
            let [drain, idle, interval] = [drain, 60, interval].map(Duration::from_secs);
            let policy = Policy { min: 1, max: 6, drain, idle, interval, co_partitioned: false };
            assert_eq!(policy.window(), Duration::from_secs(window), "{policy:?}");
        }
    }
}
