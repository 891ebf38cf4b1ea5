//! Asks a Kafka cluster how it is.

use std::time::Duration;

use penstock_kafka::{ClientState, ClusterDescription, Error};

use super::ClusterConnection;

/// How long a cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long, where the client has lost all its connections.
const PATIENCE_WITHOUT_CONNECTION: Duration = Duration::from_secs(2);

/// Asks the cluster.
///
/// # Errors
/// When it does not answer; with the client's last reason for having no connection, where it has none.
pub async fn observe(connection: &ClusterConnection) -> Result<ClusterDescription, Error> {
    let health = connection.admin.health();
    let patience = if matches!(health.state(), ClientState::Disconnected { .. }) { PATIENCE_WITHOUT_CONNECTION } else { PATIENCE };
    let hurried = connection.clone().with_timeout(patience);
    hurried.ask("DescribeCluster", hurried.admin.cluster()).await.map_err(|error| match (error, health.state()) {
        (Error::Unreachable { .. }, ClientState::Disconnected { reason }) => Error::Unreachable { reason },
        (error, _) => error,
    })
}
