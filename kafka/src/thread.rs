//! A named thread that runs until it is told to stop, and can be awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::error::{Error, Result};

/// The handle of a thread. Dropped, it tells the thread to stop without waiting for it.
pub(crate) struct Thread {
    stop: Arc<AtomicBool>,
    ended: watch::Receiver<()>,
}

/// The thread's side: asked between two steps.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Thread {
    pub(crate) fn start(name: &str, body: impl FnOnce(Stop) + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, ended) = watch::channel(());
        let asked = Stop(Arc::clone(&stop));
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped even if the body panics, so that nobody waits for ever.
                let _sender = sender;
                body(asked);
            })
            .map_err(|error| Error::Fatal { message: format!("cannot start the thread {name}: {error}") })?;
        Ok(Self { stop, ended })
    }

    /// Asks the thread to stop and waits until it has.
    pub(crate) async fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let mut ended = self.ended.clone();
        // Nothing is ever sent: the channel closes with the thread.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
