//! Objects for topics that a Kafka cluster has, as they are there. Pure.
//!
//! Each object is checked with the operator's own plan: unsuspended, it changes nothing of its topic. One that would is told.

use std::collections::BTreeMap;

use penstock_crds::{
    KafkaClusterSpec, KafkaTopic, Text,
    topic::{MAX_CONFIG_KEYS, check_config_entry},
};
use penstock_kafka::{ConfigSource, TopicConfig, TopicDescription};

use super::{Imported, is_internal, names, object, place};
use crate::topics::foresight::{changes, is_of_reassignments};

/// How many names are told at once.
const NAMED: usize = 20;

/// A topic as it stands in Kafka.
#[derive(Clone, Debug)]
pub struct Existing {
    /// What it is made of.
    pub topic: TopicDescription,
    /// How it is configured.
    pub config: TopicConfig,
    /// Whether partitions of it are on their way to other brokers: it has the replicas of before and after then.
    pub is_moving: bool,
}

/// The objects of topics on that `KafkaCluster`, and what is to be known of them.
#[must_use]
pub fn imported(found: &[Existing], spec: &KafkaClusterSpec, cluster: Option<&str>, into: Option<&str>) -> Imported {
    let mut imported = Imported::default();
    let (internal, own): (Vec<_>, Vec<_>) = found.iter().partition(|one| one.topic.internal || is_internal(&one.topic.name));
    if !internal.is_empty() {
        let mut named: Vec<&str> = internal.iter().take(NAMED).map(|one| one.topic.name.as_str()).collect();
        named.extend((internal.len() > NAMED).then_some("…"));
        let says = format!("{} belong to Kafka or Strimzi themselves and are left out", internal.len());
        imported.note(named.join(", "), says);
    }
    let names = names::of_objects(own.iter().map(|one| one.topic.name.as_str()));
    for one in own {
        let kafka_name = one.topic.name.as_str();
        let Some(name) = names.get(kafka_name) else { continue };
        let mut topic = object(name, into, cluster, kafka_name, BTreeMap::new());
        let about = place(&topic);
        topic.spec.partitions = Some(one.topic.partition_count());
        topic.spec.replication_factor = one.topic.replication_factor().filter(|_| !one.is_moving);
        if one.is_moving {
            imported.note(&about, "a reassignment moves its partitions, so `replicationFactor` is left out: add it once that has ended");
        } else if topic.spec.replication_factor.is_none() {
            imported.note(
                &about,
                "its partitions have different numbers of replicas, so `replicationFactor` is left out: add the one that all shall have",
            );
        }
        let (kept, left_out) = config(&one.config);
        topic.spec.config = kept;
        for says in left_out {
            imported.note(&about, says);
        }
        if let Some(says) = would_change(&topic, spec, one) {
            imported.note(&about, says);
        }
        imported.topics.push(topic);
    }
    imported
}

/// What is set on the topic itself and may stand in an object, and why the rest of it may not.
fn config(found: &TopicConfig) -> (BTreeMap<Text, Text>, Vec<String>) {
    let (mut kept, mut left_out) = (BTreeMap::new(), Vec::new());
    for (key, entry) in found.entries.iter().filter(|(_, entry)| entry.source == ConfigSource::DynamicTopic) {
        let checked = match &entry.value {
            _ if is_of_reassignments(key) => Err("it belongs to a reassignment, and goes with it".to_owned()),
            None => Err("Kafka hides its value".to_owned()),
            Some(_) if kept.len() >= MAX_CONFIG_KEYS => Err(format!("an object holds {MAX_CONFIG_KEYS} keys at most")),
            Some(value) => check_config_entry(key, value).map(|()| value.clone()),
        };
        match checked {
            Ok(value) => {
                kept.insert(key.into(), value.into());
            }
            Err(why) => left_out.push(format!("the configuration key `{key}` is left out: {why}. It stays on the topic as it is")),
        }
    }
    (kept, left_out)
}

fn would_change(topic: &KafkaTopic, cluster: &KafkaClusterSpec, found: &Existing) -> Option<String> {
    match changes(topic, cluster, &found.topic, &found.config) {
        Err(refusal) => Some(format!("the operator will refuse it: {refusal}")),
        Ok(changes) if changes.is_empty() => None,
        Ok(changes) => {
            let named: Vec<&str> = changes.iter().map(|change| change.what.as_str()).collect();
            Some(format!("unsuspended it would change the topic ({}): look at its status first", named.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::{ConfigEntry, PartitionInfo, TopicId};

    use super::*;
    use crate::import::print::{self, tests::strictly};

    fn existing(name: &str, replicas: &[usize], config: &[(&str, Option<&str>, ConfigSource)]) -> Existing {
        let mut topic = TopicDescription::new(name, TopicId::from_bytes([1; 16]));
        let numbered = (0..).zip(replicas);
        topic.partitions = numbered
            .map(|(id, count)| {
                let brokers: Vec<i32> = (0..).take(*count).collect();
                let mut partition = PartitionInfo::new(id);
                (partition.leader, partition.isr, partition.replicas) = (Some(0), brokers.clone(), brokers);
                partition
            })
            .collect();
        let mut read = TopicConfig::default();
        for (key, value, source) in config {
            read.entries.insert((*key).to_owned(), ConfigEntry::new(value.map(str::to_owned), *source));
        }
        Existing { topic, config: read, is_moving: false }
    }

    #[test]
    fn topics_are_printed_as_they_are_and_the_rest_is_told() {
        use ConfigSource::{DynamicTopic, StaticBroker};
        let throttle = "follower.replication.throttled.replicas";
        let found = [
            existing("orders", &[3, 3], &[("retention.ms", Some("1"), DynamicTopic), ("segment.bytes", Some("2"), StaticBroker)]),
            existing("orders.DLT", &[1], &[(throttle, Some("0:1"), DynamicTopic), ("hidden.key", None, DynamicTopic)]),
            existing("uneven", &[2, 3], &[]),
            Existing { is_moving: true, ..existing("moving", &[4, 4], &[]) },
            existing("__consumer_offsets", &[1], &[]),
            existing("strimzi.cruisecontrol.metrics", &[1], &[]),
        ];
        let limits = serde_json::json!({"bootstrapServers": ["kafka:9092"], "topicLimits": {"maxPartitions": 1}});
        let imported = imported(&found, &serde_json::from_value(limits).unwrap(), Some("big"), Some("shop"));
        let topics = strictly(&print::yaml(&imported.topics).unwrap());
        let told: Vec<_> = topics
            .iter()
            .map(|topic| {
                let spec = &topic.spec;
                assert!(spec.suspend && topic.metadata.namespace.as_deref() == Some("shop") && topic.cluster_name() == "big", "{topic:?}");
                let config: Vec<_> = spec.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
                (
                    topic.metadata.name.clone().unwrap(),
                    topic.kafka_name().to_owned(),
                    spec.partitions,
                    spec.replication_factor,
                    config.join(","),
                )
            })
            .collect();
        let row = |name: &str, kafka: &str, partitions, factor, config: &str| {
            (name.to_owned(), kafka.to_owned(), Some(partitions), factor, config.to_owned())
        };
        assert_eq!(
            told,
            [
                row("orders", "orders", 2, Some(3), "retention.ms=1"),
                row("orders.dlt", "orders.DLT", 1, Some(1), ""),
                row("uneven", "uneven", 2, None, ""),
                row("moving", "moving", 2, None, ""),
            ]
        );
        let notes: Vec<String> = imported.notes.iter().map(|note| format!("{}: {}", note.about, note.says)).collect();
        for (note, begin, part) in [
            (0, "__consumer_offsets, strimzi.cruisecontrol.metrics: 2 belong", "left out"),
            (1, "shop/orders: the operator will refuse it", "topicLimits.maxPartitions"),
            (2, "shop/orders.dlt: the configuration key `follower.", "belongs to a reassignment"),
            (3, "shop/orders.dlt: the configuration key `hidden.key`", "hides its value"),
            (4, "shop/uneven: its partitions have different", "replicationFactor"),
            (5, "shop/uneven: the operator will refuse it", "maxPartitions"),
            (6, "shop/moving: a reassignment moves its partitions", "once that has ended"),
            (7, "shop/moving: the operator will refuse it", "maxPartitions"),
        ] {
            assert!(notes[note].starts_with(begin) && notes[note].contains(part), "{notes:#?}");
        }
        assert_eq!(notes.len(), 8, "{notes:#?}");
    }
}
