//! What is promised about each record, and which wait for one another.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The promise about each record.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// What follows from a record, its dead letter and its offset are one transaction (KIP-98, KIP-447): whoever reads only
    /// committed records sees each effect once, whatever crashed.
    #[default]
    ExactlyOnce,
    /// A record's offset is committed only after Kafka has acknowledged everything that the record caused; after a crash
    /// a record may be handled again.
    AtLeastOnce,
}

/// When a transaction is ended. It is ended earlier where no more records wait.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// At the latest after that long, such as `100ms`. From 10ms to 2s. Default: 100ms.
    #[schemars(schema_with = "crate::schema::transaction_interval")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// At the latest with so many records written. Default: 10000.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<i32>,
}

/// Which records wait for one another.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordering {
    /// Records with the same key, in a partition. Records without a key wait for none.
    #[default]
    Key,
    /// All records of a partition.
    Partition,
    /// No records.
    None,
}
