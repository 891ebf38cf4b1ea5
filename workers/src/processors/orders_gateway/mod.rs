//! The `orders-gateway` processor: takes orders over HTTP, produces `ORDER_CREATED` keyed by the order's id, and answers with the
//! state of every order from a table that each replica reads for itself.
//!
//! The replica that accepted an order knows it at once; another answers 404 until it has read it, usually some milliseconds later.
//!
//! With a topic of keys, what came with an `Idempotency-Key` is written once, whichever replicas it comes to, and when.

mod contract;
mod followed;
mod problem;
mod reading;
mod routes;
mod state;
mod table;
mod under_way;

use std::{sync::Arc, time::Duration};

use axum::Router;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use penstock_crds::{
    processor::Options,
    worker::{PipelineId, WorkerConfig},
};
use prometheus_client::registry::Registry;

use self::{followed::Followed, routes::Desk, state::Orders, under_way::UnderWay};
use crate::{
    error::{ConfigError, WorkerError},
    front::{Front, FrontContext},
    http::{Auth, Frame, Gate, Guard, HttpOptions, Problem, REQUEST_ID, Traffic, cors, serve},
    idempotency::{self, Kept},
    processor::BoxFuture,
    runtime,
    table::TableSink,
};

/// The front.
#[derive(Debug)]
pub struct OrdersGateway {
    pipeline: PipelineId,
    service: String,
    options: HttpOptions,
    topic: Arc<str>,
    orders: Arc<Orders>,
    kept: Option<Kept>,
    traffic: Traffic,
    guard: Option<Guard>,
}

impl OrdersGateway {
    /// Reads the processor's options.
    ///
    /// # Errors
    /// When there is no sink, when the table does not follow it or has the topic of the keys, or when an option cannot be used.
    pub fn new(options: &Options, config: &WorkerConfig) -> Result<Self, ConfigError> {
        let topic = config.sink.as_deref().ok_or_else(|| ConfigError::invalid("orders-gateway needs a sink: the topic of the orders"))?;
        if !config.table.iter().any(|followed| followed == topic) {
            let problem =
                format!("the table of orders-gateway must follow the topic {topic} that it writes to: else no order could be looked up");
            return Err(ConfigError::invalid(problem));
        }
        if config.keys.as_ref().is_some_and(|keys| config.table.contains(keys)) {
            return Err(ConfigError::invalid("keys: name a topic that is not in the table: nothing but idempotency keys is kept there"));
        }
        let kept = config.keys.as_deref().map(|topic| Kept::new(topic, options, config)).transpose()?;
        let service = options.text("serviceName").unwrap_or_default().to_owned();
        let options = HttpOptions::new(options)?;
        let pipeline = config.pipeline.clone();
        let guard = Guard::of(&config.source);
        let (topic, orders) = (Arc::from(topic), Arc::default());
        Ok(Self { pipeline, service, options, topic, orders, kept, traffic: Traffic::default(), guard })
    }
}

impl Front for OrdersGateway {
    fn table(&self) -> Option<Arc<dyn TableSink>> {
        let orders = Arc::clone(&self.orders) as Arc<dyn TableSink>;
        Some(match &self.kept {
            Some(kept) => Arc::new(Followed::new(orders, kept)),
            None => orders,
        })
    }

    fn key_topic(&self) -> Option<&str> {
        self.kept.as_ref().map(Kept::topic)
    }

    fn publish_timeout(&self) -> Duration {
        self.options.produce_timeout
    }

    fn register_metrics(&mut self, registry: &mut Registry) {
        self.orders.register(registry);
        self.traffic.register(registry);
        if let Some(kept) = &self.kept {
            kept.register(registry);
        }
        if let Some(guard) = &self.guard {
            guard.register(registry);
        }
    }

    fn serve(self: Box<Self>, context: FrontContext) -> BoxFuture<'static, Result<(), WorkerError>> {
        Box::pin(async move {
            let Self { pipeline, service, options, topic, orders, kept, traffic, guard } = *self;
            let once = kept.and_then(|kept| kept.once(&topic, options.produce_timeout, &context));
            let FrontContext { port, sink, readiness, health, shutdown, .. } = context;
            let listener = runtime::listen(port).await?;
            let auth = match guard {
                Some(guard) => Some(guard.start(&readiness, shutdown.clone()).await),
                None => None,
            };
            let (bounds, counts) = (options.server, traffic.connections.clone());
            let (gate, under_way) = (Gate::new(options.gate, traffic.bodies.clone()), Arc::<UnderWay>::default());
            let desk = Desk { pipeline, orders, topic, sink, once: once.clone(), readiness, gate, under_way };
            serve(listener, app(&service, options, Arc::new(desk), health, auth, traffic), bounds, counts, shutdown).await;
            if let Some(once) = once {
                once.finish().await;
            }
            Ok(())
        })
    }
}

fn app(service: &str, options: HttpOptions, desk: Arc<Desk>, health: Router, auth: Option<Auth>, traffic: Traffic) -> Router {
    let described = contract::document(service, &options, auth.is_some()).into_route();
    let cors = cors(options.cors_origin, [AUTHORIZATION, CONTENT_TYPE, REQUEST_ID, idempotency::HEADER]);
    let frame = Frame { open: health.merge(described), auth, cors, traffic };
    frame.around::<Problem>(routes::routes(desk))
}

#[cfg(test)]
mod tests;
