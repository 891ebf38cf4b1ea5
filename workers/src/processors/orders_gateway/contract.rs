//! The front's OpenAPI document. Pure.
//!
//! Its schema of an order says what the rules of an order say; a test holds them together.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::orders::{MAX_ITEMS, MAX_SAFE_INTEGER},
    problem::{INVALID_ORDER, ORDER_TAKEN, UNKNOWN_ORDER},
    routes::{ORDER, ORDERS},
};
use crate::{
    http::{
        HttpOptions,
        openapi::{Answer, Document, Operation},
        problem::{
            BODY_TIMEOUT, BODY_TOO_LARGE, MALFORMED, NOT_CAUGHT_UP, NOT_FOUND, NOT_SENT, OVERLOADED, RECORD_TOO_LARGE, UNACKNOWLEDGED,
            UNSUPPORTED_MEDIA_TYPE,
        },
    },
    idempotency::{
        HEADER, parameter_schema,
        problem::{INVALID_KEY, KEY_IN_USE, KEY_REUSED},
    },
};

/// Characters that are blank, as the rules see them.
const BLANK: &str = r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
const UUID: &str = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";

/// The document of a front with these options.
pub fn document(service: &str, options: &HttpOptions, guarded: bool) -> Document {
    Document::new(service, "Takes orders, writes them to Kafka, and tells how far each is.", guarded)
        .schema("Order", order())
        .schema("OrderState", order_state())
        .operation(ORDERS, "post", place(options))
        .operation(ORDER, "get", show())
}

fn place(options: &HttpOptions) -> Operation {
    let about = format!(
        "202 means that Kafka has the order. The same order may be posted again, also after an answer that did not arrive: it stays one \
         order. A body has at most {} bytes, Kafka has {} ms to answer, and {} requests are taken in at once.",
        options.gate.body_bytes,
        options.produce_timeout.as_millis(),
        options.gate.requests,
    );
    let accepted = json!({
        "type": "object",
        "required": ["message", "orderId"],
        "properties": {"message": {"type": "string"}, "orderId": {"type": "string", "format": "uuid"}},
    });
    let links = json!({"state": {"operationId": "showOrder", "parameters": {"id": "$response.body#/orderId"}}});
    Operation::new("placeOrder", "Place an order", about)
        .parameter("header", HEADER.as_str(), false, "Once an order is accepted with a key, no other is.", parameter_schema())
        .body(true, &[("application/json", json!({"$ref": "#/components/schemas/Order"}))])
        .answer(Answer::new(StatusCode::ACCEPTED, "The order is accepted, or was before.").with_json(accepted).with_links(links))
        .problems(&[&MALFORMED, &INVALID_ORDER, &BODY_TIMEOUT, &ORDER_TAKEN, &BODY_TOO_LARGE, &RECORD_TOO_LARGE])
        .problems(&[&INVALID_KEY, &KEY_REUSED, &KEY_IN_USE, &NOT_CAUGHT_UP])
        .problems(&[&UNSUPPORTED_MEDIA_TYPE, &UNACKNOWLEDGED, &NOT_SENT, &OVERLOADED])
}

fn show() -> Operation {
    Operation::new("showOrder", "How far an order is", "What is no UUID is the id of no order.")
        .parameter("path", "id", true, "The order's id.", json!({"type": "string", "format": "uuid"}))
        .answer(Answer::new(StatusCode::OK, "The order.").with_json(json!({"$ref": "#/components/schemas/OrderState"})))
        .problems(&[&UNKNOWN_ORDER, &NOT_FOUND, &NOT_CAUGHT_UP])
}

fn order() -> Value {
    let text = json!({"type": "string", "pattern": format!("[^{BLANK}]")});
    json!({
        "type": "object",
        "description": "Members with other names are ignored.",
        "required": ["orderId", "userId", "amount", "currency", "items"],
        "properties": {
            "orderId": {"type": "string", "pattern": UUID},
            "userId": text,
            "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": f64::MAX},
            "currency": {"type": "string", "minLength": 3, "maxLength": 3},
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_ITEMS,
                "items": {
                    "type": "object",
                    "required": ["productId", "quantity", "price"],
                    "properties": {
                        "productId": text,
                        "quantity": {"type": "integer", "minimum": 1, "maximum": MAX_SAFE_INTEGER},
                        "price": {"type": "number", "minimum": 0, "maximum": f64::MAX},
                    },
                },
            },
        },
    })
}

/// What an order's event did not have is null: it broke the rules, and failed for it.
fn order_state() -> Value {
    let time = json!({"type": "string", "format": "date-time"});
    json!({
        "type": "object",
        "required": ["orderId", "userId", "amount", "currency", "items", "status", "paymentId", "createdAt", "updatedAt"],
        "properties": {
            "orderId": {"type": "string", "format": "uuid"},
            "userId": {},
            "amount": {},
            "currency": {},
            "items": {},
            "status": {"enum": ["pending", "completed", "failed"]},
            "paymentId": {"type": ["string", "null"]},
            "createdAt": time,
            "updatedAt": time,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{super::super::orders::order_of_body, *};

    const ID: &str = "6F9619ff-8b86-4d01-b42d-00cf4fc964ff";

    fn with(pointer: &str, value: Value) -> Value {
        let mut order = json!({"orderId": ID, "userId": "u", "amount": 20.1, "currency": "EUR",
            "items": [{"productId": "p", "quantity": 1, "price": 0}], "more": null});
        *order.pointer_mut(pointer).unwrap() = value;
        order
    }

    #[test]
    fn the_schema_of_an_order_is_its_rules() {
        let schema = jsonschema::validator_for(&order()).unwrap();
        for (pointer, value) in [
            ("", json!({})),
            ("", json!([])),
            ("/more", json!(1)),
            ("/orderId", json!("17")),
            ("/orderId", json!(null)),
            ("/orderId", json!(format!("{{{ID}}}"))),
            ("/orderId", json!(ID.replace('-', ""))),
            ("/userId", json!("")),
            ("/userId", json!(" \u{3000}\t")),
            ("/userId", json!("\u{1c}")),
            ("/userId", json!("\u{feff}")),
            ("/userId", json!(7)),
            ("/amount", json!(0)),
            ("/amount", json!(0.01)),
            ("/amount", json!(f64::MAX)),
            ("/amount", json!("1")),
            ("/currency", json!("äöü")),
            ("/currency", json!("🍺🍺🍺")),
            ("/currency", json!("EURO")),
            ("/items", json!([])),
            ("/items", json!(vec![json!({"productId": "p", "quantity": 1, "price": 0}); MAX_ITEMS])),
            ("/items", json!(vec![json!({"productId": "p", "quantity": 1, "price": 0}); MAX_ITEMS + 1])),
            ("/items/0", json!({})),
            ("/items/0/productId", json!(" ")),
            ("/items/0/quantity", json!(0)),
            ("/items/0/quantity", json!(1.5)),
            ("/items/0/quantity", json!(2.0)),
            ("/items/0/quantity", json!(9_007_199_254_740_991_u64)),
            ("/items/0/quantity", json!(9_007_199_254_740_992_u64)),
            ("/items/0/price", json!(-0.01)),
            ("/items/0/price", json!(null)),
        ] {
            let order = with(pointer, value);
            let text = order.to_string();
            assert_eq!(schema.is_valid(&order), order_of_body(&text).is_ok(), "{pointer}: {}", &text[..text.len().min(200)]);
        }
    }
}
