//! A consumer group: its members, which of them has which partition, and what it has committed. Pure.
//!
//! Partitions with the same number go to the same member, whichever topics they are of.

use std::collections::{BTreeMap, BTreeSet};

use penstock_kafka::{CommittedOffset, TopicPartition};

use crate::stream::handover::Handover;

/// A member, in the order in which they came.
pub(super) type MemberNumber = u64;

/// A partition that a member has.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    /// It stands still until it is told where to begin; under this number.
    pub held: Option<u64>,
    pub position: i64,
    pub is_paused: bool,
    /// The end that was told of last.
    pub told: Option<i64>,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    Alive,
    /// It takes part no more, and gives its partitions back.
    Leaving,
    /// Nobody has noticed yet.
    Dead,
    /// The group has gone on without it, and it does not know yet.
    #[cfg_attr(not(test), allow(dead_code, reason = "only the tests of this crate cut a member off"))]
    CutOff,
}

/// Somebody who reads.
pub(super) struct Membership {
    pub topics: BTreeSet<String>,
    /// In each rebalance it gives everything back first.
    pub is_eager: bool,
    pub handover: Handover,
    pub pulse: Pulse,
    /// Counts up whenever it joins again after the group went on without it.
    pub generation: u32,
    pub partitions: BTreeMap<TopicPartition, Fetch>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("pulse", &self.pulse).field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

/// A group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub members: BTreeMap<MemberNumber, Membership>,
    pub committed: BTreeMap<TopicPartition, CommittedOffset>,
    /// Somebody sees to it that everybody gets what is his.
    pub is_rebalancing: bool,
    /// It waits for nobody to let go, as it does not for a member whose `max.poll.interval` is over.
    pub is_hasty: bool,
    /// On their way from one member to the next.
    pub between: BTreeSet<TopicPartition>,
    last_member: MemberNumber,
    last_hold: u64,
}

/// What a rebalance does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A member that is dead has to be noticed first, or partitions are on their way.
    Wait,
    /// These give back.
    Revoke(BTreeMap<MemberNumber, Vec<TopicPartition>>),
    /// These get.
    Assign(BTreeMap<MemberNumber, Vec<TopicPartition>>),
    Done,
}

impl Group {
    pub fn join(&mut self, member: Membership) -> MemberNumber {
        self.last_member += 1;
        self.members.insert(self.last_member, member);
        self.last_member
    }

    /// What comes next, so that everybody has what is his. `all`: every partition of each topic.
    pub fn step(&self, all: &BTreeMap<String, i32>) -> Step {
        if !self.between.is_empty() || self.members.values().any(|member| member.pulse == Pulse::Dead) {
            return Step::Wait;
        }
        let due = self.due(all);
        let alive = || due.iter().filter_map(|(number, due)| Some((*number, self.members.get(number)?, due)));
        if alive().all(|(_, member, due)| member.partitions.keys().eq(due)) {
            return Step::Done;
        }
        let of_each = |(number, partitions): (MemberNumber, Vec<&TopicPartition>)| {
            (!partitions.is_empty()).then(|| (number, partitions.into_iter().cloned().collect()))
        };
        let given_back = |(number, member, due): (MemberNumber, &Membership, &BTreeSet<_>)| {
            of_each((number, member.partitions.keys().filter(|own| member.is_eager || !due.contains(*own)).collect()))
        };
        let back: BTreeMap<_, Vec<_>> = alive().filter_map(given_back).collect();
        if !back.is_empty() {
            return Step::Revoke(back);
        }
        let given = |(number, member, due): (MemberNumber, &Membership, &BTreeSet<_>)| {
            of_each((number, due.iter().filter(|due| !member.partitions.contains_key(*due)).collect()))
        };
        Step::Assign(alive().filter_map(given).collect())
    }

    /// What each member shall have.
    fn due(&self, all: &BTreeMap<String, i32>) -> BTreeMap<MemberNumber, BTreeSet<TopicPartition>> {
        let alive: Vec<_> = self.members.iter().filter(|(_, member)| member.pulse == Pulse::Alive).collect();
        let mut due: BTreeMap<_, BTreeSet<_>> = alive.iter().map(|(number, _)| (**number, BTreeSet::new())).collect();
        for (topic, partitions) in all {
            let readers: Vec<_> = alive.iter().filter(|(_, member)| member.topics.contains(topic)).collect();
            for (partition, (number, _)) in (0..*partitions).zip(readers.iter().cycle()) {
                due.entry(**number).or_default().insert(TopicPartition::new(topic, partition));
            }
        }
        due
    }

    /// Takes partitions from a member; they are between two members until [`Group::release`].
    pub fn take(&mut self, number: MemberNumber, partitions: &[TopicPartition]) {
        if let Some(member) = self.members.get_mut(&number) {
            member.partitions.retain(|own, _| !partitions.contains(own));
            self.between.extend(partitions.iter().cloned());
        }
    }

    /// Partitions that were taken are free.
    pub fn release(&mut self, partitions: &[TopicPartition]) {
        self.between.retain(|partition| !partitions.contains(partition));
    }

    /// Gives partitions to a member, where they stand still.
    pub fn give(&mut self, number: MemberNumber, partitions: &[TopicPartition]) {
        let Some(member) = self.members.get_mut(&number) else { return };
        for partition in partitions {
            self.last_hold += 1;
            member.partitions.insert(partition.clone(), Fetch { held: Some(self.last_hold), ..Fetch::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::handover::Patience;

    fn member(is_eager: bool) -> Membership {
        let (handover, _) = Handover::new(Patience::new(std::time::Duration::ZERO));
        let topics = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        Membership { topics, is_eager, handover, pulse: Pulse::Alive, generation: 0, partitions: BTreeMap::new() }
    }

    /// Does everything until nothing more is to be done. Gives back how many partitions were taken on the way.
    fn settle(group: &mut Group) -> usize {
        let all = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 3)]);
        let mut taken = 0;
        loop {
            match group.step(&all) {
                Step::Done | Step::Wait => return taken,
                Step::Assign(given) => given.iter().for_each(|(number, partitions)| group.give(*number, partitions)),
                Step::Revoke(back) => {
                    for (number, partitions) in back {
                        group.take(number, &partitions);
                        taken += partitions.len();
                        assert_eq!(group.step(&all), Step::Wait);
                        group.release(&partitions);
                    }
                }
            }
        }
    }

    fn numbers(group: &Group) -> Vec<Vec<String>> {
        group.members.values().map(|member| member.partitions.keys().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn partitions_of_one_number_go_together_and_only_the_eager_give_all_back() {
        for (is_eager, taken) in [(false, 2), (true, 6)] {
            let mut group = Group::default();
            let first = group.join(member(is_eager));
            assert_eq!(
                (settle(&mut group), numbers(&group)),
                (0, vec![vec!["a/0".into(), "a/1".into(), "a/2".into(), "b/0".into(), "b/1".into(), "b/2".into()]])
            );
            group.join(member(is_eager));
            assert_eq!(settle(&mut group), taken, "{is_eager}");
            let halves = [["a/0", "a/2", "b/0", "b/2"].map(String::from).to_vec(), ["a/1", "b/1"].map(String::from).to_vec()];
            assert_eq!(numbers(&group), halves);
            // Nobody gets anything before it is noticed that one is gone.
            group.members.get_mut(&first).unwrap().pulse = Pulse::Dead;
            assert_eq!((settle(&mut group), numbers(&group)), (0, halves.to_vec()));
            group.members.remove(&first);
            settle(&mut group);
            assert_eq!(numbers(&group)[0].len(), 6);
        }
    }
}
