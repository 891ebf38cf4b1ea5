//! `KafkaTopic`: makes a topic and keeps it as declared.
//!
//! What was found out and done is in the object's status before the next step depends on it, so a crash at any point is
//! taken up where it happened. Two objects never work on one topic.

mod apply;
mod approval;
mod carry_out;
mod default_partitions;
mod deletion;
mod depart;
mod drift;
mod finalizer;
pub mod foresight;
mod found;
mod growth;
mod health;
mod memory;
mod news;
mod notice;
mod observe;
mod ownership;
mod plan;
mod protection;
mod reassignment;
mod reconcile;
mod refused;
mod release;
mod report;
mod rivals;
mod status;
mod sweep;
mod triggers;
mod validate;

use std::sync::Arc;

pub use health::HealthBook;
pub use memory::Memory;
pub use ownership::kafka_name;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    controller::{self, ControllerEnded},
};

/// Reconciles every `KafkaTopic` until the shutdown.
///
/// # Errors
/// When the controller ended by itself.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) -> Result<(), ControllerEnded> {
    let watch = context.watches.topics.clone();
    let triggers = vec![
        controller::own_changes(&watch),
        triggers::cluster_changes(&context),
        triggers::rival_changes(&context),
        triggers::departures(&context),
        sweep::differences(&context, &shutdown),
    ];
    // Who owns a topic and whether it may be made at all depends on the clusters: without them nothing is decided.
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = context.watches.clusters.synced() => {}
    }
    controller::run(context, &watch, triggers, controller::MANY, reconcile::reconcile, shutdown).await
}
