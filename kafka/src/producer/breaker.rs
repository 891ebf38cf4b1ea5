//! A circuit breaker: after so many failures in a row a producer refuses records at once, for a while, and then lets one through to
//! see whether Kafka is back. Pure: the time is given.
//!
//! A failure is a record that Kafka has not acknowledged, or perhaps not. One that Kafka refuses for what it is (too large, not
//! allowed) shows that Kafka is there.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::InvalidSettings;
use crate::error::{Error, Result};

/// When a [`crate::Producer`] stops trying, and for how long. Then it lets one record through: if Kafka acknowledges it, all others
/// follow; if not, the pause begins anew.
///
/// ```
/// use penstock_kafka::{BreakerSettings, ProducerSettings};
/// use std::time::Duration;
///
/// let mut settings = ProducerSettings::default();
/// settings.circuit_breaker = Some(BreakerSettings::new(3, Duration::from_secs(20)));
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// After how many records in a row that Kafka has not acknowledged. 1 to 10,000; default 5.
    pub failures: u32,
    /// For how long it refuses records then. 100 ms to 10 min; default 10 s.
    pub pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(10) }
    }
}

/// Whether a [`crate::Producer`] takes records.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// It does.
    Closed,
    /// It refuses them, after too many failures in a row.
    Open {
        /// For how long at most. Zero: the next record is let through, to see whether Kafka is back.
        retry_after: Duration,
    },
}

impl fmt::Display for BreakerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit_breaker.failures={} circuit_breaker.pause={:?}", self.failures, self.pause)
    }
}

impl BreakerSettings {
    /// Refuses records for that long after so many failures in a row.
    pub fn new(failures: u32, pause: Duration) -> Self {
        Self { failures, pause }
    }

    pub(super) fn validate(&self) -> std::result::Result<(), InvalidSettings> {
        if !(1..=10_000).contains(&self.failures) {
            return Err(InvalidSettings::field_must("circuit_breaker.failures", "must be between 1 and 10,000"));
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.pause) {
            return Err(InvalidSettings::field_must("circuit_breaker.pause", "must be between 100 ms and 10 min"));
        }
        Ok(())
    }
}

/// Whether records are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// They are; so many have failed in a row.
    Closed { failures: u32 },
    /// They are not, until then.
    Open { until: Instant },
    /// One of them was, to see.
    Trying { since: Instant },
}

/// A record that is let through to see whether Kafka is back: two that are under way at once began at different times.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trial {
    since: Instant,
}

/// What a report has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

/// The breaker of one producer.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    /// How long a trial takes at most: after that another one is made.
    patience: Duration,
    state: Mutex<State>,
}

impl Breaker {
    pub fn new(settings: BreakerSettings, patience: Duration) -> Self {
        Self { settings, patience, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    pub fn settings(&self) -> BreakerSettings {
        self.settings
    }

    /// How it stands, for who looks on.
    pub fn circuit(&self, now: Instant) -> CircuitState {
        self.wait(&self.state(), now)
    }

    /// Whether a record may be sent now, and whether it is a trial. A trial that is not sent after all must be told: see
    /// [`Breaker::withdraw`].
    ///
    /// # Errors
    /// [`Error::CircuitOpen`]: how long to wait.
    pub fn admit(&self, now: Instant) -> Result<Option<Trial>> {
        let mut state = self.state();
        match self.wait(&state, now) {
            CircuitState::Closed => Ok(None),
            CircuitState::Open { retry_after: Duration::ZERO } => {
                *state = State::Trying { since: now };
                Ok(Some(Trial { since: now }))
            }
            CircuitState::Open { retry_after } => Err(Error::CircuitOpen { retry_after }),
        }
    }

    /// A trial is not sent: it shows nothing, and another record may be the trial at once. Where one is by now, that one stays it.
    pub fn withdraw(&self, Trial { since }: Trial, now: Instant) {
        let mut state = self.state();
        if *state == (State::Trying { since }) {
            *state = State::Open { until: now };
        }
    }

    fn wait(&self, state: &State, now: Instant) -> CircuitState {
        let until = match *state {
            State::Closed { .. } => return CircuitState::Closed,
            State::Open { until } => until,
            State::Trying { since } => since + self.patience,
        };
        CircuitState::Open { retry_after: until.saturating_duration_since(now) }
    }

    /// What became of a record that was let through: why Kafka has not stored it, or nothing.
    pub fn report(&self, refused: Option<&Error>, now: Instant) -> Option<Change> {
        let mut state = self.state();
        if !refused.is_some_and(is_failure) {
            let was = std::mem::replace(&mut *state, State::Closed { failures: 0 });
            return (!matches!(was, State::Closed { .. })).then_some(Change::Closed);
        }
        let failures = match *state {
            State::Closed { failures } => failures.saturating_add(1),
            // Of those that were on their way when it opened.
            State::Open { .. } => return None,
            State::Trying { .. } => self.settings.failures,
        };
        if failures < self.settings.failures {
            *state = State::Closed { failures };
            return None;
        }
        let is_new = matches!(*state, State::Closed { .. });
        *state = State::Open { until: now + self.settings.pause };
        is_new.then_some(Change::Opened)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether that says that Kafka, and not the record, is at fault.
fn is_failure(error: &Error) -> bool {
    (error.is_retriable() && !matches!(error, Error::BatchRefused { .. })) || matches!(error, Error::Fatal { .. } | Error::Other { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);
    const PATIENCE: Duration = Duration::from_secs(5);

    /// What happens to a breaker, and at which second.
    enum Step {
        Admitted,
        Refused(u64),
        /// The record is not sent that was admitted as the trial of that second.
        Withdrawn(u64),
        Failed(Option<Change>),
        Stored(Option<Change>),
        TooLarge(Option<Change>),
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_when_one_gets_through() {
        use Step::{Admitted, Failed, Refused, Stored, TooLarge, Withdrawn};
        let (opened, closed) = (Some(Change::Opened), Some(Change::Closed));
        for steps in [
            vec![(0, Failed(None)), (1, Failed(None)), (2, Stored(None)), (3, Failed(None)), (4, Failed(None)), (5, Admitted)],
            vec![
                (0, Failed(None)),
                (1, Failed(None)),
                (2, Failed(opened)),
                (2, Refused(10)),
                (11, Refused(1)),
                (12, Admitted),
                (12, Refused(5)),
            ],
            // What was on its way when it opened changes nothing; the trial decides.
            vec![
                (0, Failed(None)),
                (0, Failed(None)),
                (0, Failed(opened)),
                (1, Failed(None)),
                (10, Admitted),
                (11, Failed(None)),
                (12, Refused(9)),
            ],
            vec![
                (0, Failed(None)),
                (0, Failed(None)),
                (0, Failed(opened)),
                (10, Admitted),
                (11, Stored(closed)),
                (11, Admitted),
                (11, Admitted),
            ],
            vec![(0, Failed(None)), (0, Failed(None)), (0, Failed(opened)), (3, Stored(closed)), (3, Admitted)],
            // A trial of which nothing is heard is followed by another.
            vec![
                (0, Failed(None)),
                (0, Failed(None)),
                (0, Failed(opened)),
                (10, Admitted),
                (14, Refused(1)),
                (15, Admitted),
                (15, Refused(5)),
            ],
            // A trial that is not sent is followed by another at once.
            vec![
                (0, Failed(None)),
                (0, Failed(None)),
                (0, Failed(opened)),
                (9, Refused(1)),
                (10, Admitted),
                (11, Withdrawn(10)),
                (11, Admitted),
                (11, Refused(5)),
            ],
            // One that is given up after another has taken its place changes nothing.
            vec![
                (0, Failed(None)),
                (0, Failed(None)),
                (0, Failed(opened)),
                (10, Admitted),
                (15, Admitted),
                (16, Withdrawn(10)),
                (16, Refused(4)),
                (17, Withdrawn(15)),
                (17, Admitted),
            ],
            vec![
                (0, Failed(None)),
                (0, Failed(None)),
                (0, Failed(opened)),
                (10, Admitted),
                (11, Stored(closed)),
                (12, Withdrawn(10)),
                (12, Admitted),
            ],
            // Who says that a record is too large is there.
            vec![(0, Failed(None)), (0, Failed(None)), (0, TooLarge(None)), (0, Failed(None)), (0, Failed(None)), (0, Admitted)],
        ] {
            let breaker = Breaker::new(BreakerSettings { failures: 3, pause: PAUSE }, PATIENCE);
            let begin = Instant::now();
            for (number, (second, step)) in steps.into_iter().enumerate() {
                let now = begin + Duration::from_secs(second);
                let unreachable = Error::Unreachable { reason: String::new() };
                match step {
                    Admitted => {
                        let is_closed = breaker.circuit(now) == CircuitState::Closed;
                        let admitted = breaker.admit(now);
                        assert_eq!(admitted.as_ref().map(Option::is_none), Ok(is_closed), "step {number}");
                    }
                    Refused(seconds) => {
                        let expected = Err(Error::CircuitOpen { retry_after: Duration::from_secs(seconds) });
                        assert_eq!(breaker.admit(now), expected, "step {number}");
                    }
                    Withdrawn(second) => breaker.withdraw(Trial { since: begin + Duration::from_secs(second) }, now),
                    Failed(change) => assert_eq!(breaker.report(Some(&unreachable), now), change, "step {number}"),
                    Stored(change) => assert_eq!(breaker.report(None, now), change, "step {number}"),
                    TooLarge(change) => {
                        let error = Error::RecordTooLarge { message: String::new() };
                        assert_eq!(breaker.report(Some(&error), now), change, "step {number}");
                    }
                }
            }
        }
    }

    #[test]
    fn settings_have_bounds() {
        for (failures, pause, valid) in
            [(1, 100, true), (10_000, 600_000, true), (0, 100, false), (10_001, 100, false), (1, 99, false), (1, 600_001, false)]
        {
            let settings = BreakerSettings { failures, pause: Duration::from_millis(pause) };
            assert_eq!(settings.validate().is_ok(), valid, "{settings:?}");
        }
    }
}
