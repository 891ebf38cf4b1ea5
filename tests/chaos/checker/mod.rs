//! Says everything that is wrong with what a run left behind. Pure.
//!
//! It trusts nothing but the log of attempts and what lies in Kafka: each record is followed from the topic of orders to
//! its ends by the position that its payment or dead letter names, and compared with what was sent.

mod anomaly;
mod letter;
mod sent;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use penstock_kafka::ConsumedRecord;
use serde_json::Value;

use crate::{
    history::{Delivery, History, Position, SOURCE},
    order::End,
};

pub use anomaly::Anomaly;
use sent::Sent;

/// Everything that is wrong.
#[must_use]
pub fn check(history: &History) -> Vec<Anomaly> {
    let (sent, mut anomalies) = Sent::read(history);
    let ends = Ends::read(history, &sent, &mut anomalies);
    anomalies.extend(ends.counts(history.delivery, &sent));
    anomalies.extend(order_within_keys(history, &sent));
    anomalies.extend(effects(history, &sent));
    anomalies.extend(offsets(history));
    anomalies
}

/// The ends of each record of the topic of orders.
#[derive(Default)]
struct Ends(BTreeMap<Position, (usize, usize)>);

impl Ends {
    fn read(history: &History, sent: &Sent<'_>, anomalies: &mut Vec<Anomaly>) -> Self {
        let mut ends = Self::default();
        for payment in &history.payments {
            match source(payment).filter(|position| sent.is_at(*position)) {
                None => anomalies.push(Anomaly::Stray { topic: payment.topic.to_string(), at: Position::of(payment) }),
                Some(position) => {
                    ends.0.entry(position).or_default().0 += 1;
                    anomalies.extend(altered_payment(payment, position, sent));
                }
            }
        }
        for dead in &history.letters {
            match letter::origin(dead).filter(|position| sent.is_at(*position)) {
                None => anomalies.push(Anomaly::Stray { topic: dead.topic.to_string(), at: Position::of(dead) }),
                Some(position) => {
                    ends.0.entry(position).or_default().1 += 1;
                    let record = sent.record(position);
                    let faults = record.map(|record| letter::faults(dead, record)).unwrap_or_default();
                    anomalies.extend(faults.into_iter().map(|fault| Anomaly::LetterAltered { of: position, fault }));
                }
            }
        }
        ends
    }

    fn counts(&self, delivery: Delivery, sent: &Sent<'_>) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        for (position, order) in sent.orders() {
            let (payments, letters) = self.0.get(&position).copied().unwrap_or_default();
            let (right, wrong) = match order.kind.end() {
                End::Payment => (payments, letters),
                End::DeadLetter => (letters, payments),
            };
            let (of, kind) = (position, order.kind);
            if payments + letters == 0 {
                anomalies.push(Anomaly::NoEnd { of, number: order.number, kind });
            } else if wrong > 0 {
                anomalies.push(Anomaly::WrongEnd { of, kind, payments, letters });
            } else if right > 1 && delivery == Delivery::ExactlyOnce {
                anomalies.push(Anomaly::SeveralEnds { of, kind, times: right });
            }
        }
        anomalies
    }
}

/// The record that a payment is for.
fn source(payment: &ConsumedRecord) -> Option<Position> {
    let value = payment.header(SOURCE)?.value.as_ref()?;
    let mut parts = std::str::from_utf8(value).ok()?.rsplit('/');
    let (offset, partition) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Position { partition, offset })
}

fn altered_payment(payment: &ConsumedRecord, of: Position, sent: &Sent<'_>) -> Option<Anomaly> {
    let order = sent.order(of)?;
    let paid: Option<Value> = payment.payload.as_deref().and_then(|payload| serde_json::from_slice(payload).ok());
    let id = paid.as_ref().and_then(|paid| paid.pointer("/data/orderId")?.as_str());
    if payment.key.as_ref() != Some(&order.key) {
        return Some(Anomaly::PaymentAltered { of, fault: format!("its key is {:?} and not {:?}", payment.key, order.key) });
    }
    let expected = order.id.to_string();
    (id != Some(expected.as_str())).then(|| Anomaly::PaymentAltered { of, fault: format!("it pays {id:?} and not {expected}") })
}

/// Payments of a key come in the order of its orders. At least once: their first ones do.
fn order_within_keys(history: &History, sent: &Sent<'_>) -> Vec<Anomaly> {
    let mut last: BTreeMap<(i32, Option<&Bytes>), Position> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut anomalies = Vec::new();
    for payment in &history.payments {
        let Some(position) = source(payment).filter(|position| sent.is_at(*position)) else { continue };
        // A repeat is counted elsewhere, and stands where a crash put it.
        if !seen.insert(position) {
            continue;
        }
        let lane = (payment.partition, payment.key.as_ref());
        if let Some(before) = last.insert(lane, position)
            && before.partition == position.partition
            && before.offset > position.offset
        {
            anomalies.push(Anomaly::OutOfOrder { first: position, came_after: before });
        }
    }
    anomalies
}

/// The payment service has paid each order once that had to be paid, and no other.
fn effects(history: &History, sent: &Sent<'_>) -> Vec<Anomaly> {
    let mut expected: BTreeMap<_, u64> = history.effects.keys().map(|id| (*id, 0)).collect();
    for (_, order) in sent.orders().filter(|(_, order)| order.kind.end() == End::Payment) {
        *expected.entry(order.id).or_default() += 1;
    }
    let paid = |id| history.effects.get(id).copied().unwrap_or(0);
    let wrong = expected.iter().filter(|(id, times)| paid(id) != **times);
    wrong.map(|(id, times)| Anomaly::Effects { order: *id, times: paid(id), expected: *times }).collect()
}

fn offsets(history: &History) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    for ((topic, partition), progress) in &history.progress {
        let is_untouched = progress.start == progress.end && progress.committed.is_none();
        if progress.committed != Some(progress.end) && !is_untouched {
            anomalies.push(Anomaly::Offset {
                topic: topic.clone(),
                partition: *partition,
                committed: progress.committed,
                end: progress.end,
            });
        }
    }
    for stable in history.stable.iter().filter(|stable| stable.stable < stable.end) {
        anomalies.push(Anomaly::Unstable(stable.clone()));
    }
    anomalies.extend(history.open.iter().cloned().map(Anomaly::Open));
    anomalies
}

#[cfg(test)]
mod tests;
