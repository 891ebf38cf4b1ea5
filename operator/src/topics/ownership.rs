//! Which of several `KafkaTopic`s owns a topic in Kafka: the oldest that may use the cluster. Pure.
//!
//! It follows from the objects alone, so that every operator, at any time, comes to the same answer. Nothing of the others ever
//! touches the topic.

use kube::ResourceExt;
use penstock_crds::KafkaTopic;

/// Whether both objects mean the same topic in Kafka.
#[must_use]
pub fn same_topic(one: &KafkaTopic, other: &KafkaTopic) -> bool {
    one.kafka_name() == other.kafka_name() && one.cluster_name() == other.cluster_name()
}

/// The object that owns the topic before `topic` does; None: `topic` owns it. `rivals` may hold `topic` itself.
pub fn older_owner<'a>(topic: &KafkaTopic, rivals: impl IntoIterator<Item = &'a KafkaTopic>) -> Option<&'a KafkaTopic> {
    rivals.into_iter().filter(|rival| same_topic(topic, rival) && age(rival) < age(topic)).min_by(|a, b| age(a).cmp(&age(b)))
}

/// The object that owns the topic once `topic` is gone, if any waits for it.
pub fn successor<'a>(topic: &KafkaTopic, rivals: impl IntoIterator<Item = &'a KafkaTopic>) -> Option<&'a KafkaTopic> {
    rivals
        .into_iter()
        .filter(|rival| same_topic(topic, rival) && rival.metadata.uid != topic.metadata.uid && rival.metadata.deletion_timestamp.is_none())
        .min_by(|a, b| age(a).cmp(&age(b)))
}

/// `<namespace>/<name>`, for messages.
#[must_use]
pub fn full_name(topic: &KafkaTopic) -> String {
    format!("{}/{}", topic.namespace().unwrap_or_default(), topic.name_any())
}

/// The older is the smaller; of two from the same second the uid decides.
fn age(topic: &KafkaTopic) -> (bool, Option<jiff::Timestamp>, Option<&str>) {
    let created = topic.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created.is_none(), created, topic.metadata.uid.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn topic(uid: &str, created: u8, kafka_name: &str, cluster: &str, going: bool) -> KafkaTopic {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {
                "name": uid, "namespace": "shop", "uid": uid, "creationTimestamp": format!("2026-01-01T00:00:0{created}Z"),
                "deletionTimestamp": going.then_some("2026-01-01T01:00:00Z"),
            },
            "spec": {"topicName": kafka_name, "clusterRef": {"name": cluster}},
        }))
        .unwrap()
    }

    #[test]
    fn the_oldest_owns_and_the_next_waits() {
        let all = [
            topic("b", 2, "orders", "default", false),
            topic("a", 2, "orders", "default", false),
            topic("old", 1, "orders", "default", true),
            topic("going", 2, "orders", "default", true),
            topic("elsewhere", 0, "orders", "other", false),
            topic("another", 0, "payments", "default", false),
        ];
        for (uid, owner, successor_of) in [
            ("old", None, Some("a")),
            ("a", Some("old"), Some("b")),
            ("b", Some("old"), Some("a")),
            ("going", Some("old"), Some("a")),
            ("elsewhere", None, None),
            ("another", None, None),
        ] {
            let me = all.iter().find(|t| t.name_any() == uid).unwrap();
            assert_eq!(older_owner(me, &all).map(ResourceExt::name_any).as_deref(), owner, "owner before {uid}");
            assert_eq!(successor(me, &all).map(ResourceExt::name_any).as_deref(), successor_of, "successor of {uid}");
        }
    }

    #[test]
    fn exactly_one_object_owns_a_topic() {
        let all = [
            topic("b", 2, "orders", "default", false),
            topic("a", 2, "orders", "default", true),
            topic("c", 1, "orders", "default", false),
        ];
        let owners: Vec<_> = all.iter().filter(|t| older_owner(t, &all).is_none()).map(ResourceExt::name_any).collect();
        assert_eq!(owners, ["c"]);
    }
}
