//! The table as the runtime feeds it and requests ask it: [`OrderTable`] behind a lock, with metrics.
//!
//! No lock is held longer than one lookup or one merge.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use penstock_kafka::ConsumedRecord;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use uuid::Uuid;

use super::{
    reading::{Content, Reading, read},
    table::{Known, OrderTable},
};
use crate::{idempotency::KeyId, table::TableSink};

/// Every order that the followed topics tell of.
#[derive(Debug, Default)]
pub struct Orders {
    table: RwLock<OrderTable>,
    /// The order that came with a key, and the topic that says so.
    keys: RwLock<HashMap<KeyId, (Uuid, Arc<str>)>>,
    records: Family<Read, Counter>,
    known: Gauge<i64, AtomicI64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Read {
    topic: String,
    result: &'static str,
}

impl Orders {
    /// An order, if it is known.
    #[must_use]
    pub fn get(&self, order_id: &Uuid) -> Option<Known> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(order_id)
    }

    /// The order that was accepted with that key, if it is known.
    #[must_use]
    pub fn with_key(&self, key: KeyId) -> Option<Uuid> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&key).map(|(order_id, _)| *order_id)
    }

    /// Takes in a record of that topic; none of its bytes can make it fail. Tells what came of it, in a word for metrics.
    pub fn take(&self, topic: &Arc<str>, record: Content<'_>) -> &'static str {
        match read(record) {
            Ok(Reading::About(order_id, facts)) => {
                if let Some(key) = record.idempotency_key() {
                    let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                    keys.entry(key).or_insert_with(|| (order_id, Arc::clone(topic)));
                }
                self.change(|table| facts.into_iter().for_each(|fact| table.apply(order_id, topic, fact)));
                "applied"
            }
            Ok(Reading::Elsewhere) => "ignored",
            Err(why) => {
                tracing::debug!(%topic, %why, "skipped a malformed record");
                "malformed"
            }
        }
    }

    /// Adds the table's metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("orders_records_read", "Records of followed topics, by what they said", self.records.clone());
        registry.register("orders_known", "Orders that the table holds", self.known.clone());
    }

    fn change(&self, change: impl FnOnce(&mut OrderTable)) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut table);
        self.known.inner().store(i64::try_from(table.len()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl TableSink for Orders {
    fn apply(&self, record: &ConsumedRecord) {
        let ConsumedRecord { key, payload, headers, timestamp_ms, .. } = record;
        let content = Content { key: key.as_deref(), payload: payload.as_deref(), headers, timestamp_ms: *timestamp_ms };
        let result = self.take(&record.topic, content);
        self.records.get_or_create(&Read { topic: record.topic.to_string(), result }).inc();
    }

    fn forget(&self, topic: &str) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, told_by)| **told_by != *topic);
        self.change(|table| table.forget(topic));
    }
}
