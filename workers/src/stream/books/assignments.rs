//! Which partitions are this worker's, and what goes on in them.

use std::sync::Arc;

use penstock_kafka::TopicPartition;

use super::Books;
use crate::stream::{
    partition::Partition,
    ticket::{ASSIGNMENTS, Assignment},
};

impl Books {
    /// Partitions came.
    pub fn assign(&mut self, partitions: &[TopicPartition]) {
        self.latest = None;
        for name in partitions {
            self.last_assignment = (self.last_assignment + 1) % ASSIGNMENTS;
            self.index.insert((Arc::from(name.topic.as_str()), name.partition), self.last_assignment);
            self.partitions.insert(self.last_assignment, Partition::new(name.clone()));
        }
    }

    /// Partitions go away: nothing more of them starts. Gives back their assignments.
    pub fn close(&mut self, partitions: &[TopicPartition]) -> Vec<Assignment> {
        self.latest = None;
        let keys = partitions.iter().map(|p| (Arc::from(p.topic.as_str()), p.partition));
        let closed: Vec<Assignment> = keys.filter_map(|key| self.index.remove(&key)).collect();
        self.stop(&closed);
        closed
    }

    /// All partitions go away, because the worker ends.
    pub fn close_all(&mut self) {
        self.index.clear();
        self.latest = None;
        let all: Vec<Assignment> = self.partitions.keys().copied().collect();
        self.stop(&all);
    }

    fn stop(&mut self, closed: &[Assignment]) {
        for assignment in closed {
            if let Some(partition) = self.partitions.get_mut(assignment) {
                partition.closing = true;
            }
        }
        self.lanes.remove(|(assignment, _)| closed.contains(assignment));
        self.startable.retain(|ticket| !closed.contains(&ticket.assignment));
    }

    /// Partitions are gone: what is left of them counts for nothing.
    pub fn forget(&mut self, assignments: &[Assignment]) {
        // What was put off while the partitions closed has taken its lane again.
        self.lanes.remove(|(assignment, _)| assignments.contains(assignment));
        for assignment in assignments {
            if let Some(precedence) = &mut self.precedence {
                precedence.remove(|(lane, _)| lane == assignment);
            }
            if let Some(partition) = self.partitions.remove(assignment) {
                for slot in partition.unsettled() {
                    self.tally(slot.station).remove(slot.bytes, slot.decided);
                }
            }
        }
    }

    /// How many partitions this worker has.
    pub fn assigned(&self) -> usize {
        self.partitions.len()
    }

    /// The partition of that assignment, as long as it is here.
    pub fn name_of(&self, assignment: Assignment) -> Option<&TopicPartition> {
        self.partitions.get(&assignment).map(|partition| &partition.name)
    }

    /// Which assignment of the partition there is now.
    pub fn current(&self, topic: &Arc<str>, partition: i32) -> Option<Assignment> {
        self.index.get(&(Arc::clone(topic), partition)).copied()
    }

    /// The same for a partition by its name.
    pub fn current_of(&self, name: &TopicPartition) -> Option<Assignment> {
        self.index.get(&(Arc::from(name.topic.as_str()), name.partition)).copied()
    }

    /// Whether nothing of that assignment is in memory: everything that was taken is settled.
    pub fn is_settled(&self, assignment: Assignment) -> bool {
        self.partitions.get(&assignment).is_none_or(|partition| partition.unsettled().next().is_none())
    }

    /// Whether no record of these assignments has effects any more.
    pub fn are_idle(&self, assignments: &[Assignment]) -> bool {
        assignments.iter().filter_map(|assignment| self.partitions.get(assignment)).all(|partition| partition.busy == 0)
    }

    /// Whether no record at all has effects any more.
    pub fn is_idle(&self) -> bool {
        self.partitions.values().all(|partition| partition.busy == 0)
    }

    /// Whether something that follows from a record of these assignments is on its way to Kafka.
    pub fn is_writing(&self, assignments: &[Assignment]) -> bool {
        assignments.iter().filter_map(|assignment| self.partitions.get(assignment)).any(Partition::is_writing)
    }

    /// The same for any record.
    pub fn is_writing_any(&self) -> bool {
        self.partitions.values().any(Partition::is_writing)
    }
}
