//! The processor: an order becomes a verdict, with the key of the order.
//!
//! What is no order is rejected. While the risk service does not answer, an order waits for another attempt. The same order
//! gives the same verdict, so that it does no harm when one comes twice.

use std::time::Duration;

use penstock_workers::{
    Event, Failure, Outcome, Output, Processor,
    prometheus_client::{metrics::counter::Counter, registry::Registry},
};
use serde::Deserialize;

use crate::{
    order::Order,
    risk::{Lookup, RiskService},
};

/// `spec.processor.options` of the pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// An order that costs more is suspicious.
    #[serde(default = "max_amount")]
    pub max_amount: f64,
    /// Where the risk service is, such as `http://risk.shop:8080`. None: nobody is asked.
    pub risk_service: Option<String>,
    /// How long its answer is waited for.
    #[serde(default = "lookup_timeout", with = "penstock_workers::options::duration")]
    pub lookup_timeout: Duration,
}

fn max_amount() -> f64 {
    1_000.0
}

fn lookup_timeout() -> Duration {
    Duration::from_secs(2)
}

/// Screens orders.
#[derive(Debug)]
pub struct Screening<L = RiskService> {
    max_amount: f64,
    lookup: L,
    suspicious: Counter,
}

/// Why the worker cannot start with these options.
#[derive(Debug, thiserror::Error)]
#[error("riskService: `{0}` is not an http:// address without a path")]
pub struct NoAddress(String);

impl Screening {
    /// With the risk service that the options name. This is where one would open a pool of connections.
    ///
    /// # Errors
    /// The address of the service is none.
    pub async fn new(options: Options) -> Result<Self, NoAddress> {
        if let Some(address) = &options.risk_service
            && !address.strip_prefix("http://").is_some_and(|host| !host.is_empty() && !host.contains('/'))
        {
            return Err(NoAddress(address.clone()));
        }
        let service = RiskService::new(options.risk_service.clone(), options.lookup_timeout);
        Ok(Self::asking(service, &options))
    }
}

impl<L: Lookup> Screening<L> {
    /// With another lookup.
    pub fn asking(lookup: L, options: &Options) -> Self {
        Self { max_amount: options.max_amount, lookup, suspicious: Counter::default() }
    }
}

impl<L: Lookup> Processor for Screening<L> {
    async fn process(&self, event: &Event) -> Outcome {
        let order = match Order::parse(event.payload.as_deref().unwrap_or_default()) {
            Ok(order) => order,
            Err(why) => return Outcome::Reject(Failure::new("NoOrder", why)),
        };
        let score = match self.lookup.score(&order.user_id).await {
            Ok(score) => score,
            Err(error) => return Outcome::Retry(Failure::new("RiskUnavailable", error.to_string())),
        };
        let verdict = order.judge(self.max_amount, score);
        if verdict.suspicious {
            self.suspicious.inc();
            tracing::info!(event = event.id(), reasons = verdict.reasons.join("; "), "an order is suspicious");
        }
        match serde_json::to_vec(&verdict) {
            Ok(json) => Outcome::Emit(vec![Output { key: event.key.clone(), payload: Some(json.into()), ..Output::default() }]),
            Err(error) => Outcome::Reject(Failure::new("NoVerdict", error.to_string())),
        }
    }

    fn register_metrics(&self, registry: &mut Registry) {
        registry.register("orders_suspicious", "Orders that a person should look at, each attempt counted", self.suspicious.clone());
    }
}
