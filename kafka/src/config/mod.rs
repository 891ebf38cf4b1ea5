//! What an application wants of Kafka, read from YAML and the environment.
//!
//! A [`KafkaConfig`] that was read is complete and valid: what it holds can be given to the clients as it is. No field is passed over:
//! one that is not known is an error, in a file and in the environment.

mod duration;
mod environment;
mod error;
mod layers;
mod reading;
mod sections;

use std::path::Path;

use crate::connection::ConnectionSettings;
use crate::consumer::{Consumer, ConsumerSettings, RebalanceListener};
use crate::error::Result;
use crate::producer::ProducerSettings;
use crate::reader::{ReaderSettings, TopicReader};
use crate::topic::NewTopic;
use crate::transaction::TransactionSettings;

pub use error::ConfigError;
pub use layers::ConfigLayers;

/// Everything that the clients of an application are made from, as it stands in a YAML file or in the environment.
///
/// The fields of a file are those of the settings in camel case, in the sections `connection`, `producer`, `transactions`, `consumer`,
/// `reader` and `topics`.
/// What is left out has the default of the settings. Durations are text with a unit (`5ms`, `1m30s`), sizes are numbers of bytes.
/// The crate's documentation has a table of all fields, and how variables of the environment win over them.
///
/// ```
/// use penstock_kafka::{Compression, KafkaConfig, NewTopic};
///
/// let config = KafkaConfig::from_yaml_str("
/// connection:
///   bootstrapServers: [kafka-0:9092, kafka-1:9092]
/// producer:
///   linger: 20ms
///   compression: Zstd
///   circuitBreaker: {failures: 10}
/// consumer:
///   group: billing
///   topics: [orders]
/// topics:
///   - {name: orders, partitions: 3, config: {retention.ms: 604800000}}
/// ")?;
/// assert_eq!(config.producer.compression, Compression::Zstd);
/// assert_eq!(config.topics, [NewTopic::new("orders").with_partitions(3).with_config("retention.ms", "604800000")]);
///
/// let error = KafkaConfig::from_yaml_str("connection: {bootstrapServers: [kafka]}").unwrap_err();
/// assert_eq!(error.path(), Some("connection.bootstrapServers"));
/// # Ok::<(), penstock_kafka::ConfigError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Where Kafka is.
    pub connection: ConnectionSettings,
    /// How records are written.
    pub producer: ProducerSettings,
    /// How records are written in transactions, batched as `producer` says; `None` if there is no such section.
    pub transactions: Option<TransactionSettings>,
    /// What is read, and as whom; `None` if there is no such section.
    pub consumer: Option<ConsumerConfig>,
    /// What is followed as a whole; `None` if there is no such section.
    pub reader: Option<ReaderConfig>,
    /// The topics to create, each once.
    pub topics: Vec<NewTopic>,
}

/// What a consumer reads, and as a member of which group.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// The topics, at least one, each once.
    pub topics: Vec<String>,
    /// How the consumer joins its group and how much it reads ahead.
    pub settings: ConsumerSettings,
}

impl ConsumerConfig {
    /// Starts a consumer; see [`Consumer::subscribe`].
    ///
    /// # Errors
    /// As there.
    pub fn subscribe(&self, connection: &ConnectionSettings, listener: impl RebalanceListener) -> Result<Consumer> {
        Consumer::subscribe(connection, &self.settings, &self.topics, listener)
    }
}

/// Which topics a reader follows, and how.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderConfig {
    /// The topics, at least one, each once.
    pub topics: Vec<String>,
    /// How much the reader reads ahead, and how often it looks for changes.
    pub settings: ReaderSettings,
}

impl ReaderConfig {
    /// Starts a reader; see [`TopicReader::start`].
    ///
    /// # Errors
    /// As there.
    pub fn start(&self, connection: &ConnectionSettings) -> Result<TopicReader> {
        TopicReader::start(connection, &self.settings, &self.topics)
    }
}

impl KafkaConfig {
    /// Reads a YAML document.
    ///
    /// # Errors
    /// It is no YAML, or a field is unknown, missing or out of its bounds.
    pub fn from_yaml_str(yaml: &str) -> std::result::Result<Self, ConfigError> {
        ConfigLayers::new().yaml_str(yaml)?.build()
    }

    /// Reads a YAML file.
    ///
    /// # Errors
    /// It cannot be read, and as [`KafkaConfig::from_yaml_str`].
    pub fn from_yaml_file(file: impl AsRef<Path>) -> std::result::Result<Self, ConfigError> {
        ConfigLayers::new().yaml_file(file)?.build()
    }

    /// Reads the variables of the environment that begin with a prefix, and no file. For a file and the environment see
    /// [`ConfigLayers`].
    ///
    /// # Errors
    /// As [`ConfigLayers::env`] and [`ConfigLayers::build`].
    pub fn from_env(prefix: &str) -> std::result::Result<Self, ConfigError> {
        ConfigLayers::new().env(prefix)?.build()
    }
}

#[cfg(test)]
mod tests;
