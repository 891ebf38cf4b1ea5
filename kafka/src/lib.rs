//! Kafka for applications: a producer, a group consumer, a reader of whole topics and an administrator of topics.
#![doc = ""]

mod connection;
mod detached;
mod error;
mod ffi;
mod health;
mod producer;
mod record;
mod topic;

pub use connection::{ConnectionSettings, InvalidSettings};
pub use error::{Error, Result};
pub use health::{ClientState, Health};
pub use producer::{Compression, Delivery, Producer, ProducerSettings};
pub use record::{ConsumedRecord, Header, Record, RecordPosition, TopicPartition};
pub use topic::{
    BrokerInfo, ClusterDescription, ConfigDelta, ConfigEntry, ConfigSource, InvalidTopicId, KafkaVersion, NewTopic,
    OffsetRange, PartitionInfo, PerTopic, TopicAdmin, TopicConfig, TopicDescription, TopicId, TopicSummary,
    validate_topic_name,
};
