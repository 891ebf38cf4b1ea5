//! The world in memory: one cluster, a clock that is tokio's, and dice that fall as the seed says.
//!
//! What takes time with a real broker takes some here, a few milliseconds as the dice say, so that everything that may happen
//! in between does happen under some seed.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use penstock_kafka::{
    CommittedOffset, ConsumedRecord, ConsumerSettings, Error, OffsetRange, PartitionEdges, PerPartition, PerTopic, ProducerSettings,
    Result, TopicDescription, TopicPartition, TransactionSettings,
};
use rand::RngExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    cluster::Cluster,
    member::MemoryMember,
    producers::{MemoryBulk, MemoryProducer},
};
use crate::stream::{handover::Handover, world::World};

/// When the clock is started: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;
/// How long an answer of Kafka takes at most.
const ROUND_TRIP: Duration = Duration::from_millis(4);

/// The world in memory. A clone is the same one.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Shared>);

struct Shared {
    cluster: Mutex<Cluster>,
    changes: watch::Sender<()>,
    begun: Instant,
}

impl Memory {
    /// An empty one. Its clock is that of the tokio runtime that this is called in.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared { cluster: Mutex::new(Cluster::new(seed)), changes: watch::Sender::new(()), begun: Instant::now() }))
    }

    /// Looks at the cluster.
    pub(super) fn see<T>(&self, look: impl FnOnce(&mut Cluster) -> T) -> T {
        look(&mut self.0.cluster.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the cluster, and wakes whoever waits for that.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let changed = self.see(change);
        self.0.changes.send_replace(());
        changed
    }

    /// Adds a topic of one partition.
    #[cfg(test)]
    pub(crate) fn with_topic(self, name: &str) -> Self {
        self.change(|cluster| cluster.create(name, 1, 1 << 20));
        self
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// How long an answer takes.
    pub fn latency(&self) -> Duration {
        self.see(|cluster| cluster.chance.random_range(Duration::ZERO..=ROUND_TRIP))
    }

    /// Waits as long as an answer takes.
    pub async fn round_trip(&self) {
        sleep(self.latency()).await;
    }

    /// Asks something of each of these.
    async fn ask<K: Ord + Clone, T>(&self, about: &[K], answer: impl Fn(&Cluster, &K) -> Result<T>) -> Result<BTreeMap<K, Result<T>>> {
        self.round_trip().await;
        Ok(self.see(|cluster| about.iter().map(|one| (one.clone(), answer(cluster, one))).collect()))
    }
}

impl World for Memory {
    type Member = MemoryMember;
    type Bulk = MemoryBulk;
    type Producer = MemoryProducer;

    fn join(&self, settings: &ConsumerSettings, topics: &[&str], handover: Handover) -> Result<MemoryMember> {
        Ok(MemoryMember::join(self.clone(), settings, topics, handover))
    }

    fn bulk(&self, settings: &ProducerSettings) -> Result<MemoryBulk> {
        Ok(MemoryBulk::new(self.clone(), settings))
    }

    async fn transactional(&self, settings: &TransactionSettings) -> Result<MemoryProducer> {
        self.round_trip().await;
        Ok(MemoryProducer::start(self.clone(), settings))
    }

    async fn describe(&self, topics: &[&str]) -> Result<PerTopic<TopicDescription>> {
        let topics: Vec<_> = topics.iter().map(ToString::to_string).collect();
        self.ask(&topics, |cluster, topic| cluster.describe(topic)).await
    }

    async fn offsets(&self, topics: &[&str]) -> Result<PerTopic<BTreeMap<i32, OffsetRange>>> {
        let topics: Vec<_> = topics.iter().map(ToString::to_string).collect();
        let ranges = |cluster: &Cluster, topic: &String| {
            let logs = cluster.logs(topic)?;
            Ok(logs.map(|(partition, log)| (partition, OffsetRange { start: 0, end: log.end() })).collect())
        };
        self.ask(&topics, ranges).await
    }

    async fn edges(&self, partitions: &[TopicPartition]) -> Result<PerPartition<PartitionEdges>> {
        let edges = |cluster: &Cluster, partition: &TopicPartition| {
            let log = cluster.log(partition)?;
            Ok(PartitionEdges { start: 0, stable_end: log.stable_end(), end: log.end() })
        };
        self.ask(partitions, edges).await
    }

    async fn ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>> {
        self.ask(partitions, |cluster, partition| Ok(cluster.log(partition)?.end())).await
    }

    async fn group_offsets(&self, group: &str) -> Result<PerPartition<CommittedOffset>> {
        self.round_trip().await;
        let committed = self.see(|cluster| cluster.groups.get(group).map(|group| group.committed.clone())).unwrap_or_default();
        Ok(committed.into_iter().map(|(partition, offset)| (partition, Ok(offset))).collect())
    }

    async fn read_span(
        &self,
        spans: BTreeMap<TopicPartition, Range<i64>>,
        patience: Duration,
        mut visit: impl FnMut(ConsumedRecord) + Send + 'static,
    ) -> Result<()> {
        self.round_trip().await;
        for (partition, span) in spans {
            let readable = async {
                let mut changes = self.changes();
                while self.see(|cluster| Ok::<_, Error>(cluster.log(&partition)?.stable_end() < span.end))? {
                    // The sender is in `self`.
                    let _ = changes.changed().await;
                }
                Ok::<_, Error>(())
            };
            let late = |_| Err(Error::Timeout { reason: format!("a transaction in {partition} does not end") });
            timeout(patience, readable).await.unwrap_or_else(late)?;
            let records: Vec<_> = self.see(|cluster| Ok::<_, Error>(cluster.log(&partition)?.read(span).cloned().collect()))?;
            records.into_iter().for_each(&mut visit);
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        let now = Timestamp::from_second(BEGINNING).ok().and_then(|beginning| beginning.checked_add(self.0.begun.elapsed()).ok());
        now.unwrap_or(Timestamp::MAX)
    }

    fn chance(&self) -> f64 {
        self.see(|cluster| cluster.chance.random())
    }
}
