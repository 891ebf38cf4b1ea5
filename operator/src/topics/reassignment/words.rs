//! What is told about partitions that move. Pure.

use std::{collections::BTreeSet, fmt::Display};

use penstock_crds::{condition::Reason, topic::TopicReassignment};
use penstock_kafka::OngoingReassignment;

use super::{
    copies::{Copies, Replication},
    decide::Assignment,
};
use crate::{events::Notice, refusal::Refusal, topics::notice::Cause};

/// How far ours is. `left`: the partitions for which it has not ended.
pub(super) fn progress(ours: &TopicReassignment, left: &[(&Copies, &OngoingReassignment)], seen: &Replication) -> Refusal {
    let remaining = left.len();
    let mut message = format!(
        "the replication factor changes from {} to {}: {remaining} of {} partitions are left",
        ours.from,
        ours.to,
        ours.partitions.max(i32::try_from(remaining).unwrap_or(i32::MAX)),
    );
    let down: BTreeSet<i32> = left.iter().flat_map(|(_, ongoing)| needed(ongoing)).filter(|id| !seen.is_up(*id)).collect();
    if !down.is_empty() {
        message.push_str(&format!(
            ", some of them for brokers that are down: {}. Start those, or set spec.replicationFactor back",
            list(down)
        ));
    }
    Refusal::new(Reason::Reassigning, message)
}

/// The brokers that Kafka waits for until they are in sync: new ones, and where copies are taken away all that stay.
fn needed(ongoing: &OngoingReassignment) -> Vec<i32> {
    if ongoing.adding.len() < ongoing.removing.len() { ongoing.target() } else { ongoing.adding.clone() }
}

/// What another tool does is in the way.
pub(super) fn of_others(remaining: usize, seen: &Replication) -> Refusal {
    let message = format!(
        "another tool moves {remaining} of the topic's partitions, which will have {} copies then: spec.replicationFactor is brought about once \
         that has ended",
        seen.factors_to_come().iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
    );
    Refusal::new(Reason::ReassignmentOfOthers, message)
}

/// Another tool has throttled the topic, so that we cannot.
pub(super) fn throttled_by_others(key: &str) -> Refusal {
    let message = format!(
        "another tool has set `{key}` on the topic, which is never overwritten, and the KafkaCluster wants copies to be made with a throttle of \
         its own: the replication factor is changed once that key is gone. Kafka's kafka-reassign-partitions takes it away with --verify"
    );
    Refusal::new(Reason::ReassignmentOfOthers, message)
}

/// Ours has begun.
#[must_use]
pub fn begun(assignment: &Assignment, cause: Cause) -> Notice {
    let Assignment { from, to, targets } = assignment;
    let message = format!("began to change the replication factor from {from} to {to}, in {} partitions", targets.len());
    match cause {
        Cause::Declared => Notice::normal("ReassignmentStarted", message),
        Cause::Drift => Notice::warning("ReassignmentStarted", format!("somebody changed the replication factor to {from}: {message}")),
    }
}

/// Ours was cancelled.
#[must_use]
pub fn cancelled(partitions: usize, from: i16, to: i16) -> Notice {
    let message = format!(
        "cancelled the change of the replication factor to {from} in the {partitions} partitions where it had not ended, since {to} is declared now"
    );
    Notice::normal("ReassignmentCancelled", message)
}

/// What would begin.
#[must_use]
pub fn pending(assignment: &Assignment) -> String {
    format!("the replication factor is {} instead of {}", assignment.from, assignment.to)
}

/// What would be cancelled.
#[must_use]
pub fn pending_cancel(from: i16, to: i16) -> String {
    format!("the replication factor is changing to {from} instead of {to}")
}

/// Ours has ended as declared.
#[must_use]
pub fn ended(ours: &TopicReassignment) -> Notice {
    Notice::normal("ReassignmentEnded", format!("the replication factor changed from {} to {}", ours.from, ours.to))
}

/// The object stays until the throttle is gone.
#[must_use]
pub fn holds(why: &Refusal) -> Refusal {
    Refusal::new(
        Reason::Deleting,
        format!("the throttle of its reassignment cannot be taken away yet, and will be left in Kafka if that lasts: {why}"),
    )
}

/// The throttle could not be taken away in time.
#[must_use]
pub fn abandoned(why: &Refusal) -> Notice {
    let message = format!(
        "the throttle of its reassignment was left in Kafka, because it could not be taken away: {why}. Un-set leader and \
         follower.replication.throttled.replicas of the topic, and leader and follower.replication.throttled.rate of all brokers"
    );
    Notice::warning("Left", message)
}

pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
