//! The objects of a watch by a text in them, so that those which name the same thing are found without looking at all. Pure.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::Resource;

use super::{Change, Guarded, Watched};

/// The text of an object.
type Key<K> = fn(&Guarded<K>) -> &str;
type Objects<K> = HashMap<Box<str>, Vec<Arc<Guarded<K>>>>;

/// Finds objects by a text in them; as new as the cache of the watch. Clone: another handle of the same.
pub struct Lookup<K> {
    key: Key<K>,
    objects: Arc<Mutex<Objects<K>>>,
}

impl<K> Clone for Lookup<K> {
    fn clone(&self) -> Self {
        Self { key: self.key, objects: Arc::clone(&self.objects) }
    }
}

impl<K: Watched> Lookup<K> {
    /// An empty one.
    pub(super) fn new(key: Key<K>) -> Self {
        Self { key, objects: Arc::default() }
    }

    /// The objects with this text, in no order.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<Arc<Guarded<K>>> {
        self.lock().get(text).cloned().unwrap_or_default()
    }

    /// Takes in a change.
    pub(super) fn apply(&self, change: &Change<K>) {
        let mut objects = self.lock();
        if let Some(before) = &change.before {
            let text = (self.key)(before);
            let left = objects.get_mut(text).map(|found| {
                found.retain(|object| !is_same(object, before));
                found.is_empty()
            });
            if left == Some(true) {
                objects.remove(text);
            }
        }
        if let Some(after) = &change.after {
            objects.entry((self.key)(after).into()).or_default().push(Arc::clone(after));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Objects<K>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same<K: Watched>(one: &Guarded<K>, other: &Guarded<K>) -> bool {
    let (one, other) = (one.meta(), other.meta());
    one.name == other.name && one.namespace == other.namespace
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use penstock_crds::KafkaTopic;
    use serde_json::json;

    use super::*;

    fn name_in_kafka(object: &Guarded<KafkaTopic>) -> &str {
        object.0.as_ref().map_or("unreadable", KafkaTopic::kafka_name)
    }

    fn topic(name: &str, kafka_name: &str, version: u8) -> Option<Arc<Guarded<KafkaTopic>>> {
        let spec = if kafka_name == "unreadable" { json!(5) } else { json!({"topicName": kafka_name}) };
        let object = json!({"metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string()}, "spec": spec});
        Some(Arc::new(serde_json::from_value(object).unwrap()))
    }

    #[test]
    fn objects_are_found_by_what_they_name_now() {
        let lookup = Lookup::new(name_in_kafka as Key<KafkaTopic>);
        let found = |text: &str| {
            let mut found: Vec<_> = lookup
                .find(text)
                .iter()
                .map(|object| format!("{}@{}", object.meta().name.as_deref().unwrap(), object.resource_version().unwrap()))
                .collect();
            found.sort();
            found.join(" ")
        };
        for (before, after, orders, payments, unreadable) in [
            (None, topic("a", "orders", 1), "a@1", "", ""),
            (None, topic("b", "orders", 1), "a@1 b@1", "", ""),
            (None, topic("c", "payments", 1), "a@1 b@1", "c@1", ""),
            (topic("a", "orders", 1), topic("a", "orders", 2), "a@2 b@1", "c@1", ""),
            (topic("b", "orders", 1), topic("b", "unreadable", 2), "a@2", "c@1", "b@2"),
            (topic("c", "payments", 1), None, "a@2", "", "b@2"),
            (topic("a", "orders", 2), topic("a", "payments", 3), "", "a@3", "b@2"),
            // Never seen: nothing to take away.
            (topic("d", "orders", 1), None, "", "a@3", "b@2"),
        ] {
            lookup.apply(&Change { before, after });
            assert_eq!([found("orders"), found("payments"), found("unreadable")], [orders, payments, unreadable].map(str::to_owned));
        }
        assert_eq!(lookup.lock().len(), 2, "texts that nobody names are dropped");
    }
}
