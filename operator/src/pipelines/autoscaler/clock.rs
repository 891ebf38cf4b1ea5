//! The time since 1970, by a clock that is set once: it never jumps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The clock.
pub struct Clock {
    started: Instant,
    at: Duration,
}

impl Clock {
    /// One that is set now.
    pub fn start() -> Self {
        Self { started: Instant::now(), at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// The time since 1970.
    pub fn now(&self) -> Duration {
        self.at + self.started.elapsed()
    }
}
