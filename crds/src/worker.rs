//! The configuration file of a worker: written by the operator into a ConfigMap, read by the worker at its start.
//!
//! Everything in it is decided: names are Kafka's, defaults are filled in. An unknown field is an error, so that a worker
//! never runs with half of what was declared.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use crate::{
    clients::Compression,
    pipeline::{DeadLetterFormat, DeadLetterHeaders, Delivery, GroupProtocol, Ordering, StartFrom},
    processor::Choice,
};

/// The key of the file in the ConfigMap, and its name in [`CONFIG_DIR`].
pub const CONFIG_FILE: &str = "worker.json";
/// Where the ConfigMap is mounted.
pub const CONFIG_DIR: &str = "/etc/penstock";
/// Where the ConfigMap with the issuer's public keys is mounted, and the name of the file in it.
pub const JWKS_DIR: &str = "/etc/penstock-jwks";
/// See [`JWKS_DIR`].
pub const JWKS_FILE: &str = "jwks.json";
/// The name of the port of `/health`, `/healthz`, `/readyz` and `/metrics`.
pub const ADMIN_PORT_NAME: &str = "admin";
/// The name of the port of an HTTP source.
pub const HTTP_PORT_NAME: &str = "http";
/// The port of [`ADMIN_PORT_NAME`] where a pipeline says none.
pub const DEFAULT_ADMIN_PORT: u16 = 8080;
/// After how long a silent worker is given up, where a pipeline does not say: long enough for a broker that restarts, short
/// enough to wait for.
pub const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a worker may take to finish what it has begun after SIGTERM; Kubernetes waits a little longer.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// What the headers of a record begin with that waits for another attempt.
pub const RETRY_HEADERS: &str = "penstock-retry-";
/// What follows that in the name of the one that says when it may be tried, in milliseconds since 1970.
pub const NOT_BEFORE: &str = "not-before";

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerConfig {
    /// The pipeline that it belongs to.
    pub pipeline: PipelineId,
    /// Brokers, each as `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// Where events come from.
    pub source: WorkerSource,
    /// The code that handles them.
    pub processor: Choice,
    /// The topic that output goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// The topics that it follows as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<String>,
    /// The topic in which idempotency keys are kept beside the table. It is followed, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
    /// How it writes.
    #[serde(default)]
    pub producer: Producing,
    /// The port of `/health`, `/healthz`, `/readyz` and `/metrics`.
    pub admin_port: u16,
    /// How long it may take to finish what it has begun after SIGTERM.
    #[serde(with = "crate::duration::text")]
    pub drain_timeout: Duration,
}

/// A pipeline, by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum WorkerSource {
    /// Records of topics.
    Kafka(Box<KafkaInput>),
    /// Requests to a port.
    #[serde(rename_all = "camelCase")]
    Http {
        /// The port to listen on.
        port: u16,
        /// What tokens requests must show; none: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auth: Option<TokenCheck>,
    },
}

/// What tokens requests must show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenCheck {
    /// Their issuer (`iss`).
    pub issuer: String,
    /// Their audience (`aud`).
    pub audience: String,
    /// By how much clocks may differ.
    #[serde(with = "crate::duration::text")]
    pub leeway: Duration,
    /// The file of the issuer's public keys (JWKS).
    pub jwks: String,
}

/// How records of topics are read and handled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaInput {
    /// The topics.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Where a partition is begun that the group has no offset for.
    pub start_from: StartFrom,
    /// Who shares the partitions out.
    #[serde(default)]
    pub group_protocol: GroupProtocol,
    /// After how long a silent worker is given up, with `Classic`.
    #[serde(default = "session_timeout", with = "crate::duration::text")]
    pub session_timeout: Duration,
    /// How records are fetched.
    #[serde(default)]
    pub fetch: Fetching,
    /// The promise about each record.
    pub delivery: Delivery,
    /// When a transaction is ended, with `ExactlyOnce`.
    #[serde(default)]
    pub transaction: TransactionBounds,
    /// Which records wait for one another.
    pub ordering: Ordering,
    /// Records in process at once.
    pub concurrency: u16,
    /// What happens after a transient failure.
    pub retry: RetryPolicy,
    /// Where a record waits once its attempts are used up, one tier after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// Where a record waits behind an earlier one that is in a tier, by source topic. It has the same partitions. None where
    /// records wait for no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, String>,
    /// Where a record goes that cannot be handled.
    pub dead_letter: DeadLetterTarget,
}

fn session_timeout() -> Duration {
    DEFAULT_SESSION_TIMEOUT
}

/// How records are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fetching {
    /// How many bytes a broker waits for.
    pub min_bytes: u32,
    /// How many bytes are in one answer, and fetched ahead.
    pub max_bytes: u32,
    /// How many bytes of one partition are in one answer.
    pub partition_max_bytes: u32,
    /// How long a broker waits.
    #[serde(with = "crate::duration::text")]
    pub max_wait: Duration,
}

impl Default for Fetching {
    fn default() -> Self {
        Self { min_bytes: 1, max_bytes: 4 << 20, partition_max_bytes: 512 << 10, max_wait: Duration::from_millis(500) }
    }
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Producing {
    /// How many bytes are sent to a partition at once.
    pub batch_bytes: u32,
    /// How long a record waits for others.
    #[serde(with = "crate::duration::text")]
    pub linger: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// When a front stops trying for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<Breaking>,
}

/// When a front stops trying, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Breaking {
    /// After how many failures in a row.
    pub failures: u32,
    /// For how long.
    #[serde(with = "crate::duration::text")]
    pub pause: Duration,
}

impl Default for Breaking {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(10) }
    }
}

impl Default for Producing {
    /// Batches are smaller than the limit that a topic has by default.
    fn default() -> Self {
        Self { batch_bytes: 1_000_000, linger: Duration::from_millis(10), compression: Compression::default(), circuit_breaker: None }
    }
}

/// A delay before another attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tier {
    /// How long a record waits.
    #[serde(with = "crate::duration::text")]
    pub delay: Duration,
    /// The topic in which it waits, by the topic that it was read from first. It has the same partitions.
    pub topics: BTreeMap<String, String>,
}

/// When a transaction is ended. It is ended earlier where no more records wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransactionBounds {
    /// At the latest after that long.
    #[serde(with = "crate::duration::text")]
    pub interval: Duration,
    /// At the latest with so many records written.
    pub records: u32,
}

impl Default for TransactionBounds {
    fn default() -> Self {
        Self { interval: Duration::from_millis(100), records: 10_000 }
    }
}

/// What happens after a transient failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryPolicy {
    /// How often a record is tried in all.
    pub attempts: u16,
    /// The pause before the second attempt; doubled each time.
    #[serde(with = "crate::duration::text")]
    pub initial_backoff: Duration,
    /// The longest pause.
    #[serde(with = "crate::duration::text")]
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, initial_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(5) }
    }
}

/// Where a record goes that cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetterTarget {
    /// The topic.
    pub topic: String,
    /// How the record is written.
    pub format: DeadLetterFormat,
    /// Whose headers it carries beside our own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub headers: BTreeSet<DeadLetterHeaders>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_reads_back_and_unknown_fields_are_errors() {
        let config = WorkerConfig {
            pipeline: PipelineId { namespace: "shop".into(), name: "payments".into() },
            bootstrap_servers: vec!["kafka:9092".into()],
            source: WorkerSource::Kafka(Box::new(KafkaInput {
                topics: vec!["orders".into()],
                group: "service-b-consumers".into(),
                start_from: StartFrom::Earliest,
                group_protocol: GroupProtocol::Consumer,
                session_timeout: DEFAULT_SESSION_TIMEOUT,
                fetch: Fetching::default(),
                delivery: Delivery::ExactlyOnce,
                transaction: TransactionBounds::default(),
                ordering: Ordering::Key,
                concurrency: 16,
                retry: RetryPolicy::default(),
                tiers: vec![Tier {
                    delay: Duration::from_secs(10),
                    topics: BTreeMap::from([("orders".into(), "orders.service-b-consumers.retry.1".into())]),
                }],
                held: BTreeMap::from([("orders".into(), "orders.service-b-consumers.held".into())]),
                dead_letter: DeadLetterTarget {
                    topic: "orders.DLT".into(),
                    format: DeadLetterFormat::Envelope,
                    headers: BTreeSet::from([DeadLetterHeaders::Spring, DeadLetterHeaders::Connect]),
                },
            })),
            processor: Choice::builtin("payments", BTreeMap::new()),
            sink: Some("payments".into()),
            table: vec![],
            keys: None,
            producer: Producing::default(),
            admin_port: 3002,
            drain_timeout: DRAIN_TIMEOUT,
        };
        let mut json = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<WorkerConfig>(json.clone()).unwrap(), config);
        json["source"]["kafka"]["speed"] = serde_json::json!("fast");
        assert!(serde_json::from_value::<WorkerConfig>(json).unwrap_err().to_string().contains("speed"));
    }
}
