//! What every Kafka client of a worker shares: bounds of what it produces, and telling a need how its connection is.

use penstock_kafka::{ClientState, Health};
use tokio_util::sync::CancellationToken;

use crate::readiness::Need;

/// Smaller than the limit of about any topic: a broker refuses a batch as a whole.
pub(crate) const BATCH_BYTES: u32 = 128 << 10;
/// The broker's limit is the one that counts.
pub(crate) const MAX_RECORD_BYTES: u32 = 16 << 20;

/// Follows the client until it is gone or `end` is cancelled.
pub(crate) fn watch(mut health: Health, need: Need, end: &CancellationToken) {
    let end = end.clone();
    tokio::spawn(async move {
        tell(&need, &health.state());
        while let Some(Some(state)) = end.run_until_cancelled(health.changed()).await {
            tell(&need, &state);
        }
    });
}

fn tell(need: &Need, state: &ClientState) {
    match state {
        ClientState::Connected => need.met(),
        ClientState::Connecting => need.missing("connecting to Kafka"),
        ClientState::Disconnected { reason } => need.missing(format!("Kafka is unreachable: {reason}")),
    }
}
