//! Feeds the topics of the table to the orders, and the topic of the keys to the keys.

use std::sync::Arc;

use penstock_kafka::ConsumedRecord;

use crate::{idempotency::Kept, table::TableSink};

/// Both.
pub struct Followed {
    orders: Arc<dyn TableSink>,
    key_topic: String,
    keys: Arc<dyn TableSink>,
}

impl Followed {
    pub fn new(orders: Arc<dyn TableSink>, kept: &Kept) -> Self {
        Self { orders, key_topic: kept.topic().to_owned(), keys: kept.table() }
    }

    fn of(&self, topic: &str) -> &dyn TableSink {
        if topic == self.key_topic { &*self.keys } else { &*self.orders }
    }
}

impl TableSink for Followed {
    fn apply(&self, record: &ConsumedRecord) {
        self.of(&record.topic).apply(record);
    }

    fn forget(&self, topic: &str) {
        self.of(topic).forget(topic);
    }
}
