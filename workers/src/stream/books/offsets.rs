//! Where a group begins in its partitions, how far it has come, and what it may commit.

use std::{collections::BTreeSet, sync::Arc};

use penstock_kafka::{GroupOffset, TopicPartition};

use super::Books;
use crate::{
    processor::Event,
    stream::{
        partition::{Partition, Reached},
        ticket::Assignment,
        tiers::Station,
    },
};

/// A position that a group may commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub assignment: Assignment,
    pub offset: GroupOffset,
}

/// What is left to be read of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// From this offset on.
    pub from: i64,
    /// But for these.
    pub settled: BTreeSet<i64>,
}

impl Books {
    /// The group begins there in the partition, with that beside each offset.
    pub fn begin_at(&mut self, assignment: Assignment, offset: i64, note: Arc<str>, is_committed: bool) {
        if let Some(partition) = self.partitions.get_mut(&assignment) {
            partition.begin(offset, note, is_committed);
            self.has_progressed = true;
        }
    }

    /// What stands beside each offset of that assignment.
    pub fn note_of(&self, assignment: Assignment) -> Option<Arc<str>> {
        self.partitions.get(&assignment)?.note()
    }

    /// Beside each offset of that assignment stands this from now on, also beside one that is committed.
    pub fn renote(&mut self, assignment: Assignment, note: Arc<str>) {
        if let Some(partition) = self.partitions.get_mut(&assignment) {
            partition.renote(note);
        }
    }

    /// What the next reader of the partition would have to read, as far as that is known.
    pub fn left_in(&self, name: &TopicPartition) -> Option<Left> {
        let partition = self.partitions.get(&self.current_of(name)?)?;
        Some(Left { from: partition.position()?, settled: partition.settled_ahead().collect() })
    }

    /// The records of the partition that are to wait beside it, which Kafka may not have yet.
    pub fn leaving(&self, name: &TopicPartition) -> impl Iterator<Item = (&Event, Station)> {
        let partition = self.current_of(name).and_then(|assignment| self.partitions.get(&assignment));
        partition.into_iter().flat_map(Partition::leaving)
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
                partition.committed(offset.next_offset, offset.metadata.as_ref());
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
