//! What a session asks of the world around it: Kafka, the time of day and chance. Everything else in this folder decides.
//!
//! There are two worlds: the clients of Kafka ([`super::kafka`]), and one in memory for the tests of processors. How long
//! something takes is never asked here: tokio's clock tells, which a test may wind forward.

use std::{collections::BTreeMap, future::Future, ops::Range, time::Duration};

use jiff::Timestamp;
use penstock_kafka::{
    CommitError, CommittedOffset, ConsumedRecord, ConsumerSettings, GroupOffset, Held, OffsetRange, PartitionEdges, PerPartition, PerTopic,
    ProducerSettings, Received, RecordRef, Result, Settled, TopicDescription, TopicPartition, TransactionSettings,
};
use tokio_util::sync::CancellationToken;

use super::handover::Handover;
use crate::readiness::Need;

/// A Kafka, with a clock and a die beside it. A clone is the same one.
///
/// What the methods promise, and which errors they give, is said at the types of `penstock_kafka` that they are named after.
pub(crate) trait World: Clone + Send + Sync + 'static {
    /// A member of a consumer group, as [`penstock_kafka::Consumer`].
    type Member: Member;
    /// Writes at once, as [`penstock_kafka::BulkProducer`].
    type Bulk: Bulk;
    /// Writes in transactions, as [`penstock_kafka::TransactionalProducer`].
    type Producer: Producer<Member = Self::Member>;

    /// Joins a group; what it decides goes to `handover`.
    fn join(&self, settings: &ConsumerSettings, topics: &[&str], handover: Handover) -> Result<Self::Member>;

    /// Starts a producer.
    fn bulk(&self, settings: &ProducerSettings) -> Result<Self::Bulk>;

    /// Starts a transactional producer, and ends what an earlier one of its name left open.
    fn transactional(&self, settings: &TransactionSettings) -> impl Future<Output = Result<Self::Producer>> + Send;

    /// Describes topics.
    fn describe(&self, topics: &[&str]) -> impl Future<Output = Result<PerTopic<TopicDescription>>> + Send;

    /// The offsets of all partitions of these topics.
    fn offsets(&self, topics: &[&str]) -> impl Future<Output = Result<PerTopic<BTreeMap<i32, OffsetRange>>>> + Send;

    /// Where these partitions begin and end.
    fn edges(&self, partitions: &[TopicPartition]) -> impl Future<Output = Result<PerPartition<PartitionEdges>>> + Send;

    /// Where these partitions end.
    fn ends(&self, partitions: &[TopicPartition]) -> impl Future<Output = Result<PerPartition<i64>>> + Send;

    /// All that a group has committed.
    fn group_offsets(&self, group: &str) -> impl Future<Output = Result<PerPartition<CommittedOffset>>> + Send;

    /// Reads these records, as [`penstock_kafka::read_span`].
    fn read_span(
        &self,
        spans: BTreeMap<TopicPartition, Range<i64>>,
        patience: Duration,
        visit: impl FnMut(ConsumedRecord) + Send + 'static,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The time of day, as it is written into records.
    fn now(&self) -> Timestamp;

    /// A number from 0 to 1.
    fn chance(&self) -> f64;
}

/// A member of a consumer group that begins where it is told.
pub(crate) trait Member: Send + Sync + 'static {
    /// The next records, and what else is to be known of partitions. Cancel-safe.
    fn recv_all(&self, max: usize) -> impl Future<Output = Result<Vec<Received>>> + Send;

    /// The partitions that wait for [`Member::begin`].
    fn held(&self) -> Vec<Held>;

    /// Lets partitions go on from there.
    fn begin(&self, places: &[(Held, i64)]) -> impl Future<Output = Result<()>> + Send;

    /// Reads no further there.
    fn pause(&self, partition: &TopicPartition) -> impl Future<Output = Result<()>> + Send;

    /// Reads on there.
    fn resume(&self, partition: &TopicPartition) -> impl Future<Output = Result<()>> + Send;

    /// Goes to another offset of a partition.
    fn seek(&self, partition: &TopicPartition, offset: i64) -> impl Future<Output = Result<()>> + Send;

    /// Commits offsets.
    fn commit(&self, offsets: &[GroupOffset]) -> impl Future<Output = Result<()>> + Send;

    /// What the group has committed in these partitions.
    fn committed(
        &self,
        partitions: &[TopicPartition],
        limit: Duration,
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, Option<CommittedOffset>>>> + Send;

    /// Leaves the group.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// Tells the need how the connection is, until `end`.
    fn watch(&self, need: Need, end: &CancellationToken);
}

/// Writes records at once.
pub(crate) trait Bulk: Send + Sync + 'static {
    /// Hands a record over; `token` stands for it in what is settled later. Waits while there is no room.
    fn enqueue(&self, record: RecordRef<'_>, token: usize) -> impl Future<Output = Result<()>> + Send;

    /// What became of records since this was asked last.
    fn settled(&self) -> Settled;

    /// How many records wait for their acknowledgement.
    fn in_flight(&self) -> usize;

    /// Sends at once what waits for company.
    fn push(&self) -> impl Future<Output = ()> + Send;

    /// Waits until there may be something settled. Cancel-safe.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Tells the need how the connection is, until `end`.
    fn watch(&self, need: Need, end: &CancellationToken);
}

/// A producer between two transactions.
pub(crate) trait Producer: Sized + Send + Sync + 'static {
    /// Whose offsets it commits.
    type Member;
    /// A transaction of it.
    type Transaction: Transaction<Producer = Self, Member = Self::Member>;

    /// Begins a transaction.
    fn begin(self) -> impl Future<Output = Result<Self::Transaction>> + Send;

    /// What the transaction before has put into each partition; nothing if it was not committed.
    fn stored(&self) -> &BTreeMap<TopicPartition, u64>;

    /// Tells the need how the connection is, until `end`.
    fn watch(&self, need: Need, end: &CancellationToken);
}

/// A transaction under way.
pub(crate) trait Transaction: Sized + Send + Sync + 'static {
    /// The producer that it is of.
    type Producer;
    /// Whose offsets it commits.
    type Member;

    /// Makes a record part of it; `token` stands for it where the end tells of records at fault. Waits while there is no room.
    fn enqueue(&self, record: RecordRef<'_>, token: usize) -> impl Future<Output = Result<()>> + Send;

    /// Commits it together with offsets of the member's group.
    fn commit(
        self,
        offsets: &[GroupOffset],
        member: &Self::Member,
    ) -> impl Future<Output = std::result::Result<Self::Producer, CommitError<Self::Producer>>> + Send;
}
