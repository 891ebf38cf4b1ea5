//! The `payments` processor: takes `ORDER_CREATED` events, simulates their payment, emits `PAYMENT_COMPLETED` keyed by the order's id.
//!
//! An order that breaks the rules is rejected as `ValidationError` with every field at fault, bytes that are no JSON object as
//! `ParseError`, a declined payment as `PaymentDeclined`. The order's id in the event is what counts: a record whose key is
//! missing or another is paid all the same, since the payment depends on the id alone. A replay emits the same payment with the
//! same ids; only `timestamp` and `processedAt` tell when it was emitted, truly.

mod decide;

use bytes::Bytes;
use jiff::Timestamp;
use penstock_crds::processor::Options;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use uuid::Uuid;

pub use self::decide::{Decision, decide};
use super::orders::{EventRefusal, Order, PaymentCompleted, order_of_event};
use crate::{
    error::ConfigError,
    processor::{Event, Failure, Outcome, Output, Processor},
};

/// What a payment's event takes, unless its currency is written in many bytes.
const USUAL_BYTES: usize = 384;

/// The processor.
#[derive(Debug)]
pub struct Payments {
    success_rate: f64,
    decided: Family<Verdict, Counter>,
    /// The counter that most orders count in, looked up once.
    completed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    outcome: &'static str,
}

impl Payments {
    /// Reads the processor's options.
    ///
    /// # Errors
    /// When `successRate` is missing, which checked options never are.
    pub fn new(options: &Options) -> Result<Self, ConfigError> {
        let success_rate = options.fraction("successRate").ok_or_else(|| ConfigError::invalid("option successRate is missing"))?;
        let decided = Family::default();
        let completed = Counter::clone(&decided.get_or_create(&Verdict { outcome: "completed" }));
        Ok(Self { success_rate, decided, completed })
    }
}

/// Judges the payload of a record, and writes the payment if there is one. All that the processor does but counting.
///
/// # Errors
/// Why there is no payment.
pub fn pay(payload: Option<&[u8]>, success_rate: f64, now: Timestamp) -> Result<Output, Refusal<'_>> {
    let order = order_of_event(payload)?;
    match decide(order.order_id, success_rate) {
        Decision::Completed { payment_id, event_id } => {
            let key = Bytes::copy_from_slice(order.order_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
            let mut payload = Vec::with_capacity(USUAL_BYTES);
            serde_json::to_writer(&mut payload, &PaymentCompleted::new(&order, payment_id, event_id, now))?;
            Ok(Output { key: Some(key), payload: Some(payload.into()), headers: Vec::new() })
        }
        Decision::Declined => Err(Refusal::Declined(Box::new(order))),
    }
}

impl Processor for Payments {
    async fn process(&self, event: &Event) -> Outcome {
        match pay(event.payload.as_deref(), self.success_rate, Timestamp::now()) {
            Ok(output) => {
                self.completed.inc();
                Outcome::Emit(vec![output])
            }
            Err(refusal) => {
                self.decided.get_or_create(&Verdict { outcome: refusal.verdict() }).inc();
                Outcome::Reject(refusal.failure())
            }
        }
    }

    fn register_metrics(&self, registry: &mut Registry) {
        registry.register("payments", "Orders judged, by outcome; a replay counts again", self.decided.clone());
    }
}

/// Why there is no payment.
#[derive(Debug, thiserror::Error)]
pub enum Refusal<'a> {
    /// The record is no valid order.
    #[error(transparent)]
    Event(#[from] EventRefusal),
    /// The bank says no.
    #[error("the payment of {} {} for order {} was declined", .0.amount, .0.currency, .0.order_id)]
    Declined(Box<Order<'a>>),
    /// There is a payment, and no JSON for it.
    #[error("the payment cannot be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
}

impl Refusal<'_> {
    /// What stands in the dead letter.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(self.error_type(), self.to_string())
    }

    /// The word for programs that stands in the dead letter.
    fn error_type(&self) -> &'static str {
        match self {
            Self::Event(EventRefusal::Parse(_)) => "ParseError",
            Self::Event(EventRefusal::Invalid(_)) => "ValidationError",
            Self::Declined(_) => "PaymentDeclined",
            Self::Unwritable(_) => "SerializationError",
        }
    }

    /// The same for the metric.
    fn verdict(&self) -> &'static str {
        match self {
            Self::Event(EventRefusal::Parse(_)) => "malformed",
            Self::Event(EventRefusal::Invalid(_)) => "invalid",
            Self::Declined(_) => "declined",
            Self::Unwritable(_) => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
