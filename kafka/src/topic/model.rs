//! What is said about topics and clusters: the values that go into and come out of [`crate::TopicAdmin`]. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{KafkaVersion, TopicId};
use crate::error::Result;
use crate::record::{Header, TopicPartition};

/// One result per topic named in the call, so that a bad topic does not disturb the others.
pub type PerTopic<T> = BTreeMap<String, Result<T>>;

/// One result per partition, for the same reason.
pub type PerPartition<T> = BTreeMap<TopicPartition, Result<T>>;

/// A topic as the brokers describe it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The name.
    pub name: String,
    /// The id.
    pub id: TopicId,
    /// True for Kafka's own topics, such as `__consumer_offsets`.
    pub internal: bool,
    /// The partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicDescription {
    /// A topic without partitions, to try code with.
    pub fn new(name: impl Into<String>, id: TopicId) -> Self {
        Self { name: name.into(), id, internal: false, partitions: Vec::new() }
    }

    /// How many partitions the topic has.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// How many replicas each partition has; `None` if they differ (a reassignment is under way) or there is no partition.
    pub fn replication_factor(&self) -> Option<i16> {
        let mut counts = self.partitions.iter().map(|partition| partition.replicas.len());
        let first = counts.next()?;
        if counts.any(|count| count != first) {
            return None;
        }
        i16::try_from(first).ok()
    }
}

/// One partition of a topic.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The number, from 0.
    pub id: i32,
    /// The broker that leads it; `None` while there is none, then it can be neither written nor read.
    pub leader: Option<i32>,
    /// The brokers that hold it, preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub isr: Vec<i32>,
}

impl PartitionInfo {
    /// A partition without leader and replicas, to try code with.
    pub fn new(id: i32) -> Self {
        Self { id, leader: None, replicas: Vec::new(), isr: Vec::new() }
    }
}

/// A line of [`crate::TopicAdmin::list`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSummary {
    /// The name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
}

/// The configuration of a topic: every key the broker knows for topics, with where its value comes from.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    /// By key.
    pub entries: BTreeMap<String, ConfigEntry>,
}

impl TopicConfig {
    /// The keys that are set on the topic itself, as opposed to inherited from the broker or Kafka's defaults.
    pub fn overrides(&self) -> BTreeMap<String, String> {
        let own = self.entries.iter().filter(|(_, entry)| entry.source == ConfigSource::DynamicTopic);
        own.map(|(key, entry)| (key.clone(), entry.value.clone().unwrap_or_default())).collect()
    }

    /// The value in force of a key, if it was read and is not hidden.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.entries.get(key)?.value.as_deref()
    }
}

/// The value of one configuration key.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The value in force; `None` if it is null or sensitive.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// The value is Kafka's own default.
    pub is_default: bool,
    /// The broker hides the value.
    pub is_sensitive: bool,
    /// The value cannot be changed on the topic.
    pub is_read_only: bool,
}

impl ConfigEntry {
    /// An entry with this value, to try code with.
    pub fn new(value: Option<String>, source: ConfigSource) -> Self {
        Self { value, source, is_default: source == ConfigSource::Default, is_sensitive: false, is_read_only: false }
    }
}

/// Where a configuration value comes from, nearest first.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic,
    /// Set at run time on one broker.
    DynamicBroker,
    /// Set at run time for all brokers.
    DynamicDefaultBroker,
    /// In a broker's `server.properties`.
    StaticBroker,
    /// Kafka's default.
    Default,
    /// A source this crate does not know.
    Other,
}

/// A topic to be created.
///
/// ```
/// use penstock_kafka::NewTopic;
///
/// let topic = NewTopic::new("orders").with_partitions(3).with_config("retention.ms", "604800000");
/// assert_eq!(topic.replication_factor, None); // the broker's default
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// How many partitions; `None` takes the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// How many replicas of each; `None` takes the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// What to set on the topic; all other keys are inherited.
    pub config: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic that takes everything from the broker's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: None, replication_factor: None, config: BTreeMap::new() }
    }

    /// Sets the number of partitions.
    #[must_use]
    pub fn with_partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Sets the number of replicas of each partition.
    #[must_use]
    pub fn with_replication_factor(mut self, replication_factor: i16) -> Self {
        self.replication_factor = Some(replication_factor);
        self
    }

    /// Sets one configuration key.
    #[must_use]
    pub fn with_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

/// A change of a topic's configuration. Keys that are in neither set stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDelta {
    /// The topic.
    pub topic: String,
    /// Keys to set.
    pub set: BTreeMap<String, String>,
    /// Keys to remove, so that the broker's value counts again. Removing an unset key is no error.
    pub unset: BTreeSet<String>,
}

/// The offsets of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The first offset that can still be read.
    pub start: i64,
    /// One past the last record written (the high watermark, whatever the isolation level).
    pub end: i64,
}

/// The ends of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionEdges {
    /// The first offset that can still be read.
    pub start: i64,
    /// The first offset that a reader of committed records cannot read yet: that of the first transaction which is still
    /// open, or the end.
    pub stable_end: i64,
    /// One past the last record written.
    pub end: i64,
}

/// What a reader of committed records may read of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StableRange {
    /// The first offset that can still be read.
    pub start: i64,
    /// The first offset that cannot be read yet: that of the first transaction which is still open, or the end.
    pub end: i64,
}

/// What stands at an offset of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// No reader of committed records gets anything between the offset and this one: only the marks of transactions are there, and
    /// records of aborted ones.
    pub empty_until: i64,
    /// The timestamp of the first record that follows, if it was seen.
    pub timestamp_ms: Option<i64>,
    /// The headers of that record, if they were asked for and can be read: not where its batch is compressed otherwise than with LZ4.
    pub headers: Vec<Header>,
}

/// The cluster as one of its brokers describes it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The id that the cluster got when its storage was formatted.
    pub cluster_id: String,
    /// The node id of the active controller: with KRaft the leader of the quorum that keeps the metadata, which need not be a
    /// broker. `None` if it could not be told, as where describing the cluster is not allowed.
    pub controller: Option<i32>,
    /// The live brokers, by id.
    pub brokers: Vec<BrokerInfo>,
    /// The Kafka release of the broker that was asked; `None` if it could not be told.
    pub version: Option<KafkaVersion>,
    /// The broker that the cluster names for administrative requests: with KRaft any one that is up.
    pub(crate) named: Option<i32>,
}

impl ClusterDescription {
    /// A cluster without brokers, to try code with.
    pub fn new(cluster_id: impl Into<String>) -> Self {
        Self { cluster_id: cluster_id.into(), controller: None, brokers: Vec::new(), version: None, named: None }
    }

    /// The broker for requests of our own: the one the cluster names, else any.
    pub(crate) fn entry_point(&self) -> Option<&BrokerInfo> {
        let named = self.brokers.iter().find(|broker| Some(broker.id) == self.named);
        named.or_else(|| self.brokers.first())
    }
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its id.
    pub id: i32,
    /// The host it advertises to clients.
    pub host: String,
    /// The port it advertises.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(replicas: &[usize]) -> TopicDescription {
        let partition = |count: &usize| PartitionInfo { id: 0, leader: Some(1), replicas: vec![1; *count], isr: vec![1; *count] };
        TopicDescription {
            name: "t".to_owned(),
            id: TopicId::from_halves(0, 1),
            internal: false,
            partitions: replicas.iter().map(partition).collect(),
        }
    }

    #[test]
    fn the_replication_factor_is_told_only_if_all_partitions_agree() {
        let table: [(&[usize], Option<i16>); 4] = [(&[3, 3], Some(3)), (&[1], Some(1)), (&[3, 2], None), (&[], None)];
        for (replicas, expected) in table {
            assert_eq!(topic(replicas).replication_factor(), expected, "{replicas:?}");
        }
    }

    #[test]
    fn overrides_are_what_is_set_on_the_topic() {
        let entry = |value: &str, source| ConfigEntry::new(Some(value.to_owned()), source);
        let config = TopicConfig {
            entries: BTreeMap::from([
                ("retention.ms".to_owned(), entry("1", ConfigSource::DynamicTopic)),
                ("segment.bytes".to_owned(), entry("2", ConfigSource::StaticBroker)),
                ("cleanup.policy".to_owned(), entry("delete", ConfigSource::Default)),
            ]),
        };
        assert_eq!(config.overrides(), BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]));
    }
}
