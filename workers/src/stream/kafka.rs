//! The real world: Kafka through its clients, the clock of the machine and real chance.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use jiff::Timestamp;
use penstock_kafka::{
    BulkProducer, CommitError, CommittedOffset, ConnectionSettings, ConsumedRecord, Consumer, ConsumerSettings, Error, GroupOffset, Held,
    OffsetRange, PartitionEdges, PerPartition, PerTopic, ProducerSettings, Received, RecordRef, Result, Settled, TopicAdmin,
    TopicDescription, TopicPartition, TransactionSettings, TransactionalProducer, read_span,
};
use tokio_util::sync::CancellationToken;

use super::{
    handover::Handover,
    lookup::LIMIT,
    world::{Bulk, Member, Producer, Transaction, World},
};
use crate::{connection, readiness::Need};

/// A Kafka cluster.
#[derive(Clone)]
pub(crate) struct Kafka {
    connection: ConnectionSettings,
    admin: TopicAdmin,
}

impl Kafka {
    /// Does not wait for Kafka.
    ///
    /// # Errors
    /// No client can be made from the settings.
    pub fn new(connection: &ConnectionSettings) -> Result<Self> {
        Ok(Self { connection: connection.clone(), admin: TopicAdmin::new(connection)?.with_timeout(LIMIT) })
    }
}

impl World for Kafka {
    type Member = Consumer;
    type Bulk = BulkProducer;
    type Producer = TransactionalProducer;

    fn join(&self, settings: &ConsumerSettings, topics: &[&str], handover: Handover) -> Result<Consumer> {
        Consumer::subscribe(&self.connection, settings, topics, handover)
    }

    fn bulk(&self, settings: &ProducerSettings) -> Result<BulkProducer> {
        BulkProducer::new(&self.connection, settings)
    }

    async fn transactional(&self, settings: &TransactionSettings) -> Result<TransactionalProducer> {
        TransactionalProducer::start(&self.connection, settings).await
    }

    async fn describe(&self, topics: &[&str]) -> Result<PerTopic<TopicDescription>> {
        self.admin.describe(topics).await
    }

    async fn offsets(&self, topics: &[&str]) -> Result<PerTopic<BTreeMap<i32, OffsetRange>>> {
        self.admin.offsets(topics).await
    }

    async fn edges(&self, partitions: &[TopicPartition]) -> Result<PerPartition<PartitionEdges>> {
        self.admin.edges(partitions).await
    }

    async fn ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>> {
        self.admin.ends(partitions).await
    }

    async fn group_offsets(&self, group: &str) -> Result<PerPartition<CommittedOffset>> {
        self.admin.group_offsets(group).await
    }

    async fn read_span(
        &self,
        spans: BTreeMap<TopicPartition, Range<i64>>,
        patience: Duration,
        visit: impl FnMut(ConsumedRecord) + Send + 'static,
    ) -> Result<()> {
        read_span(&self.connection, spans, patience, visit).await
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn chance(&self) -> f64 {
        rand::random()
    }
}

impl Member for Consumer {
    async fn recv_all(&self, max: usize) -> Result<Vec<Received>> {
        Self::recv_all(self, max).await
    }

    fn held(&self) -> Vec<Held> {
        Self::held(self)
    }

    async fn begin(&self, places: &[(Held, i64)]) -> Result<()> {
        Self::begin(self, places).await
    }

    async fn pause(&self, partition: &TopicPartition) -> Result<()> {
        Self::pause(self, std::slice::from_ref(partition)).await
    }

    async fn resume(&self, partition: &TopicPartition) -> Result<()> {
        Self::resume(self, std::slice::from_ref(partition)).await
    }

    async fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<()> {
        Self::seek(self, partition, offset).await
    }

    async fn commit(&self, offsets: &[GroupOffset]) -> Result<()> {
        Self::commit(self, offsets).await
    }

    async fn committed(&self, partitions: &[TopicPartition], limit: Duration) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>> {
        Self::committed(self, partitions, limit).await
    }

    async fn close(&self) {
        Self::close(self).await;
    }

    fn watch(&self, need: Need, end: &CancellationToken) {
        connection::watch(self.health(), need, end);
    }
}

impl Bulk for BulkProducer {
    async fn enqueue(&self, record: RecordRef<'_>, token: usize) -> Result<()> {
        Self::enqueue(self, record, token).await
    }

    fn settled(&self) -> Settled {
        Self::settled(self)
    }

    fn in_flight(&self) -> usize {
        Self::in_flight(self)
    }

    async fn push(&self) {
        Self::push(self).await;
    }

    async fn changed(&self) {
        Self::changed(self).await;
    }

    fn watch(&self, need: Need, end: &CancellationToken) {
        connection::watch(self.health(), need, end);
    }
}

impl Producer for TransactionalProducer {
    type Member = Consumer;
    type Transaction = penstock_kafka::Transaction;

    async fn begin(self) -> Result<Self::Transaction> {
        Self::begin(self).await
    }

    fn stored(&self) -> &BTreeMap<TopicPartition, u64> {
        Self::stored(self)
    }

    fn watch(&self, need: Need, end: &CancellationToken) {
        connection::watch(self.health(), need, end);
    }
}

impl Transaction for penstock_kafka::Transaction {
    type Producer = TransactionalProducer;
    type Member = Consumer;

    async fn enqueue(&self, record: RecordRef<'_>, token: usize) -> Result<()> {
        Self::enqueue(self, record, token).await
    }

    /// The group's metadata is asked for each time: it changes with every rebalance.
    async fn commit(self, offsets: &[GroupOffset], member: &Consumer) -> std::result::Result<TransactionalProducer, CommitError> {
        let group = member.group_metadata().await.map_err(|reason| CommitError::ProducerLost { reason })?;
        if member.has_lost_partitions() {
            // It is a member again: the group would take offsets of what another one has by now.
            let message = "the group went on without this worker before the transaction was committed".to_owned();
            return Err(CommitError::ProducerLost { reason: Error::Fenced { message } });
        }
        self.commit_with_offsets(offsets, &group).await
    }
}
