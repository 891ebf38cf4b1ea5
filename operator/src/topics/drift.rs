//! What somebody changed behind an object's back, and what became of it. Pure: the time is handed in.
//!
//! A topic drifts when it differs although it was seen as declared, and the object asks for nothing new.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    condition::{ConditionType, Reason, Statement, conditions},
    topic::{PlannedChange, TopicDrift},
};

use super::status::was_as_declared;

/// What became of a difference that nobody declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It stays, since nothing may be written.
    Open,
    /// It was set back.
    Reverted,
}

/// Whether a difference that is seen now is drift.
#[must_use]
pub fn is_drift(topic: &KafkaTopic) -> bool {
    was_as_declared(topic) || is_open(topic)
}

/// Whether the status tells already of drift that was not set back.
#[must_use]
pub fn is_open(topic: &KafkaTopic) -> bool {
    let Some(status) = &topic.status else { return false };
    let told = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Drifted.as_str());
    told.is_some_and(|told| told.status == "True" && told.observed_generation == topic.metadata.generation)
}

/// The drift that a look shows: none where it shows nothing, or nothing that is drift.
#[must_use]
pub fn of(topic: &KafkaTopic, changes: Vec<PlannedChange>, fate: Fate, now: &Time) -> Option<TopicDrift> {
    if changes.is_empty() || !is_drift(topic) {
        return None;
    }
    let before = topic.status.as_ref().and_then(|status| status.drift.as_ref());
    let same = before.filter(|before| is_open(topic) && before.changes == changes);
    let reverted = before.map_or(0, |before| before.reverted).saturating_add(i32::from(fate == Fate::Reverted));
    Some(TopicDrift { found_at: same.map_or_else(|| now.clone(), |same| same.found_at.clone()), changes, reverted })
}

/// The status that tells of drift too. Without new drift it tells what it told before, and that it is over.
#[must_use]
pub fn told(mut status: KafkaTopicStatus, topic: &KafkaTopic, drift: Option<TopicDrift>, fate: Fate, now: &Time) -> KafkaTopicStatus {
    let before = topic.status.as_ref();
    let is_open = drift.is_some() && fate == Fate::Open;
    let Some(drift) = drift.or_else(|| before.and_then(|before| before.drift.clone())) else { return status };
    let reason = if is_open { Reason::DriftFound } else { Reason::DriftReverted };
    let statement = Statement::new(ConditionType::Drifted, Some(is_open), reason, words(&drift));
    let known = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    status.conditions.retain(|condition| condition.type_ != ConditionType::Drifted.as_str());
    status.conditions.extend(conditions(known, now, topic.metadata.generation, &[statement]));
    status.drift = Some(drift);
    status
}

fn words(drift: &TopicDrift) -> String {
    let value = |value: &Option<String>| value.as_ref().map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
    let found =
        drift.changes.iter().map(|change| format!("{}: found {}, declared {}", change.what, value(&change.from), value(&change.to)));
    format!("{}; reverted {} times so far", found.collect::<Vec<_>>().join(", "), drift.reverted)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn topic(ready: &str, observed: i64, status: Option<&KafkaTopicStatus>) -> KafkaTopic {
        let mut status = status.map_or_else(|| json!({}), |status| serde_json::to_value(status).unwrap());
        let ready = json!({
            "type": "Ready", "status": ready, "reason": "AsDeclared", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "Ready");
        conditions.push(ready);
        status["conditions"] = Value::Array(conditions);
        status["observedGeneration"] = json!(observed);
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": "orders", "generation": 2},
            "spec": {}, "status": status,
        }))
        .unwrap()
    }

    fn change(from: &str) -> Vec<PlannedChange> {
        vec![PlannedChange { what: "config.a".into(), from: Some(from.into()), to: Some("1".into()) }]
    }

    #[test]
    fn only_what_nobody_declared_is_drift() {
        for (ready, observed, changes, drifts) in
            [("True", 2, change("2"), true), ("True", 1, change("2"), false), ("False", 2, change("2"), false), ("True", 2, vec![], false)]
        {
            let drift = of(&topic(ready, observed, None), changes, Fate::Reverted, &at(1));
            assert_eq!(drift.is_some(), drifts, "{ready} {observed}");
        }
    }

    #[test]
    fn drift_is_told_once_counted_and_ends() {
        let declared = topic("True", 2, None);
        let open = of(&declared, change("2"), Fate::Open, &at(1));
        let first = told(KafkaTopicStatus::default(), &declared, open, Fate::Open, &at(1));
        assert_eq!((first.conditions[0].status.as_str(), first.conditions[0].reason.as_str()), ("True", "DriftFound"));
        assert!(
            first.conditions[0].message.contains("config.a: found `2`, declared `1`; reverted 0 times"),
            "{}",
            first.conditions[0].message
        );

        // The next look shows the same: nothing changes. Another value is news.
        let seen = topic("False", 2, Some(&first));
        let again = of(&seen, change("2"), Fate::Open, &at(9));
        let second = told(KafkaTopicStatus::default(), &seen, again, Fate::Open, &at(9));
        assert_eq!((&second.drift, &second.conditions), (&first.drift, &first.conditions));
        assert_eq!(of(&seen, change("3"), Fate::Open, &at(9)).map(|drift| drift.found_at), Some(at(9)));

        let reverted = of(&seen, change("2"), Fate::Reverted, &at(9));
        let third = told(KafkaTopicStatus::default(), &seen, reverted, Fate::Reverted, &at(9));
        assert_eq!(third.drift.as_ref().map(|drift| drift.reverted), Some(1));
        assert_eq!((third.conditions[0].status.as_str(), third.conditions[0].reason.as_str()), ("False", "DriftReverted"));
        let after = topic("True", 2, Some(&third));
        assert_eq!(
            told(KafkaTopicStatus::default(), &after, None, Fate::Reverted, &at(20)).drift,
            third.drift,
            "what was found stays known"
        );
    }
}
