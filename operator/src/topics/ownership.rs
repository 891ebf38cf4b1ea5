//! Which of several `KafkaTopic`s owns a topic in Kafka: the oldest that may use the cluster. Pure.
//!
//! It follows from the objects alone, so that every operator, at any time, comes to the same answer. Nothing of the others ever
//! touches the topic. An object that cannot be read keeps its claim, as far as it can be made out.

use std::fmt;

use kube::Resource;
use penstock_crds::{
    KafkaTopic,
    topic::{ClusterRef, cluster_name},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{clusters::ClusterIds, guarded::Guarded};

/// What an object says about the topic that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The topic's name in Kafka.
    pub kafka_name: String,
    /// The name of the `KafkaCluster`.
    pub cluster: String,
    /// The topic that the object owned when it was last looked at.
    pub topic_id: Option<String>,
    uid: Option<String>,
    created: Option<jiff::Timestamp>,
    is_going: bool,
}

impl Claim {
    /// The claim of an object.
    #[must_use]
    pub fn of(topic: &KafkaTopic) -> Self {
        let owned = topic.status.as_ref().and_then(|status| status.topic_id.clone());
        Self::new(topic, topic.kafka_name(), topic.cluster_name(), owned)
    }

    /// The claim of an object that perhaps cannot be read.
    #[must_use]
    pub fn of_any(object: &Guarded<KafkaTopic>) -> Self {
        match &object.0 {
            Ok(topic) => Self::of(topic),
            Err(unreadable) => {
                let owned = unreadable.content.pointer("/status/topicId").and_then(Value::as_str);
                Self::new(object, kafka_name(object), cluster(object).as_str(), owned.map(str::to_owned))
            }
        }
    }

    fn new(object: &impl Resource, kafka_name: &str, cluster: &str, topic_id: Option<String>) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            kafka_name: kafka_name.to_owned(),
            cluster: cluster.to_owned(),
            topic_id,
            uid: meta.uid.clone(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            is_going: meta.deletion_timestamp.is_some(),
        }
    }

    /// Whether both mean the same topic in Kafka, perhaps through two `KafkaCluster`s.
    #[must_use]
    pub fn is_for_same_topic(&self, other: &Self, ids: &ClusterIds) -> bool {
        self.kafka_name == other.kafka_name && ids.are_same(&self.cluster, &other.cluster)
    }

    /// Whether both have owned the same topic. An id is of one topic in all of Kafka, so nothing else needs to be known.
    #[must_use]
    pub fn owned_the_same(&self, other: &Self) -> bool {
        self.topic_id.is_some() && self.topic_id == other.topic_id
    }

    /// Whether both are of one object.
    #[must_use]
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.uid == other.uid
    }

    /// The older is the smaller; of two from the same second the uid decides.
    fn age(&self) -> (bool, Option<jiff::Timestamp>, Option<&str>) {
        (self.created.is_none(), self.created, self.uid.as_deref())
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The name in Kafka of the topic that an object means, as far as it can be made out.
#[must_use]
pub fn kafka_name(object: &Guarded<KafkaTopic>) -> &str {
    match &object.0 {
        Ok(topic) => topic.kafka_name(),
        Err(unreadable) => {
            let declared = unreadable.content.pointer("/spec/topicName").and_then(Value::as_str);
            declared.or(unreadable.metadata.name.as_deref()).unwrap_or_default()
        }
    }
}

/// The name of the `KafkaCluster` that an object means, as far as it can be made out.
fn cluster(object: &Guarded<KafkaTopic>) -> String {
    match &object.0 {
        Ok(topic) => topic.cluster_name().to_owned(),
        Err(unreadable) => {
            let reference = unreadable.content.pointer("/spec/clusterRef").and_then(|reference| ClusterRef::deserialize(reference).ok());
            cluster_name(reference.as_ref()).to_owned()
        }
    }
}

/// The claim that comes before `mine`; None: `mine` is the first. `others` are for the same topic.
#[must_use]
pub fn older_owner<'a>(mine: &Claim, others: &'a [Claim]) -> Option<&'a Claim> {
    others.iter().filter(|other| other.age() < mine.age()).min_by(|a, b| a.age().cmp(&b.age()))
}

/// The claim that is the first once `mine` is gone, if any waits for it. `others` are for the same topic.
#[must_use]
pub fn successor<'a>(mine: &Claim, others: &'a [Claim]) -> Option<&'a Claim> {
    others.iter().filter(|other| !other.is_same_object(mine) && !other.is_going).min_by(|a, b| a.age().cmp(&b.age()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(uid: &str, created: u8, kafka_name: &str, cluster: &str, going: bool) -> Claim {
        let topic: KafkaTopic = serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {
                "name": uid, "namespace": "shop", "uid": uid, "creationTimestamp": format!("2026-01-01T00:00:0{created}Z"),
                "deletionTimestamp": going.then_some("2026-01-01T01:00:00Z"),
            },
            "spec": {"topicName": kafka_name, "clusterRef": {"name": cluster}},
        }))
        .unwrap();
        Claim::of(&topic)
    }

    /// `default` and `alias` are the same Kafka cluster; `other` is another; nothing is known of `new`.
    fn ids() -> ClusterIds {
        [("default", "A"), ("alias", "A"), ("other", "B")].map(|(name, id)| (name.to_owned(), id.to_owned())).into_iter().collect()
    }

    fn others(mine: &Claim, all: &[Claim]) -> Vec<Claim> {
        all.iter().filter(|other| other.is_for_same_topic(mine, &ids()) && !other.is_same_object(mine)).cloned().collect()
    }

    #[test]
    fn the_oldest_owns_and_the_next_waits() {
        let all = [
            claim("b", 2, "orders", "default", false),
            claim("a", 2, "orders", "default", false),
            claim("old", 1, "orders", "default", true),
            claim("going", 2, "orders", "alias", true),
            claim("elsewhere", 0, "orders", "other", false),
            claim("unknown", 0, "orders", "new", false),
            claim("another", 0, "payments", "default", false),
        ];
        for (name, owner, successor_of) in [
            ("old", None, Some("a")),
            ("a", Some("old"), Some("b")),
            ("b", Some("old"), Some("a")),
            ("going", Some("old"), Some("a")),
            ("elsewhere", None, None),
            ("unknown", None, None),
            ("another", None, None),
        ] {
            let mine = all.iter().find(|claim| claim.name == name).unwrap();
            let others = others(mine, &all);
            assert_eq!(older_owner(mine, &others).map(|c| c.name.as_str()), owner, "owner before {name}");
            assert_eq!(successor(mine, &others).map(|c| c.name.as_str()), successor_of, "successor of {name}");
        }
    }

    #[test]
    fn who_owned_the_same_topic_is_known_without_the_clusters() {
        let claim = |cluster: &str, owned: Option<&str>| {
            let mut claim = claim("a", 1, "orders", cluster, false);
            claim.topic_id = owned.map(str::to_owned);
            claim
        };
        for (name, one, other, same) in [
            ("its cluster is gone", claim("gone", Some("T")), claim("default", Some("T")), true),
            ("another topic", claim("default", Some("T")), claim("default", Some("U")), false),
            ("none", claim("default", None), claim("default", None), false),
            ("one of them none", claim("default", Some("T")), claim("default", None), false),
        ] {
            assert_eq!(one.owned_the_same(&other), same, "{name}");
            assert_eq!(one.is_for_same_topic(&other, &ids()), one.cluster == other.cluster, "{name}");
        }
    }

    #[test]
    fn exactly_one_object_owns_a_topic() {
        let all =
            [claim("b", 2, "orders", "default", false), claim("a", 2, "orders", "alias", true), claim("c", 1, "orders", "alias", false)];
        let owners: Vec<_> =
            all.iter().filter(|mine| older_owner(mine, &others(mine, &all)).is_none()).map(|claim| claim.name.as_str()).collect();
        assert_eq!(owners, ["c"]);
    }

    #[test]
    fn an_object_that_cannot_be_read_keeps_its_claim() {
        for (spec, kafka_name, cluster) in [
            (json!({"partitions": "many", "topicName": "orders.DLT", "clusterRef": {"name": "other"}}), "orders.DLT", "other"),
            (json!({"partitions": "many"}), "orders", "default"),
            (json!(5), "orders", "default"),
            (json!({"topicName": 5, "clusterRef": "x"}), "orders", "default"),
        ] {
            let object: Guarded<KafkaTopic> = serde_json::from_value(json!({
                "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
                "metadata": {"name": "orders", "namespace": "shop", "uid": "u"}, "spec": spec, "status": {"topicId": "T"},
            }))
            .unwrap();
            assert!(object.0.is_err(), "{spec}");
            let claim = Claim::of_any(&object);
            assert_eq!((claim.kafka_name.as_str(), claim.cluster.as_str(), claim.topic_id.as_deref()), (kafka_name, cluster, Some("T")));
        }
    }
}
