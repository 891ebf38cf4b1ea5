//! The API of Penstock (`penstock.dev/v1alpha1`): three custom resources, the names and words that stand in their
//! objects, and the contract between the operator and the workers it starts.
//!
//! Pure: types, schemas and small functions of them. Nothing here talks to Kafka or Kubernetes.
//!
//! | Module | Holds |
//! |---|---|
//! | [`cluster`], [`topic`], [`pipeline`] | the custom resources, with their schema bounds and CEL rules |
//! | [`cloudevents`] | what CloudEvents allow as names and values of attributes |
//! | [`clients`] | how the Kafka clients of a pipeline read and write |
//! | [`condition`] | condition types and reasons, each defined once |
//! | [`name`] | labels, annotations, field managers, and the names of what a pipeline owns |
//! | [`position`] | the note that a worker leaves with each offset it commits |
//! | [`processor`] | the built-in processors and the options each of them takes |
//! | [`worker`] | the configuration file that the operator writes and a worker reads |
//! | [`text`] | a text that many objects hold, kept in memory once |
//! | [`manifest`], [`mod@reference`] | the CustomResourceDefinitions as YAML, and the reference of every field |

pub mod clients;
pub mod cloudevents;
pub mod cluster;
pub mod condition;
pub mod duration;
pub mod manifest;
pub mod name;
pub mod pipeline;
pub mod position;
pub mod processor;
pub mod reference;
mod schema;
pub mod text;
pub mod topic;
pub mod worker;

pub use cluster::{KafkaCluster, KafkaClusterSpec, KafkaClusterStatus};
pub use pipeline::{EventPipeline, EventPipelineSpec, EventPipelineStatus};
pub use text::Text;
pub use topic::{KafkaTopic, KafkaTopicSpec, KafkaTopicStatus};

/// The API group of every Penstock kind.
pub const GROUP: &str = "penstock.dev";
/// The API version of every Penstock kind.
pub const VERSION: &str = "v1alpha1";
