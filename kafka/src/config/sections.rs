//! The sections of a configuration as they are written, and what they become. Pure.
//!
//! A field has the name of the setting in camel case, so that what a check says of a setting leads to the field.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::reading::{Consuming, Following};
use super::{ConfigError, KafkaConfig, duration};
use crate::connection::{ConnectionSettings, InvalidSettings};
use crate::error::Error;
use crate::producer::{BreakerSettings, Compression, ProducerSettings};
use crate::topic::{NewTopic, check_new_topic, validate_topic_name};
use crate::transaction::TransactionSettings;

type Result<T> = std::result::Result<T, ConfigError>;

/// All of them.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Sections {
    connection: Connection,
    producer: Producing,
    transactions: Option<Transacting>,
    consumer: Option<Consuming>,
    reader: Option<Following>,
    topics: Vec<Topic>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Connection {
    bootstrap_servers: Vec<String>,
    client_id: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Producing {
    #[serde(with = "duration")]
    linger: Duration,
    batch_bytes: u32,
    compression: Compression,
    #[serde(with = "duration")]
    delivery_timeout: Duration,
    max_record_bytes: u32,
    buffer_records: u32,
    buffer_bytes: u32,
    circuit_breaker: Option<Breaking>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Breaking {
    failures: u32,
    #[serde(with = "duration")]
    pause: Duration,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Transacting {
    transactional_id: String,
    #[serde(with = "duration")]
    timeout: Duration,
    #[serde(with = "duration")]
    start_timeout: Duration,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Topic {
    name: String,
    #[serde(default)]
    partitions: Option<i32>,
    #[serde(default)]
    replication_factor: Option<i16>,
    #[serde(default, deserialize_with = "texts")]
    config: BTreeMap<String, String>,
}

impl Sections {
    /// With every field that there is.
    pub(super) fn complete() -> Self {
        let circuit_breaker = Some(Breaking::default());
        Self {
            connection: Connection { client_id: Some(String::new()), ..Connection::default() },
            producer: Producing { circuit_breaker, ..Producing::default() },
            transactions: Some(Transacting::default()),
            consumer: Some(Consuming::complete()),
            reader: Some(Following::default()),
            topics: Vec::new(),
        }
    }

    /// What they say, once all of it is possible.
    pub(super) fn check(self) -> Result<KafkaConfig> {
        let Self { connection, producer, transactions, consumer, reader, topics } = self;
        let settings = ConnectionSettings::new(connection.bootstrap_servers).map_err(|error| at("connection", &error))?;
        let connection = match connection.client_id {
            Some(id) => settings.with_client_id(id).map_err(|error| at("connection", &error))?,
            None => settings,
        };
        let producer = producer.settings();
        producer.validate().map_err(|error| at("producer", &error))?;
        let transactions = transactions.map(|transactions| transactions.check(&producer)).transpose()?;
        let consumer = consumer.map(Consuming::check).transpose()?;
        let reader = reader.map(Following::check).transpose()?;
        let names = topics.iter().enumerate().map(|(number, topic)| (format!("topics[{number}].name"), topic.name.as_str()));
        check_names(names)?;
        let topics = topics.into_iter().enumerate().map(|(number, topic)| topic.check(number)).collect::<Result<_>>()?;
        Ok(KafkaConfig { connection, producer, transactions, consumer, reader, topics })
    }
}

impl Default for Producing {
    fn default() -> Self {
        let ProducerSettings {
            linger,
            batch_bytes,
            compression,
            delivery_timeout,
            max_record_bytes,
            buffer_records,
            buffer_bytes,
            circuit_breaker: _,
        } = ProducerSettings::default();
        let circuit_breaker = None;
        Self { linger, batch_bytes, compression, delivery_timeout, max_record_bytes, buffer_records, buffer_bytes, circuit_breaker }
    }
}

impl Producing {
    fn settings(self) -> ProducerSettings {
        let Self { linger, batch_bytes, compression, delivery_timeout, max_record_bytes, buffer_records, buffer_bytes, circuit_breaker } =
            self;
        let circuit_breaker = circuit_breaker.map(|Breaking { failures, pause }| BreakerSettings { failures, pause });
        ProducerSettings {
            linger,
            batch_bytes,
            compression,
            delivery_timeout,
            max_record_bytes,
            buffer_records,
            buffer_bytes,
            circuit_breaker,
        }
    }
}

impl Default for Breaking {
    fn default() -> Self {
        let BreakerSettings { failures, pause } = BreakerSettings::default();
        Self { failures, pause }
    }
}

impl Default for Transacting {
    fn default() -> Self {
        let TransactionSettings { transactional_id, timeout, start_timeout, producer: _ } = TransactionSettings::new("");
        Self { transactional_id, timeout, start_timeout }
    }
}

impl Transacting {
    /// Records are batched as those of any other producer here. None is tried for longer than its transaction may last, and a circuit
    /// breaker is of no use to who has to go on with the same records.
    fn check(self, producer: &ProducerSettings) -> Result<TransactionSettings> {
        let Self { transactional_id, timeout, start_timeout } = self;
        if timeout <= producer.linger {
            return Err(ConfigError::field("transactions.timeout", "must be longer than producer.linger"));
        }
        let delivery_timeout = producer.delivery_timeout.min(timeout);
        let producer = ProducerSettings { delivery_timeout, circuit_breaker: None, ..producer.clone() };
        let settings = TransactionSettings { transactional_id, timeout, start_timeout, producer };
        settings.validate().map_err(|error| at("transactions", &error))?;
        Ok(settings)
    }
}

impl Topic {
    fn check(self, number: usize) -> Result<NewTopic> {
        let Self { name, partitions, replication_factor, config } = self;
        let topic = NewTopic { name, partitions, replication_factor, config };
        check_new_topic(&topic).map_err(|error| {
            let field = match &error {
                Error::InvalidPartitions { .. } => "partitions",
                Error::InvalidReplicationFactor { .. } => "replicationFactor",
                _ => "config",
            };
            ConfigError::field(format!("topics[{number}].{field}"), error.to_string())
        })?;
        Ok(topic)
    }
}

/// Names of topics, each possible and there once.
pub(super) fn check_names<'a>(names: impl Iterator<Item = (String, &'a str)>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (path, name) in names {
        validate_topic_name(name).map_err(|error| ConfigError::field(&path, error.to_string()))?;
        if !seen.insert(name) {
            return Err(ConfigError::field(path, format!("topic {name} is named twice")));
        }
    }
    Ok(())
}

/// Values of a topic's configuration: Kafka knows them as text, YAML also as numbers and flags.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<BTreeMap<String, String>, D::Error> {
    let text = |(key, value)| match value {
        Value::String(text) => Ok((key, text)),
        Value::Number(_) | Value::Bool(_) => Ok((key, value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(D::Error::custom(format!("{key} must be a text, a number or a flag"))),
    };
    BTreeMap::<String, Value>::deserialize(deserializer)?.into_iter().map(text).collect()
}

/// The field of a section that breaks a rule of the settings.
pub(super) fn at(section: &str, error: &InvalidSettings) -> ConfigError {
    match error.field() {
        Some(field) => ConfigError::field(format!("{section}.{}", camel(field)), error.rule()),
        None => ConfigError::field(section, error.message()),
    }
}

fn camel(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_ascii_uppercase() + rest
    })
}
