//! What happens when the group moves partitions: the listener's side and the client's side of a rebalance.
//!
//! All of it runs on the polling thread, before the move takes effect: a partition's records are handed out only after
//! `on_assigned`, and none that was not taken before `on_revoked` is handed out after it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::Received;
use super::held::Holding;
use crate::buffer::Buffer;
use crate::error::{Error, Result};
use crate::ffi::{Member, Move, offset_list, rebalance_at_close};
use crate::health::{HealthSource, client_context};
use crate::record::{ConsumedRecord, TopicPartition};

/// An offset to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to be processed: one more than that of the last one done.
    pub next_offset: i64,
    /// What is kept with it, for whoever reads it later. Kafka's default limit is 4096 bytes.
    pub metadata: Option<Arc<str>>,
}

impl GroupOffset {
    /// An offset with nothing beside it.
    pub fn new(topic: impl Into<String>, partition: i32, next_offset: i64) -> Self {
        Self { topic: topic.into(), partition, next_offset, metadata: None }
    }

    /// The offset behind a record: what to commit once this record and those before it in its partition are done.
    pub fn after(record: &ConsumedRecord) -> Self {
        Self::new(&*record.topic, record.partition, record.offset + 1)
    }
}

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to be processed.
    pub offset: i64,
    /// What is kept with it. Anybody may have written it; often nothing.
    pub metadata: String,
}

/// Commits offsets from within [`RebalanceListener::on_revoked`].
pub trait CommitOffsets {
    /// Commits and waits for Kafka's acknowledgement, at most about the session timeout.
    ///
    /// # Errors
    /// See [`crate::Consumer::commit`].
    fn commit(&self, offsets: &[GroupOffset]) -> Result<()>;

    /// The partitions go although work on them is still under way: from now on [`crate::Consumer::has_lost_partitions`] says so, as
    /// if they were lost.
    fn let_go_unfinished(&self) {}
}

/// Is told when partitions come and go. Called on the polling thread, one call at a time; a call may block, but the
/// whole group waits for it, and after `max_poll_interval` it goes on without this member.
pub trait RebalanceListener: Send + Sync + 'static {
    /// These partitions were added. Their first record comes after this returns; with [`crate::StartFrom::AsTold`], after
    /// [`crate::Consumer::begin`].
    fn on_assigned(&self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }

    /// These partitions go to another member once this returns: finish the records already taken from `recv`, commit
    /// and return. Records that were not taken yet are dropped already.
    fn on_revoked(&self, partitions: &[TopicPartition], commits: &dyn CommitOffsets) {
        let _ = (partitions, commits);
    }

    /// These partitions are with another member already (the session expired). Stop working on them; nothing can be
    /// committed any more.
    fn on_lost(&self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }
}

/// A listener for callers that do not care.
impl RebalanceListener for () {}

impl<L: RebalanceListener + ?Sized> RebalanceListener for Arc<L> {
    fn on_assigned(&self, partitions: &[TopicPartition]) {
        (**self).on_assigned(partitions);
    }

    fn on_revoked(&self, partitions: &[TopicPartition], commits: &dyn CommitOffsets) {
        (**self).on_revoked(partitions, commits);
    }

    fn on_lost(&self, partitions: &[TopicPartition]) {
        (**self).on_lost(partitions);
    }
}

pub(super) struct Context {
    pub(super) health: HealthSource,
    pub(super) buffer: Buffer<Result<Received>>,
    /// The partitions that stand still; none, where a partition begins by itself.
    pub(super) holding: Option<Holding>,
    listener: Box<dyn RebalanceListener>,
    assignment: Mutex<BTreeSet<TopicPartition>>,
    /// The group has gone on without this member, or before it was done.
    has_lost: AtomicBool,
}

client_context!(Context);

impl Context {
    pub(super) fn new(buffer: Buffer<Result<Received>>, listener: Box<dyn RebalanceListener>, holds: bool) -> Self {
        let holding = holds.then(Holding::default);
        Self {
            health: HealthSource::new(),
            buffer,
            holding,
            listener,
            assignment: Mutex::new(BTreeSet::new()),
            has_lost: AtomicBool::new(false),
        }
    }

    pub(super) fn assignment(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the records of these partitions that nobody has taken yet.
    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        self.buffer.retain(|received| match received {
            Ok(Received::Record(record)) => {
                !partitions.iter().any(|partition| partition.partition == record.partition && partition.topic == *record.topic)
            }
            Ok(Received::End { partition, .. } | Received::OutOfRange { partition, .. }) => !partitions.contains(partition),
            Err(_) => true,
        });
    }

    pub(super) fn has_lost(&self) -> bool {
        self.has_lost.load(Ordering::Acquire)
    }

    fn assigned(&self, partitions: &[TopicPartition]) {
        tracing::info!(partitions = %names(partitions), "partitions assigned");
        self.assignment().extend(partitions.iter().cloned());
        if let Some(holding) = &self.holding {
            holding.hold(partitions);
        }
        self.listener.on_assigned(partitions);
    }

    fn revoked(&self, partitions: &[TopicPartition], consumer: &BaseConsumer<Self>) {
        let lost = consumer.assignment_lost();
        // The library joins the group again only after this, so whoever is a member again finds it said.
        self.has_lost.fetch_or(lost, Ordering::AcqRel);
        tracing::info!(partitions = %names(partitions), lost, "partitions revoked");
        self.assignment().retain(|partition| !partitions.contains(partition));
        if let Some(holding) = &self.holding {
            holding.forget(partitions);
        }
        self.forget(partitions);
        if lost {
            self.listener.on_lost(partitions);
        } else {
            self.listener.on_revoked(partitions, &DuringRebalance { consumer });
        }
        // librdkafka keeps a pause beyond the loss of a partition: one that comes back would never be read again.
        if let Err(error) = resume(consumer, partitions) {
            tracing::debug!(%error, "partitions that go away were not resumed");
        }
    }
}

impl Member for Context {
    fn moving(&self, consumer: &BaseConsumer<Self>, what: Move, partitions: &[TopicPartition]) {
        match what {
            Move::Assign => {
                // Only the group's coordinator assigns; partitions are revoked without it, too, when the session has expired.
                self.health.connected();
                self.assigned(partitions);
            }
            Move::Revoke => self.revoked(partitions, consumer),
        }
    }

    fn holds(&self, partition: &TopicPartition) -> bool {
        self.holding.as_ref().is_some_and(|holding| holding.holds(partition))
    }
}

/// While a consumer is closed, rdkafka polls by itself.
impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        rebalance_at_close(consumer, code, list);
    }
}

fn resume(consumer: &BaseConsumer<Context>, partitions: &[TopicPartition]) -> Result<()> {
    consumer.resume(&list(partitions)?).map_err(|error| Error::from_rdkafka(&error, None))
}

struct DuringRebalance<'a> {
    consumer: &'a BaseConsumer<Context>,
}

impl CommitOffsets for DuringRebalance<'_> {
    fn commit(&self, offsets: &[GroupOffset]) -> Result<()> {
        commit_blocking(self.consumer, offsets)
    }

    fn let_go_unfinished(&self) {
        self.consumer.context().has_lost.store(true, Ordering::Release);
    }
}

/// Commits and waits for the acknowledgement. Blocks.
pub(super) fn commit_blocking(consumer: &BaseConsumer<Context>, offsets: &[GroupOffset]) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    consumer.commit(&offset_list(offsets)?, CommitMode::Sync).map_err(|error| commit_error(&error))
}

/// During a rebalance the group does not take commits for a moment; the same commit succeeds or is fenced afterwards.
fn commit_error(error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        // Without a coordinator in time the commit was never sent.
        Some(Code::WaitingForCoordinator | Code::OperationTimedOut) => {
            Error::Unreachable { reason: format!("the group's coordinator cannot be reached: {error}") }
        }
        _ => Error::from_rdkafka(error, None),
    }
}

/// Adds a partition, after a check of the name: rdkafka panics on one with a zero byte.
pub(super) fn add(list: &mut TopicPartitionList, topic: &str, partition: i32, offset: Offset) -> Result<()> {
    crate::topic::validate_topic_name(topic)?;
    list.add_partition_offset(topic, partition, offset).map_err(|error| Error::from_rdkafka(&error, Some(topic)))
}

/// The partitions, without offsets.
pub(super) fn list(partitions: &[TopicPartition]) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        add(&mut list, &partition.topic, partition.partition, Offset::Invalid)?;
    }
    Ok(list)
}

fn names(partitions: &[TopicPartition]) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.join(" ")
}
