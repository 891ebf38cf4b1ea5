//! Decides what to do about the number of copies that a topic's partitions have. Pure: no I/O, no clock.
//!
//! Nothing is begun while anything is under way for the topic. What is under way for a partition is ours only where the object's status tells of
//! a change to so many copies, and the partition had another number: what other tools move beside that is neither waited for nor cancelled.

use std::collections::BTreeMap;

use penstock_crds::{condition::Reason, topic::TopicReassignment};
use penstock_kafka::OngoingReassignment;

use super::{
    copies::{Copies, Replication},
    placement::{Shortage, place},
    words,
};
use crate::refusal::Refusal;

/// Where partitions go, so that each has so many copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The copies that each has that changes; the smallest number where they differ.
    pub from: i16,
    /// The copies that each shall have.
    pub to: i16,
    /// The brokers of each partition that changes, the preferred leader first.
    pub targets: BTreeMap<i32, Vec<i32>>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: no change of ours is under way, and none is needed.
    Rest,
    /// Begin to move partitions.
    Begin(Assignment),
    /// Wait for ours to end; the refusal tells how far it is.
    Wait {
        /// For how many partitions it has not ended.
        remaining: usize,
        /// What the status says meanwhile.
        refusal: Refusal,
    },
    /// Cancel ours: another number is declared by now.
    Cancel {
        /// The partitions for which it has not ended.
        partitions: Vec<i32>,
        /// The copies that each was to have.
        from: i16,
        /// The copies that are declared now.
        to: i16,
    },
    /// Nothing, although the number differs: the refusal says why.
    Refuse(Refusal),
}

/// Decides what to do. `declared`: the copies that each partition shall have; none: any number will do. `record`: the change that the status
/// tells of.
#[must_use]
pub fn decide(declared: Option<i16>, record: Option<&TopicReassignment>, seen: &Replication) -> Step {
    let ongoing = seen.ongoing().count();
    let ours: Vec<_> = seen.ongoing().filter(|(copies, ongoing)| record.is_some_and(|record| is_of(record, copies, ongoing))).collect();
    let is_declared = |factor: &i16| declared.is_none_or(|declared| declared == *factor);
    match (record.filter(|_| !ours.is_empty()), declared) {
        (_, Some(to)) if ongoing == 0 && !seen.factors().iter().all(is_declared) => begin(to, seen),
        _ if ongoing == 0 => Step::Rest,
        (Some(record), Some(declared)) if record.to != declared => {
            let partitions = ours.iter().map(|(copies, _)| copies.partition).collect();
            Step::Cancel { partitions, from: record.to, to: declared }
        }
        (Some(record), _) => Step::Wait { remaining: ours.len(), refusal: words::progress(record, &ours, seen) },
        (None, _) if seen.factors_to_come().iter().all(is_declared) => Step::Rest,
        (None, _) => Step::Refuse(words::of_others(ongoing, seen)),
    }
}

/// Whether what is under way for a partition is part of the change that the status tells of.
fn is_of(record: &TopicReassignment, copies: &Copies, ongoing: &OngoingReassignment) -> bool {
    let is_wanted = |brokers: &[i32]| i16::try_from(brokers.len()) == Ok(record.to);
    is_wanted(&ongoing.target()) && !is_wanted(&copies.held)
}

fn begin(to: i16, seen: &Replication) -> Step {
    match place(seen, usize::try_from(to).unwrap_or_default()) {
        Ok(targets) => Step::Begin(Assignment { from: seen.other_than(to).unwrap_or(to), to, targets }),
        Err(Shortage { partition, most }) => {
            let message = format!(
                "each partition shall have {to} copies, and partition {partition} can have {most}, since {} brokers are up ({}): start the \
                 others, or set spec.replicationFactor to {most}",
                seen.brokers.len(),
                words::list(seen.brokers.iter().map(|broker| broker.id)),
            );
            Step::Refuse(Refusal::new(Reason::NotEnoughBrokers, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use penstock_kafka::{BrokerInfo, PartitionInfo};

    use super::*;

    fn record(from: i16, to: i16) -> TopicReassignment {
        TopicReassignment { started_at: Time(jiff::Timestamp::UNIX_EPOCH), from, to, partitions: 2, remaining: 2, throttle: None }
    }

    /// Partitions on these brokers, with those that are added and removed now; brokers 1 and 2 are up, and lead.
    fn seen(partitions: &[(&[i32], &[i32], &[i32])]) -> Replication {
        let broker = |id| BrokerInfo { id, host: "kafka".to_owned(), port: 9092, rack: None };
        let copies = (0..).zip(partitions).map(|(index, (replicas, adding, removing))| {
            let mut info = PartitionInfo::new(index);
            info.leader = replicas.first().copied();
            info.replicas = replicas.to_vec();
            info.isr = replicas.iter().copied().filter(|broker| !adding.contains(broker)).collect();
            let is_moving = !adding.is_empty() || !removing.is_empty();
            Copies::new(info, is_moving.then(|| OngoingReassignment::new(replicas, adding, removing)))
        });
        Replication { partitions: copies.collect(), brokers: [1, 2].map(broker).to_vec(), ..Replication::default() }
    }

    #[test]
    fn nothing_is_begun_beside_anything() {
        const ONE: (&[i32], &[i32], &[i32]) = (&[1], &[], &[]);
        const TWO: (&[i32], &[i32], &[i32]) = (&[1, 2], &[], &[]);
        const GROWING: (&[i32], &[i32], &[i32]) = (&[1, 2], &[2], &[]);
        const SHRINKING: (&[i32], &[i32], &[i32]) = (&[1, 2], &[], &[2]);
        const MOVING: (&[i32], &[i32], &[i32]) = (&[1, 2], &[2], &[1]);
        const BOTH_MOVING: (&[i32], &[i32], &[i32]) = (&[1, 2, 3], &[3], &[2]);
        let begin = |from, to, targets: &[(i32, &[i32])]| {
            let targets = targets.iter().map(|(partition, brokers)| (*partition, brokers.to_vec())).collect();
            Some(Step::Begin(Assignment { from, to, targets }))
        };
        let cancel = |partitions: &[i32], from, to| Some(Step::Cancel { partitions: partitions.to_vec(), from, to });
        let rest = || Some(Step::Rest);
        type Row<'a> = (&'a str, Option<i16>, Option<TopicReassignment>, Replication, Option<Step>, Option<(Reason, &'a str)>);
        let rows: Vec<Row> = vec![
            ("as declared", Some(1), None, seen(&[ONE, ONE]), rest(), None),
            ("any number", None, None, seen(&[ONE, TWO]), rest(), None),
            ("fewer than declared", Some(2), None, seen(&[ONE, TWO]), begin(1, 2, &[(0, &[1, 2])]), None),
            ("more than declared", Some(1), None, seen(&[TWO]), begin(2, 1, &[(0, &[1])]), None),
            ("more than there can be", Some(3), None, seen(&[ONE]), None, Some((Reason::NotEnoughBrokers, "2 brokers are up (1, 2)"))),
            ("ours", Some(2), Some(record(1, 2)), seen(&[TWO, GROWING]), None, Some((Reason::Reassigning, "1 of 2 partitions"))),
            (
                "ours, and nothing declared by now",
                None,
                Some(record(1, 2)),
                seen(&[GROWING]),
                None,
                Some((Reason::Reassigning, "from 1 to 2")),
            ),
            ("set back", Some(1), Some(record(1, 2)), seen(&[TWO, GROWING]), cancel(&[1], 2, 1), None),
            ("set otherwise", Some(3), Some(record(1, 2)), seen(&[GROWING]), cancel(&[0], 2, 3), None),
            ("what had ended before goes back", Some(1), Some(record(1, 2)), seen(&[TWO, ONE]), begin(2, 1, &[(0, &[1])]), None),
            ("somebody cancelled ours", Some(2), Some(record(1, 2)), seen(&[ONE]), begin(1, 2, &[(0, &[1, 2])]), None),
            ("ended", Some(2), Some(record(1, 2)), seen(&[TWO, TWO]), rest(), None),
            ("another tool's", Some(1), None, seen(&[GROWING]), None, Some((Reason::ReassignmentOfOthers, "moves 1 of"))),
            ("another tool's, as declared", Some(2), None, seen(&[GROWING]), rest(), None),
            ("another tool's, to other brokers", Some(1), None, seen(&[MOVING]), rest(), None),
            ("another tool's to as many, instead of ours", Some(1), Some(record(2, 1)), seen(&[MOVING]), rest(), None),
            (
                "another tool's beside ours",
                Some(2),
                Some(record(1, 2)),
                seen(&[GROWING, BOTH_MOVING]),
                None,
                Some((Reason::Reassigning, "1 of 2 partitions")),
            ),
            (
                "another tool's stays when ours is set back",
                Some(1),
                Some(record(1, 2)),
                seen(&[GROWING, BOTH_MOVING]),
                cancel(&[0], 2, 1),
                None,
            ),
            (
                "ours is not cancelled anew for another tool's",
                Some(1),
                Some(record(1, 2)),
                seen(&[ONE, BOTH_MOVING]),
                None,
                Some((Reason::ReassignmentOfOthers, "moves 1 of")),
            ),
            (
                "another tool's in place of ours",
                Some(2),
                Some(record(1, 2)),
                seen(&[SHRINKING]),
                None,
                Some((Reason::ReassignmentOfOthers, "")),
            ),
        ];
        for (name, declared, record, seen, expected, refused) in rows {
            let step = decide(declared, record.as_ref(), &seen);
            let refusal = match &step {
                Step::Wait { refusal, .. } | Step::Refuse(refusal) => Some((refusal.reason, refusal.message.clone())),
                _ => None,
            };
            match (refused, refusal) {
                (Some((reason, words)), Some((told, message))) => {
                    assert!(told == reason && message.contains(words), "{name}: {told:?} {message}");
                }
                (None, None) => assert_eq!(Some(step), expected, "{name}"),
                (_, refusal) => panic!("{name}: {step:?} {refusal:?}"),
            }
        }
    }

    #[test]
    fn brokers_that_are_waited_for_are_named() {
        for (partition, (from, to), words) in [
            ((&[1, 4][..], &[4][..], &[][..]), (1, 2), Some("brokers that are down: 4")),
            ((&[1, 4, 2], &[2], &[]), (2, 3), None),
            // Copies are only taken away where those that stay are in sync.
            ((&[1, 4, 2], &[], &[2]), (3, 2), Some("brokers that are down: 4")),
            ((&[1, 2, 4], &[], &[4]), (3, 2), None),
        ] {
            let Step::Wait { refusal, remaining: 1 } = decide(Some(to), Some(&record(from, to)), &seen(&[partition])) else {
                panic!("{partition:?} is not waited for")
            };
            assert_eq!(refusal.message.contains("down"), words.is_some(), "{refusal}");
            assert!(refusal.message.contains(words.unwrap_or_default()), "{refusal}");
        }
    }
}
