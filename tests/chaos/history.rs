//! What a run leaves behind: everything that was tried, and everything that was found afterwards. Plain values.

use std::{collections::BTreeMap, fmt};

use clap::ValueEnum;
use penstock_kafka::ConsumedRecord;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::order::Order;

/// The header in which a payment names the record of its order, as `<topic>/<partition>/<offset>`.
pub const SOURCE: &str = "chaos-source";

/// What a worker promises about each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Delivery {
    /// Every record has an end; after a crash it may have it again.
    AtLeastOnce,
    /// Every record has exactly one end.
    ExactlyOnce,
}

/// A place on the topic of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

impl Position {
    /// Where a record lies.
    #[must_use]
    pub fn of(record: &ConsumedRecord) -> Self {
        Self { partition: record.partition, offset: record.offset }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

/// What became of an attempt to put an order on its topic, as far as the sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Kafka has it there.
    Acknowledged(Position),
    /// Kafka does not have it: refused, never sent, or written in a transaction that was aborted.
    Rejected,
    /// No answer came.
    Unknown,
}

/// An attempt to put an order on its topic. There is one for each order.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The order.
    pub order: Order,
    /// What became of it.
    pub fate: Fate,
}

/// A partition of the topic of orders, and how far the group has come in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What the group has committed.
    pub committed: Option<i64>,
    /// Where the partition begins.
    pub start: i64,
    /// Where the next record would be written.
    pub end: i64,
}

/// A partition of any topic of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stable {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The last offset that a reader of committed records gets to.
    pub stable: i64,
    /// Where the next record would be written.
    pub end: i64,
}

/// A transaction that is neither committed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Of which producer.
    pub transactional_id: String,
    /// In Kafka's words.
    pub state: String,
}

/// What a run leaves behind. Records are those that a reader of committed records gets, in their order within each partition.
#[derive(Clone, Debug)]
pub struct History {
    /// What was promised.
    pub delivery: Delivery,
    /// All attempts.
    pub attempts: Vec<Attempt>,
    /// The topic of orders.
    pub orders: Vec<ConsumedRecord>,
    /// The topic of payments.
    pub payments: Vec<ConsumedRecord>,
    /// The dead letter topic.
    pub letters: Vec<ConsumedRecord>,
    /// The group on the topics that it reads, by topic and partition.
    pub progress: BTreeMap<(String, i32), Progress>,
    /// All partitions of all topics.
    pub stable: Vec<Stable>,
    /// What is open when all is over.
    pub open: Vec<OpenTransaction>,
    /// How often each order was really paid at the payment service.
    pub effects: BTreeMap<Uuid, u64>,
}
