//! The client behind a producer and its transactions: calls that block, made elsewhere, and a successor where a doubt is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Offsets;
use super::outcome::{Failed, is_answer};
use super::settings::TransactionSettings;
use crate::connection::ConnectionSettings;
use crate::error::{Error, Result};
use crate::ffi::{Native, Refusal, Served};
use crate::producer::{Listen, Writer};
use crate::record::{RecordPosition, TopicPartition};

/// Pause between two attempts to start.
const START_PAUSE: Duration = Duration::from_millis(100);
/// How much longer than its own limit a call of the library is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// How long a transaction may stand still before it is asked whether it has failed.
const STANDSTILL: Duration = Duration::from_secs(3);

/// What a producer was started with, and another like it can be.
pub(super) struct Setup {
    pub(super) connection: ConnectionSettings,
    pub(super) settings: TransactionSettings,
}

/// The client behind a producer and its transactions.
pub(super) struct Core {
    pub(super) writer: Writer<Failures>,
    pub(super) setup: Arc<Setup>,
}

impl Core {
    pub(super) async fn start(setup: Arc<Setup>) -> Result<Self> {
        let mut config = setup.connection.client_config();
        setup.settings.apply(&mut config);
        let core = Self { writer: Writer::start(&config, Served::InBackground, Failures::default())?, setup };
        core.call(core.setup.settings.start_timeout, init).await.map_err(|refusal| refusal.error)?;
        core.writer.connected();
        Ok(core)
    }

    /// Makes a call that blocks, on another thread. The client lives until the call is over, even if nobody waits for it
    /// any more.
    pub(super) async fn call(
        &self,
        limit: Duration,
        call: impl FnOnce(&Native, Instant) -> std::result::Result<(), Refusal> + Send + 'static,
    ) -> std::result::Result<(), Refusal> {
        let writer = self.writer.clone();
        let deadline = Instant::now() + limit;
        let task = tokio::task::spawn_blocking(move || call(writer.client()?.native(), deadline));
        match timeout(limit + GRACE, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => Err(Error::Fatal { message: panic.to_string() }.into()),
            Err(_) => Err(Error::Timeout { reason: format!("the transaction coordinator did not answer within {limit:?}") }.into()),
        }
    }

    /// Commits, once it is heard of every record that it is stored: the library itself takes one for stored when a later one
    /// is, and would commit without it.
    pub(super) async fn commit(&self, offsets: Option<Offsets>) -> std::result::Result<(), Refusal> {
        let writer = self.writer.clone();
        let commit = move |native: &Native, deadline| {
            loop {
                // One that has failed as a whole says why; of its records nothing more may be heard.
                match &offsets {
                    Some(Offsets { positions, group }) => native.send_offsets_blocking(positions, group, left(deadline))?,
                    None => native.check_transaction_blocking()?,
                }
                let is_heard = native.flush_blocking(STANDSTILL.min(left(deadline)));
                match writer.listener().failed() {
                    Some(Failed { first, in_doubt: true, .. }) => return Err(first.into()),
                    None if is_heard => return native.commit_transaction_blocking(left(deadline)),
                    None if left(deadline).is_zero() => {
                        return Err(Error::Timeout { reason: "not every record was acknowledged".to_owned() }.into());
                    }
                    None => {}
                    _ => return native.commit_transaction_blocking(left(deadline)),
                }
            }
        };
        self.call(self.setup.settings.timeout, commit).await
    }

    /// A client with a record that was not stored is replaced, too: the library goes on counting from that record (2.12
    /// raises its epoch for some failures only), and the broker refuses the next one of that partition.
    pub(super) async fn abort(self) -> Result<(Self, Option<Failed>)> {
        let limit = self.setup.settings.timeout;
        let abort = |native: &Native, deadline| native.abort_transaction_blocking(left(deadline));
        self.call(limit, abort).await.map_err(|refusal| refusal.error)?;
        // By now it is heard of all of them.
        let failed = self.writer.listener().failed();
        let why = "a record of a transaction was not stored";
        let core = if failed.is_some() { self.renew(why).await? } else { self.renew_if_unanswered().await? };
        Ok((core, failed))
    }

    /// Puts a new client, with a new epoch, in the place of one whose requests were not all answered: a request that is
    /// still on its way would end, or add to, the next transaction.
    pub(super) async fn renew_if_unanswered(self) -> Result<Self> {
        if self.writer.client()?.native().went_unanswered() {
            self.renew("requests of a transaction went unanswered").await
        } else {
            Ok(self)
        }
    }

    async fn renew(self, why: &str) -> Result<Self> {
        tracing::info!(id = self.setup.settings.transactional_id, why, "the client of a producer is replaced");
        Self::start(Arc::clone(&self.setup)).await
    }
}

fn init(native: &Native, deadline: Instant) -> std::result::Result<(), Refusal> {
    loop {
        match native.init_transactions_blocking(left(deadline)) {
            Err(refusal) if refusal.retriable && left(deadline) > START_PAUSE => std::thread::sleep(START_PAUSE),
            answer => return answer,
        }
    }
}

/// Keeps which records of a transaction were not stored, why the first of them was not, and how many were.
#[derive(Default)]
pub(super) struct Failures {
    failed: Mutex<Option<Failed>>,
    stored: Mutex<BTreeMap<TopicPartition, u64>>,
}

impl Failures {
    pub(super) fn failed(&self) -> Option<Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many records were stored in each partition; forgets them.
    pub(super) fn take_stored(&self) -> BTreeMap<TopicPartition, u64> {
        std::mem::take(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn forget(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        drop(self.take_stored());
    }

    fn note(&self, token: usize, error: Error) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.get_or_insert_with(|| Failed { first: error.clone(), tokens: Vec::new(), in_doubt: false });
        failed.in_doubt |= !is_answer(&error);
        // Nothing is wrong with that one.
        if matches!(error, Error::BatchRefused { .. }) {
            return;
        }
        if failed.tokens.is_empty() {
            failed.first = error;
        }
        failed.tokens.push(token);
    }
}

impl Listen for Failures {
    type Ticket = usize;

    fn delivered(&self, outcomes: impl Iterator<Item = (usize, Result<RecordPosition>)>) {
        for (token, outcome) in outcomes {
            if let Err(error) = outcome {
                self.note(token, error);
            }
        }
    }

    /// The transaction has failed already, or is being aborted: nothing more comes of its records.
    fn given_up(&self, _: impl Iterator<Item = (usize, Result<RecordPosition>)>) {}

    fn stored(&self, topic: &str, partition: i32, count: u64) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        *stored.entry(TopicPartition::new(topic, partition)).or_default() += count;
    }
}

pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_kept_and_any_doubt_remembered() {
        let failures = Failures::default();
        let large = Error::RecordTooLarge { message: "x".to_owned() };
        let late = Error::Timeout { reason: "y".to_owned() };
        let other = Error::BatchRefused { message: "z".to_owned() };
        let failed = |first: &Error, tokens: &[usize], in_doubt| Some(Failed { first: first.clone(), tokens: tokens.to_vec(), in_doubt });
        let steps = [
            (Ok(RecordPosition { partition: 0, offset: 1 }), None),
            (Err(other.clone()), failed(&other, &[], false)),
            (Err(large.clone()), failed(&large, &[2], false)),
            (Err(other.clone()), failed(&large, &[2], false)),
            (Err(late.clone()), failed(&large, &[2, 4], true)),
            (Err(large.clone()), failed(&large, &[2, 4, 5], true)),
        ];
        failures.given_up(std::iter::once((0, Err(late.clone()))));
        assert_eq!(failures.failed(), None);
        for (token, (outcome, expected)) in steps.into_iter().enumerate() {
            failures.delivered(std::iter::once((token, outcome)));
            assert_eq!(failures.failed(), expected);
        }
        failures.forget();
        assert_eq!(failures.failed(), None);
    }
}
