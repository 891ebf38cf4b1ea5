//! `KafkaCluster`: keeps one connection to each Kafka cluster, tells how it is, and says who may use it.

mod connection;
mod resolve;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use connection::ClusterConnections;
pub use resolve::{ClusterRefusal, ResolvedCluster, resolve};

use crate::{context::Context, controller::ControllerEnded};

/// Reconciles every `KafkaCluster` until the shutdown.
///
/// # Errors
/// When the controller ended by itself.
pub async fn run(_context: Arc<Context>, shutdown: CancellationToken) -> Result<(), ControllerEnded> {
    shutdown.cancelled().await;
    Ok(())
}
