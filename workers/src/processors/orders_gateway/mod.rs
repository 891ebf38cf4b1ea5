//! The `orders-gateway` processor: takes orders over HTTP, produces `ORDER_CREATED` keyed by the order's id, and answers with the
//! state of every order from a table that each replica reads for itself.
//!
//! The replica that accepted an order knows it at once; another answers 404 until it has read it, usually some milliseconds later.

mod contract;
mod problem;
mod reading;
mod routes;
mod state;
mod table;

use std::{sync::Arc, time::Duration};

use axum::Router;
use http::header::CONTENT_TYPE;
use penstock_crds::{
    processor::Options,
    worker::{PipelineId, WorkerConfig},
};
use prometheus_client::registry::Registry;

use self::{routes::Desk, state::Orders};
use crate::{
    error::{ConfigError, WorkerError},
    front::{Front, FrontContext},
    http::{Frame, HttpOptions, Problem, REQUEST_ID, Traffic, cors, serve},
    idempotency,
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
    traffic: Traffic,
}

impl OrdersGateway {
    /// Reads the processor's options.
    ///
    /// # Errors
    /// When there is no sink, when the table does not follow it, or when an option cannot be used.
    pub fn new(options: &Options, config: &WorkerConfig) -> Result<Self, ConfigError> {
        let topic = config.sink.as_deref().ok_or_else(|| ConfigError::invalid("orders-gateway needs a sink: the topic of the orders"))?;
        if !config.table.iter().any(|followed| followed == topic) {
            let problem =
                format!("the table of orders-gateway must follow the topic {topic} that it writes to: else no order could be looked up");
            return Err(ConfigError::invalid(problem));
        }
        let service = options.text("serviceName").unwrap_or_default().to_owned();
        let options = HttpOptions::new(options)?;
        let pipeline = config.pipeline.clone();
        Ok(Self { pipeline, service, options, topic: Arc::from(topic), orders: Arc::default(), traffic: Traffic::default() })
    }
}

impl Front for OrdersGateway {
    fn table(&self) -> Option<Arc<dyn TableSink>> {
        Some(Arc::clone(&self.orders) as Arc<dyn TableSink>)
    }

    fn publish_timeout(&self) -> Duration {
        self.options.produce_timeout
    }

    fn register_metrics(&mut self, registry: &mut Registry) {
        self.orders.register(registry);
        self.traffic.register(registry);
    }

    fn serve(self: Box<Self>, context: FrontContext) -> BoxFuture<'static, Result<(), WorkerError>> {
        Box::pin(async move {
            let FrontContext { port, sink, readiness, health, shutdown, .. } = context;
            let listener = runtime::listen(port).await?;
            let Self { pipeline, service, options, topic, orders, traffic } = *self;
            let desk = Desk { pipeline, orders, topic, sink, readiness, max_body_bytes: options.max_body_bytes };
            serve(listener, app(&service, options, Arc::new(desk), health, traffic), shutdown).await;
            Ok(())
        })
    }
}

fn app(service: &str, options: HttpOptions, desk: Arc<Desk>, health: Router, traffic: Traffic) -> Router {
    let described = contract::document(service, &options).into_route();
    let HttpOptions { cors_origin, max_body_bytes, .. } = options;
    let frame = Frame { health, cors: cors(cors_origin, [CONTENT_TYPE, REQUEST_ID, idempotency::HEADER]), max_body_bytes, traffic };
    frame.around::<Problem>(routes::routes(desk).merge(described))
}

#[cfg(test)]
mod tests;
