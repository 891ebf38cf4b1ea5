//! Looks at a topic in Kafka.

use std::collections::{BTreeMap, BTreeSet};

use penstock_kafka::{Error, PerTopic, ReplicaHealth, TopicConfig, TopicDescription, TopicId};

use super::health::Trouble;
use crate::clusters::{ClusterConnection, if_known};

/// The key that says what becomes of old records.
pub(super) const CLEANUP_POLICY: &str = "cleanup.policy";
/// The key that says how many replicas must be in sync for a partition to be written safely.
const MIN_ISR: &str = "min.insync.replicas";

/// A topic as it stands in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTopic {
    /// Its id.
    pub id: TopicId,
    /// The partitions that it has.
    pub partitions: i32,
    /// The copies that each partition has.
    pub replication_factors: BTreeSet<i16>,
    /// Whether only the last record of each key is kept.
    pub is_compacted: bool,
    /// The configuration that is set on the topic itself.
    pub config: BTreeMap<String, String>,
    /// How its replicas are.
    pub health: ReplicaHealth,
    /// The worst of what is wrong with them that was seen for long enough by looks before this one.
    pub lasting: Trouble,
}

/// Looks at the topic. None: there is no such topic.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub async fn observe(connection: &ClusterConnection, name: &str) -> Result<Option<ObservedTopic>, Error> {
    let (described, configured) = tokio::try_join!(connection.topics.describe(name), connection.topics.config(name))?;
    together(name, described.as_ref(), configured.as_ref())
}

/// Looks at many topics at once. One that is not among the answers, or whose answer is an error, cannot be told at present.
///
/// # Errors
/// When Kafka does not answer or refuses as a whole.
pub async fn observe_many(connection: &ClusterConnection, names: &[&str]) -> Result<PerTopic<Option<ObservedTopic>>, Error> {
    let admin = &connection.admin;
    let (described, mut configured) = tokio::try_join!(
        connection.look("DescribeTopics", admin.describe(names)),
        connection.look("DescribeConfigs", admin.describe_configs_in_brief(names)),
    )?;
    let seen = described.into_iter().filter_map(|(name, described)| {
        let seen = match (if_known(described), if_known(configured.remove(&name)?)) {
            (Ok(topic), Ok(config)) => together(&name, topic.as_ref(), config.as_ref()),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        Some((name, seen))
    });
    Ok(seen.collect())
}

fn together(name: &str, topic: Option<&TopicDescription>, config: Option<&TopicConfig>) -> Result<Option<ObservedTopic>, Error> {
    match (topic, config) {
        (Some(topic), Some(config)) => Ok(Some(observed(topic, config))),
        (None, None) => Ok(None),
        // Brokers learn of a topic one after the other: the next look shows whether it comes or goes.
        _ => Err(Error::NotReady { code: 0, message: format!("the brokers do not agree yet whether the topic `{name}` exists") }),
    }
}

/// Whether a `cleanup.policy` keeps only the last record of each key.
pub(super) fn compacts(policy: &str) -> bool {
    policy.split(',').any(|way| way.trim() == "compact")
}

pub(super) fn observed(topic: &TopicDescription, config: &TopicConfig) -> ObservedTopic {
    ObservedTopic {
        id: topic.id,
        partitions: topic.partition_count(),
        replication_factors: topic.partitions.iter().filter_map(|p| i16::try_from(p.replicas.len()).ok()).collect(),
        is_compacted: config.value(CLEANUP_POLICY).is_some_and(compacts),
        config: config.overrides(),
        health: topic.health(config.value(MIN_ISR).and_then(|count| count.trim().parse().ok()).unwrap_or(1)),
        lasting: Trouble::None,
    }
}
