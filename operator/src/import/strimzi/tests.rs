use penstock_crds::topic::DeletionPolicy;

use super::*;
use crate::import::print::{self, tests::strictly};

/// As `kubectl get kafkatopics -o yaml` prints them, and as people keep them in files.
const OBJECTS: &str = r#"
apiVersion: v1
kind: List
items:
- apiVersion: kafka.strimzi.io/v1beta2
  kind: KafkaTopic
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: "{}"
    creationTimestamp: "2025-03-01T10:00:00Z"
    finalizers: [strimzi.io/topic-operator]
    generation: 4
    labels: {strimzi.io/cluster: prod, team: checkout, argocd.argoproj.io/instance: shop}
    name: orders
    namespace: kafka
    resourceVersion: "812"
    uid: 6f0c1b1e-0000-4000-8000-000000000001
  spec:
    partitions: 12
    replicas: 3
    config:
      retention.ms: 604800000
      segment.bytes: 1073741824
      min.cleanable.dirty.ratio: 0.25
      max.compaction.lag.ms: 9223372036854775807
      delete.retention.ms: 1e5
      unclean.leader.election.enable: false
      cleanup.policy: [compact, delete]
      min.insync.replicas: "2"
      compression.type: null
      message.format: {version: 3}
      follower.replication.throttled.replicas: "*"
      Retention.Bytes: 5
  status:
    conditions: [{type: Ready, status: "True", lastTransitionTime: "2025-03-01T10:00:05Z"}]
    observedGeneration: 4
    topicId: lKGVVPtLQ0m0N3cNw2mTCA
    topicName: orders
- apiVersion: kafka.strimzi.io/v1
  kind: KafkaTopic
  metadata:
    name: orders-dlt
    namespace: kafka
    labels: {strimzi.io/cluster: prod}
    annotations: {strimzi.io/managed: "false"}
  spec: {topicName: orders.DLT, partitions: 1, replicas: 40}
- apiVersion: kafka.strimzi.io/v1beta2
  kind: KafkaTopic
  metadata:
    name: payments
    namespace: kafka
    labels: {strimzi.io/cluster: prod}
    annotations: {strimzi.io/pause-reconciliation: "true"}
  spec: {}
  status: {replicasChange: {state: ongoing, targetReplicas: 3}}
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaTopic
metadata: {name: unlabelled}
spec: {partitions: 0, replica: 3}
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaTopic
metadata:
  name: consumer-offsets---84e7a678d08f4bd226872e5cdd4eb527fadc1c6a
  namespace: kafka
  labels: {strimzi.io/cluster: prod}
spec: {topicName: __consumer_offsets, partitions: 50, replicas: 3}
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaTopic
metadata: {name: nothing, labels: {strimzi.io/cluster: prod}}
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaTopic
metadata: {name: going, labels: {strimzi.io/cluster: prod}, deletionTimestamp: "2025-03-01T10:00:00Z"}
spec: {}
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaTopic
metadata: {name: broken, labels: {strimzi.io/cluster: prod}}
spec: {partitions: many}
---
apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaUser
metadata: {name: checkout}
spec: {}
"#;

fn read(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

fn notes(imported: &Imported) -> Vec<String> {
    imported.notes.iter().map(|note| format!("{}: {}", note.about, note.says)).collect()
}

#[test]
fn what_strimzi_looks_after_becomes_suspended_objects() {
    let imported = imported(&read(OBJECTS), Choice::default()).unwrap();
    let topics = strictly(&print::yaml(&imported.topics).unwrap());
    assert_eq!(topics, imported.topics);
    let rows: Vec<_> = topics
        .iter()
        .map(|topic| {
            let spec = &topic.spec;
            assert!(spec.suspend && spec.deletion_policy == DeletionPolicy::Retain && spec.cluster_ref.is_none(), "{topic:?}");
            (place(topic), topic.kafka_name().to_owned(), spec.partitions, spec.replication_factor, spec.config.len())
        })
        .collect();
    let row = |place: &str, name: &str, partitions, factor, keys| (place.to_owned(), name.to_owned(), partitions, factor, keys);
    assert_eq!(
        rows,
        [
            row("kafka/orders", "orders", Some(12), Some(3), 8),
            row("kafka/orders-dlt", "orders.DLT", Some(1), None, 0),
            row("kafka/payments", "payments", None, None, 0),
            row("unlabelled", "unlabelled", None, None, 0),
        ]
    );
    let orders = &topics[0];
    let config: Vec<_> = orders.spec.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        config,
        [
            "cleanup.policy=compact,delete",
            "delete.retention.ms=100000",
            "max.compaction.lag.ms=9223372036854775807",
            "min.cleanable.dirty.ratio=0.25",
            "min.insync.replicas=2",
            "retention.ms=604800000",
            "segment.bytes=1073741824",
            "unclean.leader.election.enable=false",
        ]
    );
    let meta = &orders.metadata;
    assert_eq!(meta.labels, Some([("team".to_owned(), "checkout".to_owned())].into()));
    assert!(meta.finalizers.is_none() && meta.annotations.is_none() && meta.uid.is_none() && meta.resource_version.is_none(), "{meta:?}");
    assert_eq!(topics[1].spec.topic_name.as_deref(), Some("orders.DLT"));
}

#[test]
fn what_is_not_carried_over_is_told_with_the_name() {
    let told = notes(&imported(&read(OBJECTS), Choice::default()).unwrap());
    for (about, words) in [
        ("broken", "left out: it cannot be read"),
        ("objects of other kinds", "left out: 1 KafkaUser"),
        ("kafka/consumer-offsets---84e7a678d08f4bd226872e5cdd4eb527fadc1c6a", "left out: `__consumer_offsets` belongs to Kafka"),
        ("nothing", "left out: it has no spec"),
        ("going", "left out: it is being deleted"),
        ("kafka/orders", "labels of tools are left out: argocd.argoproj.io/instance"),
        ("kafka/orders", "`Retention.Bytes` is left out: it is no name"),
        ("kafka/orders", "`compression.type` is left out: its value is neither"),
        ("kafka/orders", "`follower.replication.throttled.replicas` is left out: it belongs to whoever"),
        ("kafka/orders", "`message.format` is left out: its value is neither"),
        ("kafka/orders-dlt", "`spec.replicas` is 40 and is left out: it must be from 1 to 32"),
        ("kafka/orders-dlt", "Strimzi does not look after it (strimzi.io/managed: \"false\")"),
        ("kafka/payments", "Strimzi is paused for it"),
        ("kafka/payments", "Strimzi is changing its replication factor"),
        ("unlabelled", "`spec.partitions` is 0 and is left out"),
        ("unlabelled", "the field `spec.replica` is not known here"),
        ("unlabelled", "it has no label strimzi.io/cluster"),
    ] {
        assert!(told.iter().any(|note| note.starts_with(&format!("{about}: ")) && note.contains(words)), "{about}: {words}\n{told:#?}");
    }
    assert_eq!(told.len(), 17, "{told:#?}");
}

fn object(name: &str, namespace: &str, cluster: &str, created: u8, topic: &str) -> Value {
    serde_json::json!({
        "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic",
        "metadata": {
            "name": name, "namespace": namespace, "labels": {"strimzi.io/cluster": cluster},
            "creationTimestamp": format!("2026-01-01T00:00:0{created}Z"),
        },
        "spec": {"topicName": topic},
    })
}

#[test]
fn one_strimzi_cluster_at_a_time() {
    let objects = [object("a", "x", "one", 0, "a"), object("b", "x", "two", 0, "b")];
    let refused = imported(&objects, Choice::default()).unwrap_err().to_string();
    assert!(refused.contains("(one, two): choose one with --strimzi-cluster"), "{refused}");
    let chosen = Choice { strimzi_cluster: Some("two"), cluster: Some("big"), into: Some("shop") };
    let imported = imported(&objects, chosen).unwrap();
    let told: Vec<_> = imported.topics.iter().map(|topic| (place(topic), topic.cluster_name())).collect();
    assert_eq!(told, [("shop/b".to_owned(), "big")]);
}

#[test]
fn of_two_objects_for_one_topic_the_older_is_printed_and_names_stay_apart() {
    let objects = [
        object("young", "x", "one", 5, "orders"),
        object("old", "y", "one", 1, "orders"),
        object("same", "x", "one", 1, "x.same"),
        object("same", "y", "one", 1, "y.same"),
    ];
    let imported = imported(&objects, Choice { into: Some("shop"), ..Choice::default() }).unwrap();
    let names: Vec<_> = imported.topics.iter().map(|topic| (place(topic), topic.kafka_name())).collect();
    let apart = |topic: &str| format!("shop/{}", names::told_apart("same", topic));
    assert_eq!(names, [("shop/old".to_owned(), "orders"), (apart("x.same"), "x.same"), (apart("y.same"), "y.same")]);
    let told = notes(&imported);
    assert!(told[0].starts_with("x/young: left out: an older object"), "{told:#?}");
    assert!(told[1].contains("the one of the topic `x.same` is now shop/same-"), "{told:#?}");
}
