//! Partitions that stand still until they are told where to begin. Pure, but for a lock.
//!
//! Each time that a partition comes it has another number, so that what was found out for an earlier time never places it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::TopicPartition;

/// A partition that stands still, for as long as it has not been begun or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The partition.
    pub partition: TopicPartition,
    number: u64,
}

impl Held {
    /// A partition that stands still in something that stands in for a [`crate::Consumer`], for example in tests. To a consumer
    /// one with a number that it has not given itself means nothing.
    pub fn new(partition: TopicPartition, number: u64) -> Self {
        Self { partition, number }
    }
}

/// All that stand still.
#[derive(Default)]
pub(super) struct Holding(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    last: u64,
    held: BTreeMap<TopicPartition, u64>,
}

impl Holding {
    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(&self, partitions: &[TopicPartition]) {
        let mut numbers = self.lock();
        for partition in partitions {
            numbers.last += 1;
            let number = numbers.last;
            numbers.held.insert(partition.clone(), number);
        }
    }

    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        self.lock().held.retain(|partition, _| !partitions.contains(partition));
    }

    pub(super) fn all(&self) -> Vec<Held> {
        self.lock().held.iter().map(|(partition, number)| Held { partition: partition.clone(), number: *number }).collect()
    }

    pub(super) fn holds(&self, partition: &TopicPartition) -> bool {
        self.lock().held.contains_key(partition)
    }

    /// Whether it still stands still, since the same time.
    pub(super) fn is_current(&self, held: &Held) -> bool {
        self.lock().held.get(&held.partition) == Some(&held.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_for_an_earlier_time_counts_no_more() {
        let (holding, partitions) = (Holding::default(), [TopicPartition::new("t", 0), TopicPartition::new("t", 1)]);
        holding.hold(&partitions);
        let earlier = holding.all();
        assert_eq!(earlier.iter().map(|held| held.partition.clone()).collect::<Vec<_>>(), partitions);
        assert!(earlier.iter().all(|held| holding.is_current(held)));
        holding.forget(&partitions[..1]);
        holding.hold(&partitions[..1]);
        assert_eq!(earlier.iter().map(|held| holding.is_current(held)).collect::<Vec<_>>(), [false, true]);
        assert!(holding.holds(&partitions[0]) && holding.all().iter().all(|held| holding.is_current(held)));
        holding.forget(&partitions);
        assert!(holding.all().is_empty() && !holding.holds(&partitions[1]));
    }
}
