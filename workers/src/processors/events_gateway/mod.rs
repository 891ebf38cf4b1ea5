//! The `events-gateway` processor: takes events over HTTP, as CloudEvents in every content mode or as bare JSON, and writes them to
//! the sink as CloudEvents in binary mode.
//!
//! With `spec.table` a request may bring an `Idempotency-Key`: then it is written once, however often it is sent.
//!
//! An answer of success means that Kafka has acknowledged every event of the request, never less. Nothing of a request is written
//! unless all of it is in order.

mod contract;
mod intake;
mod key;
mod options;
mod problem;
mod routes;
mod schema;

use std::{sync::Arc, time::Duration};

use axum::Router;
use penstock_crds::{
    processor::Options,
    worker::{PipelineId, WorkerConfig},
};
use prometheus_client::registry::Registry;
use tower_http::cors::AllowHeaders;

use self::{options::EventsOptions, routes::Desk};
use crate::{
    error::{ConfigError, WorkerError},
    front::{Front, FrontContext, Publish},
    http::{Auth, Frame, Gate, Guard, HttpOptions, Problem, Traffic, cors, serve},
    idempotency::{Kept, Once},
    processor::BoxFuture,
    runtime,
    table::TableSink,
};

/// The front.
#[derive(Debug)]
pub struct EventsGateway {
    pipeline: PipelineId,
    sink: String,
    kept: Option<Kept>,
    service: String,
    http: HttpOptions,
    events: EventsOptions,
    traffic: Traffic,
    guard: Option<Guard>,
}

/// Where keys are kept: the table is their topic.
fn kept(options: &Options, config: &WorkerConfig) -> Result<Option<Kept>, ConfigError> {
    match config.table.as_slice() {
        [] => Ok(None),
        [topic] if config.sink.as_ref() != Some(topic) => Kept::new(topic, options, config).map(Some),
        _ => Err(ConfigError::invalid("table: name the one topic in which idempotency keys are kept, and nothing else is")),
    }
}

impl EventsGateway {
    /// Reads the processor's options.
    ///
    /// # Errors
    /// When there is no sink, or an option cannot be used, such as a schema that is none.
    pub fn new(options: &Options, config: &WorkerConfig) -> Result<Self, ConfigError> {
        let sink = config.sink.clone().ok_or_else(|| ConfigError::invalid("events-gateway needs a sink: the topic of the events"))?;
        let (pipeline, kept) = (config.pipeline.clone(), kept(options, config)?);
        let service = options.text("serviceName").unwrap_or_default().to_owned();
        let (http, events) = (HttpOptions::new(options)?, EventsOptions::new(options)?);
        let guard = Guard::of(&config.source);
        Ok(Self { pipeline, sink, kept, service, http, events, traffic: Traffic::default(), guard })
    }

    fn app(self, sink: Arc<dyn Publish>, once: Option<Arc<Once>>, health: Router, auth: Option<Auth>) -> Router {
        let Self { pipeline, service, http, events, traffic, .. } = self;
        let described = contract::document(&service, &http, &events, once.is_some(), auth.is_some()).into_route();
        let gate = Gate::new(http.gate, traffic.bodies.clone());
        // An event may have any attribute, and each is a header of its own.
        let cors = cors(http.cors_origin, AllowHeaders::mirror_request());
        let frame = Frame { open: health.merge(described), auth, cors, traffic };
        frame.around::<Problem>(routes::routes(Desk { events, sink, once, pipeline, gate }))
    }
}

impl Front for EventsGateway {
    fn table(&self) -> Option<Arc<dyn TableSink>> {
        self.kept.as_ref().map(Kept::table)
    }

    fn key_topic(&self) -> Option<&str> {
        self.kept.as_ref().map(Kept::topic)
    }

    fn publish_timeout(&self) -> Duration {
        self.http.produce_timeout
    }

    fn register_metrics(&mut self, registry: &mut Registry) {
        self.traffic.register(registry);
        if let Some(kept) = &self.kept {
            kept.register(registry);
        }
        if let Some(guard) = &self.guard {
            guard.register(registry);
        }
    }

    fn serve(mut self: Box<Self>, context: FrontContext) -> BoxFuture<'static, Result<(), WorkerError>> {
        Box::pin(async move {
            let once = self.kept.as_ref().and_then(|kept| kept.once(&self.sink, self.http.produce_timeout, &context));
            let FrontContext { port, sink, readiness, health, shutdown, .. } = context;
            let auth = match self.guard.take() {
                Some(guard) => Some(guard.start(&readiness, shutdown.clone()).await),
                None => None,
            };
            let listener = runtime::listen(port).await?;
            let (bounds, counts) = (self.http.server, self.traffic.connections.clone());
            serve(listener, self.app(sink, once.clone(), health, auth), bounds, counts, shutdown).await;
            if let Some(once) = once {
                once.finish().await;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
