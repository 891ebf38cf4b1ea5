//! What asks for a reconcile of a `KafkaTopic` beside its own changes: its cluster, and others that mean the same topic.

use std::sync::Arc;

use kube::{Resource, runtime::reflector::ObjectRef};
use penstock_crds::KafkaTopic;

use super::{depart::take_back, ownership::kafka_name};

use crate::{
    clusters,
    context::Context,
    controller::{Triggers, related_changes},
    watch::{Change, Guarded},
};

type TopicRef = ObjectRef<Guarded<KafkaTopic>>;

/// Asks for each topic of a cluster whose connection, state, rules or identity changed.
pub fn cluster_changes(context: &Context) -> Triggers<KafkaTopic> {
    let (topics, store) = (context.watches.topics.clone(), context.watches.clusters.store());
    let namespace = context.settings.namespace.clone();
    related_changes(&context.watches.clusters, move |change| match clusters::changed_uses(change, &store, &namespace) {
        Some(clusters) => {
            topics.select(|topic| clusters.contains(topic.cluster_name())).iter().map(|topic| ObjectRef::from_obj(topic.as_ref())).collect()
        }
        None => Vec::new(),
    })
}

/// Asks for each topic that another object, which came or went, means too.
pub fn rival_changes(context: &Context) -> Triggers<KafkaTopic> {
    let topics = context.watches.topics_by_name.clone();
    related_changes(&context.watches.topics, move |change| concerned(change, |name| topics.find(name)))
}

/// Forgets what is known of each object that goes, and takes back the topic of one that did not depart; asks for nothing.
pub fn departures(context: &Arc<Context>) -> Triggers<KafkaTopic> {
    let departed = Arc::clone(context);
    related_changes(&context.watches.topics, move |change| {
        if let Some(uid) = gone(change)
            && let Some(made) = departed.memory_of_topics.forget(uid)
            && let Some(topic) =
                change.before.as_ref().and_then(|before| before.0.as_ref().ok()).filter(|topic| topic.metadata.deletion_timestamp.is_none())
        {
            let (context, topic) = (Arc::clone(&departed), topic.clone());
            tokio::spawn(async move { take_back(&context, &topic, made).await });
        }
        Vec::new()
    })
}

/// The uid of the object that is gone, be it that another has its name.
fn gone(change: &Change<KafkaTopic>) -> Option<&str> {
    uid(change.before.as_ref()).filter(|before| uid(change.after.as_ref()) != Some(before))
}

fn uid(object: Option<&Arc<Guarded<KafkaTopic>>>) -> Option<&str> {
    object?.meta().uid.as_deref()
}

/// Those that mean the topic which an object meant or means, where that is another than before. Those of the same name on another cluster
/// are asked in vain, which costs less than to follow which clusters are the same.
fn concerned(change: &Change<KafkaTopic>, meaning: impl Fn(&str) -> Vec<Arc<Guarded<KafkaTopic>>>) -> Vec<TopicRef> {
    let (before, after) = (change.before.as_deref().map(kafka_name), change.after.as_deref().map(kafka_name));
    let Some(object) = change.object_ref() else { return Vec::new() };
    // A relist may show another object of the same name where one was that owned the topic.
    if before == after && uid(change.before.as_ref()) == uid(change.after.as_ref()) {
        return Vec::new();
    }
    let names = before.into_iter().chain(after.filter(|after| before != Some(*after)));
    let others = names.flat_map(meaning).map(|other| ObjectRef::from_obj(other.as_ref()));
    others.filter(|other| *other != object).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn topic(name: &str, kafka_name: Option<&str>) -> Option<Arc<Guarded<KafkaTopic>>> {
        let spec = kafka_name.map_or(json!(5), |n| json!({"topicName": n}));
        let object = json!({"apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        Some(Arc::new(serde_json::from_value(object).unwrap()))
    }

    fn anew(topic: Option<Arc<Guarded<KafkaTopic>>>) -> Option<Arc<Guarded<KafkaTopic>>> {
        let mut topic = topic.map(Arc::unwrap_or_clone)?;
        topic.meta_mut().uid = Some("2".to_owned());
        Some(Arc::new(topic))
    }

    #[test]
    fn rivals_learn_of_comings_and_goings() {
        // Beside the object itself, as it is by then.
        let there = [topic("a", Some("orders")), topic("b", Some("orders")), topic("c", Some("payments"))];
        let meaning = |name: &str| there.iter().flatten().filter(|object| kafka_name(object) == name).cloned().collect();
        for (before, after, expected) in [
            (None, topic("a", Some("orders")), &["b"][..]),
            (None, topic("c", Some("payments")), &[]),
            (topic("a", Some("orders")), topic("a", Some("orders")), &[]),
            // It cannot be read any more: what it means is its own name.
            (topic("a", Some("orders")), topic("a", None), &["b"]),
            (topic("a", None), topic("a", Some("orders")), &["b"]),
            (topic("a", Some("orders")), anew(topic("a", Some("orders"))), &["b"]),
            (anew(topic("a", Some("orders"))), anew(topic("a", Some("orders"))), &[]),
            (topic("a", Some("orders")), None, &["b"]),
            (topic("d", Some("orders")), topic("d", Some("payments")), &["a", "b", "c"]),
        ] {
            let names: Vec<_> = concerned(&Change { before, after }, meaning).into_iter().map(|r| r.name).collect();
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn an_object_is_gone_once_no_other_version_of_it_is_there() {
        let orders = || anew(topic("a", Some("orders")));
        for (name, before, after, uid) in [
            ("new", None, orders(), None),
            ("changed", orders(), orders(), None),
            ("gone", orders(), None, Some("2")),
            ("another of its name", orders(), topic("a", Some("orders")), Some("2")),
        ] {
            assert_eq!(gone(&Change { before, after }), uid, "{name}");
        }
    }
}
