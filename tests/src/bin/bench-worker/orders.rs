//! The orders that are processed, and what must become of each.
//!
//! An order is its number: id, bytes and fate follow from it, so that whoever reads a payment knows what it should say.

use penstock_tests::bench::Sender;
use penstock_tests::scene::Result;
use penstock_workers::processors::payments::{Decision, decide};
use uuid::Uuid;

/// The size of each event.
pub const BYTES: usize = 300;
/// The share of valid orders that are paid: only invalid ones become dead letters.
pub const SUCCESS_RATE: f64 = 1.0;
/// One order in so many breaks the rules.
const INVALID_EVERY: u32 = 50;
/// The first half of each order's id; the second is its number.
const FIRST_HALF: u64 = 0x7065_6e73_746f_636b;

/// What must become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// One payment, with this id.
    Paid(Uuid),
    /// One dead letter, with this `errorType`.
    Dead(&'static str),
}

/// The id of an order, which is the key of its record.
pub fn id(number: u32) -> Uuid {
    Uuid::from_u64_pair(FIRST_HALF, number.into())
}

/// The number of the order with that key; none if it is not one of ours.
pub fn number_of(key: &[u8]) -> Option<u32> {
    let (first, second) = Uuid::try_parse_ascii(key).ok()?.as_u64_pair();
    if first == FIRST_HALF { u32::try_from(second).ok() } else { None }
}

/// The event of an order.
pub fn event(number: u32) -> String {
    match fault(number) {
        None => order(number, "19.99", "EUR", ITEM),
        Some(Fault::Amount) => order(number, "-19.99", "EUR", ITEM),
        Some(Fault::Currency) => order(number, "19.99", "EURO", ITEM),
        Some(Fault::Items) => order(number, "19.99", "EUR", ""),
        Some(Fault::Json) => format!("{:x<BYTES$}", format!("no JSON: {}", id(number))),
    }
}

/// The record of an order: key and value.
pub fn record(number: u32) -> (String, String) {
    (id(number).to_string(), event(number))
}

/// Sends an order.
pub fn send(sender: &Sender, number: u32) -> Result {
    let (key, value) = record(number);
    sender.send(key.as_bytes(), value.as_bytes())
}

/// What must become of an order.
pub fn fate(number: u32) -> Fate {
    match fault(number) {
        Some(Fault::Json) => Fate::Dead("ParseError"),
        Some(_) => Fate::Dead("ValidationError"),
        None => match decide(id(number), SUCCESS_RATE) {
            Decision::Completed { payment_id, .. } => Fate::Paid(payment_id),
            Decision::Declined => Fate::Dead("PaymentDeclined"),
        },
    }
}

const ITEM: &str = r#"{"productId":"p-1","quantity":1,"price":19.99}"#;

#[derive(Clone, Copy)]
enum Fault {
    Amount,
    Currency,
    Items,
    Json,
}

fn fault(number: u32) -> Option<Fault> {
    if !number.is_multiple_of(INVALID_EVERY) {
        return None;
    }
    let faults = [Fault::Amount, Fault::Currency, Fault::Items, Fault::Json];
    faults.into_iter().cycle().nth((number / INVALID_EVERY % 4) as usize)
}

/// The user's name makes up what is missing to the size.
fn order(number: u32, amount: &str, currency: &str, items: &str) -> String {
    let id = id(number);
    let head = format!(
        r#"{{"eventType":"ORDER_CREATED","eventId":"{id}","timestamp":"2026-01-31T12:00:00.000Z","data":{{"orderId":"{id}","userId":"u"#
    );
    let tail = format!(r#"","amount":{amount},"currency":"{currency}","items":[{items}]}}}}"#);
    let width = BYTES.saturating_sub(head.len() + tail.len());
    format!("{head}{number:0width$}{tail}")
}

#[cfg(test)]
mod tests {
    use penstock_workers::processors::payments::pay;

    use super::*;

    #[test]
    fn the_processor_judges_each_order_as_its_fate_says() {
        let mut dead = 0;
        for number in 0..1_000 {
            let event = event(number);
            assert_eq!(event.len(), BYTES, "{event}");
            match (pay(Some(event.as_bytes()), SUCCESS_RATE, jiff::Timestamp::UNIX_EPOCH), fate(number)) {
                (Ok(output), Fate::Paid(payment)) => {
                    assert_eq!(output.key.as_deref().and_then(number_of), Some(number));
                    assert!(String::from_utf8_lossy(&output.payload.unwrap_or_default()).contains(&payment.to_string()));
                }
                (Err(refusal), Fate::Dead(kind)) => {
                    assert_eq!(refusal.failure().error_type, kind);
                    dead += u32::from(kind != "PaymentDeclined");
                }
                (judged, fate) => panic!("{number}: {judged:?}, {fate:?}"),
            }
        }
        assert_eq!(dead, 20, "2 % are invalid");
    }

    #[test]
    fn other_keys_are_not_ours() {
        for (key, number) in [(id(7).to_string(), Some(7)), (Uuid::nil().to_string(), None), ("7".to_owned(), None)] {
            assert_eq!(number_of(key.as_bytes()), number, "{key}");
        }
    }
}
