//! Topics, transactions and committed offsets, as the brokers keep them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use penstock_kafka::{
    CommittedOffset, ConsumedRecord, Error, GroupOffset, PartitionInfo, RecordPosition, RecordRef, Result, TimestampType, TopicDescription,
    TopicId, TopicPartition,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::{
    group::Group,
    log::{Log, TransactionNumber},
    partitioner::partition_of,
};

/// What a record takes in a batch besides its own bytes, at most.
const OVERHEAD: usize = 128;
/// INVALID_RECORD, by its number in the protocol.
const INVALID_RECORD: i32 = 87;

#[derive(Debug)]
struct Topic {
    id: TopicId,
    logs: Vec<Log>,
    /// `max.message.bytes`.
    max_bytes: usize,
    /// It takes no record without a key.
    is_compacted: bool,
}

/// A transaction under way.
#[derive(Debug)]
struct Open {
    transactional_id: String,
    touched: BTreeSet<TopicPartition>,
}

/// All that the brokers know.
#[derive(Debug)]
pub(super) struct Cluster {
    topics: BTreeMap<String, Topic>,
    pub groups: BTreeMap<String, Group>,
    /// The last producer of each transactional id.
    epochs: BTreeMap<String, u64>,
    open: BTreeMap<TransactionNumber, Open>,
    transactions: TransactionNumber,
    /// What is sent now does not arrive before.
    pub slow_until: Option<Instant>,
    pub chance: StdRng,
}

impl Cluster {
    pub fn new(seed: u64) -> Self {
        Self {
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            epochs: BTreeMap::new(),
            open: BTreeMap::new(),
            transactions: 0,
            slow_until: None,
            chance: StdRng::seed_from_u64(seed),
        }
    }

    /// Creates a topic, unless there is one.
    pub fn create(&mut self, name: &str, partitions: i32, max_bytes: usize) {
        let number = u128::try_from(self.topics.len()).unwrap_or(u128::MAX).saturating_add(1);
        let logs = (0..partitions).map(|_| Log::default()).collect();
        let topic = || Topic { id: TopicId::from_bytes(number.to_be_bytes()), logs, max_bytes, is_compacted: false };
        self.topics.entry(name.to_owned()).or_insert_with(topic);
    }

    fn topic(&self, name: &str) -> Result<&Topic> {
        self.topics.get(name).ok_or_else(|| Error::UnknownTopic { topic: name.to_owned() })
    }

    pub fn log(&self, partition: &TopicPartition) -> Result<&Log> {
        let log = usize::try_from(partition.partition).ok().and_then(|number| self.topic(&partition.topic).ok()?.logs.get(number));
        log.ok_or_else(|| Error::UnknownTopic { topic: partition.topic.clone() })
    }

    /// The partitions of a topic, with their logs.
    pub fn logs(&self, topic: &str) -> Result<impl Iterator<Item = (i32, &Log)>> {
        Ok((0..).zip(&self.topic(topic)?.logs))
    }

    pub fn describe(&self, name: &str) -> Result<TopicDescription> {
        let topic = self.topic(name)?;
        let partition = |(id, _)| {
            let mut partition = PartitionInfo::new(id);
            (partition.leader, partition.replicas, partition.isr) = (Some(1), vec![1], vec![1]);
            partition
        };
        let mut description = TopicDescription::new(name, topic.id);
        description.partitions = (0..).zip(&topic.logs).map(partition).collect();
        Ok(description)
    }

    /// From now on the topic takes no record without a key.
    #[cfg(test)]
    pub fn compact(&mut self, topic: &str) {
        self.topics.entry(topic.to_owned()).and_modify(|topic| topic.is_compacted = true);
    }

    /// Whether its topic refuses the record for what it is.
    pub fn refuses(&self, record: &RecordRef<'_>) -> bool {
        record.key.is_none() && self.topics.get(record.topic).is_some_and(|topic| topic.is_compacted)
    }

    /// Stores a record, in the partition that it names, or its key, or chance.
    pub fn append(&mut self, record: RecordRef<'_>, now: Timestamp, transaction: Option<TransactionNumber>) -> Result<RecordPosition> {
        if transaction.is_some_and(|number| !self.open.contains_key(&number)) {
            return Err(Error::Fenced { message: "the transaction has ended".to_owned() });
        }
        let unknown = || Error::UnknownTopic { topic: record.topic.to_owned() };
        let (name, topic) = self.topics.get_key_value(record.topic).ok_or_else(unknown)?;
        let (name, max_bytes) = (name.as_str().into(), topic.max_bytes);
        if record.size() + OVERHEAD > max_bytes {
            return Err(Error::RecordTooLarge { message: format!("the topic takes {max_bytes} bytes") });
        }
        let partitions = i32::try_from(topic.logs.len()).unwrap_or(i32::MAX);
        if self.refuses(&record) {
            return Err(Error::InvalidRequest {
                code: INVALID_RECORD,
                message: "a compacted topic takes no record without a key".to_owned(),
            });
        }
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, partitions),
            (None, None) => self.chance.random_range(0..partitions),
        };
        let stored = ConsumedRecord {
            topic: name,
            partition,
            offset: 0,
            timestamp_ms: Some(record.timestamp_ms.unwrap_or_else(|| now.as_millisecond())),
            timestamp_type: TimestampType::CreateTime,
            key: record.key.map(|key| key.to_vec().into()),
            payload: record.payload.map(|payload| payload.to_vec().into()),
            headers: record.headers.to_vec(),
        };
        let logs = self.topics.get_mut(record.topic).map(|topic| &mut topic.logs);
        let log = logs.and_then(|logs| logs.get_mut(usize::try_from(partition).ok()?)).ok_or_else(unknown)?;
        let offset = log.append(stored, transaction);
        if let Some(open) = transaction.and_then(|number| self.open.get_mut(&number)) {
            open.touched.insert(TopicPartition::new(record.topic, partition));
        }
        Ok(RecordPosition { partition, offset })
    }

    /// A producer of that id starts: what earlier ones left open ends, and they are fenced. Gives back its epoch.
    pub fn start_producer(&mut self, transactional_id: &str) -> u64 {
        let own = self.open.iter().filter(|(_, open)| open.transactional_id == transactional_id);
        for number in own.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.end(number, false);
        }
        let epoch = self.epochs.entry(transactional_id.to_owned()).or_default();
        *epoch += 1;
        *epoch
    }

    /// Whether a producer is the last of its id.
    pub fn is_latest(&self, transactional_id: &str, epoch: u64) -> bool {
        self.epochs.get(transactional_id) == Some(&epoch)
    }

    pub fn begin(&mut self, transactional_id: &str) -> TransactionNumber {
        self.transactions += 1;
        let open = Open { transactional_id: transactional_id.to_owned(), touched: BTreeSet::new() };
        self.open.insert(self.transactions, open);
        self.transactions
    }

    /// Ends a transaction that is under way.
    pub fn end(&mut self, number: TransactionNumber, is_committed: bool) {
        for TopicPartition { topic, partition } in self.open.remove(&number).map(|open| open.touched).unwrap_or_default() {
            let logs = self.topics.get_mut(&topic).map(|topic| &mut topic.logs);
            if let Some(log) = logs.and_then(|logs| logs.get_mut(usize::try_from(partition).ok()?)) {
                log.end_transaction(number, is_committed);
            }
        }
    }

    /// A transaction has lasted too long: it is aborted if it is under way still, and its producer is fenced.
    pub fn time_out(&mut self, number: TransactionNumber) {
        if let Some(open) = self.open.get(&number) {
            if let Some(epoch) = self.epochs.get_mut(&open.transactional_id) {
                *epoch += 1;
            }
            self.end(number, false);
        }
    }

    /// Whether no transaction is under way.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    pub fn commit(&mut self, group: &str, offsets: &[GroupOffset]) {
        let committed = &mut self.groups.entry(group.to_owned()).or_default().committed;
        for GroupOffset { topic, partition, next_offset, metadata } in offsets {
            let metadata = metadata.as_deref().unwrap_or_default().to_owned();
            committed.insert(TopicPartition::new(topic, *partition), CommittedOffset { offset: *next_offset, metadata });
        }
    }
}
