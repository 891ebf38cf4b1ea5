//! Tells a need how the connection of a Kafka client is.

use penstock_kafka::{ClientState, Health};
use tokio_util::sync::CancellationToken;

use crate::readiness::Need;

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
        _ => need.missing("not connected to Kafka"),
    }
}
