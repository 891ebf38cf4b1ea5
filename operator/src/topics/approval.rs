//! What waits to be approved, and whether it is. Pure.
//!
//! An approval names a generation: what a later spec asks for waits for another one, and what drifts under an approved spec is set back.

use std::collections::BTreeMap;

use kube::ResourceExt;
use penstock_crds::{
    KafkaTopic,
    condition::Reason,
    name,
    topic::{Approval, PlannedChange},
};

use super::{plan::TopicAction, reassignment::Assignment};
use crate::refusal::Refusal;

/// What changes where the topic itself comes.
pub(super) const TOPIC: &str = "topic";

/// Whether what the object asks for may be done.
#[must_use]
pub fn is_given(topic: &KafkaTopic) -> bool {
    let approved = topic.annotations().get(name::ANNOTATION_APPROVE).and_then(|generation| generation.trim().parse().ok());
    topic.spec.approval == Approval::Automatic || (approved.is_some() && approved == topic.metadata.generation)
}

/// The changes, as they stand in the status.
#[must_use]
pub fn changes(actions: &[TopicAction]) -> Vec<PlannedChange> {
    actions.iter().flat_map(steps).collect()
}

/// Another number of partitions.
#[must_use]
pub fn partitions(from: i32, to: i32) -> PlannedChange {
    change("partitions".to_owned(), Some(from.to_string()), Some(to.to_string()))
}

/// Another number of copies.
#[must_use]
pub fn replication_factor(from: i16, to: i16) -> PlannedChange {
    change("replicationFactor".to_owned(), Some(from.to_string()), Some(to.to_string()))
}

fn change(what: String, from: Option<String>, to: Option<String>) -> PlannedChange {
    PlannedChange { what, from, to }
}

fn steps(action: &TopicAction) -> Vec<PlannedChange> {
    match action {
        TopicAction::Create(new) => {
            let topic = change(TOPIC.to_owned(), None, Some(new.name.clone()));
            let partitions = new.partitions.map(|count| change("partitions".to_owned(), None, Some(count.to_string())));
            let factor = new.replication_factor.map(|factor| change("replicationFactor".to_owned(), None, Some(factor.to_string())));
            let config = new.config.iter().map(|(key, value)| change(format!("config.{key}"), None, Some(value.clone())));
            [Some(topic), partitions, factor].into_iter().flatten().chain(config).collect()
        }
        TopicAction::AddPartitions { from, total } => vec![partitions(*from, *total)],
        TopicAction::Reassign(Assignment { from, to, .. }) | TopicAction::CancelReassignment { from, to, .. } => {
            vec![replication_factor(*from, *to)]
        }
        TopicAction::SetConfig { delta, found } => {
            let set = delta.set.iter().map(|(key, value)| (key, Some(value.clone())));
            let all: BTreeMap<_, _> = set.chain(delta.unset.iter().map(|key| (key, None))).collect();
            all.into_iter().map(|(key, to)| change(format!("config.{key}"), found.get(key).cloned(), to)).collect()
        }
    }
}

/// What the status says while they wait, with why the topic will not be as declared even then. How far partitions have moved is told elsewhere.
#[must_use]
pub fn awaited(topic: &KafkaTopic, changes: &[PlannedChange], refusal: Option<&Refusal>) -> Refusal {
    let generation = topic.metadata.generation.unwrap_or_default();
    let (count, approve) = (changes.len(), name::ANNOTATION_APPROVE);
    let mut message = format!("{count} changes stand in status.plan; to make them, set the annotation {approve}: \"{generation}\"");
    if let Some(refusal) = refusal.filter(|refusal| refusal.reason != Reason::Reassigning) {
        message.push_str(&format!(". Beside them: {refusal}"));
    }
    Refusal::new(Reason::AwaitingApproval, message)
}

#[cfg(test)]
mod tests {
    use penstock_kafka::{ConfigDelta, NewTopic};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_approval_is_for_one_generation() {
        for (approval, annotation, given) in [
            ("Automatic", None, true),
            ("Manual", None, false),
            ("Manual", Some("3"), false),
            ("Manual", Some("4"), true),
            ("Manual", Some(" 4 "), true),
            ("Manual", Some("yes"), false),
            ("Manual", Some("5"), false),
        ] {
            let topic: KafkaTopic = serde_json::from_value(json!({
                "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
                "metadata": {"name": "orders", "generation": 4, "annotations": annotation.map(|value| json!({"penstock.dev/approve": value}))},
                "spec": {"approval": approval},
            }))
            .unwrap();
            assert_eq!(is_given(&topic), given, "{approval} {annotation:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_beside_what_waits() {
        let topic: KafkaTopic = serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": "orders", "generation": 4}, "spec": {},
        }))
        .unwrap();
        for (refusal, end) in [
            (None, "approve: \"4\""),
            (
                Some(Refusal::new(Reason::PartitionDecreaseRefused, "set spec.partitions to 6")),
                "\"4\". Beside them: set spec.partitions to 6",
            ),
            (Some(Refusal::new(Reason::Reassigning, "2 of 3 partitions are left")), "approve: \"4\""),
        ] {
            let awaited = awaited(&topic, &[partitions(3, 6)], refusal.as_ref());
            assert!(awaited.reason == Reason::AwaitingApproval && awaited.message.starts_with("1 changes"), "{}", awaited.message);
            assert!(awaited.message.ends_with(end), "{}", awaited.message);
        }
    }

    #[test]
    fn changes_tell_old_and_new() {
        let actions = [
            TopicAction::AddPartitions { from: 3, total: 6 },
            TopicAction::SetConfig {
                delta: ConfigDelta { topic: "t".into(), set: [("b".to_owned(), "2".to_owned())].into(), unset: ["a".to_owned()].into() },
                found: [("a".to_owned(), "1".to_owned())].into(),
            },
            TopicAction::Reassign(Assignment { from: 1, to: 3, targets: BTreeMap::new() }),
        ];
        let told = |actions: &[TopicAction]| serde_json::to_value(changes(actions)).unwrap();
        assert_eq!(
            told(&actions),
            json!([
                {"what": "partitions", "from": "3", "to": "6"}, {"what": "config.a", "from": "1"}, {"what": "config.b", "to": "2"},
                {"what": "replicationFactor", "from": "1", "to": "3"},
            ])
        );
        let create = TopicAction::Create(NewTopic::new("t").with_partitions(3).with_config("a", "1"));
        assert_eq!(
            told(&[create]),
            json!([{"what": "topic", "to": "t"}, {"what": "partitions", "to": "3"}, {"what": "config.a", "to": "1"}])
        );
    }
}
