//! What somebody changed behind an object's back, and what became of it. Pure: the time is handed in.
//!
//! A topic drifts when it differs although it was seen as declared, and the object asks for nothing new.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus, Text,
    condition::{ConditionType, Reason, Statement, conditions},
    topic::{PlannedChange, TopicDrift},
};

use super::{
    approval::TOPIC,
    plan::same_value,
    status::{history, was_as_declared},
};

/// What became of a difference that nobody declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It stays, since nothing may be written.
    Open,
    /// It was set back.
    Reverted,
}

/// What of the planned changes is drift, from the object as it was before anything of the plan was written down.
///
/// All of it, where the topic was seen as this generation declares it, or was ours and is gone; else what is told to be drift
/// already and was not set back.
#[must_use]
pub fn among(topic: &KafkaTopic, planned: Vec<PlannedChange>) -> Vec<PlannedChange> {
    let is_lost = history(topic).last_topic_id().is_some() && planned.iter().any(|change| change.what == TOPIC);
    if is_lost || was_as_declared(topic) || is_told_as_declared(topic) {
        return planned;
    }
    let Some(open) = open(topic) else { return Vec::new() };
    if open.observed_generation == topic.metadata.generation {
        return planned;
    }
    // The spec changed since: what else is planned may be what it asks for.
    let told = topic.status.as_ref().and_then(|status| status.drift.as_ref()).map(|drift| drift.changes.as_slice()).unwrap_or_default();
    planned.into_iter().filter(|change| told.iter().any(|told| told.what == change.what && told.to == change.to)).collect()
}

/// Whether what was seen last is what this generation declares, although the topic is not ready now: Kafka stays away, say.
fn is_told_as_declared(topic: &KafkaTopic) -> bool {
    let Some(status) = topic.status.as_ref().filter(|status| status.observed_generation == topic.metadata.generation) else { return false };
    let (spec, is_set) = (&topic.spec, |key: &Text| status.config.contains_key(key));
    status.partitions.is_some_and(|seen| spec.partitions.is_none_or(|declared| declared == seen))
        && spec.replication_factor.is_none_or(|declared| status.replication_factor == Some(declared))
        && spec.config.iter().all(|(key, declared)| status.config.get(key).is_some_and(|seen| same_value(declared, seen)))
        && status.managed_config.iter().all(|key| spec.config.contains_key(key) || !is_set(key))
}

/// What became of drift once all was done that can be: what of it still differs stays; else all of it was set back.
#[must_use]
pub fn outcome(drifted: Vec<PlannedChange>, differences: &[PlannedChange]) -> (Vec<PlannedChange>, Fate) {
    let (left, reverted): (Vec<_>, Vec<_>) =
        drifted.into_iter().partition(|change| differences.iter().any(|difference| difference.what == change.what));
    if left.is_empty() { (reverted, Fate::Reverted) } else { (left, Fate::Open) }
}

/// The drift with what the status tells of it besides.
#[must_use]
pub fn with_open(topic: &KafkaTopic, mut drifted: Vec<PlannedChange>) -> Vec<PlannedChange> {
    let mut told = still_open(topic);
    told.retain(|told| !drifted.iter().any(|change| change.what == told.what));
    drifted.append(&mut told);
    drifted
}

/// Whether the status tells of all this drift already.
#[must_use]
pub fn is_told(topic: &KafkaTopic, drifted: &[PlannedChange]) -> bool {
    let told = still_open(topic);
    drifted.iter().all(|change| told.contains(change))
}

/// What the status tells of drift that is being set back, or stays.
fn still_open(topic: &KafkaTopic) -> Vec<PlannedChange> {
    let drift = topic.status.as_ref().and_then(|status| status.drift.as_ref()).filter(|_| open(topic).is_some());
    drift.map(|drift| drift.changes.clone()).unwrap_or_default()
}

/// What the status tells of drift that was not set back.
fn open(topic: &KafkaTopic) -> Option<&Condition> {
    let mut told = topic.status.iter().flat_map(|status| &status.conditions);
    told.find(|condition| condition.type_ == ConditionType::Drifted.as_str() && condition.status == "True")
}

/// The drift that is told of these changes: none where there are none.
#[must_use]
pub fn of(topic: &KafkaTopic, drifted: Vec<PlannedChange>, fate: Fate, now: &Time) -> Option<TopicDrift> {
    if drifted.is_empty() {
        return None;
    }
    let before = topic.status.as_ref().and_then(|status| status.drift.as_ref());
    let same = before.filter(|before| open(topic).is_some() && before.changes == drifted);
    let reverted = before.map_or(0, |before| before.reverted).saturating_add(i32::from(fate == Fate::Reverted));
    Some(TopicDrift { found_at: same.map_or_else(|| now.clone(), |same| same.found_at.clone()), changes: drifted, reverted })
}

/// The status that tells of drift too. Without any it tells what it told before, and that it is over.
#[must_use]
pub fn told(mut status: KafkaTopicStatus, topic: &KafkaTopic, drift: Option<TopicDrift>, fate: Fate, now: &Time) -> KafkaTopicStatus {
    let before = topic.status.as_ref();
    let known = before.and_then(|before| before.drift.clone());
    let (is_open, reason) = match (&drift, fate) {
        (Some(_), Fate::Open) => (true, Reason::DriftFound),
        (Some(_), Fate::Reverted) => (false, Reason::DriftReverted),
        // It went without us: somebody set it back, or declared it.
        (None, _) if open(topic).is_some() => (false, Reason::AsDeclared),
        (None, _) => return KafkaTopicStatus { drift: known, ..status },
    };
    let Some(drift) = drift.or(known) else { return status };
    let statement = Statement::new(ConditionType::Drifted, Some(is_open), reason, words(&drift));
    // What stays open tells of the generation in which it was found: what later ones ask for is no drift.
    let generation = open(topic).filter(|_| is_open).map_or(topic.metadata.generation, |open| open.observed_generation);
    let known = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    status.conditions.retain(|condition| condition.type_ != ConditionType::Drifted.as_str());
    status.conditions.extend(conditions(known, now, generation, &[statement]));
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
            "spec": {"replicationFactor": 2, "config": {"a": "1"}}, "status": status,
        }))
        .unwrap()
    }

    fn change(from: &str) -> Vec<PlannedChange> {
        vec![PlannedChange { what: "config.a".into(), from: Some(from.into()), to: Some("1".into()) }]
    }

    fn planned(changes: &[(&str, Option<&str>, &str)]) -> Vec<PlannedChange> {
        let change = |(what, from, to): &(&str, Option<&str>, &str)| PlannedChange {
            what: (*what).to_owned(),
            from: from.map(str::to_owned),
            to: Some((*to).to_owned()),
        };
        changes.iter().map(change).collect()
    }

    #[test]
    fn only_what_nobody_declared_is_drift() {
        let drifted = [("config.a", Some("2"), "1")];
        let gone = [("topic", None, "orders"), ("config.a", None, "1")];
        let both = [("config.a", Some("2"), "1"), ("config.b", None, "5")];
        let open = |generation: i64| {
            json!([{
                "type": "Drifted", "status": "True", "reason": "DriftFound", "message": "", "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }])
        };
        let drift = json!({"foundAt": "2026-01-01T00:00:00Z", "changes": planned(&drifted), "reverted": 0});
        let owned = json!({"topicId": "AAAAAAAAAAAAAAAAAAAAAQ"});
        let seen = |a: &str| json!({"partitions": 3, "replicationFactor": 2, "config": {"a": a}, "managedConfig": ["a"]});
        let fewer = json!({"partitions": 3, "replicationFactor": 1, "config": {"a": "1"}, "managedConfig": ["a"]});
        for (name, ready, observed, status, planned_now, count) in [
            ("was as declared", "True", 2, json!({}), &drifted[..], 1),
            ("nothing differs", "True", 2, json!({}), &[], 0),
            ("the spec changed", "True", 1, json!({}), &drifted, 0),
            ("was never as declared", "False", 2, json!({}), &drifted, 0),
            ("as declared before Kafka stayed away", "False", 2, seen("1"), &drifted, 1),
            ("the same, and the spec changed", "False", 1, seen("1"), &drifted, 0),
            ("otherwise before Kafka stayed away", "False", 2, seen("7"), &drifted, 0),
            ("never with as many copies", "False", 2, fewer, &drifted, 0),
            ("gone behind our back", "False", 1, owned, &gone, 2),
            ("never made", "False", 2, json!({}), &gone, 0),
            ("open", "False", 2, json!({"conditions": open(2), "drift": drift}), &both, 2),
            ("open since an earlier generation", "False", 2, json!({"conditions": open(1), "drift": drift}), &both, 1),
            ("not planned any more", "False", 2, json!({"conditions": open(1), "drift": drift}), &both[1..], 0),
        ] {
            let status: KafkaTopicStatus = serde_json::from_value(status).unwrap();
            assert_eq!(among(&topic(ready, observed, Some(&status)), planned(planned_now)).len(), count, "{name}");
        }
    }

    #[test]
    fn what_is_told_stays_beside_what_is_found() {
        let (declared, copies) = (topic("True", 2, None), ("replicationFactor", Some("1"), "2"));
        let told_before = of(&declared, planned(&[copies]), Fate::Open, &at(1));
        let status = told(KafkaTopicStatus::default(), &declared, told_before, Fate::Open, &at(1));
        let open = topic("False", 2, Some(&status));
        let config = ("config.a", Some("2"), "1");
        let other = ("replicationFactor", Some("3"), "2");
        for (name, found, is_told_of, all) in [
            ("nothing", &[][..], true, &[copies][..]),
            ("the same", &[copies], true, &[copies]),
            ("more", &[config], false, &[config, copies]),
            ("otherwise by now", &[other], false, &[other]),
        ] {
            assert_eq!(is_told(&open, &planned(found)), is_told_of, "{name}");
            assert_eq!(with_open(&open, planned(found)), planned(all), "{name}");
        }
        assert_eq!(with_open(&declared, planned(&[config])), planned(&[config]), "nothing is told");
    }

    #[test]
    fn drift_that_cannot_be_set_back_stays() {
        let partitions = ("partitions", Some("6"), "3");
        let config = ("config.a", Some("2"), "1");
        for (name, drifted, differences, told, fate) in [
            ("nothing", &[][..], &[][..], &[][..], Fate::Reverted),
            ("set back", &[config], &[], &[config], Fate::Reverted),
            ("cannot be", &[partitions], &[partitions], &[partitions], Fate::Open),
            ("one can be, one cannot", &[partitions, config], &[partitions], &[partitions], Fate::Open),
            ("changed once more", &[partitions], &[("partitions", Some("7"), "3")], &[partitions], Fate::Open),
            ("what was declared and refused is no drift", &[config], &[partitions], &[config], Fate::Reverted),
        ] {
            assert_eq!(outcome(planned(drifted), &planned(differences)), (planned(told), fate), "{name}");
        }
    }

    #[test]
    fn what_goes_without_us_was_not_reverted() {
        let declared = topic("True", 2, None);
        let open = of(&declared, change("2"), Fate::Open, &at(1));
        let first = told(KafkaTopicStatus::default(), &declared, open, Fate::Open, &at(1));
        for fate in [Fate::Open, Fate::Reverted] {
            let after = told(KafkaTopicStatus::default(), &topic("False", 2, Some(&first)), None, fate, &at(2));
            assert_eq!((after.conditions[0].status.as_str(), after.conditions[0].reason.as_str()), ("False", "AsDeclared"), "{fate:?}");
            assert_eq!(after.drift, first.drift);
        }
        let none = told(KafkaTopicStatus::default(), &declared, None, Fate::Reverted, &at(2));
        assert_eq!(none, KafkaTopicStatus::default());
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
