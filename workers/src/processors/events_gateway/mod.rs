//! The `events-gateway` processor: takes events over HTTP, as CloudEvents in every content mode or as bare JSON, and writes them to
//! the sink as CloudEvents in binary mode.
//!
//! An answer of success means that Kafka has acknowledged every event of the request, never less. Nothing of a request is written
//! unless all of it is in order.

mod intake;
mod key;
mod options;
mod problem;
mod routes;
mod schema;

use std::{sync::Arc, time::Duration};

use axum::Router;
use penstock_crds::{processor::Options, worker::WorkerConfig};
use prometheus_client::registry::Registry;
use tower_http::cors::AllowHeaders;

use self::{options::EventsOptions, problem::Problem, routes::Desk};
use crate::{
    error::{ConfigError, WorkerError},
    front::{Front, FrontContext, Publish},
    http::{Auth, Frame, Gate, Guard, HttpOptions, Traffic, cors, serve},
    processor::BoxFuture,
    runtime,
};

/// The front.
#[derive(Debug)]
pub struct EventsGateway {
    http: HttpOptions,
    events: EventsOptions,
    traffic: Traffic,
    guard: Option<Guard>,
}

impl EventsGateway {
    /// Reads the processor's options.
    ///
    /// # Errors
    /// When there is no sink, or an option cannot be used, such as a schema that is none.
    pub fn new(options: &Options, config: &WorkerConfig) -> Result<Self, ConfigError> {
        if config.sink.is_none() {
            return Err(ConfigError::invalid("events-gateway needs a sink: the topic of the events"));
        }
        let (http, events) = (HttpOptions::new(options)?, EventsOptions::new(options)?);
        Ok(Self { http, events, traffic: Traffic::default(), guard: Guard::of(&config.source) })
    }

    fn app(self, sink: Arc<dyn Publish>, health: Router, auth: Option<Auth>) -> Router {
        let Self { http, events, traffic, .. } = self;
        let gate = Gate::new(http.gate, traffic.bodies.clone());
        // An event may have any attribute, and each is a header of its own.
        let cors = cors(http.cors_origin, AllowHeaders::mirror_request());
        let frame = Frame { health, auth, cors, traffic };
        frame.around::<Problem>(routes::routes(Desk { events, sink, gate }))
    }
}

impl Front for EventsGateway {
    fn publish_timeout(&self) -> Duration {
        self.http.produce_timeout
    }

    fn register_metrics(&mut self, registry: &mut Registry) {
        self.traffic.register(registry);
        if let Some(guard) = &self.guard {
            guard.register(registry);
        }
    }

    fn serve(mut self: Box<Self>, context: FrontContext) -> BoxFuture<'static, Result<(), WorkerError>> {
        Box::pin(async move {
            let FrontContext { port, sink, readiness, health, shutdown } = context;
            let auth = match self.guard.take() {
                Some(guard) => Some(guard.start(&readiness, shutdown.clone()).await),
                None => None,
            };
            let listener = runtime::listen(port).await?;
            let (bounds, counts) = (self.http.server, self.traffic.connections.clone());
            serve(listener, self.app(sink, health, auth), bounds, counts, shutdown).await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
