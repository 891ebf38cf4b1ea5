//! `KafkaTopic`: a topic that is made and kept as declared.
//!
//! A key that leaves `spec.config` goes back to the broker's default. A topic is only ever deleted where
//! `deletionPolicy: Delete` says so.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// The most characters that a topic's name may have (Kafka's own limit).
pub const MAX_TOPIC_NAME: usize = 249;
/// The most partitions that a topic may be declared with.
pub const MAX_PARTITIONS: i32 = 100_000;
/// The most copies of each partition that a topic may be declared with.
pub const MAX_REPLICATION_FACTOR: i16 = 32;
/// The most configuration keys that a topic may be declared with.
pub const MAX_CONFIG_KEYS: usize = 64;
/// The most characters that the value of a configuration key may have.
pub const MAX_CONFIG_VALUE: usize = 4096;
/// The name of the `KafkaCluster` that is meant where none is named.
pub const DEFAULT_CLUSTER: &str = "default";

/// What a topic shall be.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "penstock.dev",
    version = "v1alpha1",
    kind = "KafkaTopic",
    namespaced,
    status = "KafkaTopicStatus",
    derive = "PartialEq",
    shortname = "kt",
    category = "penstock",
    doc = "A topic in Kafka.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(name = "Replication", type_ = "integer", json_path = ".status.replicationFactor"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.conditions[?(@.type=='Healthy')].status", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    validation = Rule::new("has(self.spec.topicName) || size(self.metadata.name) <= 249")
        .message("the object's name is longer than a topic's may be (249): set spec.topicName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.topicName) == has(oldSelf.topicName) && (!has(self.topicName) || self.topicName == oldSelf.topicName)")
        .message("topicName cannot change: make a new KafkaTopic for the other name"),
    validation = Rule::new("(has(self.clusterRef) ? self.clusterRef.name : 'default') == (has(oldSelf.clusterRef) ? oldSelf.clusterRef.name : 'default')")
        .message("clusterRef cannot change: make a new KafkaTopic for the other cluster"),
    validation = Rule::new("!has(oldSelf.partitions) || (has(self.partitions) && self.partitions >= oldSelf.partitions)")
        .message("partitions may only grow: Kafka cannot take a partition away without losing its records"),
)]
pub struct KafkaTopicSpec {
    /// The Kafka cluster. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,
    /// The topic's name in Kafka, for names that Kubernetes does not allow, such as `orders.DLT`. Default: `metadata.name`. Cannot change.
    #[schemars(schema_with = "crate::schema::topic_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Number of partitions; may only grow. Default: the cluster's `topicDefaults`, else the broker's `num.partitions`.
    #[schemars(range(min = 1, max = MAX_PARTITIONS))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Number of copies of each partition. A change moves partitions between brokers, with its progress in `status.reassignment`; to set it back meanwhile cancels that. Default: the cluster's `topicDefaults`, else the broker's `default.replication.factor`.
    #[schemars(range(min = 1, max = MAX_REPLICATION_FACTOR))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i16>,
    /// The topic's configuration by Kafka's own keys. A key that is removed here goes back to the broker's default.
    #[schemars(schema_with = "crate::schema::topic_config")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<Text, Text>,
    /// What happens to the topic in Kafka when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// With `deletionPolicy: Delete`, the topic is not deleted while a group with members reads it, or while it has records of the last so many seconds. 0: it is deleted at once. Default: the cluster's `topicDefaults`, else 0.
    #[schemars(range(min = 0, max = 31_536_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection_seconds: Option<i32>,
    /// Observe and report, but write nothing to Kafka.
    #[serde(default)]
    pub suspend: bool,
    /// What is done about configuration keys that other tools change: the policy of each pattern, in which `*` stands for any run of characters. The most specific pattern that fits counts: the key itself, else the one with the most characters beside `*`, and of several with as many the first in alphabetical order; a key that none fits is enforced.
    #[schemars(schema_with = "crate::schema::config_policy")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_policy: BTreeMap<String, ConfigPolicy>,
    /// Whether partitions may be added to a compacted topic, although keys move to other partitions then and records of one key are compacted no more together.
    #[serde(default)]
    pub allow_key_moves: bool,
    /// Whether changes of the topic wait until somebody approves them.
    #[serde(default)]
    pub approval: Approval,
}

/// A `KafkaCluster` in the operator's namespace, by name.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// The `KafkaCluster`'s name.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub name: String,
}

/// What is done about a configuration key.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigPolicy {
    /// It is set as declared, and set back when somebody changes it.
    #[default]
    Enforce,
    /// It is set when the topic is created, if it is declared; after that it is left as it is.
    Ignore,
}

/// Whether changes wait for somebody.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Approval {
    /// They are made at once.
    #[default]
    Automatic,
    /// They stand in `status.plan`, and are made once the annotation `penstock.dev/approve` names the object's generation.
    Manual,
}

/// A change that somebody made behind an object's back.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicDrift {
    /// When it was found.
    pub found_at: Time,
    /// What differed: `from` is the value that was found, `to` the declared one.
    pub changes: Vec<PlannedChange>,
    /// How often such a change was reverted so far.
    pub reverted: i32,
}

/// A topic that was lost and is being made again, while it is not known yet what came of that.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicRecreation {
    /// The id of the one that was lost.
    pub lost_topic_id: String,
    /// The partitions that Kafka was asked for; absent: the broker's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub partitions: Option<i32>,
    /// The copies of each that Kafka was asked for; absent: the broker's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub replication_factor: Option<i16>,
    /// The configuration that Kafka was asked to set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// One change that was planned.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// What changes: `topic`, `partitions`, `replicationFactor` or `config.` with a key.
    pub what: String,
    /// What stands there now; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What shall stand there; absent: what the broker's default is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What is wrong with the replicas of a topic. A partition that lacks more counts for less, too.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicHealth {
    /// When it was seen. What changes for the better, or is as bad as before, is told two minutes later at the earliest.
    pub seen_at: Time,
    /// Partitions some of whose replicas are not in sync.
    #[schemars(range(min = 0))]
    pub under_replicated: i32,
    /// Partitions with fewer replicas in sync than `min.insync.replicas`: they take nothing from producers with `acks=all`.
    #[schemars(range(min = 0))]
    pub under_min_isr: i32,
    /// Partitions without a leader: they can be neither written nor read.
    #[schemars(range(min = 0))]
    pub offline: i32,
}

/// A change of the replication factor that is under way.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicReassignment {
    /// When it began.
    pub started_at: Time,
    /// The copies that each partition had; the smallest number where they differed.
    #[schemars(range(min = 0))]
    pub from: i16,
    /// The copies that each partition shall have.
    #[schemars(range(min = 1))]
    pub to: i16,
    /// How many partitions it changes.
    #[schemars(range(min = 0))]
    pub partitions: i32,
    /// For how many of them it has not ended.
    #[schemars(range(min = 0))]
    pub remaining: i32,
    /// What was set in Kafka to slow it down, and is taken away at its end; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ReassignmentThrottle>,
}

/// What slows a change of the replication factor down.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReassignmentThrottle {
    /// The rate that was set for all brokers; absent: another tool has set one, which counts and is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes_per_second: Option<i64>,
    /// The topic's `leader.replication.throttled.replicas`.
    pub leader_replicas: String,
    /// The topic's `follower.replication.throttled.replicas`.
    pub follower_replicas: String,
}

/// What happens to a topic when its object is deleted.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// The topic and its records stay.
    #[default]
    Retain,
    /// The topic and its records are deleted.
    Delete,
}

/// What was seen of a topic.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTopicStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The topic's name in Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// The topic's id in Kafka (KIP-516): another id means another topic, whatever its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Whether the topic was made by this object, brought to what it declares, or seen so. One that was only looked at stays in Kafka when the object is deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_over: bool,
    /// The partitions that the topic has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// The copies that each partition has; the smallest number where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i16>,
    /// The configuration that is set on the topic itself, with the values seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub config: BTreeMap<Text, Text>,
    /// The configuration keys that this object set. Only these are un-set when they leave the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_config: Vec<Text>,
    /// The changes that wait to be approved, in the order in which they will be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<PlannedChange>,
    /// What somebody changed last behind the object's back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<TopicDrift>,
    /// What Kafka was asked to make in place of a topic that was lost, until it is seen. Another topic than that is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recreation: Option<TopicRecreation>,
    /// What is wrong with the replicas, while something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<TopicHealth>,
    /// The change of the replication factor that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reassignment: Option<TopicReassignment>,
    /// `Ready`: whether the topic is as declared, and if not, why. `Drifted`, once that has happened: whether it differs through
    /// somebody else's change now. `Healthy`: whether all replicas of all partitions are in sync, and if not, what that means.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl KafkaTopic {
    /// The topic's name in Kafka.
    #[must_use]
    pub fn kafka_name(&self) -> &str {
        self.spec.topic_name.as_deref().unwrap_or_else(|| self.metadata.name.as_deref().unwrap_or_default())
    }

    /// The name of the `KafkaCluster` that it is on.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        cluster_name(self.spec.cluster_ref.as_ref())
    }
}

/// The name of the `KafkaCluster` that a reference means.
#[must_use]
pub fn cluster_name(reference: Option<&ClusterRef>) -> &str {
    reference.map_or(DEFAULT_CLUSTER, |r| r.name.as_str())
}

/// Says why Kafka would not take this name for a topic, or why we will not.
///
/// The rules are Kafka's (`org.apache.kafka.common.internals.Topic.validate`); names that begin with `__` belong to Kafka itself.
///
/// # Errors
/// The reason, in words that tell what to change.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_TOPIC_NAME {
        return Err(format!("a topic's name has 1 to {MAX_TOPIC_NAME} characters, this one has {}", name.len()));
    }
    if name == "." || name == ".." {
        return Err(format!("a topic cannot be called `{name}`"));
    }
    if name.starts_with("__") {
        return Err(format!("`{name}`: names that begin with `__` belong to Kafka itself"));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(format!("`{c}` cannot stand in a topic's name: use letters, digits, `.`, `_` and `-`")),
        None => Ok(()),
    }
}

/// Says why a key cannot stand in `spec.config` with this value.
///
/// # Errors
/// The reason, in words that tell what to change.
pub fn check_config_entry(key: &str, value: &str) -> Result<(), String> {
    let is_key = key.len() <= 128
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.');
    if !is_key {
        return Err("it is no name of a topic's configuration, such as `retention.ms`".to_owned());
    }
    match value.chars().count() {
        length if length > MAX_CONFIG_VALUE => Err(format!("its value has {length} characters, and {MAX_CONFIG_VALUE} are the most")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_entries() {
        let (long, longest) = ("v".repeat(MAX_CONFIG_VALUE + 1), "v".repeat(MAX_CONFIG_VALUE));
        let key = "k".repeat(129);
        for (key, value, allowed) in [
            ("retention.ms", "1", true),
            ("retention.ms", longest.as_str(), true),
            ("retention.ms", long.as_str(), false),
            ("Retention.ms", "1", false),
            ("retention_ms", "1", false),
            (".ms", "1", false),
            ("", "1", false),
            (&key[1..], "", true),
            (key.as_str(), "", false),
        ] {
            assert_eq!(check_config_entry(key, value).is_ok(), allowed, "{key}");
        }
    }

    #[test]
    fn topic_names() {
        let long = "a".repeat(249);
        let too_long = "a".repeat(250);
        for (name, allowed) in [
            ("orders", true),
            ("orders.DLT", true),
            ("a_b-c.1", true),
            (long.as_str(), true),
            ("", false),
            (".", false),
            ("..", false),
            ("...", true),
            ("__consumer_offsets", false),
            ("_schemas", true),
            ("a b", false),
            ("bestellüngen", false),
            ("a/b", false),
            (too_long.as_str(), false),
        ] {
            assert_eq!(check_topic_name(name).is_ok(), allowed, "{name}");
        }
    }
}
