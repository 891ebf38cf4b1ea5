//! Chooses the brokers that hold each partition once it has another number of copies. Pure.
//!
//! As few copies move as can be: more of them are added to those that there are, fewer are taken from them, and the preferred leader stays the
//! first. New ones go only to brokers that are up, in the rack and then on the broker with the fewest; a broker that is down keeps what it holds.

use std::collections::{BTreeMap, HashMap};

use penstock_kafka::BrokerInfo;

use super::copies::{Copies, Replication};

/// There are not enough brokers up for the copies of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The partition.
    pub partition: i32,
    /// The most copies that it can have at present.
    pub most: usize,
}

/// The brokers of each partition that has another number of copies than wanted.
///
/// # Errors
/// There are not enough brokers for one of them: then nothing should move.
pub fn place(seen: &Replication, factor: usize) -> Result<BTreeMap<i32, Vec<i32>>, Shortage> {
    let mut loads = Loads::of(seen);
    let mut targets = BTreeMap::new();
    for copies in seen.partitions.iter().filter(|copies| copies.held.len() != factor) {
        let mut target = copies.held.clone();
        while target.len() > factor {
            let Some(at) = loads.to_leave(copies, &target, seen) else { break };
            loads.shift(target.remove(at), -1);
        }
        while target.len() < factor {
            let shortage = Shortage { partition: copies.partition, most: target.len() };
            let broker = loads.to_join(&target, seen, copies.partition).ok_or(shortage)?;
            loads.shift(broker, 1);
            target.push(broker);
        }
        targets.insert(copies.partition, target);
    }
    Ok(targets)
}

/// How many copies of the topic each broker holds.
struct Loads<'a> {
    of_broker: HashMap<i32, i64>,
    racks: &'a BTreeMap<i32, String>,
}

impl<'a> Loads<'a> {
    fn of(seen: &'a Replication) -> Self {
        let mut of_broker = HashMap::new();
        for broker in seen.partitions.iter().flat_map(|copies| &copies.held) {
            *of_broker.entry(*broker).or_insert(0) += 1;
        }
        Self { of_broker, racks: &seen.racks }
    }

    fn shift(&mut self, broker: i32, by: i64) {
        *self.of_broker.entry(broker).or_insert(0) += by;
    }

    fn of_one(&self, broker: i32) -> i64 {
        self.of_broker.get(&broker).copied().unwrap_or_default()
    }

    /// How many others of these brokers are in its rack. One whose rack is not known is in a rack of its own.
    fn in_its_rack(&self, broker: i32, others: &[i32]) -> usize {
        let Some(rack) = self.racks.get(&broker) else { return 0 };
        others.iter().filter(|other| **other != broker && self.racks.get(other) == Some(rack)).count()
    }

    /// Which of the brokers gives the partition up: not the leader; first of all one that is out of sync, and the preferred leader last.
    fn to_leave(&self, copies: &Copies, target: &[i32], seen: &Replication) -> Option<usize> {
        let candidates = target.iter().enumerate().filter(|(_, broker)| copies.leader != Some(**broker));
        let rank = |at: usize, broker: i32| {
            let is_useful = copies.in_sync.contains(&broker);
            let is_preferred = copies.held.first() == Some(&broker);
            (!is_useful, !seen.is_up(broker), !is_preferred, self.in_its_rack(broker, target), self.of_one(broker), at)
        };
        candidates.max_by_key(|(at, broker)| rank(*at, **broker)).map(|(at, _)| at)
    }

    /// Which broker gets the partition too.
    fn to_join(&self, target: &[i32], seen: &Replication, partition: i32) -> Option<i32> {
        let count = seen.brokers.len().max(1);
        // Where nothing else decides, each partition of each topic begins with another broker.
        let start = seen.seed.wrapping_add(usize::try_from(partition).unwrap_or_default()) % count;
        let candidates = seen.brokers.iter().enumerate().filter(|(_, broker)| !target.contains(&broker.id));
        let rank =
            |at: usize, broker: &BrokerInfo| (self.in_its_rack(broker.id, target), self.of_one(broker.id), (at + count - start) % count);
        candidates.min_by_key(|(at, broker)| rank(*at, broker)).map(|(_, broker)| broker.id)
    }
}

#[cfg(test)]
mod tests;
