//! Signals: the first SIGTERM or SIGINT ends the worker in order, the second one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::WorkerError;

/// The exit status of a process that the second signal ended.
const INTERRUPTED: i32 = 130;

/// A token that the first signal cancels.
///
/// # Errors
/// The process may not listen to signals.
pub fn on_signal() -> Result<CancellationToken, WorkerError> {
    let listen = |kind| signal(kind).map_err(|source| WorkerError::System { what: "listen to signals", source });
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        either(&mut term, &mut int).await;
        tracing::info!("told to stop: finishing what is under way");
        token.cancel();
        either(&mut term, &mut int).await;
        tracing::warn!("told to stop again: what is under way is left as it is");
        std::process::exit(INTERRUPTED);
    });
    Ok(shutdown)
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
