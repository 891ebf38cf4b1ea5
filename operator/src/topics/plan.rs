//! Decides what to do to a topic. Pure: no I/O, no clock.
//!
//! Every action is safe to repeat. A partition count is never lowered, a key that is not ours is never un-set, and nothing is
//! planned for a topic whose id differs from the one that we own.

use std::collections::{BTreeMap, BTreeSet};

use penstock_crds::{
    condition::Reason,
    topic::{PlannedChange, TopicRecreation},
};
use penstock_kafka::{ConfigDelta, NewTopic, TopicId};

use super::{
    approval,
    observe::ObservedTopic,
    reassignment::{Assignment, Step},
    validate::ValidatedTopic,
};
use crate::refusal::Refusal;

/// Something to do to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicAction {
    /// Create it.
    Create(NewTopic),
    /// Add partitions.
    AddPartitions {
        /// How many it has.
        from: i32,
        /// How many it shall have.
        total: i32,
    },
    /// Set and un-set configuration keys.
    SetConfig {
        /// What to send.
        delta: ConfigDelta,
        /// What stands there now, by the keys of the delta.
        found: BTreeMap<String, String>,
    },
    /// Move partitions, so that they have another number of copies.
    Reassign(Assignment),
    /// Let partitions stay where they were before they began to move.
    CancelReassignment {
        /// The partitions.
        partitions: Vec<i32>,
        /// The copies that each was to have.
        from: i16,
        /// The copies that each shall have.
        to: i16,
    },
}

/// What we know to have done to the topic before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The topic that is the object's; until it is taken over it was only looked at.
    pub topic_id: Option<TopicId>,
    /// Whether the topic was made by us, changed, or seen as declared.
    pub is_taken_over: bool,
    /// The configuration keys that we set, or were about to.
    pub managed_config: BTreeSet<String>,
    /// What we asked for in place of a topic that was lost, if we do not know yet what came of it.
    pub recreation: Option<Recreation>,
}

impl History {
    /// The topic that was ours last, if there was one.
    #[must_use]
    pub fn last_topic_id(&self) -> Option<TopicId> {
        self.topic_id.or(self.recreation.as_ref().map(|recreation| recreation.lost))
    }

    /// The topic that is ours now. `made`: the last one that we have made, which may not be written down yet.
    #[must_use]
    pub fn owned(&self, made: Option<TopicId>) -> Option<TopicId> {
        let is_lost = |id: &TopicId| self.recreation.as_ref().is_some_and(|recreation| recreation.lost == *id);
        self.topic_id.filter(|_| self.is_taken_over).or(made.filter(|made| !is_lost(made)))
    }

    /// Whether a topic that is there, and that others have made, is not taken over yet. `made` as above.
    #[must_use]
    pub fn adopts(&self, there: TopicId, made: Option<TopicId>) -> bool {
        !self.is_taken_over && self.recreation.is_none() && made != Some(there)
    }
}

/// A topic that was lost, and what we asked for in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recreation {
    /// The one that was lost.
    pub lost: TopicId,
    /// What we asked for.
    pub asked: NewTopic,
}

impl Recreation {
    /// What a status remembers; none where it cannot be read.
    #[must_use]
    pub fn read(name: &str, told: &TopicRecreation) -> Option<Self> {
        let TopicRecreation { lost_topic_id, partitions, replication_factor, config } = told;
        let asked =
            NewTopic { name: name.to_owned(), partitions: *partitions, replication_factor: *replication_factor, config: config.clone() };
        Some(Self { lost: lost_topic_id.parse().ok()?, asked })
    }

    /// What a status shall remember.
    #[must_use]
    pub fn told(&self) -> TopicRecreation {
        let NewTopic { partitions, replication_factor, config, .. } = self.asked.clone();
        TopicRecreation { lost_topic_id: self.lost.to_string(), partitions, replication_factor, config }
    }

    /// Whether this may be the topic that we asked for, or the one that we took for lost. Kafka tells of no topic who made it: one that
    /// differs in anything is somebody else's.
    fn may_be(&self, observed: &ObservedTopic) -> bool {
        let NewTopic { partitions, replication_factor, config, .. } = &self.asked;
        let is_set = |(key, asked): (&String, &String)| observed.config.get(key).is_some_and(|found| same_value(asked, found));
        observed.id == self.lost
            || partitions.is_none_or(|partitions| partitions == observed.partitions)
                && replication_factor.is_none_or(|factor| observed.replication_factors.iter().all(|found| *found == factor))
                && config.len() == observed.config.len()
                && config.iter().all(is_set)
    }
}

/// What to do, and what cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in this order.
    pub actions: Vec<TopicAction>,
    /// What differs and cannot be changed; the refusal says why.
    pub blocked: Vec<PlannedChange>,
    /// Why the topic will not be as declared even then.
    pub refusal: Option<Refusal>,
}

impl Plan {
    /// Whether the topic that was seen is not the one that we own.
    #[must_use]
    pub fn is_of_another_topic(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.reason == Reason::TopicRecreated)
    }

    /// Whether the topic is to be made.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, TopicAction::Create(_)))
    }

    /// In what the topic differs, whether that can be changed or not. What we began ourselves and take back is no difference.
    #[must_use]
    pub fn differences(&self) -> Vec<PlannedChange> {
        let is_difference = |action: &&TopicAction| !matches!(action, TopicAction::CancelReassignment { .. });
        let to_do: Vec<_> = self.actions.iter().filter(is_difference).cloned().collect();
        approval::changes(&to_do).into_iter().chain(self.blocked.iter().cloned()).collect()
    }

    /// The plan with what is to be done about the number of copies, too. `difference`: how it differs now, if it does.
    #[must_use]
    pub fn with(mut self, step: &Step, difference: Option<PlannedChange>) -> Self {
        match step {
            Step::Rest => {}
            Step::Begin(assignment) => self.actions.push(TopicAction::Reassign(assignment.clone())),
            Step::Cancel { partitions, from, to } => {
                self.actions.push(TopicAction::CancelReassignment { partitions: partitions.clone(), from: *from, to: *to });
            }
            Step::Wait { refusal, .. } => self.refusal = self.refusal.or_else(|| Some(refusal.clone())),
            Step::Refuse(refusal) => {
                self.blocked.extend(difference);
                self.refusal = self.refusal.or_else(|| Some(refusal.clone()));
            }
        }
        self
    }
}

/// Decides what to do to a topic, but for the number of its copies.
#[must_use]
pub fn plan(desired: &ValidatedTopic, history: &History, observed: Option<&ObservedTopic>) -> Plan {
    let Some(observed) = observed else {
        return Plan { actions: vec![TopicAction::Create(new_topic(desired))], ..Plan::default() };
    };
    if let Some(owned) = foreign_to(history, observed) {
        return Plan { refusal: Some(recreated(desired, owned, observed.id)), ..Plan::default() };
    }
    let mut plan = partitions(desired, observed);
    plan.actions.extend(config(desired, history, observed));
    plan
}

/// The topic that is ours, where the one that was seen is another.
#[must_use]
pub fn foreign_to(history: &History, observed: &ObservedTopic) -> Option<TopicId> {
    match &history.recreation {
        Some(recreation) => Some(recreation.lost).filter(|_| !recreation.may_be(observed)),
        None => history.topic_id.filter(|id| *id != observed.id),
    }
}

/// What is asked for where there is no topic.
#[must_use]
pub fn new_topic(desired: &ValidatedTopic) -> NewTopic {
    NewTopic {
        name: desired.name.clone(),
        partitions: desired.initial_partitions,
        replication_factor: desired.initial_replication_factor,
        config: desired.config.clone(),
    }
}

fn recreated(desired: &ValidatedTopic, owned: TopicId, found: TopicId) -> Refusal {
    let message = format!(
        "somebody deleted the topic `{}` (id {owned}) and created another of that name (id {found}). It is left alone. \
         To adopt it, delete this KafkaTopic and apply it again; to have a new one, delete that topic in Kafka",
        desired.name
    );
    Refusal::new(Reason::TopicRecreated, message)
}

fn partitions(desired: &ValidatedTopic, observed: &ObservedTopic) -> Plan {
    let from = observed.partitions;
    let Some(total) = desired.partitions.filter(|total| *total != from) else { return Plan::default() };
    let keys_must_stay = (observed.is_compacted || desired.is_compacted()) && !desired.allow_key_moves;
    let refusal = if total < from {
        too_many(from)
    } else if keys_must_stay {
        key_moves(from, total)
    } else {
        return Plan { actions: vec![TopicAction::AddPartitions { from, total }], ..Plan::default() };
    };
    Plan { blocked: vec![approval::partitions(from, total)], refusal: Some(refusal), ..Plan::default() }
}

fn too_many(from: i32) -> Refusal {
    let message = format!("the topic has {from} partitions, and Kafka cannot take any away: set spec.partitions to {from}");
    Refusal::new(Reason::PartitionDecreaseRefused, message)
}

fn key_moves(from: i32, total: i32) -> Refusal {
    let message = format!(
        "the topic is compacted, and with {total} partitions instead of {from} most keys would belong to another partition: their old records \
         would stay where they are for ever, and readers would find two values of one key. Set spec.allowKeyMoves: true if that does not \
         matter; else make a new topic with {total} partitions and copy the records"
    );
    Refusal::new(Reason::KeyMovesRefused, message)
}

fn config(desired: &ValidatedTopic, history: &History, observed: &ObservedTopic) -> Option<TopicAction> {
    let differs = |key: &str, value: &str| observed.config.get(key).is_none_or(|found| !same_value(value, found));
    let set: BTreeMap<_, _> = desired
        .config
        .iter()
        .filter(|(key, value)| desired.enforces(key) && differs(key, value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let left = |key: &&String| desired.enforces(key) && !desired.config.contains_key(*key) && observed.config.contains_key(*key);
    let unset: BTreeSet<_> = history.managed_config.iter().filter(left).cloned().collect();
    if set.is_empty() && unset.is_empty() {
        return None;
    }
    let found =
        set.keys().chain(&unset).filter_map(|key| observed.config.get_key_value(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    Some(TopicAction::SetConfig { delta: ConfigDelta { topic: desired.name.clone(), set, unset }, found })
}

/// Whether Kafka reads both texts as the same value: it writes `TRUE` back as `true`, `compact, delete` as `compact,delete`, `0.50` as `0.5`.
pub(super) fn same_value(declared: &str, found: &str) -> bool {
    let (declared, found) = (declared.trim(), found.trim());
    let is_flag = |text: &str| text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
    declared == found
        || (is_flag(declared) && declared.eq_ignore_ascii_case(found))
        || same_number(declared, found)
        || (declared.contains(',') && declared.split(',').map(str::trim).eq(found.split(',').map(str::trim)))
}

/// Java, which reads the values, takes a suffix for the type of a number with a fraction.
fn same_number(declared: &str, found: &str) -> bool {
    let declared = declared.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(declared);
    match (declared.parse::<i64>(), found.parse::<i64>()) {
        (Ok(declared), Ok(found)) => declared == found,
        _ => matches!((declared.parse::<f64>(), found.parse::<f64>()), (Ok(declared), Ok(found)) if declared == found),
    }
}

/// The keys that must be remembered as ours before the plan is carried out: a crash in between must not leave a key that nobody un-sets.
/// One that is left to others is not ours, nor ever becomes a key that we un-set.
#[must_use]
pub fn managed_before(desired: &ValidatedTopic, history: &History) -> BTreeSet<String> {
    history.managed_config.iter().chain(desired.config.keys()).filter(|key| desired.enforces(key)).cloned().collect()
}

/// The keys that are ours once the plan was carried out and `observed` was seen: declared ones, and those that are not gone yet.
#[must_use]
pub fn managed_after(desired: &ValidatedTopic, history: &History, observed: &ObservedTopic) -> BTreeSet<String> {
    let still_there = history.managed_config.iter().filter(|key| observed.config.contains_key(*key));
    desired.config.keys().chain(still_there).filter(|key| desired.enforces(key)).cloned().collect()
}

#[cfg(test)]
mod tests;
