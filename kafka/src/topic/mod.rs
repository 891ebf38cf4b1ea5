//! Topics: what exists, what it looks like, and how to change it.
//!
//! [`TopicAdmin`] does the talking; everything else here is plain values.

mod admin;
mod health;
mod id;
mod model;
mod reassignment;
mod request;
mod version;

pub use admin::TopicAdmin;
pub use health::ReplicaHealth;
pub use id::{InvalidTopicId, TopicId, validate_topic_name};
pub use model::{
    BrokerInfo, ClusterDescription, ConfigDelta, ConfigEntry, ConfigSource, NewTopic, OffsetRange, PartitionEdges, PartitionInfo, Peek,
    PerPartition, PerTopic, StableRange, TopicConfig, TopicDescription, TopicSummary,
};
pub use reassignment::OngoingReassignment;
#[cfg(feature = "config")]
pub(crate) use request::check_new_topic;
pub use version::KafkaVersion;
