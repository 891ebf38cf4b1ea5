//! Writes records and the offsets they came from in one transaction: all of it counts, or nothing does (KIP-98, KIP-447).
//!
//! The types allow no mistake with a producer whose state is not known: each step takes the producer by value, and only an
//! answer that leaves no doubt gives it back. A call that is cancelled ends the producer, too.

mod client;
mod outcome;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::connection::ConnectionSettings;
use crate::consumer::{GroupMetadata, GroupOffset};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::producer::Enqueued;
use crate::record::{RecordRef, TopicPartition};

use client::{Core, Setup};
use outcome::{Verdict, judge};

pub use outcome::CommitError;
pub use settings::TransactionSettings;

/// What a transaction commits beside its records.
struct Offsets {
    positions: Vec<GroupOffset>,
    group: GroupMetadata,
}

/// A producer between two transactions.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use penstock_kafka::{
///     ConnectionSettings, Consumer, ConsumerSettings, GroupOffset, RecordRef, TransactionSettings, TransactionalProducer,
/// };
///
/// let connection = ConnectionSettings::parse("localhost:9092")?;
/// let consumer = Consumer::subscribe(&connection, &ConsumerSettings::new("billing"), &["orders"], ())?;
/// let mut producer = TransactionalProducer::start(&connection, &TransactionSettings::new("billing-0")).await?;
/// loop {
///     let record = consumer.recv().await?;
///     let transaction = producer.begin().await?;
///     transaction.enqueue(RecordRef { payload: record.payload.as_deref(), ..RecordRef::to("payments") }, 0).await?;
///     let done = GroupOffset::new(&*record.topic, record.partition, record.offset + 1);
///     producer = transaction.commit_with_offsets(&[done], &consumer.group_metadata().await?).await?;
/// }
/// # }
/// ```
pub struct TransactionalProducer {
    core: Core,
    /// What the transaction before had, where it was committed.
    stored: BTreeMap<TopicPartition, u64>,
}

/// A transaction under way. Dropped, it takes the producer with it, and the brokers abort it: at once when a producer with
/// the same transactional id starts, otherwise after its timeout.
#[must_use = "a transaction that is dropped ends its producer"]
pub struct Transaction {
    core: Core,
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer").field("id", &self.core.setup.settings.transactional_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.core.setup.settings.transactional_id;
        f.debug_struct("Transaction").field("id", id).field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl TransactionalProducer {
    /// Starts a producer: fences all earlier ones with this transactional id and ends what they left open. After that
    /// the committed offsets are final.
    ///
    /// # Errors
    /// [`Error::InvalidSettings`] names the setting that is out of its bounds. [`Error::is_retriable`] tells whether to try
    /// again; whatever was retriable within `start_timeout` was retried.
    pub async fn start(connection: &ConnectionSettings, settings: &TransactionSettings) -> Result<Self> {
        settings.validate()?;
        let setup = Setup { connection: connection.clone(), settings: settings.clone() };
        Ok(Self::of(Core::start(Arc::new(setup)).await?))
    }

    fn of(core: Core) -> Self {
        Self { core, stored: BTreeMap::new() }
    }

    /// Begins a transaction. Sends nothing: a transaction without records and offsets costs nothing.
    ///
    /// # Errors
    /// The producer has failed for good, for example because another one with its transactional id has started
    /// ([`Error::Fenced`]). It is gone.
    pub async fn begin(self) -> Result<Transaction> {
        self.core.writer.listener().forget();
        let limit = self.core.setup.settings.timeout;
        self.core.call(limit, |native, _| native.begin_transaction_blocking()).await.map_err(|refusal| refusal.error)?;
        Ok(Transaction { core: self.core })
    }

    /// How many records the transaction before has put into each partition; none if it was not committed.
    pub fn stored(&self) -> &BTreeMap<TopicPartition, u64> {
        &self.stored
    }

    /// Watches the connection.
    pub fn health(&self) -> Health {
        self.core.writer.health()
    }
}

impl Transaction {
    /// Makes a record part of the transaction if there is room for it. Does not block. Records that are enqueued one after
    /// the other stay in this order within a partition. `token` stands for the record in [`CommitError::Aborted`].
    ///
    /// # Errors
    /// The record can never be sent (invalid topic name, too large, unknown partition): it is not part of the transaction,
    /// which can go on without it. [`Error::TransactionFailed`]: nothing can be added any more, `commit` says why.
    pub fn try_enqueue<'a>(&self, record: impl Into<RecordRef<'a>>, token: usize) -> Result<Enqueued> {
        let refused = self.core.writer.try_write(&record.into(), token).map_err(refusal)?;
        Ok(if refused.is_none() { Enqueued::Accepted } else { Enqueued::NoRoom })
    }

    /// As [`Transaction::try_enqueue`], but waits while the buffer is full.
    ///
    /// # Errors
    /// As there.
    pub async fn enqueue(&self, record: impl Into<RecordRef<'_>>, token: usize) -> Result<()> {
        self.core.writer.write(&record.into(), token).await.map_err(refusal)
    }

    /// Waits until a full buffer may have room again.
    pub async fn room(&self) {
        self.core.writer.room().await;
    }

    /// How many records wait for their acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.core.writer.in_flight()
    }

    /// Commits once all records are stored.
    ///
    /// # Errors
    /// See [`CommitError`]. A record that could not be stored fails the transaction as a whole; the first such failure is
    /// the reason that is given.
    pub async fn commit(self) -> std::result::Result<TransactionalProducer, CommitError> {
        self.end(None).await
    }

    /// Commits together with offsets of a consumer group. The group refuses them if it has gone on without the member that
    /// `group` describes, so that nobody commits what another has taken over (KIP-447).
    ///
    /// # Errors
    /// As [`Transaction::commit`]. [`CommitError::Aborted`] with [`Error::Fenced`] or [`Error::NotReady`] as its reason: the
    /// group has gone on; ask [`crate::Consumer::group_metadata`] again.
    pub async fn commit_with_offsets(
        self,
        offsets: &[GroupOffset],
        group: &GroupMetadata,
    ) -> std::result::Result<TransactionalProducer, CommitError> {
        self.end(Some(Offsets { positions: offsets.to_vec(), group: group.clone() })).await
    }

    /// Makes sure that nothing of the transaction counts.
    ///
    /// # Errors
    /// There was no clear answer: the producer is gone. The transaction does not count either way.
    pub async fn abort(self) -> Result<TransactionalProducer> {
        Ok(TransactionalProducer::of(self.core.abort().await?.0))
    }

    async fn end(self, offsets: Option<Offsets>) -> std::result::Result<TransactionalProducer, CommitError> {
        let lost = |reason| CommitError::ProducerLost { reason };
        let core = self.core;
        let Err(refusal) = core.commit(offsets).await else {
            core.writer.connected();
            let stored = core.writer.listener().take_stored();
            return Ok(TransactionalProducer { core: core.renew_if_unanswered().await.map_err(lost)?, stored });
        };
        match judge(refusal, core.writer.listener().failed()) {
            Verdict::GiveUp(reason) => Err(lost(reason)),
            Verdict::Abort(reason) => {
                tracing::warn!(error = %reason, "a transaction cannot be committed and is aborted");
                let (core, failed) = core.abort().await.map_err(lost)?;
                let (reason, records) = failed.map_or((reason, Vec::new()), |failed| (failed.first, failed.tokens));
                Err(CommitError::Aborted { reason, records, producer: Box::new(TransactionalProducer::of(core)) })
            }
        }
    }
}

/// The library takes no record in a state that a transaction is in only after it has failed.
fn refusal(error: Error) -> Error {
    match error {
        Error::Other { code, .. } if code == Code::State as i32 => Error::TransactionFailed,
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn without_a_broker_the_start_ends_in_time_and_is_retriable() {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let mut settings = TransactionSettings::new("t");
        settings.start_timeout = Duration::from_secs(1);
        let begun = Instant::now();
        let error = TransactionalProducer::start(&connection, &settings).await.unwrap_err();
        assert!(error.is_retriable(), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
