//! Turns a `KafkaTopic` and the limits of its cluster into a topic that can be made, or says what is wrong with it. Pure.
//!
//! The apiserver has checked most of it already; objects from before a rule existed are checked here.

use std::{cmp::Reverse, collections::BTreeMap};

use penstock_crds::{
    KafkaClusterSpec, KafkaTopic,
    condition::Reason,
    topic::{ConfigPolicy, check_topic_name},
};

use super::{
    observe::{CLEANUP_POLICY, compacts},
    reassignment::REPLICAS,
};
use crate::{clusters::matches, refusal::Refusal};

/// A topic that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedTopic {
    /// Its name in Kafka.
    pub name: String,
    /// The partitions that are declared. None: any number will do.
    pub partitions: Option<i32>,
    /// The replication factor that is declared. None: any will do.
    pub replication_factor: Option<i16>,
    /// The partitions that it is created with. None: the brokers decide.
    pub initial_partitions: Option<i32>,
    /// The replication factor that it is created with. None: the brokers decide.
    pub initial_replication_factor: Option<i16>,
    /// The configuration that is declared.
    pub config: BTreeMap<String, String>,
    /// Which keys are left to others.
    pub config_policy: BTreeMap<String, ConfigPolicy>,
    /// Whether partitions may be added to a compacted topic.
    pub allow_key_moves: bool,
}

impl ValidatedTopic {
    /// Whether a key is kept as it is declared.
    #[must_use]
    pub fn enforces(&self, key: &str) -> bool {
        let fitting = self.config_policy.iter().filter(|(pattern, _)| matches(pattern, key));
        let policy = fitting.min_by_key(|(pattern, _)| Reverse(specificity(pattern))).map(|(_, policy)| *policy);
        policy.unwrap_or_default() == ConfigPolicy::Enforce && !REPLICAS.contains(&key)
    }

    /// Whether only the last record of each key shall be kept.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.enforces(CLEANUP_POLICY) && self.config.get(CLEANUP_POLICY).is_some_and(|policy| compacts(policy))
    }
}

/// How much a pattern says of the keys that fit: whether it is one key, and how many of its characters stand for themselves.
fn specificity(pattern: &str) -> (bool, usize) {
    (!pattern.contains('*'), pattern.chars().filter(|character| *character != '*').count())
}

/// Checks a `KafkaTopic`.
///
/// # Errors
/// `InvalidSpec`, `LimitExceeded`.
pub fn validate(topic: &KafkaTopic, cluster: &KafkaClusterSpec) -> Result<ValidatedTopic, Refusal> {
    let spec = &topic.spec;
    check_topic_name(topic.kafka_name()).map_err(|message| Refusal::new(Reason::InvalidSpec, message))?;
    let defaults = cluster.topic_defaults.clone().unwrap_or_default();
    let valid = ValidatedTopic {
        name: topic.kafka_name().to_owned(),
        partitions: spec.partitions,
        replication_factor: spec.replication_factor,
        initial_partitions: spec.partitions.or(defaults.partitions),
        initial_replication_factor: spec.replication_factor.or(defaults.replication_factor),
        config: spec.config.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        config_policy: spec.config_policy.clone(),
        allow_key_moves: spec.allow_key_moves,
    };
    if let Some(key) = REPLICAS.iter().find(|key| valid.config.contains_key(**key)) {
        let message = format!("spec.config holds `{key}`, which belongs to running reassignments and is never set: remove it");
        return Err(Refusal::new(Reason::InvalidSpec, message));
    }
    let too_few = |what, number| Refusal::new(Reason::InvalidSpec, format!("spec.{what} is {number}: it must be at least 1"));
    if let Some(partitions) = valid.initial_partitions.filter(|p| *p < 1) {
        return Err(too_few("partitions", partitions));
    }
    if let Some(factor) = valid.initial_replication_factor.filter(|f| *f < 1) {
        return Err(too_few("replicationFactor", factor.into()));
    }
    if let (Some(limit), Some(partitions)) = (max_partitions(cluster), valid.initial_partitions)
        && partitions > limit
    {
        let message = match spec.partitions {
            Some(_) => format!(
                "{partitions} partitions are more than the KafkaCluster allows ({limit}): ask the platform team for a higher topicLimits.maxPartitions, or delete this KafkaTopic and apply it with fewer (partitions may only grow)"
            ),
            None => format!(
                "the KafkaCluster's topicDefaults.partitions ({partitions}) are more than its topicLimits.maxPartitions ({limit}): ask the platform team to correct one of them, or name spec.partitions"
            ),
        };
        return Err(Refusal::new(Reason::LimitExceeded, message));
    }
    Ok(valid)
}

/// How many partitions a topic may have at most.
#[must_use]
pub fn max_partitions(cluster: &KafkaClusterSpec) -> Option<i32> {
    cluster.topic_limits.as_ref()?.max_partitions
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_most_specific_pattern_counts() {
        let (enforce, ignore) = (ConfigPolicy::Enforce, ConfigPolicy::Ignore);
        for (policies, key, enforced) in [
            (&[][..], "retention.ms", true),
            (&[("confluent.*", ignore)], "retention.ms", true),
            (&[("*", enforce), ("retention.*", ignore)], "retention.ms", false),
            (&[("*", ignore), ("retention.*", enforce)], "retention.ms", true),
            (&[("retention.*", ignore), ("retention.ms", enforce)], "retention.ms", true),
            (&[("retention.*", enforce), ("retention.ms*", ignore)], "retention.ms", false),
            // The key itself comes before a pattern with as many characters.
            (&[("retention.ms", enforce), ("retention.ms*", ignore)], "retention.ms", true),
            (&[("*.bytes", ignore), ("segment*", enforce)], "segment.bytes", true),
            // Of two that say as much the first in alphabetical order.
            (&[("*tes", ignore), ("seg*", enforce)], "segment.bytes", false),
        ] {
            let topic = json!({"configPolicy": policies.iter().copied().collect::<BTreeMap<_, _>>()});
            let topic = KafkaTopic::new("orders", serde_json::from_value(topic).unwrap());
            let cluster = serde_json::from_value(json!({"bootstrapServers": ["kafka:9092"]})).unwrap();
            assert_eq!(validate(&topic, &cluster).unwrap().enforces(key), enforced, "{policies:?}");
        }
    }

    #[test]
    fn declared_defaulted_and_limited() {
        let defaults = json!({"topicDefaults": {"partitions": 6, "replicationFactor": 3}});
        let limit = json!({"topicLimits": {"maxPartitions": 12}});
        let low_limit = json!({"topicDefaults": {"partitions": 6}, "topicLimits": {"maxPartitions": 4}});
        let none = json!({});
        let refused = |reason: Reason, words: &'static str| Err((reason, words));
        type Expected = Result<(Option<i32>, Option<i32>, Option<i16>), (Reason, &'static str)>;
        let throttled = json!({"config": {"follower.replication.throttled.replicas": "*"}});
        let rows: [(Value, &Value, Expected); 10] = [
            (throttled, &none, refused(Reason::InvalidSpec, "remove it")),
            (json!({}), &none, Ok((None, None, None))),
            (json!({}), &defaults, Ok((None, Some(6), Some(3)))),
            (json!({"partitions": 3, "replicationFactor": 1}), &defaults, Ok((Some(3), Some(3), Some(1)))),
            (json!({"partitions": 12}), &limit, Ok((Some(12), Some(12), None))),
            (json!({"partitions": 13}), &limit, refused(Reason::LimitExceeded, "apply it with fewer")),
            (json!({}), &low_limit, refused(Reason::LimitExceeded, "name spec.partitions")),
            (json!({"partitions": 0}), &none, refused(Reason::InvalidSpec, "at least 1")),
            (json!({"replicationFactor": 0}), &none, refused(Reason::InvalidSpec, "at least 1")),
            (json!({"topicName": "__offsets"}), &none, refused(Reason::InvalidSpec, "belong to Kafka")),
        ];
        for (spec, cluster, expected) in rows {
            let topic = KafkaTopic::new("orders", serde_json::from_value(spec.clone()).unwrap());
            let mut cluster = cluster.clone();
            cluster["bootstrapServers"] = json!(["kafka:9092"]);
            let valid = validate(&topic, &serde_json::from_value(cluster).unwrap());
            let got = valid.map(|v| (v.partitions, v.initial_partitions, v.initial_replication_factor));
            match (got, expected) {
                (Err(refusal), Err((reason, words))) => {
                    assert!(refusal.reason == reason && refusal.message.contains(words), "{spec}: {refusal:?}");
                }
                (got, expected) => assert_eq!(got.map_err(|r| r.message), expected.map_err(|(_, words)| words.to_owned()), "{spec}"),
            }
        }
    }
}
