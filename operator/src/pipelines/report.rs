//! Turns what was done to a pipeline, and how its state changed, into Events. Pure.
//!
//! What is told follows from a write or from a change of the `Ready` condition, so that nothing is told twice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use penstock_crds::{
    EventPipelineStatus,
    condition::{ConditionType, Reason},
    name::{self, Purpose},
};

use super::{child::ChildKind, positions};
use crate::events::Notice;

/// Something that was written or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The object's kind.
    pub kind: ChildKind,
    /// The object's name.
    pub name: String,
    /// What was done to it.
    pub verb: Verb,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is new.
    Created,
    /// It says something else.
    Updated,
    /// Only the number of workers is another.
    Scaled {
        /// As it was.
        from: i32,
        /// As it is.
        to: i32,
    },
    /// It is gone.
    Removed,
}

/// What to tell of the writes.
#[must_use]
pub fn of_changes(changes: &[Change]) -> Vec<Notice> {
    let mut notices = vec![];
    for (verb, reason, done) in
        [(Verb::Created, "Created", "created"), (Verb::Updated, "Updated", "updated"), (Verb::Removed, "Removed", "removed")]
    {
        let named: Vec<String> = changes
            .iter()
            .filter(|c| c.verb == verb && !is_derived_topic(c))
            .map(|c| format!("{} `{}`", c.kind.as_str(), c.name))
            .collect();
        if !named.is_empty() {
            notices.push(Notice::normal(reason, format!("{done} {}", named.join(", "))));
        }
    }
    for change in changes {
        match change.verb {
            Verb::Scaled { from, to } => notices.push(Notice::normal("Scaled", format!("scaled from {from} to {to} workers"))),
            Verb::Created if is_derived_topic(change) => {
                let (reason, what) = match name::purpose(&change.name) {
                    Purpose::DeadLetters => ("DeadLetterTopicDerived", "dead letters"),
                    Purpose::Retries => ("RetryTopicDerived", "records that wait for another attempt"),
                    Purpose::HeldBack => ("RetryTopicDerived", "records that wait behind others"),
                };
                notices.push(Notice::normal(reason, format!("made KafkaTopic `{}` for {what}", change.name)));
            }
            Verb::Updated if is_derived_topic(change) => {
                notices.push(Notice::normal("Updated", format!("updated KafkaTopic `{}` to fit its source topic", change.name)));
            }
            Verb::Removed if is_derived_topic(change) => {
                let message = format!("removed KafkaTopic `{}`, which nothing needs any more; the topic in Kafka stays", change.name);
                notices.push(Notice::normal("Removed", message));
            }
            _ => {}
        }
    }
    notices
}

fn is_derived_topic(change: &Change) -> bool {
    change.kind == ChildKind::KafkaTopic
}

/// What to tell of a change of the `Ready` condition, if it has another status or reason than before.
#[must_use]
pub fn of_readiness(before: Option<&EventPipelineStatus>, after: &EventPipelineStatus) -> Option<Notice> {
    let (before, after) = (before.and_then(ready), ready(after)?);
    if before.is_some_and(|b| b.status == after.status && b.reason == after.reason) {
        return None;
    }
    let told = |reason: Reason, notice: fn(&'static str, String) -> Notice| {
        (after.reason == reason.as_str()).then(|| notice(reason.as_str(), after.message.clone()))
    };
    if after.status == "True" {
        // Scaling and suspending are told of by the writes that they cause.
        return told(Reason::AsDeclared, Notice::normal);
    }
    if let Some(waiting) = WAITING.iter().find_map(|r| told(*r, Notice::normal)) {
        return Some(waiting);
    }
    WRONG.iter().find_map(|r| told(*r, Notice::warning))
}

fn ready(status: &EventPipelineStatus) -> Option<&Condition> {
    condition(status, ConditionType::Ready)
}

fn condition(status: &EventPipelineStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.type_ == kind.as_str())
}

/// What to tell of positions that were moved, if that was not told before.
#[must_use]
pub fn of_positions(before: Option<&EventPipelineStatus>, after: &EventPipelineStatus) -> Option<Notice> {
    let after = condition(after, ConditionType::PositionsKept).filter(|c| c.status == "False")?;
    let before = before.and_then(|before| condition(before, ConditionType::PositionsKept)).filter(|c| c.status == "False");
    if before.is_some_and(|before| positions::tells_no_more(&after.message, &before.message)) {
        return None;
    }
    let reasons = [Reason::OffsetOutOfRange, Reason::TopicRecreated];
    let reason = reasons.into_iter().find(|reason| reason.as_str() == after.reason)?;
    Some(Notice::warning(reason.as_str(), after.message.clone()))
}

/// Passes by itself.
const WAITING: &[Reason] = &[Reason::TopicNotReady, Reason::ClusterNotReady];
/// A person should look.
const WRONG: &[Reason] = &[
    Reason::InvalidSpec,
    Reason::InvalidOptions,
    Reason::ProcessorMismatch,
    Reason::ClusterNotFound,
    Reason::ClusterNotAllowed,
    Reason::TopicNotFound,
    Reason::TopicOnOtherCluster,
    Reason::NameConflict,
    Reason::RefusedByKubernetes,
    Reason::WorkersFailing,
];

#[cfg(test)]
mod tests;
