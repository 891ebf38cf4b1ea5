//! `EventPipeline`: makes a Deployment of workers and keeps it as declared.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{context::Context, controller::ControllerEnded};

/// Reconciles every `EventPipeline` until the shutdown.
///
/// # Errors
/// When the controller ended by itself.
pub async fn run(_context: Arc<Context>, shutdown: CancellationToken) -> Result<(), ControllerEnded> {
    shutdown.cancelled().await;
    Ok(())
}
