//! Decides what becomes of a topic in Kafka when its object is deleted. Pure: the time is handed in.
//!
//! Only a topic that the object owns, by its id, is ever deleted; and an object waits only for a bounded time where every attempt fails.

use std::time::Duration;

use penstock_crds::{KafkaTopic, condition::Reason, topic::DeletionPolicy};
use penstock_kafka::TopicId;

use super::{ownership::Claim, status::history};
use crate::{events::Notice, refusal::Refusal};

/// What becomes of the topic.
#[derive(Debug, PartialEq, Eq)]
pub enum Departure {
    /// It stays; the object goes. The notice says why, where somebody might expect otherwise.
    Leave(Option<Notice>),
    /// It is deleted, if it still has this id.
    Delete(TopicId),
}

/// The topic that is the object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owned {
    /// This one.
    Known(TopicId),
    /// None is known, and there may be one all the same.
    Unknown,
    /// There is none.
    None,
}

/// Decides what becomes of the topic. `owner`: the older object that owns it, if one does; `successor`: the one that waits for it.
#[must_use]
pub fn decide(topic: &KafkaTopic, owned: Owned, owner: Option<&Claim>, successor: Option<&Claim>) -> Departure {
    if topic.spec.deletion_policy == DeletionPolicy::Retain {
        return Departure::Leave(None);
    }
    if let Some(owner) = owner {
        return Departure::Leave(Some(Notice::normal(
            "Left",
            format!("the topic belongs to KafkaTopic {owner}: nothing was deleted in Kafka"),
        )));
    }
    if let Some(successor) = successor {
        return Departure::Leave(Some(Notice::normal(
            "HandedOver",
            format!("the topic now belongs to KafkaTopic {successor}: nothing was deleted in Kafka"),
        )));
    }
    if topic.spec.suspend {
        return Departure::Leave(Some(Notice::warning("Left", "spec.suspend is true: nothing was deleted in Kafka")));
    }
    match owned {
        Owned::Known(id) => Departure::Delete(id),
        _ if history(topic).topic_id.is_some() => Departure::Leave(Some(Notice::warning(
            "Left",
            format!(
                "this object has only looked at the topic `{}`, and was never seen to have it as declared: nothing was deleted in Kafka",
                topic.kafka_name()
            ),
        ))),
        Owned::None => Departure::Leave(None),
        // The operator may have died between making the topic and saying so.
        Owned::Unknown => Departure::Leave(Some(Notice::warning(
            "Left",
            format!(
                "this object was never seen to own a topic, so nothing was deleted in Kafka; should there be a topic `{}`, this object may have made it: see whether it is still wanted",
                topic.kafka_name()
            ),
        ))),
    }
}

/// How long attempts that fail are repeated still, after all of them have failed for so long; None: no longer.
#[must_use]
pub fn time_left(failing: Duration, patience: Duration) -> Option<Duration> {
    patience.checked_sub(failing).filter(|left| !left.is_zero())
}

/// Whether Kafka has answered, and the topic only has to wait: that is no attempt that failed.
#[must_use]
pub fn is_put_off(why: &Refusal) -> bool {
    matches!(why.reason, Reason::DeletionHeld | Reason::Throttled)
}

/// What the status says while the deletion waits: by its own reason where somebody must act, else that it goes on.
#[must_use]
pub fn waits(why: &Refusal) -> Refusal {
    let needs_somebody = matches!(why.reason, Reason::DeletionDisabled | Reason::KafkaUnauthorized);
    let reason = if needs_somebody { why.reason } else { Reason::Deleting };
    let to_do = if why.reason == Reason::DeletionDisabled {
        "; set delete.topic.enable=true on the brokers, or deletionPolicy: Retain here"
    } else {
        ""
    };
    Refusal::new(reason, format!("the topic cannot be deleted yet, and will be left in Kafka if that lasts: {why}{to_do}"))
}

/// The topic could not be deleted in time.
#[must_use]
pub fn abandoned(topic: &KafkaTopic, why: &Refusal) -> Notice {
    Notice::warning("Left", format!("the topic `{}` was left in Kafka, because it could not be deleted: {why}", topic.kafka_name()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

    fn topic(policy: &str, suspend: bool, id: Option<&str>) -> KafkaTopic {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": "orders", "namespace": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"deletionPolicy": policy, "suspend": suspend}, "status": {"topicId": id},
        }))
        .unwrap()
    }

    #[test]
    fn only_what_is_owned_is_deleted() {
        let other = Claim::of(&topic("Delete", false, Some(ID)));
        for (name, policy, suspend, id, owner, successor, expected) in [
            ("owned", "Delete", false, Some(ID), None, None, Some(None)),
            ("retained", "Retain", false, Some(ID), None, None, None),
            ("not the owner", "Delete", false, Some(ID), Some(&other), None, Some(Some("Left"))),
            ("handed over", "Delete", false, Some(ID), None, Some(&other), Some(Some("HandedOver"))),
            ("suspended", "Delete", true, Some(ID), None, None, Some(Some("Left"))),
            ("never made", "Delete", false, None, None, None, Some(Some("Left"))),
            ("unreadable id", "Delete", false, Some("x"), None, None, Some(Some("Left"))),
        ] {
            let owned = id.and_then(|id| id.parse().ok()).map_or(Owned::Unknown, Owned::Known);
            let departure = decide(&topic(policy, suspend, id), owned, owner, successor);
            match (departure, expected) {
                (Departure::Delete(id), Some(None)) => assert_eq!(id.to_string(), ID, "{name}"),
                (Departure::Leave(Some(notice)), Some(Some(reason))) => assert_eq!(notice.reason, reason, "{name}"),
                (Departure::Leave(None), None) => {}
                (departure, _) => panic!("{name}: {departure:?}"),
            }
        }
    }

    #[test]
    fn why_a_topic_is_left_is_told() {
        let looked = "has only looked at the topic `orders`";
        for (seen, owned, words) in
            [(Some(ID), Owned::Unknown, looked), (Some(ID), Owned::None, looked), (None, Owned::Unknown, "was never seen to own a topic")]
        {
            match decide(&topic("Delete", false, seen), owned, None, None) {
                Departure::Leave(Some(left)) => assert!(left.reason == "Left" && left.message.contains(words), "{}", left.message),
                departure => panic!("{seen:?}: {departure:?}"),
            }
        }
        assert_eq!(decide(&topic("Delete", false, None), Owned::None, None, None), Departure::Leave(None));
    }

    #[test]
    fn what_somebody_must_act_on_is_told_by_its_own_reason() {
        for (why, told, end) in [
            (
                Reason::DeletionDisabled,
                Reason::DeletionDisabled,
                ": no; set delete.topic.enable=true on the brokers, or deletionPolicy: Retain here",
            ),
            (Reason::KafkaUnauthorized, Reason::KafkaUnauthorized, ": no"),
            (Reason::KafkaUnreachable, Reason::Deleting, ": no"),
            (Reason::Progressing, Reason::Deleting, ": no"),
        ] {
            let waits = waits(&Refusal::new(why, "no"));
            assert!(waits.reason == told && waits.message.ends_with(end), "{why:?}: {waits:?}");
        }
    }

    #[test]
    fn what_kafka_puts_off_has_not_failed() {
        for (why, is_put_off_by_it) in [
            (Reason::DeletionHeld, true),
            (Reason::Throttled, true),
            (Reason::KafkaUnreachable, false),
            (Reason::KafkaUnauthorized, false),
            (Reason::DeletionDisabled, false),
            (Reason::Progressing, false),
        ] {
            assert_eq!(is_put_off(&Refusal::new(why, "wait")), is_put_off_by_it, "{why:?}");
        }
    }

    #[test]
    fn waiting_is_bounded() {
        for (failing, patience, left) in [(0, 60, Some(60)), (10, 60, Some(50)), (60, 60, None), (90, 60, None), (0, 0, None)] {
            let row = format!("{failing} {patience}");
            assert_eq!(time_left(Duration::from_secs(failing), Duration::from_secs(patience)), left.map(Duration::from_secs), "{row}");
        }
    }
}
