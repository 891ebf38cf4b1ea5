//! Objects for tests, as a user would write them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use penstock_crds::{EventPipeline, KafkaTopic};
use serde_json::{Value, json};

use super::{keys::SeenKeys, validate::References};
use crate::{clusters::ResolvedCluster, refusal::Refusal, watch::Guarded};

/// The uid of the pipeline under test.
pub const UID: &str = "uid-of-the-pipeline";

/// A second of one minute.
pub fn at(second: u32) -> Time {
    serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
}

/// The payments pipeline with a JSON merge patch over its spec.
pub fn payments(patch: Value) -> EventPipeline {
    pipeline(
        "payments",
        json!({
            "source": {"kafka": {"topics": ["orders"], "group": "service-b-consumers"}},
            "processor": {"builtin": "payments"},
            "sink": {"kafka": {"topic": "payments"}},
            "delivery": "AtLeastOnce",
        }),
        patch,
    )
}

/// A patch of the payments pipeline that has a handler instead.
pub fn handled(http: Value) -> Value {
    json!({"processor": {"builtin": null, "http": with(json!({"image": "shop/handler:1", "port": 9000}), http)}})
}

/// The gateway pipeline with a JSON merge patch over its spec.
pub fn gateway(patch: Value) -> EventPipeline {
    pipeline(
        "orders-gateway",
        json!({
            "source": {"http": {"port": 3001}},
            "processor": {"builtin": "orders-gateway"},
            "sink": {"kafka": {"topic": "orders"}},
            "table": {"topics": ["orders", "payments", "orders-dlt"]},
        }),
        patch,
    )
}

fn pipeline(name: &str, mut spec: Value, patch: Value) -> EventPipeline {
    merge(&mut spec, &patch);
    serde_json::from_value(json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "EventPipeline",
        "metadata": {"name": name, "namespace": "shop", "uid": UID, "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

/// A topic that is ready, with a JSON merge patch over the whole object.
pub fn topic(name: &str, patch: Value) -> KafkaTopic {
    let mut object = json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {},
        "status": {"partitions": 3, "replicationFactor": 1, "conditions": [condition("True", "AsDeclared", "as declared")]},
    });
    merge(&mut object, &patch);
    serde_json::from_value(object).unwrap()
}

/// A `Ready` condition.
pub fn condition(status: &str, reason: &str, message: &str) -> Value {
    json!({"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// A patch that makes a topic not ready.
pub fn unready(reason: &str) -> Value {
    json!({"status": {"conditions": [condition("False", reason, "the words")]}})
}

/// A patch that makes a topic the derived one of a pipeline.
pub fn derived_by(pipeline: &str, uid: &str) -> Value {
    json!({"metadata": {"ownerReferences": [
        {"apiVersion": "penstock.dev/v1alpha1", "kind": "EventPipeline", "name": pipeline, "uid": uid, "controller": true},
    ]}})
}

/// The same patch and another over it.
pub fn with(mut patch: Value, other: Value) -> Value {
    merge(&mut patch, &other);
    patch
}

/// Topics as a cache holds them.
pub fn cached(topics: Vec<KafkaTopic>) -> Vec<Arc<Guarded<KafkaTopic>>> {
    topics.into_iter().map(|t| Arc::new(Guarded(Ok(t)))).collect()
}

/// References to a cluster that is ready, and to these topics.
pub fn references(topics: Vec<KafkaTopic>) -> References {
    References { cluster: Ok(cluster(Ok(()))), topics: cached(topics), keys: SeenKeys::Fine, decided: None }
}

/// The Kafka cluster.
pub fn cluster(state: Result<(), Refusal>) -> ResolvedCluster {
    let spec = serde_json::from_value(json!({"bootstrapServers": ["kafka-1:9092", "kafka-0:9092"]})).unwrap();
    ResolvedCluster { name: "default".into(), spec, state }
}

/// The topics of the example, all ready.
pub fn example_topics() -> Vec<KafkaTopic> {
    let dead_letters = topic("orders-dlt", json!({"spec": {"topicName": "orders.DLT"}}));
    vec![topic("orders", json!({"spec": {"config": {"retention.ms": "604800000"}}})), topic("payments", json!({})), dead_letters]
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let map = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
