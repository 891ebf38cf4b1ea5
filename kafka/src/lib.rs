//! Kafka for applications: a producer, a group consumer, a reader of whole topics and an administrator of topics.

mod buffer;
mod connection;
mod consumer;
mod detached;
mod error;
mod ffi;
mod health;
mod producer;
mod reader;
mod record;
mod thread;
mod topic;

pub use connection::{ConnectionSettings, InvalidSettings};
pub use consumer::{CommitOffsets, Consumer, ConsumerSettings, GroupOffset, RebalanceListener, StartFrom};
pub use error::{Error, Result};
pub use health::{ClientState, Health};
pub use producer::{Compression, Delivery, Producer, ProducerSettings};
pub use reader::{ReaderEvent, ReaderSettings, TopicReader};
pub use record::{ConsumedRecord, Header, Record, RecordPosition, TopicPartition};
pub use topic::{
    BrokerInfo, ClusterDescription, ConfigDelta, ConfigEntry, ConfigSource, InvalidTopicId, KafkaVersion, NewTopic, OffsetRange,
    PartitionInfo, PerTopic, TopicAdmin, TopicConfig, TopicDescription, TopicId, TopicSummary, validate_topic_name,
};
