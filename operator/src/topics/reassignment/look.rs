//! Looks at where the copies of a topic are, and decides what to do about it.

use std::time::Duration;

use penstock_crds::{KafkaTopic, condition::Reason};
use penstock_kafka::Error;

use super::{
    LOOK_AGAIN, LOOK_FOR_OTHERS,
    copies::{Copies, Replication},
    decide::{Step, decide},
    record, throttle, words,
};
use crate::{
    clusters::ClusterConnection,
    topics::{observe::ObservedTopic, plan::TopicAction, validate::ValidatedTopic},
};

/// Where the copies are, and what to do.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where the copies are.
    pub replication: Replication,
    /// What to do.
    pub step: Step,
}

impl Seen {
    /// For how many partitions ours has not ended; none: none is under way.
    #[must_use]
    pub fn remaining(&self) -> Option<usize> {
        match &self.step {
            Step::Wait { remaining, .. } => Some(*remaining),
            Step::Cancel { partitions, .. } => Some(partitions.len()),
            _ => None,
        }
    }

    /// For how many partitions the status shall say that ours has not ended, where it tells of one.
    #[must_use]
    pub fn left(&self) -> usize {
        match &self.step {
            Step::Begin(assignment) => assignment.targets.len(),
            _ => self.remaining().unwrap_or_default(),
        }
    }

    /// The pause before one looks again, although nothing that is watched may change: nobody tells when partitions have moved, when another tool
    /// is done, or when a broker comes. None: nothing is awaited. `resync`: how often topics are looked at anyway, however many they are.
    #[must_use]
    pub fn pause(&self, resync: Duration) -> Option<Duration> {
        match &self.step {
            Step::Wait { .. } | Step::Cancel { .. } => Some(LOOK_AGAIN),
            Step::Refuse(refusal) if refusal.reason == Reason::NotEnoughBrokers => Some(resync.max(LOOK_FOR_OTHERS)),
            Step::Refuse(_) => Some(LOOK_FOR_OTHERS),
            Step::Rest | Step::Begin(_) => self.replication.ongoing().next().map(|_| LOOK_FOR_OTHERS),
        }
    }

    /// Whether partitions are where they were before this was done, so that the same would be done again.
    #[must_use]
    pub fn contradicts(&self, done: &TopicAction) -> bool {
        let Step::Begin(begins) = &self.step else { return false };
        match done {
            TopicAction::Reassign(done) => {
                begins.to == done.to && done.targets.keys().any(|partition| begins.targets.contains_key(partition))
            }
            // One that was cancelled has as many copies as before; that others have ended and go back is to be done yet.
            TopicAction::CancelReassignment { partitions, from, .. } => {
                let is_there = |copies: &&Copies| i16::try_from(copies.held.len()) == Ok(*from);
                self.replication.partitions.iter().filter(is_there).any(|copies| partitions.contains(&copies.partition))
            }
            _ => false,
        }
    }
}

/// Looks, where there is anything to look for: the copies are not as many as declared, or the status tells of a change. What was observed tells
/// of the copies that are there then, without those that are being made.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub async fn look(
    connection: &ClusterConnection,
    topic: &KafkaTopic,
    desired: &ValidatedTopic,
    rate: Option<i64>,
    observed: &mut ObservedTopic,
) -> Result<Option<Seen>, Error> {
    let (declared, record) = (desired.replication_factor, record(topic));
    let differs = declared.is_some_and(|declared| observed.replication_factors.iter().any(|factor| *factor != declared));
    if !differs && record.is_none() {
        return Ok(None);
    }
    // What is under way first: should it end in between, then it is taken for not ended, and looked at again.
    let mut moves = connection.topics.moves(&desired.name, observed.partitions).await?;
    let described = connection.topics.describe(&desired.name).await?.filter(|described| described.id == observed.id);
    let gone = || Error::NotReady { code: 0, message: format!("the topic `{}` goes or comes at the moment", desired.name) };
    let partitions = described.ok_or_else(gone)?.partitions.into_iter();
    let replication = Replication {
        partitions: partitions
            .map(|info| (moves.under_way.remove(&info.id), info))
            .map(|(ongoing, info)| Copies::new(info, ongoing))
            .collect(),
        racks: connection.racks.seen(&moves.brokers),
        brokers: moves.brokers.to_vec(),
        seed: usize::from(observed.id.to_bytes().last().copied().unwrap_or_default()),
    };
    observed.replication_factors = replication.factors();
    let step = match decide(declared, record, &replication) {
        Step::Begin(assignment) if rate.is_some() && throttle::wanted(&assignment, &replication).is_some() => {
            let ours = record.and_then(|record| record.throttle.as_ref());
            let foreign = throttle::foreign_list(&observed.config, ours);
            foreign.map_or(Step::Begin(assignment), |key| Step::Refuse(words::throttled_by_others(key)))
        }
        step => step,
    };
    Ok(Some(Seen { replication, step }))
}

#[cfg(test)]
mod tests {
    use penstock_kafka::OngoingReassignment;

    use super::{super::decide::Assignment, *};
    use crate::refusal::Refusal;

    #[test]
    fn what_nobody_tells_is_looked_for() {
        let refuse = |reason| Step::Refuse(Refusal::new(reason, "no"));
        let wait = || Step::Wait { remaining: 2, refusal: Refusal::new(Reason::Reassigning, "2 are left") };
        let begin = || Step::Begin(Assignment { from: 1, to: 2, targets: [(0, vec![1, 2])].into() });
        let cancel = || Step::Cancel { partitions: vec![0, 1, 2], from: 2, to: 1 };
        for (name, step, is_ongoing, resync, pause, left) in [
            ("as declared", Step::Rest, false, 30, None, 0),
            ("another tool's as declared", Step::Rest, true, 30, Some(15), 0),
            ("ours", wait(), true, 30, Some(3), 2),
            ("ours is not cancelled yet", cancel(), true, 30, Some(3), 3),
            ("not begun", begin(), false, 30, None, 1),
            ("another tool's", refuse(Reason::ReassignmentOfOthers), true, 30, Some(15), 0),
            ("another tool's throttle", refuse(Reason::ReassignmentOfOthers), false, 600, Some(15), 0),
            ("too few brokers", refuse(Reason::NotEnoughBrokers), false, 600, Some(600), 0),
            ("too few brokers, and many looks", refuse(Reason::NotEnoughBrokers), false, 1, Some(15), 0),
        ] {
            let copies = Copies { ongoing: is_ongoing.then(|| OngoingReassignment::new(&[1, 2], &[2], &[])), ..Copies::default() };
            let seen = Seen { replication: Replication { partitions: vec![copies], ..Replication::default() }, step };
            assert_eq!(seen.pause(Duration::from_secs(resync)), pause.map(Duration::from_secs), "{name}");
            assert_eq!(seen.left(), left, "{name}");
        }
    }

    #[test]
    fn only_what_undoes_what_was_done_is_not_seen_yet() {
        let assignment = |to, partitions: &[i32]| Assignment { from: 1, to, targets: partitions.iter().map(|id| (*id, vec![1])).collect() };
        let begin = |to, partitions: &[i32]| Step::Begin(assignment(to, partitions));
        let moved = |to, partitions: &[i32]| TopicAction::Reassign(assignment(to, partitions));
        let cancelled = |partitions: &[i32]| TopicAction::CancelReassignment { partitions: partitions.to_vec(), from: 2, to: 1 };
        let copies = |partition, held: &[i32]| Copies { partition, held: held.to_vec(), ..Copies::default() };
        let seen = [copies(0, &[1]), copies(1, &[1, 2])];
        for (name, step, done, contradicts) in [
            ("still to be moved", begin(2, &[0]), moved(2, &[0, 1]), true),
            ("moved", Step::Rest, moved(2, &[0, 1]), false),
            ("still has what was cancelled", begin(1, &[1]), cancelled(&[1]), true),
            ("one that had ended goes back", begin(1, &[1]), cancelled(&[0]), false),
            ("another change", begin(2, &[0]), TopicAction::AddPartitions { from: 1, total: 2 }, false),
        ] {
            let seen = Seen { replication: Replication { partitions: seen.to_vec(), ..Replication::default() }, step };
            assert_eq!(seen.contradicts(&done), contradicts, "{name}");
        }
    }
}
