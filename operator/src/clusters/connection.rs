//! One admin connection per Kafka cluster.

/// The admin connection of each `KafkaCluster`.
#[derive(Default)]
pub struct ClusterConnections {}
