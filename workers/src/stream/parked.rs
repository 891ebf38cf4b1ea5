//! The partitions of retry topics whose next record is not due. Pure.
//!
//! What is read of such a partition meanwhile is dropped: the reader goes back to that record once it is due.

use std::collections::HashMap;

use penstock_kafka::{ConsumedRecord, TopicPartition};

use super::books::Assignment;

/// The record that a partition waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub partition: TopicPartition,
    pub offset: i64,
    assignment: Assignment,
}

/// The partitions that stand still.
#[derive(Debug, Default)]
pub(crate) struct Parked(HashMap<TopicPartition, (Assignment, i64)>);

impl Parked {
    /// Whether the record is of a partition that stands still.
    pub fn is_parked(&self, record: &ConsumedRecord) -> bool {
        !self.0.is_empty() && self.0.contains_key(&record.topic_partition())
    }

    /// Whether the partition stands still.
    pub fn holds_up(&self, partition: &TopicPartition) -> bool {
        self.0.contains_key(partition)
    }

    /// The partition stands still from this record on.
    pub fn park(&mut self, record: &ConsumedRecord, assignment: Assignment) -> Spot {
        let partition = record.topic_partition();
        self.0.insert(partition.clone(), (assignment, record.offset));
        Spot { partition, offset: record.offset, assignment }
    }

    /// Whether the partition still waits for that record, in the same assignment.
    pub fn holds(&self, spot: &Spot) -> bool {
        self.0.get(&spot.partition) == Some(&(spot.assignment, spot.offset))
    }

    /// The partition goes on. False: it did not wait for that record any more.
    pub fn release(&mut self, spot: &Spot) -> bool {
        let held = self.holds(spot);
        if held {
            self.0.remove(&spot.partition);
        }
        held
    }

    /// These assignments are over.
    pub fn forget(&mut self, gone: &[Assignment]) {
        self.0.retain(|_, (assignment, _)| !gone.contains(assignment));
    }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::TimestampType;

    use super::*;

    fn record(offset: i64) -> ConsumedRecord {
        ConsumedRecord {
            topic: "t".into(),
            partition: 1,
            offset,
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            key: None,
            payload: None,
            headers: vec![],
        }
    }

    #[test]
    fn a_partition_stands_still_until_its_record_is_due() {
        let mut parked = Parked::default();
        assert!(!parked.is_parked(&record(5)));
        let spot = parked.park(&record(5), 1);
        assert!(parked.is_parked(&record(6)) && parked.holds(&spot));
        assert!(parked.release(&spot) && !parked.release(&spot) && !parked.is_parked(&record(5)));
    }

    #[test]
    fn an_earlier_assignment_wakes_nobody() {
        let mut parked = Parked::default();
        let old = parked.park(&record(5), 1);
        parked.forget(&[1]);
        assert!(!parked.holds(&old));
        let new = parked.park(&record(5), 2);
        assert!(!parked.release(&old) && parked.release(&new));
    }
}
