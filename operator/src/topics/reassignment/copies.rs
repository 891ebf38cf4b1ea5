//! Where the copies of a topic's partitions are, and where they are going. Pure.

use std::collections::{BTreeMap, BTreeSet};

use penstock_kafka::{BrokerInfo, OngoingReassignment, PartitionInfo};

/// Where the copies of a topic are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// Each partition's.
    pub partitions: Vec<Copies>,
    /// The brokers that are up.
    pub brokers: Vec<BrokerInfo>,
    /// The racks of brokers, of those too that are down, as far as they are known.
    pub racks: BTreeMap<i32, String>,
    /// Differs from topic to topic, so that not all of them begin with the same broker.
    pub seed: usize,
}

/// Where the copies of a partition are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// The partition.
    pub partition: i32,
    /// The broker that leads it.
    pub leader: Option<i32>,
    /// The brokers that hold it, the preferred leader first.
    pub held: Vec<i32>,
    /// Those that are in sync.
    pub in_sync: Vec<i32>,
    /// Where it is going.
    pub ongoing: Option<OngoingReassignment>,
}

impl Copies {
    /// What was described, and what is under way for it.
    #[must_use]
    pub fn new(info: PartitionInfo, ongoing: Option<OngoingReassignment>) -> Self {
        let held = ongoing.as_ref().map_or(info.replicas, OngoingReassignment::held);
        Self { partition: info.id, leader: info.leader, held, in_sync: info.isr, ongoing }
    }

    /// The brokers that hold it once nothing is under way.
    #[must_use]
    pub fn target(&self) -> Vec<i32> {
        self.ongoing.as_ref().map_or_else(|| self.held.clone(), OngoingReassignment::target)
    }
}

impl Replication {
    /// The numbers of copies that partitions have.
    #[must_use]
    pub fn factors(&self) -> BTreeSet<i16> {
        self.partitions.iter().map(|copies| factor(&copies.held)).collect()
    }

    /// The smallest number that differs from this one, if one does.
    #[must_use]
    pub fn other_than(&self, declared: i16) -> Option<i16> {
        self.factors().into_iter().find(|factor| *factor != declared)
    }

    /// Those that they have once nothing is under way.
    #[must_use]
    pub fn factors_to_come(&self) -> BTreeSet<i16> {
        self.partitions.iter().map(|copies| factor(&copies.target())).collect()
    }

    /// What is under way.
    pub fn ongoing(&self) -> impl Iterator<Item = (&Copies, &OngoingReassignment)> {
        self.partitions.iter().filter_map(|copies| Some((copies, copies.ongoing.as_ref()?)))
    }

    /// Whether a broker is up.
    #[must_use]
    pub fn is_up(&self, broker: i32) -> bool {
        self.brokers.iter().any(|up| up.id == broker)
    }
}

fn factor(brokers: &[i32]) -> i16 {
    i16::try_from(brokers.len()).unwrap_or(i16::MAX)
}
