//! What a pipeline with an HTTP source is made of: a front that answers requests, writes to the sink, and may answer from
//! a table.

use std::{sync::Arc, time::Duration};

use axum::Router;
use penstock_kafka::{ConnectionSettings, RecordPosition};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::{
    error::WorkerError,
    metrics::Metrics,
    processor::{BoxFuture, Output},
    readiness::Readiness,
    table::TableSink,
};

/// Serves the port of a pipeline's HTTP source.
pub trait Front: Send + 'static {
    /// The state that the topics of `table` are fed into; none if it follows none.
    fn table(&self) -> Option<Arc<dyn TableSink>> {
        None
    }

    /// The topic in which the front keeps idempotency keys, one of those that it follows: [`FrontContext::keys`] writes to it.
    fn key_topic(&self) -> Option<&str> {
        None
    }

    /// How long [`Publish::publish`] may take; after it a record that is not on its way yet is not sent any more.
    fn publish_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Adds the front's own metrics to those of `/metrics`; called once, before `serve`.
    fn register_metrics(&mut self, registry: &mut Registry) {
        let _ = registry;
    }

    /// Listens on [`FrontContext::port`] and answers until [`FrontContext::shutdown`]; then answers what it has begun and
    /// returns. It is cut off when that takes longer than the drain time-out.
    fn serve(self: Box<Self>, context: FrontContext) -> BoxFuture<'static, Result<(), WorkerError>>;
}

/// What a front works with.
pub struct FrontContext {
    /// The port to listen on, on all addresses.
    pub port: u16,
    /// Writes to the pipeline's sink.
    pub sink: Arc<dyn Publish>,
    /// Writes to [`Front::key_topic`], where there is one.
    pub keys: Option<Arc<dyn Publish>>,
    /// Where Kafka is, for a front that writes transactions of its own.
    pub connection: ConnectionSettings,
    /// Counts what such transactions write.
    pub metrics: Metrics,
    /// Whether the worker is ready: the table has been read to its end and Kafka is connected.
    pub readiness: Readiness,
    /// `GET /health`, to be merged into the front's own routes.
    pub health: Router,
    /// Cancelled when the front shall end.
    pub shutdown: CancellationToken,
}

/// Writes to the sink of a pipeline.
pub trait Publish: Send + Sync + 'static {
    /// Writes one record and returns once Kafka has acknowledged it, at the latest after [`Front::publish_timeout`].
    fn publish(&self, output: Output) -> BoxFuture<'_, Result<RecordPosition, PublishError>>;

    /// For how long it still refuses every record at once ([`PublishError::NotSent`]); none while it sends what it is given.
    fn pause(&self) -> Option<Duration> {
        None
    }
}

/// Why a record was not written, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Kafka did not acknowledge it in time: it may or may not be written. Try again later, with the same key.
    #[error("Kafka did not acknowledge the record in time: {0}")]
    Unavailable(String),
    /// It was not sent, because too many before it were not acknowledged (`producer.circuitBreaker`). Try again later.
    #[error("the record was not sent: records are tried again in {0:.1?}")]
    NotSent(Duration),
    /// The record is too large for Kafka or for the topic; it will never be written.
    #[error("the record is too large for the topic: {0}")]
    TooLarge(String),
    /// Kafka refused it for a reason that lies in the topic or the permissions; somebody must change something.
    #[error("Kafka refused the record: {0}")]
    Refused(String),
}
