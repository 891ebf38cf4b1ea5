//! The objects that a pipeline owns, as manifests: which kinds there are, whose an object is, and whether one still says
//! what it shall. Pure.
//!
//! Only what we declare is compared: what Kubernetes fills in, or somebody else adds, is no difference, but where everything
//! is ours. A field that we no longer declare is one: the hash of the whole manifest stands on the object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use penstock_crds::name;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{quantity, surplus::surplus};

/// On an object that a pipeline owns: the hash of all that was declared when it was last applied.
const ANNOTATION_MANIFEST_HASH: &str = "penstock.dev/manifest-hash";

/// A kind of object that a pipeline may own. The order is the one in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildKind {
    /// The topic for dead letters.
    KafkaTopic,
    /// What workers run as.
    ServiceAccount,
    /// The workers' configuration file.
    ConfigMap,
    /// Where workers are reached.
    Service,
    /// How many workers a node drain may take at once.
    PodDisruptionBudget,
    /// The workers.
    Deployment,
}

impl ChildKind {
    /// The word in the object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KafkaTopic => "KafkaTopic",
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Deployment => "Deployment",
        }
    }
}

/// What an object that a pipeline owns shall say.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// All of it, as it is sent.
    pub body: Value,
}

impl Manifest {
    /// The manifest of an object, with the hash of it added.
    ///
    /// # Errors
    /// When the object cannot be written as JSON.
    pub fn new(kind: ChildKind, object: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut body = serde_json::to_value(object)?;
        let hash = name::fingerprint(body.to_string().as_bytes());
        let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(annotations) = annotations {
                annotations.insert(ANNOTATION_MANIFEST_HASH.to_owned(), Value::String(hash));
            }
        }
        Ok(Self { kind, name, body })
    }

    /// Whether the pods that a Deployment runs are those that this one declares.
    #[must_use]
    pub fn runs_the_same_pods(&self, live: &Value) -> bool {
        const TEMPLATE: &str = "/spec/template";
        match (live.pointer(TEMPLATE), self.body.pointer(TEMPLATE)) {
            (Some(live), Some(desired)) => covers(live, desired, "template"),
            _ => false,
        }
    }

    /// Whether an object says all that it shall, and nothing that we have declared before and no longer do.
    #[must_use]
    pub fn is_met_by(&self, live: &Value) -> bool {
        covers(live, &self.body, "") && surplus(self.kind, live, &self.body).is_empty()
    }
}

/// Whether the object with this metadata is controlled by the owner with this uid.
#[must_use]
pub fn is_controlled_by(metadata: &ObjectMeta, owner: &str) -> bool {
    !owner.is_empty() && metadata.owner_references.iter().flatten().any(|o| o.controller == Some(true) && o.uid == owner)
}

/// Whether `live` says everything that `desired` does. `field` is the name of the field that they stand in.
fn covers(live: &Value, desired: &Value, field: &str) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => {
            desired.iter().all(|(key, value)| live.get(key).map_or_else(|| is_empty(value), |l| covers(l, value, key)))
        }
        (Value::Array(live), Value::Array(desired)) => covers_list(live, desired, field),
        (Value::String(live), Value::String(desired)) => live == desired || (is_amount(field) && quantity::same(live, desired)),
        _ => live == desired,
    }
}

/// A list whose elements have names may hold others beside ours; any other list is ours as a whole.
fn covers_list(live: &[Value], desired: &[Value], field: &str) -> bool {
    let named = |v: &Value| v.get("name").and_then(Value::as_str).map(str::to_owned);
    if !desired.is_empty() && desired.iter().all(|d| named(d).is_some()) {
        return desired.iter().all(|d| live.iter().any(|l| named(l) == named(d) && covers(l, d, field)));
    }
    live.len() == desired.len() && live.iter().zip(desired).all(|(l, d)| covers(l, d, field))
}

/// The apiserver leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// The apiserver writes amounts in a form of its own: `0.5` comes back as `500m`.
fn is_amount(field: &str) -> bool {
    matches!(field, "cpu" | "memory")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_declared_is_compared() {
        let desired = json!({
            "metadata": {"name": "a", "labels": {"x": "1"}},
            "spec": {
                "replicas": 2, "nodeSelector": {}, "tolerations": [],
                "containers": [{"name": "worker", "image": "i:1", "args": ["--a", "b"], "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}}],
            },
        });
        let live = json!({
            "metadata": {"name": "a", "labels": {"x": "1", "added": "by others"}, "resourceVersion": "7"},
            "spec": {
                "replicas": 2, "paused": false,
                "containers": [
                    {"name": "injected"},
                    {"name": "worker", "image": "i:1", "args": ["--a", "b"], "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}, "tty": false},
                ],
            },
            "status": {"replicas": 1},
        });
        assert!(covers(&live, &desired, ""));
        for (pointer, other) in [
            ("/spec/replicas", json!(3)),
            ("/metadata/labels/x", json!("2")),
            ("/spec/containers/1/image", json!("i:2")),
            ("/spec/containers/1/args", json!(["--a"])),
            ("/spec/containers/1/args/1", json!("c")),
            ("/spec/containers/1/name", json!("renamed")),
            ("/spec/containers/1/resources/requests/cpu", json!("501m")),
            ("/spec/containers/1/resources", json!({})),
        ] {
            let mut drifted = live.clone();
            *drifted.pointer_mut(pointer).unwrap() = other;
            assert!(!covers(&drifted, &desired, ""), "{pointer}");
        }
    }

    #[test]
    fn what_is_no_longer_declared_is_a_difference() {
        let with = Manifest::new(ChildKind::ConfigMap, &json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}})).unwrap();
        let without = Manifest::new(ChildKind::ConfigMap, &json!({"metadata": {"name": "a"}, "data": {"x": "1"}})).unwrap();
        assert!(with.is_met_by(&with.body));
        assert!(!without.is_met_by(&with.body));
        assert_eq!(with.name, "a");
    }

    #[test]
    fn an_object_is_its_controllers() {
        let meta = |uid: &str, controller| -> ObjectMeta {
            serde_json::from_value(json!({"ownerReferences": [
                {"apiVersion": "penstock.dev/v1alpha1", "kind": "EventPipeline", "name": "p", "uid": uid, "controller": controller},
            ]}))
            .unwrap()
        };
        for (metadata, expected) in
            [(meta("u", true), true), (meta("u", false), false), (meta("v", true), false), (ObjectMeta::default(), false)]
        {
            assert_eq!(is_controlled_by(&metadata, "u"), expected, "{metadata:?}");
        }
        assert!(!is_controlled_by(&meta("", true), ""));
    }
}
