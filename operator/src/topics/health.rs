//! Decides what an object tells of its topic's replicas, and when. Pure: the time is handed in.
//!
//! What gets worse is told as soon as it has lasted; everything else at most once in two minutes for each topic, so that replicas which
//! come and go cost a bounded number of writes. The metrics tell every look.

mod book;

use std::{cmp::Reverse, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    condition::{ConditionType, Reason, Statement, conditions},
    topic::TopicHealth,
};
use penstock_kafka::ReplicaHealth;

use super::observe::ObservedTopic;

pub use book::{HealthBook, Place};

/// How long what was told stays, unless it gets worse.
const CALM: Duration = Duration::from_secs(120);
/// How many of the topics that are looked at together are told of at once.
const TOLD_AT_ONCE: usize = 20;
/// How many brokers are named.
const NAMED: usize = 10;

/// What is wrong with the replicas of a topic; what comes later is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Some are not in sync.
    UnderReplicated,
    /// So few are in sync that partitions take no safe writes.
    UnderMinIsr,
    /// Partitions have no leader.
    Offline,
}

impl Trouble {
    /// The worst of what is wrong.
    #[must_use]
    pub fn of(health: &ReplicaHealth) -> Self {
        Self::worst(health.under_replicated, health.under_min_isr, health.offline)
    }

    fn worst(under_replicated: i32, under_min_isr: i32, offline: i32) -> Self {
        match (offline, under_min_isr, under_replicated) {
            (1.., ..) => Self::Offline,
            (_, 1.., _) => Self::UnderMinIsr,
            (_, _, 1..) => Self::UnderReplicated,
            _ => Self::None,
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::None => Reason::ReplicasInSync,
            Self::UnderReplicated => Reason::UnderReplicated,
            Self::UnderMinIsr => Reason::UnderMinIsr,
            Self::Offline => Reason::OfflinePartitions,
        }
    }
}

/// Why an object should tell something else than it does, the more urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// It got worse, to this.
    Worse(Reverse<Trouble>),
    /// It got better.
    Better,
    /// It is as bad as before, in other numbers.
    Other,
    /// Nothing is known from the object so far, and nothing is wrong.
    First,
}

/// The condition, as the object has it.
fn condition(topic: &KafkaTopic) -> Option<&Condition> {
    topic.status.as_ref()?.conditions.iter().find(|told| told.type_ == ConditionType::Healthy.as_str())
}

fn told_trouble(health: Option<&TopicHealth>) -> Trouble {
    health.map_or(Trouble::None, |told| Trouble::worst(told.under_replicated, told.under_min_isr, told.offline))
}

/// Why an object should tell of what was seen now; none: it tells so already, or it is not due yet.
#[must_use]
pub fn news(topic: &KafkaTopic, observed: &ObservedTopic, now: &Time) -> Option<News> {
    let (seen, trouble) = (&observed.health, Trouble::of(&observed.health));
    let is_known = condition(topic).is_some_and(|told| told.status != "Unknown");
    let told = topic.status.as_ref().and_then(|status| status.health.as_ref()).filter(|_| is_known);
    let before = told_trouble(told);
    if trouble > before {
        return (trouble <= observed.lasting).then_some(News::Worse(Reverse(trouble)));
    }
    if !is_known {
        return Some(News::First);
    }
    let told = told?;
    let is_same = [told.under_replicated, told.under_min_isr, told.offline] == [seen.under_replicated, seen.under_min_isr, seen.offline];
    let waited = Duration::try_from(now.0.duration_since(told.seen_at.0)).unwrap_or_default();
    (!is_same && waited >= CALM).then_some(if trouble < before { News::Better } else { News::Other })
}

/// Those of the topics that were looked at together that are told of now: the most urgent ones, but behind them any that was asked to tell
/// before, that often, and did not. The others have their turn with later looks.
#[must_use]
pub fn in_turn<T>(mut topics: Vec<((u32, News), T)>) -> Vec<T> {
    topics.sort_by_key(|(turn, _)| *turn);
    topics.into_iter().take(TOLD_AT_ONCE).map(|(_, topic)| topic).collect()
}

/// The status that tells of the replicas too, after a look at them.
#[must_use]
pub fn seen(mut status: KafkaTopicStatus, topic: &KafkaTopic, observed: &ObservedTopic, now: &Time) -> KafkaTopicStatus {
    if news(topic, observed, now).is_none() {
        return kept(status, topic);
    }
    let trouble = Trouble::of(&observed.health);
    let statement = Statement::new(ConditionType::Healthy, Some(trouble == Trouble::None), trouble.reason(), words(observed, trouble));
    let before = topic.status.as_ref().map(|before| before.conditions.as_slice()).unwrap_or_default();
    status.conditions.extend(conditions(before, now, topic.metadata.generation, &[statement]));
    let ReplicaHealth { under_replicated, under_min_isr, offline, .. } = observed.health;
    let health = TopicHealth { seen_at: now.clone(), under_replicated, under_min_isr, offline };
    KafkaTopicStatus { health: Some(health).filter(|_| trouble != Trouble::None), ..status }
}

/// The status that tells what was told before, also that it is not known: whoever waits for the condition is not left without one.
fn kept(mut status: KafkaTopicStatus, topic: &KafkaTopic) -> KafkaTopicStatus {
    let Some(condition) = condition(topic) else { return status };
    status.conditions.push(Condition { observed_generation: topic.metadata.generation, ..condition.clone() });
    KafkaTopicStatus { health: topic.status.as_ref().and_then(|before| before.health.clone()), ..status }
}

/// The status where there was no look: it tells what was told before, but for a Kafka that cannot be asked.
#[must_use]
pub fn unseen(mut status: KafkaTopicStatus, topic: &KafkaTopic, why: Reason, now: &Time) -> KafkaTopicStatus {
    if !matches!(why, Reason::KafkaUnreachable | Reason::ClusterNotReady) {
        return kept(status, topic);
    }
    let before = topic.status.as_ref().map(|before| before.conditions.as_slice()).unwrap_or_default();
    if before.iter().any(|told| told.type_ == ConditionType::Healthy.as_str()) {
        let statement = Statement::new(ConditionType::Healthy, None, why, "it is not known while Kafka cannot be asked");
        status.conditions.extend(conditions(before, now, topic.metadata.generation, &[statement]));
    }
    KafkaTopicStatus { health: None, ..status }
}

fn words(observed: &ObservedTopic, trouble: Trouble) -> String {
    let (health, all) = (&observed.health, observed.partitions);
    let named: Vec<String> = health.lagging.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if health.lagging.len() > NAMED { " and others" } else { "" };
    let brokers = format!("see whether these brokers run and keep up: {}{more}", named.join(", "));
    let (lagging, few, offline) = (health.under_replicated, health.under_min_isr, health.offline);
    match trouble {
        Trouble::None => "every partition has a leader, and all its replicas are in sync".to_owned(),
        Trouble::UnderReplicated => format!("{lagging} of {all} partitions have replicas that are not in sync; {brokers}"),
        Trouble::UnderMinIsr => format!(
            "{few} of {all} partitions have fewer replicas in sync than min.insync.replicas and take nothing from producers with acks=all; \
             in all {lagging} have replicas that are not in sync; {brokers}"
        ),
        Trouble::Offline => format!(
            "{offline} of {all} partitions have no leader and can be neither written nor read; in all {lagging} have replicas that are not \
             in sync; {brokers}"
        ),
    }
}

#[cfg(test)]
mod tests;
