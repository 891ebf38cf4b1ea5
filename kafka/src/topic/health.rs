//! How the replicas of a topic are, from its description. Pure.

use std::collections::BTreeSet;

use super::{PartitionInfo, TopicDescription};

/// How many partitions of a topic lack something. One that lacks more counts for less, too: one without a leader is below the
/// minimum, and under-replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaHealth {
    /// Partitions some of whose replicas are not in sync: they are safe on fewer brokers than they shall be.
    pub under_replicated: i32,
    /// Partitions with fewer replicas in sync than `min.insync.replicas`: they take nothing from producers with `acks=all`.
    pub under_min_isr: i32,
    /// Partitions without a leader: they can be neither written nor read.
    pub offline: i32,
    /// The brokers whose replicas are not in sync, or do not lead where nobody does.
    pub lagging: BTreeSet<i32>,
}

impl TopicDescription {
    /// How the replicas are. `min_isr`: the topic's `min.insync.replicas`, in force wherever it comes from.
    pub fn health(&self, min_isr: usize) -> ReplicaHealth {
        let mut health = ReplicaHealth::default();
        for partition in &self.partitions {
            let is_offline = partition.leader.is_none();
            let is_under_min_isr = is_offline || partition.isr.len() < effective(min_isr, partition);
            let is_under_replicated = is_under_min_isr || partition.isr.len() < partition.replicas.len();
            health.offline += i32::from(is_offline);
            health.under_min_isr += i32::from(is_under_min_isr);
            health.under_replicated += i32::from(is_under_replicated);
            // The last one that was in sync stays in the list when it is gone, too.
            health.lagging.extend(partition.replicas.iter().filter(|broker| is_offline || !partition.isr.contains(broker)));
        }
        health
    }
}

/// Brokers ask of a partition no more replicas in sync than it has.
fn effective(min_isr: usize, partition: &PartitionInfo) -> usize {
    min_isr.min(partition.replicas.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicId;

    #[test]
    fn each_partition_counts_for_what_it_lacks() {
        let (three, two) = ([0, 1, 2].as_slice(), [0, 1].as_slice());
        for (name, min_isr, partitions, counts, lagging) in [
            ("none", 2, vec![], [0, 0, 0], vec![]),
            ("all in sync", 2, vec![(Some(0), three, three)], [0, 0, 0], vec![]),
            ("one broker is gone", 2, vec![(Some(0), three, two), (Some(1), three, three)], [1, 0, 0], vec![2]),
            ("two are gone", 2, vec![(Some(0), three, &[0][..])], [1, 1, 0], vec![1, 2]),
            ("all are gone", 2, vec![(None, three, &[0][..]), (Some(0), three, two)], [2, 1, 1], vec![0, 1, 2]),
            ("the only one is gone", 1, vec![(None, &[2][..], &[2][..])], [1, 1, 1], vec![2]),
            ("a minimum above the replicas", 2, vec![(Some(2), &[2][..], &[2][..])], [0, 0, 0], vec![]),
        ] {
            let mut topic = TopicDescription::new("t", TopicId::from_halves(0, 1));
            topic.partitions = partitions
                .into_iter()
                .map(|(leader, replicas, isr)| PartitionInfo {
                    leader,
                    replicas: replicas.to_vec(),
                    isr: isr.to_vec(),
                    ..PartitionInfo::new(0)
                })
                .collect();
            let [under_replicated, under_min_isr, offline] = counts;
            let expected = ReplicaHealth { under_replicated, under_min_isr, offline, lagging: lagging.into_iter().collect() };
            assert_eq!(topic.health(min_isr), expected, "{name}");
        }
    }
}
