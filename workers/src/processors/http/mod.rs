//! The processor of `processor.http`: each record is a request to a handler in the same pod, and its answer decides.
//!
//! A record that could not be sent was not tried: it waits for the handler, however long that takes, unless its partition goes to
//! another worker meanwhile. One that was sent and got no whole answer was tried, so that a record which brings its handler down ends in the dead letter topic.

mod batch;
mod client;
mod metrics;
mod request;
mod response;
mod retry_after;
mod suspects;
#[cfg(test)]
mod tests;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use penstock_crds::processor::HttpCall;
use prometheus_client::registry::Registry;

use self::{
    client::{CallError, Client},
    metrics::HandlerMetrics,
    response::Answer,
    suspects::Suspects,
};
use crate::{
    error::ConfigError,
    processor::{Event, Outcome, Processor, unbegun},
    stream::retry::pause,
};

/// The pause before a handler that took no connection is asked again: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The processor.
#[derive(Debug)]
pub struct HttpHandler {
    client: Client,
    metrics: HandlerMetrics,
    has_sink: bool,
    suspects: Suspects,
    /// Whether it was told that the handler takes no connection.
    is_away: AtomicBool,
}

impl HttpHandler {
    /// The processor; nothing is connected yet.
    ///
    /// # Errors
    /// When the path is none.
    pub fn new(call: &HttpCall, has_sink: bool) -> Result<Self, ConfigError> {
        let metrics = HandlerMetrics::new();
        let client = Client::new(call, metrics.clone())?;
        Ok(Self { client, metrics, has_sink, suspects: Suspects::default(), is_away: AtomicBool::new(false) })
    }

    /// Sends the record as soon as the handler takes a connection.
    async fn send(&self, event: &Event) -> Result<Answer, CallError> {
        let (initial, max) = BACKOFF;
        let (mut failures, mut waiting) = (0_u32, None);
        loop {
            match self.client.call(event).await {
                Err(CallError::NotSent(why)) => {
                    failures = failures.saturating_add(1);
                    waiting.get_or_insert_with(|| Waiting::new(&self.metrics));
                    if !self.is_away.swap(true, Ordering::Relaxed) {
                        tracing::warn!(why, "the handler takes no connection: records wait for it");
                    }
                    unbegun(tokio::time::sleep(pause(initial, max, failures, rand::random()))).await;
                }
                sent => {
                    if self.is_away.swap(false, Ordering::Relaxed) {
                        tracing::info!("the handler takes connections");
                    }
                    return sent;
                }
            }
        }
    }
}

impl Processor for HttpHandler {
    async fn process(&self, event: &Event) -> Outcome {
        let _turn = unbegun(self.suspects.turn(|| event.id())).await;
        let sent = self.send(event).await;
        match &sent {
            Err(CallError::Broken(_)) => self.suspects.add(event.id()),
            _ => self.suspects.clear(|| event.id()),
        }
        match sent {
            Ok(answer) => response::outcome(&answer, event, self.has_sink, Timestamp::now()),
            Err(error) => Outcome::Retry(error.failure()),
        }
    }

    fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }
}

/// A record that waits for the handler, counted until it does no more, or is given up.
struct Waiting<'a>(&'a HandlerMetrics);

impl<'a> Waiting<'a> {
    fn new(metrics: &'a HandlerMetrics) -> Self {
        metrics.waiting.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.dec();
    }
}
