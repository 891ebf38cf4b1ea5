//! The events of the orders system: `ORDER_CREATED` on `orders`, `PAYMENT_COMPLETED` on `payments`. Pure.
//!
//! Both are keyed by the order's id. Times are ISO 8601 in UTC with milliseconds.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Fault, Fields, Malformed, Number, Order, list_faults, rules};

/// The `eventType` of an accepted order.
pub const ORDER_CREATED: &str = "ORDER_CREATED";
/// The `eventType` of a payment that succeeded.
pub const PAYMENT_COMPLETED: &str = "PAYMENT_COMPLETED";

/// An instant as events and answers write it: `2026-01-31T12:00:00.000Z`.
#[must_use]
pub fn iso(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// An order that a gateway accepted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated<'a> {
    event_type: &'static str,
    event_id: Uuid,
    timestamp: String,
    data: &'a Order<'a>,
}

impl<'a> OrderCreated<'a> {
    /// The event of an order accepted at that time.
    #[must_use]
    pub fn new(order: &'a Order<'a>, event_id: Uuid, at: Timestamp) -> Self {
        Self { event_type: ORDER_CREATED, event_id, timestamp: iso(at), data: order }
    }
}

/// A payment that succeeded.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCompleted<'a> {
    event_type: &'static str,
    event_id: Uuid,
    timestamp: String,
    data: CompletedPayment<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CompletedPayment<'a> {
    order_id: Uuid,
    payment_id: Uuid,
    payment_status: &'static str,
    amount: Number<'a>,
    currency: &'a str,
    processed_at: String,
}

impl<'a> PaymentCompleted<'a> {
    /// The event of an order paid at that time.
    #[must_use]
    pub fn new(order: &'a Order<'a>, payment_id: Uuid, event_id: Uuid, at: Timestamp) -> Self {
        let data = CompletedPayment {
            order_id: order.order_id,
            payment_id,
            payment_status: "completed",
            amount: order.amount,
            currency: &order.currency,
            processed_at: iso(at),
        };
        Self { event_type: PAYMENT_COMPLETED, event_id, timestamp: data.processed_at.clone(), data }
    }
}

/// Why a payload is no order event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventRefusal {
    /// Its bytes are not a JSON object.
    #[error("the value is not a JSON object: {0}")]
    Parse(String),
    /// Fields break the rules: all of them.
    #[error("{}", list_faults(.0))]
    Invalid(Vec<Fault>),
}

impl From<Malformed> for EventRefusal {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Parse(why)
    }
}

/// Reads the order out of the payload of an `ORDER_CREATED` event.
///
/// Only what a payment needs is asked for: `eventType` and `data`. A missing `eventId` or `timestamp` costs nobody an order.
///
/// # Errors
/// Every field at fault, or that the bytes are not a JSON object.
pub fn order_of_event(payload: Option<&[u8]>) -> Result<Order<'_>, EventRefusal> {
    let payload = payload.ok_or_else(|| EventRefusal::Parse("the record has no value".to_owned()))?;
    let text = std::str::from_utf8(payload).map_err(|e| EventRefusal::Parse(format!("{e} in the bytes of the value")))?;
    let fields = Fields::parse(text, &["eventType", "data"])?;
    let mut faults = Vec::new();
    if fields.string("eventType").as_deref() != Some(ORDER_CREATED) {
        faults.push(Fault { field: "eventType".to_owned(), message: format!("must be {ORDER_CREATED}") });
    }
    match rules::order_of_data(fields.raw("data")) {
        Ok(order) if faults.is_empty() => Ok(order),
        Ok(_) => Err(EventRefusal::Invalid(faults)),
        Err(more) => {
            faults.extend(more);
            Err(EventRefusal::Invalid(faults))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::order_of_body, *};

    const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

    fn body() -> String {
        format!(
            r#"{{"orderId":"{ID}","userId":"u","amount":10.10,"currency":"EUR","items":[{{"productId":"p","quantity":1,"price":10.10}}]}}"#
        )
    }

    #[test]
    fn events_follow_the_contract_to_the_letter() {
        let body = body();
        let order = order_of_body(&body).unwrap();
        let at = "2026-01-31T13:00:00.1239+01:00".parse().unwrap();
        let created = serde_json::to_string(&OrderCreated::new(&order, Uuid::nil(), at)).unwrap();
        let head = r#"{"eventType":"ORDER_CREATED","eventId":"00000000-0000-0000-0000-000000000000","timestamp":"2026-01-31T12:00:00.123Z","data":"#;
        assert_eq!(created, format!("{head}{body}}}"));
        assert_eq!(order_of_event(Some(created.as_bytes())).unwrap(), order);

        let paid = serde_json::to_string(&PaymentCompleted::new(&order, Uuid::max(), Uuid::nil(), at)).unwrap();
        let expected = format!(
            r#"{{"eventType":"PAYMENT_COMPLETED","eventId":"00000000-0000-0000-0000-000000000000","timestamp":"2026-01-31T12:00:00.123Z","data":{{"orderId":"{ID}","paymentId":"ffffffff-ffff-ffff-ffff-ffffffffffff","paymentStatus":"completed","amount":10.10,"currency":"EUR","processedAt":"2026-01-31T12:00:00.123Z"}}}}"#
        );
        assert_eq!(paid, expected);
    }

    #[test]
    fn what_is_no_order_event_is_refused_with_its_reason() {
        let bad_order = body().replace("10.10", "0").replace("EUR", "EURO");
        for (payload, reason) in [
            (None, "the value is not a JSON object: the record has no value".to_owned()),
            (Some(String::new()), "the value is not a JSON object: EOF while parsing a value at line 1 column 0".to_owned()),
            (Some("hello".to_owned()), "the value is not a JSON object: expected value at line 1 column 1".to_owned()),
            (Some("{}".to_owned()), "eventType must be ORDER_CREATED; data is required".to_owned()),
            (Some(format!(r#"{{"eventType":"ORDER_PAID","data":{}}}"#, body())), "eventType must be ORDER_CREATED".to_owned()),
            (Some(r#"{"eventType":"ORDER_CREATED","data":[]}"#.to_owned()), "data must be an object".to_owned()),
            (
                Some(format!(r#"{{"eventType":"ORDER_CREATED","data":{bad_order}}}"#)),
                "data.amount must be greater than 0; data.currency must be exactly 3 characters".to_owned(),
            ),
        ] {
            let refusal = order_of_event(payload.as_deref().map(str::as_bytes)).unwrap_err();
            assert_eq!(refusal.to_string(), reason, "{payload:?}");
        }
        assert!(matches!(order_of_event(Some(b"\xff\xfe{}")), Err(EventRefusal::Parse(_))));
    }
}
