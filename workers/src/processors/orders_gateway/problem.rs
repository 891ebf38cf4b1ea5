//! What can be wrong with a request for orders, in the words of orders. Pure.

use std::time::Duration;

use http::StatusCode;
use uuid::Uuid;

use super::{
    super::orders::{Fault as FieldFault, OrderRefusal},
    under_way::Mark,
};
use crate::{
    http::{
        Fault, Problem,
        problem::{Kind, NOT_CAUGHT_UP, NOT_SENT, RECORD_TOO_LARGE, UNACKNOWLEDGED, UNSUPPORTED_MEDIA_TYPE},
    },
    idempotency::{
        Refusal,
        problem::{KEY_IN_USE, KEY_REUSED},
    },
};

/// Fields break the rules of an order.
pub static INVALID_ORDER: Kind = Kind::new("invalid-order", StatusCode::BAD_REQUEST, "The order breaks the rules");
/// No order has this id.
pub static UNKNOWN_ORDER: Kind = Kind::new("unknown-order", StatusCode::NOT_FOUND, "There is no such order");
/// The order's id is taken by another order.
pub static ORDER_TAKEN: Kind = Kind::new("order-taken", StatusCode::CONFLICT, "Another order has this id");

/// The body is not said to be JSON.
pub fn not_json() -> Problem {
    Problem::new(&UNSUPPORTED_MEDIA_TYPE, "send JSON in UTF-8 with Content-Type: application/json, not compressed")
}

/// The order's id is taken by another order.
pub fn taken(order_id: Uuid) -> Problem {
    Problem::new(&ORDER_TAKEN, format!("order {order_id} was accepted before with other content; a new order needs a new orderId"))
}

/// The order takes more room than the topic gives one record.
pub fn record_too_large() -> Problem {
    Problem::new(&RECORD_TOO_LARGE, "the order is too large to be stored, and is not written")
}

/// Kafka did not acknowledge the order in time, whichever request it came with.
pub fn unacknowledged(order_id: Uuid) -> Problem {
    let detail =
        format!("order {order_id} was not confirmed in time and may or may not appear later; send the same order again to be sure");
    Problem::new(&UNACKNOWLEDGED, detail)
}

/// The order was not sent: too many before it were not acknowledged.
pub fn not_sent(pause: Duration) -> Problem {
    Problem::new(&NOT_SENT, "the order was not sent, since Kafka did not confirm those before it; try again").with_retry_in(pause)
}

/// There is no such order.
pub fn unknown_order() -> Problem {
    Problem::new(&UNKNOWN_ORDER, "no order with this id is known")
}

/// The order may exist: this worker has not read everything yet.
pub fn not_caught_up() -> Problem {
    Problem::new(&NOT_CAUGHT_UP, "the order is not known here yet, and not everything has been read; try again")
}

/// Another order came with this key.
pub fn key_reused() -> Problem {
    Problem::new(&KEY_REUSED, "another order was accepted with this Idempotency-Key; nothing was written")
}

/// A request with this key is under way.
fn key_in_use() -> Problem {
    let detail = "nothing was written by this request; send the same order with the same key again to learn what came of the other";
    Problem::new(&KEY_IN_USE, detail).with_retry_after(1)
}

/// An order that came with a key was not written, or maybe not.
pub fn of_key(order_id: Uuid, why: &Refusal) -> Problem {
    match why {
        Refusal::Reused => key_reused(),
        Refusal::InUse => key_in_use(),
        Refusal::NotCaughtUp => not_caught_up(),
        Refusal::NotSent(_) => Problem::new(&NOT_SENT, "the order was not sent, since Kafka does not answer; try again"),
        Refusal::Paused(pause) => not_sent(*pause),
        Refusal::Unacknowledged(_) => unacknowledged(order_id),
        Refusal::TooLarge(_) => record_too_large(),
        Refusal::Refused(_) => Problem::internal(),
    }
}

/// Another request still has this.
pub fn under_way(taken: Mark) -> Problem {
    match taken {
        Mark::Key(_) => key_in_use(),
        Mark::Order(order_id) => unacknowledged(order_id),
    }
}

impl From<OrderRefusal> for Problem {
    fn from(refusal: OrderRefusal) -> Self {
        match refusal {
            OrderRefusal::Malformed(why) => Self::malformed(&format!("must be a JSON object: {}", why.0)),
            // Every one is told: an order has no more than the rules have for the most items that it may have.
            OrderRefusal::Invalid(faults) => Self::new(&INVALID_ORDER, "correct every field that is named; nothing was written")
                .with_errors(faults.into_iter().map(|FieldFault { field, message }| Fault::at(pointer_of(&field), message)).collect()),
        }
    }
}

/// `items[0].quantity` as a JSON Pointer. Names of the contract need no escapes.
fn pointer_of(field: &str) -> String {
    format!("/{}", field.replace(['.', '['], "/").replace(']', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_pointed_to() {
        for (field, pointer) in [("orderId", "/orderId"), ("items[0]", "/items/0"), ("items[12].quantity", "/items/12/quantity")] {
            assert_eq!(pointer_of(field), pointer);
        }
    }
}
