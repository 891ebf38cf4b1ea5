//! A clean history is clean, and each kind of anomaly is found in a history that has it.

use bytes::Bytes;
use penstock_crds::worker::{DeadLetterFormat, DeadLetterTarget};
use penstock_kafka::{Header, Record, TimestampType};
use penstock_workers::{
    processor::{Event, Failure},
    stream::dead_letter::{DeadLetter, Extent, Sender, Step},
};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    history::{Attempt, Fate, OpenTransaction, Progress, Stable},
    order::{Kind, OVERSIZE, Orders},
};

const COUNT: u64 = 200;

fn consumed(topic: &str, partition: i32, offset: i64, record: Record) -> ConsumedRecord {
    let Record { key, payload, headers, .. } = record;
    ConsumedRecord {
        topic: topic.into(),
        partition,
        offset,
        timestamp_ms: Some(0),
        timestamp_type: TimestampType::default(),
        key,
        payload,
        headers,
    }
}

/// The dead letter of a record, as a worker writes it.
fn letter(record: &ConsumedRecord, format: DeadLetterFormat, offset: i64) -> ConsumedRecord {
    let event = Event::from(record.clone());
    let failure = Failure::new("ValidationError", "it is not valid");
    let failed_at = "2026-01-02T03:04:05Z".parse().unwrap();
    let large = record.payload.as_ref().is_some_and(|payload| payload.len() >= OVERSIZE);
    let extent = if large { Extent::Pointer } else { Extent::Whole };
    let sender = Sender { pipeline: "shop/payments".into(), group: "g".into(), processor: "payments".into() };
    let letter = DeadLetter { event: &event, failure: &failure, step: Step::Processing, failed_at, sender: &sender };
    let target = DeadLetterTarget { topic: "orders.DLT".into(), format, headers: BTreeSet::new() };
    consumed("orders.DLT", 0, offset, letter.write(&target, extent))
}

fn payment(record: &ConsumedRecord, id: Uuid, offset: i64) -> ConsumedRecord {
    let source = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    let payload = json!({"eventType": "PAYMENT_COMPLETED", "data": {"orderId": id}}).to_string();
    let written = Record { key: record.key.clone(), ..Record::to("payments") }.with_payload(payload).with_header(SOURCE, source);
    consumed("payments", 0, offset, written)
}

/// A run of which everything went well.
fn clean(format: DeadLetterFormat) -> History {
    let mut orders = Orders::new(3, 0);
    let mut history = History {
        delivery: Delivery::ExactlyOnce,
        attempts: vec![],
        orders: vec![],
        payments: vec![],
        letters: vec![],
        progress: BTreeMap::new(),
        stable: vec![Stable { topic: "payments".into(), partition: 0, stable: 9, end: 9 }],
        open: vec![],
        effects: BTreeMap::new(),
    };
    for number in 0..COUNT {
        let order = orders.next();
        let fate = match number % 20 {
            17 => Fate::Rejected,
            18 | 19 => Fate::Unknown,
            _ => Fate::Acknowledged(Position { partition: 0, offset: i64::try_from(history.orders.len()).unwrap() }),
        };
        // Of those without an answer every other one has arrived.
        if !matches!(number % 20, 17 | 19) {
            let offset = i64::try_from(history.orders.len()).unwrap();
            let sent =
                Record { key: Some(order.key.clone()), payload: order.payload.clone(), headers: order.headers.clone(), ..Record::to("o") };
            let record = consumed("orders", 0, offset, sent);
            if order.kind.end() == End::Payment {
                history.payments.push(payment(&record, order.id, offset));
                history.effects.insert(order.id, 1);
            } else {
                history.letters.push(letter(&record, format, offset));
            }
            history.orders.push(record);
        }
        history.attempts.push(Attempt { order, fate });
    }
    let end = i64::try_from(history.orders.len()).unwrap();
    history.progress.insert(("orders".to_owned(), 0), Progress { committed: Some(end), start: 0, end });
    history.progress.insert(("orders".to_owned(), 1), Progress { committed: None, start: 0, end: 0 });
    history
}

#[test]
fn a_clean_history_is_clean_in_both_formats() {
    for format in [DeadLetterFormat::Record, DeadLetterFormat::Envelope] {
        let history = clean(format);
        assert!(history.letters.len() > 5 && history.payments.len() > 100);
        assert_eq!(check(&history), [], "{format:?}");
    }
}

#[test]
fn at_least_once_may_repeat_an_end_and_nothing_else() {
    let mut history = clean(DeadLetterFormat::Record);
    history.delivery = Delivery::AtLeastOnce;
    history.payments.push(history.payments[3].clone());
    history.letters.push(history.letters[0].clone());
    assert_eq!(check(&history), []);
    history.letters.push(letter(&history.orders[0].clone(), DeadLetterFormat::Record, 99));
    let found: Vec<&str> = check(&history).iter().map(Anomaly::name).collect();
    assert_eq!(found, ["WrongEnd"]);
}

/// A header of the first letter that is not ours.
fn without_header(history: &mut History) {
    let letter = history.letters.iter_mut().find(|letter| letter.header("chaos-number").is_some()).unwrap();
    letter.headers.retain(|header| header.name != "chaos-number");
}

fn whole_letter(history: &mut History) -> &mut ConsumedRecord {
    history.letters.iter_mut().find(|letter| letter.payload.as_ref().is_some_and(|payload| payload.len() > 10)).unwrap()
}

#[test]
fn every_kind_of_anomaly_is_found() {
    type Damage = fn(&mut History);
    let cases: [(&str, Damage, &[&str]); 25] = [
        ("an acknowledged order is gone with its end", |h| lose(h, 5), &["OrderLost", "Effects"]),
        ("another order is where it was acknowledged", |h| h.attempts[2].fate = h.attempts[4].fate, &["OrderLost"]),
        ("an order lies twice on its topic", |h| repeat_order(h, 0), &["OrderRepeated", "NoEnd", "Effects"]),
        ("a rejected order has arrived", |h| h.attempts[18].fate = Fate::Rejected, &["OrderRepeated"]),
        ("an order came that nobody sent", |h| h.orders.push(consumed("orders", 0, 900, Record::to("o"))), &["Stray"]),
        ("an order is not as it was sent", |h| h.orders[0].payload = Some("{}".into()), &["Stray", "OrderLost", "Stray", "Effects"]),
        ("an order has no end", |h| drop(h.payments.remove(7)), &["NoEnd"]),
        ("a poison record has no end", |h| drop(h.letters.remove(0)), &["NoEnd"]),
        ("an order is paid twice", |h| h.payments.push(h.payments[7].clone()), &["SeveralEnds"]),
        ("a dead letter comes twice", |h| h.letters.push(h.letters[0].clone()), &["SeveralEnds"]),
        ("a paid order is dead too", |h| h.letters.push(letter(&h.orders[0].clone(), DeadLetterFormat::Record, 99)), &["WrongEnd"]),
        ("a payment names no order", |h| h.payments[7].headers.clear(), &["Stray", "NoEnd"]),
        ("a payment names a place without an order", |h| rename(h, "orders/0/100000"), &["Stray", "NoEnd"]),
        ("a payment has another key", |h| h.payments[7].key = Some("customer-x".into()), &["PaymentAltered"]),
        ("a payment pays another order", |h| h.payments[7].payload = h.payments[8].payload.clone(), &["PaymentAltered"]),
        ("a letter has another key", |h| h.letters[0].key = None, &["LetterAltered"]),
        ("a letter has lost a header", without_header, &["LetterAltered"]),
        ("a letter has another value", |h| whole_letter(h).payload = Some(Bytes::from_static(b"x")), &["LetterAltered"]),
        ("a letter has no reason", |h| h.letters[0].headers.retain(|header| !header.name.ends_with("error-type")), &["LetterAltered"]),
        ("two payments of a key have changed places", swap_payments, &["OutOfOrder"]),
        ("an order was paid again at the service", |h| *h.effects.values_mut().next().unwrap() = 2, &["Effects"]),
        ("the service paid what nobody ordered", |h| assert_eq!(h.effects.insert(Uuid::nil(), 1), None), &["Effects"]),
        ("the group is behind the end", |h| h.progress.values_mut().next().unwrap().committed = Some(1), &["Offset"]),
        ("the group is beyond the end", |h| h.progress.values_mut().next().unwrap().end -= 1, &["Offset"]),
        ("a transaction hangs", hang, &["Unstable", "Open"]),
    ];
    for (what, damage, expected) in cases {
        let mut history = clean(DeadLetterFormat::Record);
        damage(&mut history);
        let found = check(&history);
        assert_eq!(found.iter().map(Anomaly::name).collect::<Vec<_>>(), expected, "{what}: {found:?}");
    }
}

#[test]
fn an_envelope_is_compared_with_its_record() {
    for (damage, fault) in [
        ("originalKey", "another original key"),
        ("originalValue", "another value"),
        ("originalTopic", "another original topic"),
        ("errorType", "no error type"),
    ] {
        let mut history = clean(DeadLetterFormat::Envelope);
        let altered = whole_letter(&mut history);
        let mut envelope: Value = serde_json::from_slice(altered.payload.as_ref().unwrap()).unwrap();
        envelope[damage] = Value::Null;
        altered.payload = Some(envelope.to_string().into());
        let found = check(&history);
        assert!(matches!(&found[..], [Anomaly::LetterAltered { fault: found, .. }] if found == fault), "{damage}: {found:?}");
    }
}

/// The record of the order, and what followed from it, except at the payment service.
fn lose(history: &mut History, offset: i64) {
    history.orders.retain(|record| record.offset != offset);
    history.payments.retain(|payment| source(payment).unwrap().offset != offset);
}

fn repeat_order(history: &mut History, index: usize) {
    let offset = 5_000;
    history.orders.push(ConsumedRecord { offset, ..history.orders[index].clone() });
}

fn rename(history: &mut History, source: &'static str) {
    let header = Header { name: SOURCE.to_owned(), value: Some(source.into()) };
    history.payments[7].headers = vec![header];
}

fn swap_payments(history: &mut History) {
    let key = history.payments[0].key.clone();
    let next = history.payments.iter().skip(1).position(|payment| payment.key == key).unwrap() + 1;
    history.payments.swap(0, next);
}

fn hang(history: &mut History) {
    history.stable[0].stable -= 3;
    history.open.push(OpenTransaction { transactional_id: "t".into(), state: "Ongoing".into() });
}

#[test]
fn the_first_order_of_the_clean_history_is_good() {
    assert_eq!(clean(DeadLetterFormat::Record).attempts[0].order.kind, Kind::Good);
}
