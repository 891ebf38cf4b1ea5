//! How the Kafka clients of a pipeline's workers read and write. Each setting has a bound, so that no spec can make a worker
//! hold more than it can, or stand still.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How records are fetched from the brokers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.partitionMaxBytes) || !has(self.maxBytes) || self.partitionMaxBytes <= self.maxBytes")
        .message("fetch.partitionMaxBytes must not be more than fetch.maxBytes"),
)]
pub struct Fetch {
    /// How many bytes a broker waits for before it answers, for as long as `maxWait`. More make fewer answers, and records wait
    /// longer. Default: 1, so that a record is fetched as soon as it is there.
    #[schemars(range(min = 1, max = 1_048_576))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<i32>,
    /// How many bytes are in one answer of a broker, over all partitions, and how many are fetched ahead of what is handled. A
    /// worker may hold twice as many, and once more for each broker. Default: 4194304 (4 MiB), or `partitionMaxBytes` if that is more.
    #[schemars(range(min = 1_048_576, max = 67_108_864))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<i32>,
    /// How many bytes of one partition are in one answer; a batch of records that is larger comes alone. Default: 524288
    /// (512 KiB).
    #[schemars(range(min = 16_384, max = 16_777_216))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_max_bytes: Option<i32>,
    /// How long a broker waits for `minBytes`, such as `500ms`. From 10ms to 10s. Default: 500ms.
    #[schemars(schema_with = "crate::schema::fetch_wait")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<String>,
}

/// How records are written to the brokers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// How many bytes are sent to a partition at once, before compression. A topic takes or refuses them as a whole: where it
    /// takes less, the worker makes smaller batches by itself. Default: 1000000.
    #[schemars(range(min = 1024, max = 1_048_576))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_bytes: Option<i32>,
    /// How long a record waits for others to be sent with it, such as `5ms`. From 0ms to 1s. The end of a transaction waits for
    /// nothing, and behind an HTTP source a record waits for half of its caller's time at most. Read at least once it waits for
    /// 3ms at most, as a rule, while few others are on their way. Default: 10ms.
    #[schemars(schema_with = "crate::schema::linger")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linger: Option<String>,
    /// How batches are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// When a front stops trying for a while, and refuses at once what it could only keep waiting. Only with `source.http`. Default:
    /// never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// When a front stops trying, and for how long. Then it lets one record through: if Kafka acknowledges it, all others follow.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// After how many records in a row that Kafka has not acknowledged in time. Default: 5.
    #[schemars(range(min = 1, max = 10_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// For how long it refuses records then, such as `10s`. From 1s to 5m. Default: 10s.
    #[schemars(schema_with = "crate::schema::breaker_pause")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
}

/// How batches of records are compressed.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Not at all.
    None,
    /// Slow, a good ratio.
    Gzip,
    /// Fast, a fair ratio.
    Snappy,
    /// Fast, a fair ratio.
    #[default]
    Lz4,
    /// The best ratio. Needs Kafka 2.1, and consumers that know it.
    Zstd,
}
