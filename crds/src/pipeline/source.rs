//! Where events come from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::HttpAuth;
use crate::clients::Fetch;

/// Where events come from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.kafka) != has(self.http)").message("source needs exactly one of kafka and http"))]
pub struct Source {
    /// Records of topics, read by a consumer group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSource>,
    /// Requests to a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
}

/// Records of topics, read by a consumer group.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.sessionTimeout) || self.groupProtocol == 'Classic'")
        .message("sessionTimeout goes with `groupProtocol: Classic`: with Consumer the brokers decide (group.consumer.session.timeout.ms)"),
)]
pub struct KafkaSource {
    /// Names of `KafkaTopic` objects in the same namespace.
    #[schemars(schema_with = "crate::schema::topic_refs")]
    pub topics: Vec<String>,
    /// The consumer group. Default: `<namespace>.<name>`. Cannot change.
    #[schemars(schema_with = "crate::schema::group")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Where a partition is begun that the group has no offset for.
    #[serde(default)]
    pub start_from: StartFrom,
    /// Who shares the partitions out among the workers.
    #[serde(default)]
    pub group_protocol: GroupProtocol,
    /// After how long a silent worker is given up, such as `20s`, and its partitions go to others. From 6s to 5m; brokers may
    /// bound it further (`group.min.session.timeout.ms`, `group.max.session.timeout.ms`). Only with `groupProtocol: Classic`.
    /// Default: 20s.
    #[schemars(schema_with = "crate::schema::session_timeout")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<String>,
    /// How records are fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Fetch>,
}

/// Who shares the partitions of a group out among its members.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupProtocol {
    /// The members, one partition after the other (cooperative-sticky): works with every Kafka.
    #[default]
    Classic,
    /// The brokers (KIP-848), so that no member waits for another. Needs Kafka 4.0. They decide after how long a silent worker
    /// is given up, too.
    Consumer,
}

/// Where a partition is begun that a group has no offset for.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFrom {
    /// At its oldest record.
    #[default]
    Earliest,
    /// At the records that come from now on.
    Latest,
}

/// Requests to a port.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpSource {
    /// The port that workers listen on, and that the Service has.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u16,
    /// Who may send requests. Absent: whoever reaches the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
}
