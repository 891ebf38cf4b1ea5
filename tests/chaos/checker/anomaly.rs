//! What can be wrong, with what a person needs to look for the reason.

use uuid::Uuid;

use crate::{
    history::{OpenTransaction, Position, Stable},
    order::Kind,
};

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Anomaly {
    /// An order that Kafka acknowledged is not where it said.
    #[error("order {number} was acknowledged at {at} of orders, but {found}")]
    OrderLost {
        /// Which order.
        number: u64,
        /// Where it should be.
        at: Position,
        /// What is there.
        found: String,
    },
    /// An order lies on its topic more often than it was sent.
    #[error("order {number} lies on its topic {times} times, expected at most {most}")]
    OrderRepeated {
        /// Which order.
        number: u64,
        /// How often.
        times: usize,
        /// How often at most.
        most: usize,
    },
    /// A record that nobody sent, or that follows from none that was.
    #[error("{topic}/{at} follows from nothing that was sent")]
    Stray {
        /// Where it lies.
        topic: String,
        /// Where in it.
        at: Position,
    },
    /// An order without payment and without dead letter.
    #[error("order {number} ({kind:?}) at {of} was lost: neither a payment nor a dead letter")]
    NoEnd {
        /// Its record.
        of: Position,
        /// Which order.
        number: u64,
        /// What it is like.
        kind: Kind,
    },
    /// An order with more than one payment or dead letter.
    #[error("the order at {of} ({kind:?}) has {times} ends")]
    SeveralEnds {
        /// Its record.
        of: Position,
        /// What it is like.
        kind: Kind,
        /// How many.
        times: usize,
    },
    /// An order that was paid and should not be, or the other way round.
    #[error("the order at {of} ({kind:?}) has {payments} payments and {letters} dead letters")]
    WrongEnd {
        /// Its record.
        of: Position,
        /// What it is like.
        kind: Kind,
        /// How many payments.
        payments: usize,
        /// How many dead letters.
        letters: usize,
    },
    /// A payment that is not that of its order.
    #[error("the payment of the order at {of} is not as it should be: {fault}")]
    PaymentAltered {
        /// The order's record.
        of: Position,
        /// What is wrong.
        fault: String,
    },
    /// A dead letter that does not hold its record as it was.
    #[error("the dead letter of the order at {of} is not as it should be: {fault}")]
    LetterAltered {
        /// The order's record.
        of: Position,
        /// What is wrong.
        fault: String,
    },
    /// A key's payments in another order than its orders.
    #[error("the payment of {first} came after that of {came_after}, of the same key")]
    OutOfOrder {
        /// The order that came first.
        first: Position,
        /// The order that was paid first.
        came_after: Position,
    },
    /// The payment service was made to pay too often, or not at all.
    #[error("order {order} was paid {times} times at the payment service, expected {expected}")]
    Effects {
        /// The order's id.
        order: Uuid,
        /// How often.
        times: u64,
        /// How often it should be.
        expected: u64,
    },
    /// The group has not come to the end of a partition, or beyond it.
    #[error("{topic}/{partition}: the group has committed {committed:?}, the end is {end}")]
    Offset {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What the group has committed.
        committed: Option<i64>,
        /// Where the partition ends.
        end: i64,
    },
    /// A partition in which readers of committed records do not get on.
    #[error("{}/{}: readers of committed records stand at {} and the end is {}", .0.topic, .0.partition, .0.stable, .0.end)]
    Unstable(Stable),
    /// A transaction that hangs.
    #[error("the transaction of {} hangs: {}", .0.transactional_id, .0.state)]
    Open(OpenTransaction),
}

impl Anomaly {
    /// The kind of anomaly, as one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::OrderLost { .. } => "OrderLost",
            Self::OrderRepeated { .. } => "OrderRepeated",
            Self::Stray { .. } => "Stray",
            Self::NoEnd { .. } => "NoEnd",
            Self::SeveralEnds { .. } => "SeveralEnds",
            Self::WrongEnd { .. } => "WrongEnd",
            Self::PaymentAltered { .. } => "PaymentAltered",
            Self::LetterAltered { .. } => "LetterAltered",
            Self::OutOfOrder { .. } => "OutOfOrder",
            Self::Effects { .. } => "Effects",
            Self::Offset { .. } => "Offset",
            Self::Unstable(_) => "Unstable",
            Self::Open(_) => "Open",
        }
    }
}
