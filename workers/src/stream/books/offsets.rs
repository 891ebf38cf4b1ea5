//! Where a group begins in its partitions, how far it has come, and what it may commit.

use std::sync::Arc;

use penstock_kafka::{GroupOffset, TopicPartition};

use super::Books;
use crate::stream::{
    partition::{Partition, Reached},
    ticket::Assignment,
};

/// A position that a group may commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub assignment: Assignment,
    pub offset: GroupOffset,
}

impl Books {
    /// The group begins there in the partition, with that beside each offset.
    pub fn begin_at(&mut self, assignment: Assignment, offset: i64, note: Arc<str>, is_committed: bool) {
        if let Some(partition) = self.partitions.get_mut(&assignment) {
            partition.begin(offset, note, is_committed);
            self.has_progressed = true;
        }
    }

    /// Where the next reader of the partition has to begin, as far as that is known.
    pub fn position_of(&self, name: &TopicPartition) -> Option<i64> {
        self.partitions.get(&self.current_of(name)?)?.position()
    }

    /// The reader has come to the end of a partition.
    pub fn reach_end(&mut self, name: &TopicPartition, offset: i64) {
        if let Some(partition) = self.current_of(name).and_then(|assignment| self.partitions.get_mut(&assignment)) {
            partition.reach_end(offset);
        }
    }

    /// What to commit, of these assignments or of all.
    pub fn to_commit(&self, only: Option<&[Assignment]>) -> Vec<Position> {
        let wanted = self.partitions.iter().filter(|(assignment, _)| only.is_none_or(|only| only.contains(assignment)));
        let position = |(assignment, partition): (&Assignment, &Partition)| {
            let next_offset = partition.to_commit()?;
            let TopicPartition { topic, partition: number } = partition.name.clone();
            Some(Position {
                assignment: *assignment,
                offset: GroupOffset { topic, partition: number, next_offset, metadata: partition.note() },
            })
        };
        wanted.filter_map(position).collect()
    }

    /// Kafka has acknowledged these commits.
    pub fn committed(&mut self, positions: &[Position]) {
        for Position { assignment, offset } in positions {
            if let Some(partition) = self.partitions.get_mut(assignment) {
                partition.committed(offset.next_offset);
                self.has_progressed = true;
            }
        }
    }

    /// The positions that Kafka has since this was asked last.
    pub fn take_progress(&mut self) -> Vec<Reached> {
        if !std::mem::take(&mut self.has_progressed) {
            return Vec::new();
        }
        self.partitions.values_mut().filter_map(Partition::take_progress).collect()
    }
}
