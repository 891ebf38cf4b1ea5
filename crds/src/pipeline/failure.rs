//! What becomes of a record that cannot be handled: it is tried again, then a dead letter.

use std::collections::BTreeSet;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens after a transient failure.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How often a record is tried in all, before it goes to the dead letter topic. Default: 4.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u16>,
    /// The pause between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// What follows once the attempts are used up: another one after each of these delays, such as `[10s, 1m]`, while other
    /// records go on. Each from 1s to 1h. For each delay and source topic a retry topic is derived. With `ordering: Key` later
    /// records of the key wait until the earlier one has ended, with `ordering: Partition` those of the partition, in one more
    /// derived topic for each source topic.
    #[schemars(schema_with = "crate::schema::retry_delays")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delays: Vec<String>,
}

/// The pause between attempts: doubled each time, with jitter.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(has(self.initial) ? self.initial : '200ms') <= duration(has(self.max) ? self.max : '5s')")
        .message("retry.backoff.initial (default 200ms) must not be longer than retry.backoff.max (default 5s)"),
)]
pub struct Backoff {
    /// Before the second attempt, such as `200ms`. From 1ms to 1m. Default: 200ms.
    #[schemars(schema_with = "crate::schema::backoff_duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// At most, such as `5s`. From 1ms to 1m. Default: 5s.
    #[schemars(schema_with = "crate::schema::backoff_duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

/// Where a record goes that cannot be handled.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The name of a `KafkaTopic` object in the same namespace. Default: a topic `<first topic>.DLT` is derived.
    #[schemars(schema_with = "crate::schema::object_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How the record is written.
    #[serde(default)]
    pub format: DeadLetterFormat,
    /// Whose headers a dead letter carries beside our own, in both formats, so that tools which know them can read it: those of
    /// Spring Kafka's `DeadLetterPublishingRecoverer`, and those of Kafka Connect with
    /// `errors.deadletterqueue.context.headers.enable`. Default: none.
    #[schemars(schema_with = "crate::schema::dead_letter_headers")]
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub headers: BTreeSet<DeadLetterHeaders>,
}

/// How a dead letter is written.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadLetterFormat {
    /// Key, value and headers as they were; what happened stands in added headers.
    #[default]
    Record,
    /// A JSON object that holds the original and what happened.
    Envelope,
}

/// Headers by which other tools say why a record is a dead letter.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeadLetterHeaders {
    /// Those of Spring Kafka: `kafka_dlt-original-topic` and so on.
    Spring,
    /// Those of Kafka Connect (KIP-298): `__connect.errors.topic` and so on.
    Connect,
}
