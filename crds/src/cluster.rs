//! `KafkaCluster`: a connection to Kafka, who may use it, and the defaults and limits of topics on it.
//!
//! Only objects in the operator's own namespace have an effect, so a tenant can never point the operator or a worker
//! at an address of its choosing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What a platform team says about one Kafka cluster.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "penstock.dev",
    version = "v1alpha1",
    kind = "KafkaCluster",
    namespaced,
    status = "KafkaClusterStatus",
    derive = "PartialEq",
    shortname = "kc",
    category = "penstock",
    doc = "A Kafka cluster that topics and pipelines may use. Has an effect only in the operator's namespace.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Brokers", type_ = "integer", json_path = ".status.brokerCount"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.kafkaVersion"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.topicDefaults) || !has(self.topicDefaults.partitions) || !has(self.topicLimits) || !has(self.topicLimits.maxPartitions) || self.topicDefaults.partitions <= self.topicLimits.maxPartitions")
        .message("topicDefaults.partitions must not be more than topicLimits.maxPartitions: no KafkaTopic could go by the default"),
)]
pub struct KafkaClusterSpec {
    /// Brokers to connect to first, each as `host:port`. The others are learned from them.
    #[schemars(schema_with = "crate::schema::bootstrap_servers")]
    pub bootstrap_servers: Vec<String>,
    /// Which namespaces may refer to this cluster. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<ClusterAccess>,
    /// What a `KafkaTopic` gets where it says nothing itself. Default: what the brokers are configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_defaults: Option<TopicDefaults>,
    /// What a `KafkaTopic` may not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_limits: Option<TopicLimits>,
    /// How topics get another replication factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reassignment: Option<ReassignmentPolicy>,
}

/// Who may use a Kafka cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAccess {
    /// Names of namespaces; `*` stands for any run of characters, so `shop-*` is every namespace that begins with `shop-`.
    #[schemars(schema_with = "crate::schema::namespace_patterns")]
    pub namespaces: Vec<String>,
}

/// What a `KafkaTopic` gets where it says nothing itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicDefaults {
    /// Number of partitions.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Number of copies of each partition.
    #[schemars(range(min = 1, max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i16>,
    /// For how many seconds after its last record a topic is protected from being deleted; while groups read it, too. 0: not at all.
    #[schemars(range(min = 0, max = 31_536_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection_seconds: Option<i32>,
}

/// What a `KafkaTopic` may not exceed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicLimits {
    /// The most partitions that one topic may have.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_partitions: Option<i32>,
}

/// How topics get another replication factor.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReassignmentPolicy {
    /// The most bytes in a second that each broker sends to new copies, and the most that each takes in for them, of all topics together. It is set on the brokers while copies are made, and taken away after that. Default: as fast as it goes.
    #[schemars(range(min = 1_000, max = 1_000_000_000_000_i64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_bytes_per_second: Option<i64>,
}

/// What was seen of a Kafka cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaClusterStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The servers at which the cluster answered last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bootstrap_servers: Vec<String>,
    /// The cluster's own id. It never changes: servers of another cluster are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The node id of the active controller. Left out where Kafka does not tell it, as to a client that may not describe the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_id: Option<i32>,
    /// The Kafka release whose features the cluster has finalised (its `metadata.version`), for example `4.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_version: Option<String>,
    /// How many brokers are up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_count: Option<i32>,
    /// The brokers that are up, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<BrokerStatus>,
    /// `Ready`: whether the cluster answers, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// One broker.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Its node id.
    pub id: i32,
    /// The host that it advertises.
    pub host: String,
    /// The port that it advertises.
    pub port: i32,
    /// Its rack, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
}
