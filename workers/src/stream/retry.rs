//! Decides what follows from an outcome, and how long to pause before the next attempt. Pure: chance is an argument.

use std::time::Duration;

use penstock_crds::worker::RetryPolicy;

use crate::processor::{Failure, Outcome, Output};

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These records go to the sink; there may be none.
    Emit(Vec<Output>),
    /// Another attempt, after this pause.
    Again(Duration),
    /// It goes to the dead letter topic.
    Bury(Failure, Burial),
}

/// Why a record goes to the dead letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burial {
    /// The processor, or Kafka, will never accept it.
    Rejected,
    /// Its attempts are used up.
    Exhausted,
}

/// Decides what follows from the outcome of an attempt, counted from 1. `chance` is from 0 to 1.
#[must_use]
pub fn next(outcome: Outcome, attempt: u16, policy: &RetryPolicy, chance: f64) -> Next {
    match outcome {
        Outcome::Emit(outputs) => Next::Emit(outputs),
        Outcome::Drop => Next::Emit(Vec::new()),
        Outcome::Reject(failure) => Next::Bury(failure, Burial::Rejected),
        Outcome::Retry(failure) if attempt >= policy.attempts => Next::Bury(failure, Burial::Exhausted),
        Outcome::Retry(_) => Next::Again(pause(policy.initial_backoff, policy.max_backoff, u32::from(attempt), chance)),
    }
}

/// The pause after the `failures`th failure in a row: doubled each time up to `max`, of which half is left to chance
/// (equal jitter), so that many who failed together do not come back together.
#[must_use]
pub fn pause(initial: Duration, max: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).and_then(|factor| initial.checked_mul(factor));
    let whole = doubled.unwrap_or(max).min(max);
    whole / 2 + (whole / 2).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts: 3, initial_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(1) };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_follows_from_an_outcome() {
        let failure = Failure::new("Busy", "later");
        let output = Output { payload: Some("x".into()), ..Output::default() };
        for (outcome, attempt, expected) in [
            (Outcome::Emit(vec![output.clone()]), 1, Next::Emit(vec![output])),
            (Outcome::Drop, 3, Next::Emit(vec![])),
            (Outcome::Reject(failure.clone()), 1, Next::Bury(failure.clone(), Burial::Rejected)),
            (Outcome::Retry(failure.clone()), 1, Next::Again(ms(200))),
            (Outcome::Retry(failure.clone()), 2, Next::Again(ms(400))),
            (Outcome::Retry(failure.clone()), 3, Next::Bury(failure.clone(), Burial::Exhausted)),
            (Outcome::Retry(failure.clone()), u16::MAX, Next::Bury(failure, Burial::Exhausted)),
        ] {
            assert_eq!(next(outcome, attempt, &POLICY, 1.0), expected);
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_chance() {
        for (failures, chance, expected) in [
            (1, 0.0, ms(100)),
            (1, 0.5, ms(150)),
            (1, 1.0, ms(200)),
            (3, 1.0, ms(800)),
            (4, 1.0, ms(1_000)),
            (4, 0.0, ms(500)),
            (u32::MAX, 1.0, ms(1_000)),
            (0, 1.0, ms(200)),
            (1, 7.0, ms(200)),
        ] {
            assert_eq!(pause(ms(200), ms(1_000), failures, chance), expected, "{failures} {chance}");
        }
    }
}
