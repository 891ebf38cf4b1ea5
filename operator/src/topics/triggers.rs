//! What asks for a reconcile of a `KafkaTopic` beside its own changes: its cluster, and others that mean the same topic.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use kube::{Resource, runtime::reflector::ObjectRef};
use penstock_crds::KafkaTopic;

use super::ownership::kafka_name;

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
    let mut rivals = Rivals::default();
    related_changes(&context.watches.topics, move |change| rivals.concerned(change))
}

/// The objects by the name in Kafka that they mean. Those of the same name on another cluster are asked in vain, which
/// costs less than to follow which clusters are the same.
#[derive(Default)]
struct Rivals(HashMap<String, HashSet<TopicRef>>);

impl Rivals {
    fn concerned(&mut self, change: &Change<KafkaTopic>) -> Vec<TopicRef> {
        let (before, after) = (change.before.as_deref().map(kafka_name), change.after.as_deref().map(kafka_name));
        let Some(object) = change.object_ref() else { return Vec::new() };
        let uid = |object: &Option<Arc<Guarded<KafkaTopic>>>| object.as_deref().and_then(|object| object.meta().uid.clone());
        // A relist may show another object of the same name where one was that owned the topic.
        if before == after && uid(&change.before) == uid(&change.after) {
            return Vec::new();
        }
        let mut concerned = Vec::new();
        if let Some(name) = before {
            let left = self.0.get_mut(name).map(|objects| {
                objects.remove(&object);
                concerned.extend(objects.iter().cloned());
                objects.is_empty()
            });
            if left == Some(true) {
                self.0.remove(name);
            }
        }
        if let Some(name) = after {
            let objects = self.0.entry(name.to_owned()).or_default();
            if before != after {
                concerned.extend(objects.iter().filter(|other| **other != object).cloned());
            }
            objects.insert(object);
        }
        concerned
    }
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
        let mut rivals = Rivals::default();
        for (before, after, concerned) in [
            (None, topic("a", Some("orders")), &[][..]),
            (None, topic("b", Some("orders")), &["a"]),
            (None, topic("c", Some("payments")), &[]),
            (topic("a", Some("orders")), topic("a", Some("orders")), &[]),
            // It cannot be read any more: what it means is its own name.
            (topic("a", Some("orders")), topic("a", None), &["b"]),
            (topic("a", None), topic("a", Some("orders")), &["b"]),
            (topic("a", Some("orders")), anew(topic("a", Some("orders"))), &["b"]),
            (anew(topic("a", Some("orders"))), anew(topic("a", Some("orders"))), &[]),
            (topic("a", Some("orders")), None, &["b"]),
            (topic("b", Some("orders")), None, &[]),
        ] {
            let names: Vec<_> = rivals.concerned(&Change { before, after }).into_iter().map(|r| r.name).collect();
            assert_eq!(names, concerned);
        }
        assert_eq!(rivals.0.len(), 1);
    }
}
