//! Looks at where the copies of a topic are, and decides what to do about it.

use penstock_crds::KafkaTopic;
use penstock_kafka::Error;

use super::{
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

    /// Whether partitions are where they were before this was done, so that the same would be done again.
    #[must_use]
    pub fn contradicts(&self, done: &TopicAction) -> bool {
        let Step::Begin(begins) = &self.step else { return false };
        match done {
            TopicAction::Reassign(done) => begins.to == done.to && done.targets.keys().any(|partition| begins.targets.contains_key(partition)),
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
    use super::{super::decide::Assignment, *};

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
