//! What becomes of each kind of record.

use std::collections::BTreeMap;

use bytes::Bytes;
use penstock_crds::processor;
use serde_json::{Value, json};

use super::*;

const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

fn payments(rate: &str) -> Payments {
    let given = BTreeMap::from([("successRate".to_owned(), rate.to_owned())]);
    Payments::new(&processor::find("payments").unwrap().options(&given, "payments").unwrap()).unwrap()
}

fn record(key: Option<&str>, payload: Option<&[u8]>) -> Event {
    Event {
        topic: "orders".into(),
        partition: 0,
        offset: 7,
        key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
        payload: payload.map(Bytes::copy_from_slice),
        headers: vec![],
        timestamp_ms: Some(0),
        timestamp_type: crate::processor::TimestampType::default(),
        attempt: 1,
    }
}

fn order_event() -> Value {
    json!({
        "eventType": "ORDER_CREATED", "eventId": ID, "timestamp": "2026-01-31T12:00:00.000Z",
        "data": {"orderId": ID, "userId": "u", "amount": 20, "currency": "EUR", "items": [{"productId": "p", "quantity": 1, "price": 20}]},
    })
}

#[tokio::test]
async fn a_good_order_is_paid_whatever_its_key_and_keeps_its_amount() {
    let payload = order_event().to_string().replace("\"amount\":20", "\"amount\":20.00");
    for key in [Some(ID), None, Some("another")] {
        let Outcome::Emit(outputs) = payments("1").process(&record(key, Some(payload.as_bytes()))).await else { panic!("not emitted") };
        let [output] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert_eq!(output.key.as_deref(), Some(ID.as_bytes()));
        let text = std::str::from_utf8(output.payload.as_ref().unwrap()).unwrap();
        assert!(text.contains("\"amount\":20.00,"), "{text}");
        let event: Value = serde_json::from_str(text).unwrap();
        assert_eq!(event["eventType"], "PAYMENT_COMPLETED");
        assert_eq!((&event["data"]["orderId"], &event["data"]["paymentStatus"]), (&json!(ID), &json!("completed")));
        assert_eq!(event["timestamp"], event["data"]["processedAt"]);
    }
}

#[tokio::test]
async fn a_replay_gives_the_same_payment() {
    let payments = payments("1");
    let payload = order_event().to_string();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let Outcome::Emit(outputs) = payments.process(&record(None, Some(payload.as_bytes()))).await else { panic!("not emitted") };
        let event: Value = serde_json::from_slice(outputs[0].payload.as_ref().unwrap()).unwrap();
        ids.push((event["eventId"].clone(), event["data"]["paymentId"].clone()));
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
}

#[tokio::test]
async fn everything_else_is_rejected_with_its_reason() {
    let changed = |pointer: &str, value: Value| {
        let mut event = order_event();
        *event.pointer_mut(pointer).unwrap() = value;
        Some(event.to_string().into_bytes())
    };
    for (rate, payload, error_type, part) in [
        ("1", None, "ParseError", "no value"),
        ("1", Some(vec![]), "ParseError", "EOF"),
        ("1", Some(b"poison".to_vec()), "ParseError", "line 1 column 1"),
        ("1", Some(b"\x00\xff\xfe".to_vec()), "ParseError", "utf-8"),
        ("1", Some(b"[1,2]".to_vec()), "ParseError", "expected a JSON object"),
        ("1", Some(b"{}".to_vec()), "ValidationError", "eventType must be ORDER_CREATED; data is required"),
        ("1", changed("/eventType", json!("PAYMENT_COMPLETED")), "ValidationError", "eventType must be ORDER_CREATED"),
        ("1", changed("/data", json!(1)), "ValidationError", "data must be an object"),
        ("1", changed("/data/orderId", json!("1")), "ValidationError", "data.orderId must be a UUID"),
        ("1", changed("/data/amount", json!(-1)), "ValidationError", "data.amount must be greater than 0"),
        ("1", changed("/data/items", json!([])), "ValidationError", "data.items must not be empty"),
        ("0", changed("/data/amount", json!(12)), "PaymentDeclined", "the payment of 12 EUR for order 6f9619ff"),
    ] {
        let payments = payments(rate);
        let Outcome::Reject(failure) = payments.process(&record(Some(ID), payload.as_deref())).await else {
            panic!("{payload:?} was not rejected");
        };
        assert_eq!(failure.error_type, error_type, "{payload:?}");
        assert!(failure.message.contains(part), "{payload:?}: {}", failure.message);
    }
}
