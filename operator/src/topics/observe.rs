//! Looks at a topic in Kafka.

use std::collections::{BTreeMap, BTreeSet};

use penstock_kafka::{Error, TopicConfig, TopicDescription, TopicId};

use crate::clusters::ClusterConnection;

/// A topic as it stands in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTopic {
    /// Its id.
    pub id: TopicId,
    /// The partitions that it has.
    pub partitions: i32,
    /// The copies that each partition has.
    pub replication_factors: BTreeSet<i16>,
    /// The configuration that is set on the topic itself.
    pub config: BTreeMap<String, String>,
}

/// Looks at the topic. None: there is no such topic.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub async fn observe(connection: &ClusterConnection, name: &str) -> Result<Option<ObservedTopic>, Error> {
    let (described, configured) = tokio::try_join!(connection.topics.describe(name), connection.topics.config(name))?;
    match (described, configured) {
        (Some(topic), Some(config)) => Ok(Some(observed(&topic, &config))),
        (None, None) => Ok(None),
        // Brokers learn of a topic one after the other: the next look shows whether it comes or goes.
        _ => Err(Error::NotReady { code: 0, message: format!("the brokers do not agree yet whether the topic `{name}` exists") }),
    }
}

fn observed(topic: &TopicDescription, config: &TopicConfig) -> ObservedTopic {
    ObservedTopic {
        id: topic.id,
        partitions: topic.partition_count(),
        replication_factors: topic.partitions.iter().filter_map(|p| i16::try_from(p.replicas.len()).ok()).collect(),
        config: config.overrides(),
    }
}
