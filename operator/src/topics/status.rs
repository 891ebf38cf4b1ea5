//! The status of a `KafkaTopic`. Pure: the time is handed in.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus, Text,
    condition::{ConditionType, Reason, Statement, conditions},
};
use penstock_kafka::TopicId;

use super::{
    health,
    observe::ObservedTopic,
    plan::{History, Recreation},
};

/// What a reconcile came to know.
#[derive(Debug)]
pub enum Knowledge<'a> {
    /// The topic is ours, and looks like this.
    Seen {
        /// The topic.
        observed: &'a ObservedTopic,
        /// The configuration keys that are ours.
        managed: BTreeSet<String>,
        /// Whether it is taken over by now.
        takes_over: bool,
    },
    /// The topic is ours and was seen to be missing.
    Missing {
        /// The one that we owned, where nothing of ours stands in its place: another of its name is somebody else's.
        lost: Option<TopicId>,
        /// What was asked for in its place, while it is not known what came of that.
        recreation: Option<Recreation>,
        /// The configuration keys that are ours.
        managed: BTreeSet<String>,
    },
    /// The topic is ours, was seen to be missing, and is not made again now: its id stays known, so that another topic of
    /// its name is not taken for it.
    Awaited,
    /// Nothing new: what was known before stays.
    Nothing,
    /// The topic is not ours.
    NotOurs,
}

/// The status that says this.
#[must_use]
pub fn status(topic: &KafkaTopic, knowledge: Knowledge<'_>, statement: &Statement, now: &Time) -> KafkaTopicStatus {
    let before = topic.status.clone().unwrap_or_default();
    let generation = topic.metadata.generation;
    let conditions = conditions(&before.conditions, now, generation, std::slice::from_ref(statement));
    // What is told of drift stays until a look shows otherwise.
    let drift = before.drift.clone().filter(|_| !matches!(knowledge, Knowledge::NotOurs));
    let after = KafkaTopicStatus {
        observed_generation: generation,
        topic_name: Some(topic.kafka_name().to_owned()),
        drift,
        taken_over: is_taken_over(&before) && !matches!(knowledge, Knowledge::NotOurs),
        // What was begun stays known until nothing of it is left in Kafka; of a topic that is not ours, until we slow it down no more.
        reassignment: before.reassignment.clone().filter(|begun| !matches!(knowledge, Knowledge::NotOurs) || begun.throttle.is_some()),
        conditions,
        ..KafkaTopicStatus::default()
    };
    let mut after = match &knowledge {
        Knowledge::Seen { observed, .. } => health::seen(after, topic, observed, now),
        Knowledge::Nothing => health::unseen(after, topic, statement.reason, now),
        Knowledge::Missing { .. } | Knowledge::Awaited | Knowledge::NotOurs => after,
    };
    if after.drift.is_some() {
        after.conditions.extend(before.conditions.iter().filter(|told| told.type_ == ConditionType::Drifted.as_str()).cloned());
    }
    match knowledge {
        Knowledge::Seen { observed, managed, takes_over } => KafkaTopicStatus {
            topic_id: Some(observed.id.to_string()),
            taken_over: after.taken_over || takes_over,
            partitions: Some(observed.partitions),
            replication_factor: observed.replication_factors.first().copied(),
            config: observed.config.iter().map(|(key, value)| (key.into(), value.into())).collect(),
            managed_config: managed.into_iter().map(Text::from).collect(),
            ..after
        },
        Knowledge::Missing { lost, recreation, managed } => KafkaTopicStatus {
            topic_id: lost.map(|id| id.to_string()),
            recreation: recreation.map(|recreation| recreation.told()),
            managed_config: managed.into_iter().map(Text::from).collect(),
            ..after
        },
        Knowledge::Awaited => {
            KafkaTopicStatus { topic_id: before.topic_id, recreation: before.recreation, managed_config: before.managed_config, ..after }
        }
        Knowledge::Nothing => KafkaTopicStatus {
            observed_generation: after.observed_generation,
            topic_name: after.topic_name,
            taken_over: after.taken_over,
            plan: after.plan,
            health: after.health,
            conditions: after.conditions,
            ..before
        },
        Knowledge::NotOurs => after,
    }
}

/// What the status remembers of what we did. An id that cannot be read counts as none.
#[must_use]
pub fn history(topic: &KafkaTopic) -> History {
    let Some(status) = &topic.status else { return History::default() };
    History {
        topic_id: status.topic_id.as_ref().and_then(|id| id.parse().ok()),
        is_taken_over: is_taken_over(status),
        managed_config: status.managed_config.iter().map(ToString::to_string).collect(),
        recreation: status.recreation.as_ref().and_then(|told| Recreation::read(topic.kafka_name(), told)),
    }
}

/// Whether the topic was taken over. Older statuses tell it only by the condition.
fn is_taken_over(status: &KafkaTopicStatus) -> bool {
    let is_as_declared = |told: &Condition| {
        told.type_ == ConditionType::Ready.as_str() && told.status == "True" && told.reason == Reason::AsDeclared.as_str()
    };
    status.taken_over || status.conditions.iter().any(is_as_declared)
}

/// Whether the topic was seen as this generation of the object declares it, when it was last looked at.
#[must_use]
pub fn was_as_declared(topic: &KafkaTopic) -> bool {
    topic.status.as_ref().is_some_and(|status| {
        status.observed_generation == topic.metadata.generation
            && status.conditions.iter().any(|c| c.type_ == ConditionType::Ready.as_str() && c.status == "True")
    })
}

/// The status that remembers these keys as ours before they are set.
#[must_use]
pub fn remembering(topic: &KafkaTopic, managed: BTreeSet<String>) -> KafkaTopicStatus {
    KafkaTopicStatus { managed_config: managed.into_iter().map(Text::from).collect(), ..topic.status.clone().unwrap_or_default() }
}

/// Whether the statement is a refusal that the status does not tell already, in the same words. An outage is none: the
/// `KafkaCluster` tells it, once for all topics.
#[must_use]
pub fn is_news(topic: &KafkaTopic, statement: &Statement) -> bool {
    let is_passing = matches!(statement.reason, Reason::Suspended | Reason::Progressing | Reason::Reassigning | Reason::Deleting);
    let is_outage = matches!(statement.reason, Reason::ClusterNotReady | Reason::KafkaUnreachable);
    if statement.status == Some(true) || is_passing || is_outage {
        return false;
    }
    topic.status.as_ref().is_none_or(|status| !statement.is_told_by(&status.conditions))
}

/// `Ready=True`.
#[must_use]
pub fn as_declared() -> Statement {
    Statement::new(ConditionType::Ready, Some(true), Reason::AsDeclared, "the topic is as declared")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use penstock_crds::topic::PlannedChange;
    use penstock_kafka::{NewTopic, ReplicaHealth};
    use serde_json::json;

    use super::*;
    use crate::{
        refusal::Refusal,
        topics::{
            drift::{self, Fate},
            health::Trouble,
        },
    };

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

    fn topic(status: Option<&KafkaTopicStatus>) -> KafkaTopic {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": "orders", "namespace": "shop", "generation": 2},
            "spec": {"config": {"a": "1"}}, "status": status,
        }))
        .unwrap()
    }

    fn observed() -> ObservedTopic {
        ObservedTopic {
            id: ID.parse().unwrap(),
            partitions: 3,
            replication_factors: [2, 3].into(),
            is_compacted: false,
            config: BTreeMap::from([("a".to_owned(), "1".to_owned()), ("foreign".to_owned(), "2".to_owned())]),
            health: ReplicaHealth::default(),
            lasting: Trouble::None,
        }
    }

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn seen() -> KafkaTopicStatus {
        let managed = BTreeSet::from(["a".to_owned()]);
        status(&topic(None), Knowledge::Seen { observed: &observed(), managed, takes_over: true }, &as_declared(), &at(1))
    }

    #[test]
    fn what_was_seen_is_told() {
        let seen = seen();
        assert_eq!(
            serde_json::to_value(&seen).unwrap(),
            json!({
                "observedGeneration": 2, "topicName": "orders", "topicId": ID, "takenOver": true, "partitions": 3, "replicationFactor": 2,
                "config": {"a": "1", "foreign": "2"}, "managedConfig": ["a"],
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "AsDeclared", "message": "the topic is as declared",
                    "lastTransitionTime": "1970-01-01T00:00:01Z", "observedGeneration": 2,
                }, {
                    "type": "Healthy", "status": "True", "reason": "ReplicasInSync",
                    "message": "every partition has a leader, and all its replicas are in sync",
                    "lastTransitionTime": "1970-01-01T00:00:01Z", "observedGeneration": 2,
                }],
            })
        );
        assert!(was_as_declared(&topic(Some(&seen))));
        assert!(!was_as_declared(&topic(None)));
    }

    #[test]
    fn a_refusal_forgets_nothing_and_is_news_once() {
        let down = Refusal::new(Reason::RefusedByKafka, "no").not_ready();
        let before = topic(Some(&seen()));
        assert!(is_news(&before, &down));
        assert!(!is_news(&before, &Refusal::new(Reason::KafkaUnreachable, "nobody answers").not_ready()));
        let after = status(&before, Knowledge::Nothing, &down, &at(2));
        assert_eq!((after.topic_id.as_deref(), after.managed_config.len(), after.partitions), (Some(ID), 1, Some(3)));
        assert_eq!(history(&topic(Some(&after))).topic_id, Some(ID.parse().unwrap()));
        assert!(!is_news(&topic(Some(&after)), &down));
        assert_eq!(status(&topic(Some(&after)), Knowledge::Nothing, &down, &at(3)), after);
    }

    #[test]
    fn conditions_keep_their_order() {
        let change = PlannedChange { what: "config.a".into(), from: Some("2".into()), to: Some("1".into()) };
        let look = |before: &KafkaTopic, changes: Vec<PlannedChange>| {
            let knowledge = Knowledge::Seen { observed: &observed(), managed: BTreeSet::new(), takes_over: false };
            let status = status(before, knowledge, &as_declared(), &at(2));
            let drift = drift::of(before, changes, Fate::Reverted, &at(2));
            drift::told(status, before, drift, Fate::Reverted, &at(2))
        };
        let drifted = look(&topic(Some(&seen())), vec![change]);
        let kinds: Vec<_> = drifted.conditions.iter().map(|told| told.type_.as_str()).collect();
        assert_eq!(kinds, ["Ready", "Healthy", "Drifted"]);
        assert_eq!(look(&topic(Some(&drifted)), vec![]), drifted, "written for nothing");
    }

    #[test]
    fn what_is_begun_stays_known() {
        let throttle = json!({"leaderReplicas": "0:1", "followerReplicas": "0:2"});
        let begun = json!({"startedAt": "2026-01-01T00:00:00Z", "from": 1, "to": 2, "partitions": 3, "remaining": 3, "throttle": throttle});
        let mut before = KafkaTopicStatus { reassignment: serde_json::from_value(begun).unwrap(), ..seen() };
        let down = Refusal::new(Reason::KafkaUnreachable, "nobody answers").not_ready();
        let (observed, lost) = (observed(), Knowledge::Missing { lost: None, recreation: None, managed: BTreeSet::new() });
        let seen = Knowledge::Seen { observed: &observed, managed: BTreeSet::new(), takes_over: false };
        for knowledge in [seen, lost, Knowledge::Awaited, Knowledge::Nothing, Knowledge::NotOurs] {
            let name = format!("{knowledge:?}");
            assert_eq!(status(&topic(Some(&before)), knowledge, &down, &at(2)).reassignment, before.reassignment, "{name}");
        }
        if let Some(begun) = &mut before.reassignment {
            begun.throttle = None;
        }
        assert_eq!(status(&topic(Some(&before)), Knowledge::NotOurs, &down, &at(2)).reassignment, None);
    }

    #[test]
    fn a_topic_that_is_not_ours_leaves_no_claim() {
        let conflict = Refusal::new(Reason::TopicConflict, "shop/older owns it").not_ready();
        let after = status(&topic(Some(&seen())), Knowledge::NotOurs, &conflict, &at(2));
        assert_eq!(history(&topic(Some(&after))), History::default());
        assert_eq!((after.partitions, after.config.len()), (None, 0));
    }

    #[test]
    fn a_topic_is_taken_over_once_and_for_all() {
        let ready = |status: &str, reason: &str| json!([{"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let down = Refusal::new(Reason::KafkaUnreachable, "nobody answers").not_ready();
        for (name, before, takes_over, taken_over) in [
            ("new", json!({}), true, true),
            ("only looked at", json!({"topicId": ID, "conditions": ready("True", "Suspended")}), false, false),
            ("approved", json!({"topicId": ID, "conditions": ready("False", "AwaitingApproval")}), true, true),
            ("taken over", json!({"topicId": ID, "takenOver": true, "conditions": ready("False", "AwaitingApproval")}), false, true),
            ("as declared, and told by an older operator", json!({"topicId": ID, "conditions": ready("True", "AsDeclared")}), false, true),
        ] {
            let before = topic(Some(&serde_json::from_value(before).unwrap()));
            let observed = observed();
            let seen = Knowledge::Seen { observed: &observed, managed: BTreeSet::new(), takes_over };
            assert_eq!(status(&before, seen, &down, &at(2)).taken_over, taken_over, "{name}");
            let missing = || Knowledge::Missing { lost: None, recreation: None, managed: BTreeSet::new() };
            for knowledge in [missing(), Knowledge::Awaited, Knowledge::Nothing] {
                let after = topic(Some(&status(&before, knowledge, &down, &at(2))));
                assert_eq!(history(&after).is_taken_over, history(&before).is_taken_over, "{name}");
            }
            assert!(!status(&before, Knowledge::NotOurs, &down, &at(2)).taken_over, "{name}");
        }
    }

    #[test]
    fn a_topic_that_is_awaited_keeps_its_id() {
        let suspended = Statement::new(ConditionType::Ready, Some(false), Reason::Suspended, "suspended; create it");
        let before = seen();
        let after = status(&topic(Some(&before)), Knowledge::Awaited, &suspended, &at(2));
        assert_eq!((after.topic_id, after.managed_config), (before.topic_id, before.managed_config));
        assert_eq!((after.partitions, after.config.len()), (None, 0));
    }

    #[test]
    fn a_topic_that_was_lost_keeps_its_keys_and_its_id_where_it_was_not_made_again() {
        let managed = BTreeSet::from(["a".to_owned()]);
        let creating = Statement::new(ConditionType::Ready, Some(false), Reason::Progressing, "creating");
        let asked = Recreation { lost: ID.parse().unwrap(), asked: NewTopic::new("orders").with_partitions(3).with_config("a", "1") };
        for (topic_id, recreation) in [(None, None), (Some(ID.parse().unwrap()), None), (None, Some(asked))] {
            let expected = History { topic_id, is_taken_over: true, managed_config: managed.clone(), recreation: recreation.clone() };
            let knowledge = Knowledge::Missing { lost: topic_id, recreation, managed: managed.clone() };
            let after = topic(Some(&status(&topic(Some(&seen())), knowledge, &creating, &at(2))));
            assert_eq!(history(&after), expected);
            // It is remembered until the topic is seen.
            for knowledge in [Knowledge::Awaited, Knowledge::Nothing] {
                assert_eq!(history(&topic(Some(&status(&after, knowledge, &creating, &at(3))))), expected);
            }
            let knowledge = Knowledge::Seen { observed: &observed(), managed: managed.clone(), takes_over: false };
            assert_eq!(status(&after, knowledge, &as_declared(), &at(3)).recreation, None);
        }
    }
}
