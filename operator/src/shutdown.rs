//! SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until the process is asked to end, and says by which signal.
///
/// # Errors
/// When the signals cannot be listened to.
pub async fn requested() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
