//! Decides what follows from an outcome, and how long to pause before the next attempt. Pure: chance is an argument.

use std::time::Duration;

use penstock_crds::worker::RetryPolicy;

use super::tiers::Level;
use crate::processor::{Failure, Outcome, Output};

/// The longest pause that a failure may ask for: it holds up those that wait for the record, too.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These records go to the sink; there may be none.
    Emit(Vec<Output>),
    /// Another attempt, after this pause.
    Again(Duration),
    /// Another attempt once the delay of this level is over, and the pause that the failure asks for.
    Wait(Level, Failure),
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

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which attempt this was, counted from 1.
    pub attempt: u16,
    /// How far the record has come.
    pub level: Level,
    /// How many delays there are.
    pub levels: Level,
}

/// Decides what follows from the outcome of an attempt. In the source topic a record has as many attempts as the policy says,
/// after each delay one more. A failure that asks for a pause makes the pipeline's own longer, never shorter,
/// and by five minutes at most. Where the record stands is asked only if that matters; `chance` is from 0 to 1.
#[must_use]
pub fn next(outcome: Outcome, at: impl FnOnce() -> Standing, policy: &RetryPolicy, chance: impl FnOnce() -> f64) -> Next {
    match outcome {
        Outcome::Emit(outputs) => Next::Emit(outputs),
        Outcome::Drop => Next::Emit(Vec::new()),
        Outcome::Reject(failure) => Next::Bury(failure, Burial::Rejected),
        Outcome::Retry(failure) => match (at(), failure.retry_after.map(|asked| asked.min(MAX_RETRY_AFTER))) {
            (at, asked) if at.level == 0 && at.attempt < policy.attempts => {
                let own = pause(policy.initial_backoff, policy.max_backoff, u32::from(at.attempt), chance());
                Next::Again(own.max(asked.unwrap_or_default()))
            }
            (at, asked) if at.level < at.levels => Next::Wait(at.level + 1, Failure { retry_after: asked, ..failure }),
            _ => Next::Bury(failure, Burial::Exhausted),
        },
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
        let retry = || Outcome::Retry(failure.clone());
        let asking = |pause| failure.clone().with_retry_after(pause);
        let exhausted = || Next::Bury(failure.clone(), Burial::Exhausted);
        for (outcome, (attempt, level, levels), expected) in [
            (Outcome::Emit(vec![output.clone()]), (1, 0, 0), Next::Emit(vec![output])),
            (Outcome::Drop, (3, 0, 0), Next::Emit(vec![])),
            (Outcome::Reject(failure.clone()), (1, 0, 2), Next::Bury(failure.clone(), Burial::Rejected)),
            (retry(), (1, 0, 0), Next::Again(ms(200))),
            (retry(), (2, 0, 2), Next::Again(ms(400))),
            (Outcome::Retry(asking(ms(10))), (1, 0, 0), Next::Again(ms(200))),
            (Outcome::Retry(asking(ms(90_000))), (1, 0, 0), Next::Again(ms(90_000))),
            (Outcome::Retry(asking(ms(90_000))), (3, 0, 1), Next::Wait(1, asking(ms(90_000)))),
            (retry(), (3, 0, 0), exhausted()),
            (retry(), (u16::MAX, 0, 0), exhausted()),
            (retry(), (3, 0, 2), Next::Wait(1, failure.clone())),
            (retry(), (4, 1, 2), Next::Wait(2, failure.clone())),
            (retry(), (5, 2, 2), exhausted()),
            // A delay was taken away.
            (retry(), (1, 3, 2), exhausted()),
        ] {
            let at = Standing { attempt, level, levels };
            assert_eq!(next(outcome, || at, &POLICY, || 1.0), expected);
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
