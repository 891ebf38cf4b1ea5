//! The partitions that stand still, and why.
//!
//! What is read of such a partition meanwhile is dropped: the reader goes back to the record that could not be taken once
//! what hindered it is over.

use std::collections::BTreeMap;

use penstock_kafka::{ConsumedRecord, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::{holds::Hindrance, ticket::Assignment};

/// The record that a partition waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub partition: TopicPartition,
    pub offset: i64,
    assignment: Assignment,
}

#[derive(Debug)]
struct Place {
    spot: Spot,
    /// None: only time.
    hindrance: Option<Hindrance>,
    over: CancellationToken,
}

/// The partitions that stand still.
#[derive(Debug, Default)]
pub(crate) struct Parked(BTreeMap<TopicPartition, Place>);

impl Parked {
    /// Whether the record is of a partition that stands still.
    pub fn is_parked(&self, record: &ConsumedRecord) -> bool {
        !self.0.is_empty() && self.0.contains_key(&record.topic_partition())
    }

    /// Whether the partition stands still.
    pub fn holds_up(&self, partition: &TopicPartition) -> bool {
        self.0.contains_key(partition)
    }

    /// The partition stands still from this record on. The token tells when the hindrance is over.
    pub fn park(&mut self, record: &ConsumedRecord, assignment: Assignment, hindrance: Option<Hindrance>) -> (Spot, CancellationToken) {
        let partition = record.topic_partition();
        let spot = Spot { partition: partition.clone(), offset: record.offset, assignment };
        let over = CancellationToken::new();
        self.0.insert(partition, Place { spot: spot.clone(), hindrance, over: over.clone() });
        (spot, over)
    }

    /// A hindrance is over. What is known of a family again may be another than before, so that nothing else hinders it either.
    pub fn free(&self, hindrance: &Hindrance) {
        let is_over = |of: &Hindrance| match hindrance {
            Hindrance::Unknown(family) => of.family() == family,
            _ => of == hindrance,
        };
        self.0.values().filter(|place| place.hindrance.as_ref().is_some_and(is_over)).for_each(|place| place.over.cancel());
    }

    /// Whether the partition still waits for that record, in the same assignment.
    pub fn holds(&self, spot: &Spot) -> bool {
        self.0.get(&spot.partition).is_some_and(|place| place.spot == *spot)
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
        self.0.retain(|_, place| {
            let stays = !gone.contains(&place.spot.assignment);
            if !stays {
                place.over.cancel();
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::TimestampType;

    use super::{super::holds::Family, *};

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
    fn a_partition_stands_still_until_its_record_can_be_taken() {
        let mut parked = Parked::default();
        assert!(!parked.is_parked(&record(5)));
        let (spot, _) = parked.park(&record(5), 1, None);
        assert!(parked.is_parked(&record(6)) && parked.holds(&spot));
        assert!(parked.release(&spot) && !parked.release(&spot) && !parked.is_parked(&record(5)));
    }

    #[test]
    fn an_earlier_assignment_wakes_nobody() {
        let mut parked = Parked::default();
        let (old, over) = parked.park(&record(5), 1, None);
        parked.forget(&[1]);
        assert!(!parked.holds(&old) && over.is_cancelled());
        let (new, _) = parked.park(&record(5), 2, None);
        assert!(!parked.release(&old) && parked.release(&new));
    }

    #[test]
    fn a_hindrance_ends_for_those_that_have_it() {
        let mut parked = Parked::default();
        let family = |partition| Family { source: "t".into(), partition };
        let behind = |key: &'static str| Hindrance::Behind(family(1), Some(key.into()));
        let (_, over) = parked.park(&record(5), 1, Some(behind("a")));
        for (hindrance, ends) in [(behind("b"), false), (Hindrance::Unknown(family(2)), false), (behind("a"), true)] {
            parked.free(&hindrance);
            assert_eq!(over.is_cancelled(), ends, "{hindrance:?}");
        }
        // Meanwhile another worker may have had the family.
        let (_, over) = parked.park(&record(5), 1, Some(behind("a")));
        parked.free(&Hindrance::Unknown(family(1)));
        assert!(over.is_cancelled());
    }
}
