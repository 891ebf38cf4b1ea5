//! When to try again after a failure: exponential, with jitter, up to a longest pause. Pure: the randomness is handed in.

use std::time::Duration;

use rand::RngExt;

/// A schedule of pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses that begin with `initial`, double, and end at `max`.
    #[must_use]
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }

    /// The pause after that many failures in a row (from 1), less up to a half: many objects that failed together do not come back together.
    pub fn delay(&self, failures: u32, rng: &mut impl RngExt) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(rng.random_range(0.5..=1.0))
    }
}

/// The duration, a tenth longer or shorter.
pub fn with_jitter(duration: Duration, rng: &mut impl RngExt) -> Duration {
    duration.mul_f64(rng.random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_vary() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut rng = SmallRng::seed_from_u64(1);
        for (failures, full) in [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60), (u32::MAX, 60)] {
            let delays: Vec<_> = (0..50).map(|_| backoff.delay(failures, &mut rng)).collect();
            let full = Duration::from_secs(full);
            assert!(delays.iter().all(|d| *d <= full && *d >= full / 2), "{failures}: {delays:?}");
            assert!(delays.iter().any(|d| Some(d) != delays.first()), "{failures}: no jitter");
        }
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut rng = SmallRng::seed_from_u64(2);
        let resync = Duration::from_secs(30);
        assert!((0..100).map(|_| with_jitter(resync, &mut rng)).all(|d| d.abs_diff(resync) <= resync / 10));
    }
}
