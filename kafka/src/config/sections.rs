//! The sections of a configuration as they are written, and what they become. Pure.
//!
//! A field has the name of the setting in camel case, so that what a check says of a setting leads to the field.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::{ConfigError, ConsumerConfig, KafkaConfig, duration};
use crate::connection::{ConnectionSettings, InvalidSettings};
use crate::consumer::{ConsumerSettings, GroupProtocol, Isolation, StartFrom};
use crate::error::Error;
use crate::producer::{BreakerSettings, Compression, ProducerSettings};
use crate::topic::{NewTopic, check_new_topic, validate_topic_name};

type Result<T> = std::result::Result<T, ConfigError>;

/// All of them.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Sections {
    connection: Connection,
    producer: Producing,
    consumer: Option<Consuming>,
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
struct Consuming {
    group: String,
    topics: Vec<String>,
    start_from: StartFrom,
    group_protocol: GroupProtocol,
    isolation: Isolation,
    #[serde(with = "duration::optional")]
    session_timeout: Option<Duration>,
    #[serde(with = "duration")]
    max_poll_interval: Duration,
    buffer_records: usize,
    prefetch_bytes: u32,
    partition_fetch_bytes: u32,
    fetch_min_bytes: u32,
    #[serde(with = "duration")]
    fetch_wait: Duration,
    co_partitioned: bool,
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
        let session_timeout = Some(ConsumerSettings::new("").session_timeout);
        Self {
            connection: Connection { client_id: Some(String::new()), ..Connection::default() },
            producer: Producing { circuit_breaker, ..Producing::default() },
            consumer: Some(Consuming { session_timeout, ..Consuming::default() }),
            topics: Vec::new(),
        }
    }

    /// What they say, once all of it is possible.
    pub(super) fn check(self) -> Result<KafkaConfig> {
        let Self { connection, producer, consumer, topics } = self;
        let settings = ConnectionSettings::new(connection.bootstrap_servers).map_err(|error| at("connection", &error))?;
        let connection = match connection.client_id {
            Some(id) => settings.with_client_id(id).map_err(|error| at("connection", &error))?,
            None => settings,
        };
        let producer = producer.settings();
        producer.validate().map_err(|error| at("producer", &error))?;
        let consumer = consumer.map(Consuming::check).transpose()?;
        let names = topics.iter().enumerate().map(|(number, topic)| (format!("topics[{number}].name"), topic.name.as_str()));
        check_names(names)?;
        let topics = topics.into_iter().enumerate().map(|(number, topic)| topic.check(number)).collect::<Result<_>>()?;
        Ok(KafkaConfig { connection, producer, consumer, topics })
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

impl Default for Consuming {
    fn default() -> Self {
        let settings = ConsumerSettings::new("");
        Self {
            group: settings.group,
            topics: Vec::new(),
            start_from: settings.start_from,
            group_protocol: settings.group_protocol,
            isolation: settings.isolation,
            session_timeout: None,
            max_poll_interval: settings.max_poll_interval,
            buffer_records: settings.buffer_records,
            prefetch_bytes: settings.prefetch_bytes,
            partition_fetch_bytes: settings.partition_fetch_bytes,
            fetch_min_bytes: settings.fetch_min_bytes,
            fetch_wait: settings.fetch_wait,
            co_partitioned: settings.co_partitioned,
        }
    }
}

impl Consuming {
    fn check(self) -> Result<ConsumerConfig> {
        if self.topics.is_empty() {
            return Err(ConfigError::field("consumer.topics", "name at least one topic to read"));
        }
        check_names(self.topics.iter().enumerate().map(|(number, name)| (format!("consumer.topics[{number}]"), name.as_str())))?;
        if self.group_protocol == GroupProtocol::Consumer && self.session_timeout.is_some() {
            let message = "leave it out: with `groupProtocol: Consumer` the brokers decide (group.consumer.session.timeout.ms)";
            return Err(ConfigError::field("consumer.sessionTimeout", message));
        }
        let mut settings = ConsumerSettings {
            group: self.group,
            start_from: self.start_from,
            group_protocol: self.group_protocol,
            isolation: self.isolation,
            max_poll_interval: self.max_poll_interval,
            buffer_records: self.buffer_records,
            prefetch_bytes: self.prefetch_bytes,
            partition_fetch_bytes: self.partition_fetch_bytes,
            fetch_min_bytes: self.fetch_min_bytes,
            fetch_wait: self.fetch_wait,
            co_partitioned: self.co_partitioned,
            ..ConsumerSettings::new("")
        };
        if let Some(timeout) = self.session_timeout {
            settings.session_timeout = timeout;
        }
        settings.validate().map_err(|error| at("consumer", &error))?;
        Ok(ConsumerConfig { topics: self.topics, settings })
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
fn check_names<'a>(names: impl Iterator<Item = (String, &'a str)>) -> Result<()> {
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
fn at(section: &str, error: &InvalidSettings) -> ConfigError {
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
