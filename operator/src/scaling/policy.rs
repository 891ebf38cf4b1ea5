//! What a pipeline's `spec.scaling` says, and what the autoscaler takes for granted.

use std::time::Duration;

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
        (2 * self.drain).clamp(Duration::from_secs(60), Duration::from_secs(300))
    }

    /// How old a reading may be.
    #[must_use]
    pub fn stale(&self) -> Duration {
        3 * self.interval
    }
}
