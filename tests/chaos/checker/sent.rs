//! The topic of orders against the log of attempts. Pure.
//!
//! What was acknowledged lies where Kafka said, once and to the byte; what was rejected does not lie there; what is unknown
//! lies there at most once; and nothing else does.

use std::collections::BTreeMap;

use penstock_kafka::ConsumedRecord;

use super::Anomaly;
use crate::{
    history::{Fate, History, Position},
    order::{NUMBER, Order},
};

/// The records of the topic of orders, and the order that each of them is.
pub struct Sent<'a> {
    at: BTreeMap<Position, (&'a ConsumedRecord, &'a Order)>,
}

impl<'a> Sent<'a> {
    /// Follows each record to its order.
    pub fn read(history: &'a History) -> (Self, Vec<Anomaly>) {
        let orders: BTreeMap<u64, &Order> = history.attempts.iter().map(|attempt| (attempt.order.number, &attempt.order)).collect();
        let (mut at, mut times, mut anomalies) = (BTreeMap::new(), BTreeMap::<u64, usize>::new(), Vec::new());
        for record in &history.orders {
            let position = Position::of(record);
            match number(record).and_then(|number| orders.get(&number)).filter(|order| is_the_same(record, order)) {
                Some(order) => {
                    at.insert(position, (record, *order));
                    *times.entry(order.number).or_default() += 1;
                }
                None => anomalies.push(Anomaly::Stray { topic: record.topic.to_string(), at: position }),
            }
        }
        let sent = Self { at };
        for attempt in &history.attempts {
            let times = times.get(&attempt.order.number).copied().unwrap_or(0);
            anomalies.extend(sent.fault(&attempt.order, attempt.fate, times));
        }
        (sent, anomalies)
    }

    fn fault(&self, order: &Order, fate: Fate, times: usize) -> Option<Anomaly> {
        let number = order.number;
        if let Fate::Acknowledged(at) = fate {
            let found = match self.order(at) {
                Some(found) if found.number == number => None,
                Some(found) => Some(format!("order {} is there", found.number)),
                None => Some("nothing is there".to_owned()),
            };
            if let Some(found) = found {
                return Some(Anomaly::OrderLost { number, at, found });
            }
        }
        let most = usize::from(fate != Fate::Rejected);
        (times > most).then_some(Anomaly::OrderRepeated { number, times, most })
    }

    /// Whether an order lies there.
    pub fn is_at(&self, position: Position) -> bool {
        self.at.contains_key(&position)
    }

    /// The record there.
    pub fn record(&self, position: Position) -> Option<&'a ConsumedRecord> {
        self.at.get(&position).map(|(record, _)| *record)
    }

    /// The order there.
    pub fn order(&self, position: Position) -> Option<&'a Order> {
        self.at.get(&position).map(|(_, order)| *order)
    }

    /// All of them.
    pub fn orders(&self) -> impl Iterator<Item = (Position, &'a Order)> + '_ {
        self.at.iter().map(|(position, (_, order))| (*position, *order))
    }
}

fn number(record: &ConsumedRecord) -> Option<u64> {
    std::str::from_utf8(record.header(NUMBER)?.value.as_deref()?).ok()?.parse().ok()
}

fn is_the_same(record: &ConsumedRecord, order: &Order) -> bool {
    record.key.as_ref() == Some(&order.key) && record.payload == order.payload && record.headers == order.headers
}
