//! Whether a look at Kafka shows anything that the object's status does not tell already. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus, Text,
    condition::{ConditionType, Reason},
};
use penstock_kafka::Error as KafkaError;

use super::observe::ObservedTopic;
use crate::refusal::Refusal;

/// Whether looking at the topic can show anything that its reconciler would act on. Objects that own nothing wait for a change of
/// theirs, of others, or for the next attempt.
#[must_use]
pub fn is_followed(topic: &KafkaTopic) -> bool {
    let Some(status) = topic.status.as_ref().filter(|_| topic.metadata.deletion_timestamp.is_none()) else { return false };
    let ready = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
    let waits = |ready: &Condition| [Reason::Suspended, Reason::AwaitingApproval].iter().any(|reason| ready.reason == reason.as_str());
    status.topic_id.is_some() || ready.is_some_and(waits)
}

/// Whether this differs from what the status tells.
#[must_use]
pub fn differs(topic: &KafkaTopic, observed: Option<&ObservedTopic>) -> bool {
    let none = KafkaTopicStatus::default();
    let told = topic.status.as_ref().unwrap_or(&none);
    let ready = told.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
    // Then it names the one of ours, also beside `Suspended`.
    let tells_of_another = ready.filter(|ready| told.topic_id.as_ref().is_some_and(|owned| ready.message.contains(owned)));
    match observed {
        // The name is free again.
        None => told.partitions.is_some() || tells_of_another.is_some(),
        // The status keeps what the topic of ours was like, and the condition names the other.
        Some(observed) if told.topic_id != Some(observed.id.to_string()) => {
            tells_of_another.is_none_or(|ready| !ready.message.contains(&observed.id.to_string()))
        }
        Some(observed) => {
            tells_of_another.is_some()
                || told.partitions != Some(observed.partitions)
                || told.replication_factor != observed.replication_factors.first().copied()
                || topic.spec.replication_factor.is_some_and(|declared| has_more_copies(told, observed, declared))
                || !is_told(&told.config, &observed.config)
        }
    }
}

/// Whether Kafka refuses to tell of the topic, for another reason than the status tells. What passes by itself is none.
#[must_use]
pub fn is_refused_anew(topic: &KafkaTopic, error: &KafkaError) -> bool {
    let told = topic.status.iter().flat_map(|status| &status.conditions).find(|told| told.type_ == ConditionType::Ready.as_str());
    let is_told = told.is_some_and(|told| told.reason == Refusal::from(error).reason.as_str());
    !error.is_retriable() && !error.is_fatal() && !is_told
}

fn is_told(told: &BTreeMap<Text, Text>, seen: &BTreeMap<String, String>) -> bool {
    let told = told.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    told.eq(seen.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Whether some partitions have more copies than declared, which the status does not tell: it tells the smallest number.
fn has_more_copies(told: &KafkaTopicStatus, observed: &ObservedTopic, declared: i16) -> bool {
    told.replication_factor == Some(declared) && observed.replication_factors.iter().any(|factor| *factor > declared)
}

#[cfg(test)]
mod tests {
    use penstock_kafka::ReplicaHealth;
    use serde_json::{Value, json};

    use super::*;
    use crate::topics::health::Trouble;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

    fn topic(status: Value) -> KafkaTopic {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"replicationFactor": 2}, "status": status,
        }))
        .unwrap()
    }

    fn observed(id: &str, partitions: i32, factor: i16, value: &str) -> ObservedTopic {
        ObservedTopic {
            id: id.parse().unwrap(),
            partitions,
            replication_factors: [factor].into(),
            is_compacted: false,
            config: BTreeMap::from([("a".to_owned(), value.to_owned())]),
            health: ReplicaHealth::default(),
            lasting: Trouble::None,
        }
    }

    #[test]
    fn only_what_the_status_does_not_tell_is_news() {
        const OTHER: &str = "ASNFZ4mrze8AESIzRFVmdw";
        let told = json!({"topicId": ID, "partitions": 3, "replicationFactor": 2, "config": {"a": "1"}});
        let recreated = json!({"topicId": ID, "conditions": [{
            "type": "Ready", "status": "False", "reason": "Suspended", "message": format!("(id {ID}) and another (id {OTHER})"),
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
        let partly = ObservedTopic { replication_factors: [2, 3].into(), ..observed(ID, 3, 2, "1") };
        for (name, status, seen, news) in [
            ("replicated in part", told.clone(), Some(partly), true),
            ("as told", told.clone(), Some(observed(ID, 3, 2, "1")), false),
            ("grown", told.clone(), Some(observed(ID, 4, 2, "1")), true),
            ("replicated", told.clone(), Some(observed(ID, 3, 3, "1")), true),
            ("configured", told.clone(), Some(observed(ID, 3, 2, "2")), true),
            ("recreated", told.clone(), Some(observed(OTHER, 3, 2, "1")), true),
            ("told to be recreated", recreated.clone(), Some(observed(OTHER, 3, 2, "1")), false),
            ("recreated once more", recreated.clone(), Some(observed("AAAAAAAAAAAAAAAAAAAAAg", 3, 2, "1")), true),
            ("the other is gone", recreated.clone(), None, true),
            ("ours after all", recreated, Some(observed(ID, 3, 2, "1")), true),
            ("gone", told, None, true),
            ("still awaited", json!({"topicId": ID}), None, false),
            ("come", json!({}), Some(observed(ID, 3, 2, "1")), true),
        ] {
            assert_eq!(differs(&topic(status), seen.as_ref()), news, "{name}");
        }
    }

    #[test]
    fn a_refusal_is_news_once() {
        let message = || "no".to_owned();
        for (told, error, news) in [
            ("AsDeclared", KafkaError::Authorization { message: message() }, true),
            ("KafkaUnauthorized", KafkaError::Authorization { message: message() }, false),
            ("AsDeclared", KafkaError::NotReady { code: 5, message: message() }, false),
            ("AsDeclared", KafkaError::Unreachable { reason: message() }, false),
            ("AsDeclared", KafkaError::Closed, false),
        ] {
            let topic = topic(json!({"topicId": ID, "conditions": [{
                "type": "Ready", "status": "True", "reason": told, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]}));
            assert_eq!(is_refused_anew(&topic, &error), news, "{told} {error:?}");
        }
    }

    #[test]
    fn objects_that_own_nothing_are_not_followed() {
        let ready = |reason: &str| {
            json!({"conditions": [{
                "type": "Ready", "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]})
        };
        for (name, status, followed) in [
            ("owner", json!({"topicId": ID}), true),
            ("suspended", ready("Suspended"), true),
            ("not approved", ready("AwaitingApproval"), true),
            ("in conflict", ready("TopicConflict"), false),
            ("new", Value::Null, false),
        ] {
            assert_eq!(is_followed(&topic(status)), followed, "{name}");
        }
    }
}
