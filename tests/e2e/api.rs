//! What the apiserver itself decides about Penstock's objects: every CEL rule and every bound of the three kinds, one
//! accepted and one refused object at least, with words that a person can act on. A rule without a case fails a test.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective},
};
use penstock_crds::{EventPipeline, KafkaCluster, KafkaTopic, manifest};
use penstock_tests::{
    cluster::Tool,
    scene::{Result, Scene, install, play, refusal},
};
use serde_json::{Value, json};

/// Where Kubernetes' own types stand, whose bounds are Kubernetes' to test.
const KUBERNETES_OWN: [&str; 2] = ["spec.affinity", "spec.tolerations"];
/// A cluster that does not exist, so that the operator makes nothing of objects that must really be there.
const NOWHERE: &str = "nowhere";

/// The objects of a kind, untyped: what is to be refused has often no typed form.
fn untyped(scene: &Scene, kind: &str) -> Api<DynamicObject> {
    let resource = match kind {
        "KafkaCluster" => ApiResource::erase::<KafkaCluster>(&()),
        "KafkaTopic" => ApiResource::erase::<KafkaTopic>(&()),
        _ => ApiResource::erase::<EventPipeline>(&()),
    };
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
}

async fn create(
    scene: &Scene,
    kind: &str,
    name: &str,
    spec: &Value,
    dry_run: bool,
) -> Result<std::result::Result<DynamicObject, kube::Error>> {
    let object = json!({"apiVersion": KafkaTopic::api_version(&()), "kind": kind, "metadata": {"name": name}, "spec": spec});
    let params = PostParams { dry_run, ..PostParams::default() };
    Ok(untyped(scene, kind).create(&params, &serde_json::from_value(object)?).await)
}

/// The smallest spec of each kind, and an HTTP front.
fn topic() -> Value {
    json!({"clusterRef": {"name": NOWHERE}})
}
fn cluster() -> Value {
    json!({"bootstrapServers": ["kafka:9092"]})
}
fn reader() -> Value {
    json!({
        "clusterRef": {"name": NOWHERE}, "source": {"kafka": {"topics": ["in"]}}, "delivery": "AtLeastOnce",
        "processor": {"builtin": "payments"}, "sink": {"kafka": {"topic": "out"}},
    })
}
fn front() -> Value {
    json!({
        "clusterRef": {"name": NOWHERE}, "source": {"http": {"port": 3001}}, "processor": {"builtin": "orders-gateway"},
        "sink": {"kafka": {"topic": "out"}}, "table": {"topics": ["out"]},
    })
}

fn breaker(change: Value) -> Value {
    json!({"producer": {"circuitBreaker": change}})
}
/// A pipeline with a handler for each type, as a change of [`reader`].
fn by_type(handlers: &[Value]) -> Value {
    json!({"processor": {"builtin": null, "byType": {"handlers": handlers}}})
}
fn log(kind: &str) -> Value {
    json!({"type": kind, "builtin": "log"})
}

/// A value changed by a JSON merge patch (RFC 7386): a null removes.
fn changed(mut base: Value, change: &Value) -> Value {
    let Some(change) = change.as_object() else { return change.clone() };
    if !base.is_object() {
        base = json!({});
    }
    for (key, value) in change {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(key);
        } else {
            base[key] = changed(base[key].take(), value);
        }
    }
    base
}

/// Cases of one CEL rule: changes of a spec that it accepts and that it refuses. A rule about a transition gets them as
/// updates of an object that exists, the others as new objects.
struct RuleCase {
    kind: &'static str,
    /// Where the rule stands.
    at: &'static str,
    /// How its message begins.
    words: &'static str,
    name: Option<String>,
    transition: bool,
    base: Value,
    accepted: Vec<Value>,
    refused: Vec<Value>,
}

fn rule(kind: &'static str, at: &'static str, words: &'static str, base: Value, accepted: Vec<Value>, refused: Vec<Value>) -> RuleCase {
    RuleCase { kind, at, words, name: None, transition: false, base, accepted, refused }
}

fn transition(kind: &'static str, words: &'static str, base: Value, accepted: Vec<Value>, refused: Vec<Value>) -> RuleCase {
    RuleCase { transition: true, ..rule(kind, "spec", words, base, accepted, refused) }
}

fn topic_rules() -> Vec<RuleCase> {
    const KIND: &str = "KafkaTopic";
    let named = changed(topic(), &json!({"topicName": "a.b"}));
    let grown = changed(topic(), &json!({"partitions": 3}));
    let elsewhere = json!({"clusterRef": {"name": "elsewhere"}});
    vec![
        RuleCase {
            name: Some("n".repeat(250)),
            ..rule(KIND, "", "the object's name is longer", topic(), vec![json!({"topicName": "short"})], vec![json!({})])
        },
        rule(
            KIND,
            "spec.config",
            "config keys are Kafka's",
            topic(),
            vec![json!({"config": {"retention.ms": "1", "cleanup.policy": "compact"}}), json!({"config": {}})],
            vec![json!({"config": {"Retention.ms": "1"}}), json!({"config": {"": "1"}}), json!({"config": {"a b": "1"}})],
        ),
        rule(
            KIND,
            "spec.topicName",
            "a topic cannot be called",
            topic(),
            vec![json!({"topicName": "..."})],
            vec![json!({"topicName": "."}), json!({"topicName": ".."})],
        ),
        rule(
            KIND,
            "spec.topicName",
            "topic names that begin with",
            topic(),
            vec![json!({"topicName": "_schemas"})],
            vec![json!({"topicName": "__consumer_offsets"})],
        ),
        transition(
            KIND,
            "topicName cannot change",
            named,
            vec![json!({"partitions": 5})],
            vec![json!({"topicName": "c"}), json!({"topicName": null})],
        ),
        transition(KIND, "topicName cannot change", topic(), vec![json!({"suspend": true})], vec![json!({"topicName": "c"})]),
        transition(
            KIND,
            "clusterRef cannot change",
            topic(),
            vec![json!({"partitions": 5})],
            vec![elsewhere.clone(), json!({"clusterRef": null})],
        ),
        transition(
            KIND,
            "clusterRef cannot change",
            json!({"suspend": true}),
            vec![json!({"clusterRef": {"name": "default"}})],
            vec![elsewhere],
        ),
        transition(
            KIND,
            "partitions may only grow",
            grown,
            vec![json!({"partitions": 3}), json!({"partitions": 4})],
            vec![json!({"partitions": 2}), json!({"partitions": null})],
        ),
        transition(KIND, "partitions may only grow", topic(), vec![json!({"partitions": 1})], vec![]),
    ]
}

/// A pipeline that promises exactly once.
fn exactly() -> Value {
    changed(reader(), &json!({"delivery": "ExactlyOnce"}))
}

fn pipeline_rules() -> Vec<RuleCase> {
    const KIND: &str = "EventPipeline";
    let transaction = |interval: &str| json!({"transaction": {"interval": interval}});
    let kafka = |change: Value| json!({"source": {"kafka": change}});
    let session = |timeout: &str, protocol: &str| kafka(json!({"sessionTimeout": timeout, "groupProtocol": protocol}));
    let fetch = |change: Value| kafka(json!({"fetch": change}));
    let backoff = |initial: &str, max: &str| json!({"retry": {"backoff": {"initial": initial, "max": max}}});
    let grouped = changed(reader(), &json!({"source": {"kafka": {"group": "g"}}}));
    let elsewhere = json!({"clusterRef": {"name": "elsewhere"}});
    vec![
        rule(
            KIND,
            "spec.processor",
            "processor needs exactly one",
            reader(),
            vec![json!({"processor": {"builtin": "payments", "options": {"successRate": "1"}}}), by_type(&[log("a")])],
            vec![
                json!({"processor": {"builtin": null}}),
                json!({"processor": {"builtin": null, "options": {"successRate": "1"}}}),
                changed(by_type(&[log("a")]), &json!({"processor": {"builtin": "log"}})),
            ],
        ),
        rule(
            KIND,
            "spec.processor",
            "processor.options goes with",
            reader(),
            vec![json!({"processor": {"options": {"successRate": "1"}}})],
            vec![changed(by_type(&[log("a")]), &json!({"processor": {"options": {"maxBytes": "1"}}}))],
        ),
        rule(
            KIND,
            "spec.retry.delays",
            "must be from",
            changed(reader(), &json!({"ordering": "None"})),
            vec![json!({"retry": {"delays": ["1s", "1h"]}})],
            vec![json!({"retry": {"delays": ["999ms"]}}), json!({"retry": {"delays": ["61m"]}})],
        ),
        rule(
            KIND,
            "spec.retry.backoff.initial",
            "must be from",
            reader(),
            vec![backoff("1ms", "1m"), backoff("1.5s", "2s"), backoff("1s500ms", "2s")],
            vec![backoff("0ms", "1s"), backoff("0.5ms", "1s")],
        ),
        rule(
            KIND,
            "spec.retry.backoff.max",
            "must be from",
            reader(),
            vec![backoff("1ms", "60s")],
            vec![backoff("1ms", "61s"), backoff("1ms", "999999m")],
        ),
        rule(
            KIND,
            "spec.retry.backoff",
            "retry.backoff.initial (default",
            reader(),
            vec![backoff("5s", "5s"), json!({"retry": {"backoff": {"initial": "5s"}}}), json!({"retry": {"backoff": {}}})],
            vec![backoff("2s", "1s"), json!({"retry": {"backoff": {"initial": "6s"}}}), json!({"retry": {"backoff": {"max": "100ms"}}})],
        ),
        rule(
            KIND,
            "spec.source",
            "source needs exactly one",
            reader(),
            vec![json!({})],
            vec![json!({"source": {"kafka": null}}), json!({"source": {"http": {"port": 3001}}})],
        ),
        rule(
            KIND,
            "spec.source.kafka",
            "sessionTimeout goes with",
            reader(),
            vec![session("20s", "Classic"), kafka(json!({"sessionTimeout": "20s"})), kafka(json!({"groupProtocol": "Consumer"}))],
            vec![session("20s", "Consumer")],
        ),
        rule(
            KIND,
            "spec.source.kafka.sessionTimeout",
            "must be from",
            reader(),
            vec![kafka(json!({"sessionTimeout": "6s"})), kafka(json!({"sessionTimeout": "5m"}))],
            vec![kafka(json!({"sessionTimeout": "5.9s"})), kafka(json!({"sessionTimeout": "301s"}))],
        ),
        rule(
            KIND,
            "spec.source.kafka.fetch",
            "fetch.partitionMaxBytes must not",
            reader(),
            vec![
                fetch(json!({"partitionMaxBytes": 16_777_216})),
                fetch(json!({"partitionMaxBytes": 2_097_152, "maxBytes": 2_097_152})),
                fetch(json!({"maxBytes": 1_048_576})),
            ],
            vec![fetch(json!({"partitionMaxBytes": 2_097_153, "maxBytes": 2_097_152}))],
        ),
        rule(
            KIND,
            "spec.source.kafka.fetch.maxWait",
            "must be from",
            reader(),
            vec![fetch(json!({"maxWait": "10ms"})), fetch(json!({"maxWait": "10s"}))],
            vec![fetch(json!({"maxWait": "9ms"})), fetch(json!({"maxWait": "10.1s"}))],
        ),
        rule(
            KIND,
            "spec.producer.linger",
            "must be from",
            front(),
            vec![json!({"producer": {"linger": "0ms"}}), json!({"producer": {"linger": "1s"}})],
            vec![json!({"producer": {"linger": "1001ms"}}), json!({"producer": {"linger": "1m"}})],
        ),
        rule(
            KIND,
            "spec.transaction.interval",
            "must be from",
            exactly(),
            vec![transaction("10ms"), transaction("2s")],
            vec![transaction("9ms"), transaction("2.1s")],
        ),
        rule(
            KIND,
            "spec",
            "transaction goes with source.kafka",
            reader(),
            vec![json!({"delivery": null, "transaction": {}}), json!({"delivery": "ExactlyOnce", "transaction": {"records": 1}})],
            vec![json!({"transaction": {}})],
        ),
        rule(KIND, "spec", "transaction goes with source.kafka", front(), vec![], vec![json!({"transaction": {}})]),
        rule(
            KIND,
            "spec",
            "delivery, ordering, concurrency, retry and deadLetter go with source.kafka",
            front(),
            vec![json!({})],
            vec![
                json!({"delivery": "AtLeastOnce"}),
                json!({"ordering": "Key"}),
                json!({"concurrency": 1}),
                json!({"retry": {}}),
                json!({"deadLetter": {}}),
            ],
        ),
        rule(KIND, "spec", "producer.circuitBreaker goes with", front(), vec![json!({"producer": {"circuitBreaker": {}}})], vec![]),
        rule(
            KIND,
            "spec",
            "producer.circuitBreaker goes with",
            reader(),
            vec![json!({"producer": {"linger": "1ms"}})],
            vec![json!({"producer": {"circuitBreaker": {}}})],
        ),
        rule(
            KIND,
            "spec.producer.circuitBreaker.pause",
            "must be from",
            front(),
            vec![breaker(json!({"pause": "1s"})), breaker(json!({"pause": "5m"}))],
            vec![breaker(json!({"pause": "999ms"})), breaker(json!({"pause": "301s"}))],
        ),
        rule(KIND, "spec", "table goes with source.http", front(), vec![json!({})], vec![]),
        rule(KIND, "spec", "table goes with source.http", reader(), vec![json!({})], vec![json!({"table": {"topics": ["in"]}})]),
        rule(
            KIND,
            "spec",
            "admin.port (default 8080)",
            front(),
            vec![json!({"admin": {"port": 3002}}), json!({"source": {"http": {"port": 8080}}, "admin": {"port": 3001}})],
            vec![json!({"admin": {"port": 3001}}), json!({"source": {"http": {"port": 8080}}})],
        ),
        transition(
            KIND,
            "retry.delays may change but not become fewer",
            changed(reader(), &json!({"ordering": "None", "retry": {"delays": ["10s"]}})),
            vec![json!({"retry": {"delays": ["20s"]}}), json!({"retry": {"delays": ["20s", "1m"]}})],
            vec![json!({"retry": {"delays": []}}), json!({"retry": null})],
        ),
        transition(
            KIND,
            "ordering cannot become None",
            changed(reader(), &json!({"retry": {"delays": ["10s"]}})),
            vec![json!({"ordering": "Key"}), json!({"ordering": "Partition"})],
            vec![json!({"ordering": "None"})],
        ),
        transition(
            KIND,
            "ordering cannot become None",
            changed(reader(), &json!({"ordering": "None", "retry": {"delays": ["10s"]}})),
            vec![json!({"ordering": "None", "retry": {"delays": ["20s"]}}), json!({"ordering": "Key"})],
            vec![],
        ),
        transition(
            KIND,
            "source cannot change between",
            reader(),
            vec![json!({"source": {"kafka": {"topics": ["other"]}}})],
            vec![json!({"source": {"kafka": null, "http": {"port": 3001}}, "delivery": null})],
        ),
        transition(
            KIND,
            "source.kafka.group cannot change",
            grouped,
            vec![json!({"concurrency": 2})],
            vec![json!({"source": {"kafka": {"group": "h"}}}), json!({"source": {"kafka": {"group": null}}})],
        ),
        transition(
            KIND,
            "source.kafka.group cannot change",
            reader(),
            vec![json!({"suspend": true})],
            vec![json!({"source": {"kafka": {"group": "h"}}})],
        ),
        transition(KIND, "clusterRef cannot change", reader(), vec![json!({"replicas": 2})], vec![elsewhere, json!({"clusterRef": null})]),
    ]
}

fn rule_cases() -> Vec<RuleCase> {
    topic_rules().into_iter().chain(pipeline_rules()).collect()
}

/// A place in a schema, and the part of the schema that stands there.
type Place = (String, Value);

/// Every place of a kind's schema that a user writes, Kubernetes' own types left out.
fn places(definition: &CustomResourceDefinition) -> Vec<Place> {
    fn walk(path: &str, schema: &Value, found: &mut Vec<Place>) {
        if path == "status" || KUBERNETES_OWN.contains(&path) {
            return;
        }
        found.push((path.to_owned(), schema.clone()));
        for (name, part) in schema["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&below, part, found);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(path, &schema[inner], found);
            }
        }
    }
    let mut found = Vec::new();
    let definition = serde_json::to_value(definition).unwrap();
    walk("", &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    found
}

/// Every CEL rule: its kind, place and message.
fn rules() -> Vec<(String, String, String)> {
    let of = |definition: CustomResourceDefinition| {
        let kind = definition.spec.names.kind.clone();
        places(&definition).into_iter().flat_map(move |(path, schema)| {
            let messages = schema["x-kubernetes-validations"].as_array().cloned().unwrap_or_default();
            let kind = kind.clone();
            messages.into_iter().map(move |rule| (kind.clone(), path.clone(), rule["message"].as_str().unwrap_or_default().to_owned()))
        })
    };
    manifest::definitions().unwrap().into_iter().flat_map(of).collect()
}

#[test]
fn every_rule_has_accepted_and_refused_cases() {
    let (rules, cases) = (rules(), rule_cases());
    assert!(rules.len() >= 17, "the rules were not found: {rules:?}");
    for (kind, path, message) in &rules {
        let own: Vec<&RuleCase> = cases.iter().filter(|c| c.kind == kind && c.at == path && message.starts_with(c.words)).collect();
        assert!(own.iter().any(|c| !c.accepted.is_empty()), "no accepted case: {kind} {path}: {message}");
        assert!(own.iter().any(|c| !c.refused.is_empty()), "no refused case: {kind} {path}: {message}");
    }
    for case in &cases {
        let own = rules.iter().filter(|(kind, path, message)| case.kind == kind && case.at == path && message.starts_with(case.words));
        assert_eq!(own.count(), 1, "which rule is meant: {} {} {}", case.kind, case.at, case.words);
    }
}

#[tokio::test]
async fn rules_accept_and_refuse_with_their_own_words() {
    play("api-rules", async |scene| {
        let rules = rules();
        for (number, case) in rule_cases().into_iter().enumerate() {
            let message = rules.iter().find(|r| r.0 == case.kind && r.1 == case.at && r.2.starts_with(case.words)).map(|r| r.2.clone());
            let message = message.ok_or_else(|| format!("no such rule: {}", case.words))?;
            let name = case.name.clone().unwrap_or_else(|| format!("case-{number}"));
            if case.transition {
                create(scene, case.kind, &name, &case.base, false).await??;
            }
            let ask = async |change: &Value| -> Result<_> {
                let spec = changed(case.base.clone(), change);
                if !case.transition {
                    return create(scene, case.kind, &name, &spec, true).await;
                }
                let patch = Patch::Merge(json!({"spec": change}));
                let params = PatchParams { dry_run: true, ..PatchParams::default() };
                Ok(untyped(scene, case.kind).patch(&name, &params, &patch).await)
            };
            for change in &case.accepted {
                ask(change).await?.map_err(|e| format!("{} {change} is refused: {e}", case.kind))?;
            }
            for change in &case.refused {
                let said = refusal(ask(change).await?).map_err(|e| format!("{} {change}: {e}", case.kind))?;
                assert!(said.contains(&message) && said.contains(case.at), "{} {change}: {said}", case.kind);
            }
        }
        Ok(())
    })
    .await;
}

/// A bound of the schema: where it stands, changes of the spec that are within and beyond it, and words of the refusal.
struct BoundCase {
    kind: &'static str,
    at: &'static str,
    base: Value,
    within: Vec<Value>,
    beyond: Vec<(Value, &'static str)>,
}

/// The value at a place `a.b.c` below the spec, as a merge patch.
fn at(place: &str, value: &Value) -> Value {
    place.trim_start_matches("spec.").rsplit('.').fold(value.clone(), |inner, key| json!({key: inner}))
}

fn bound(kind: &'static str, place: &'static str, base: Value, within: &[Value], beyond: &[(Value, &'static str)]) -> BoundCase {
    let within = within.iter().map(|v| at(place, v)).collect();
    let beyond = beyond.iter().map(|(v, words)| (at(place, v), *words)).collect();
    BoundCase { kind, at: place, base, within, beyond }
}

const LEAST: &str = "should be greater than or equal to";
const MOST: &str = "should be less than or equal to";
const TYPE: &str = "must be of type";
const PATTERN: &str = "should match";
const LONG: &str = "Too long";
const MANY: &str = "Too many";
const FEW: &str = "should have at least";
const EMPTY: &str = "should be at least 1 chars long";
const CHOICE: &str = "Unsupported value";
const TWICE: &str = "Duplicate value";
const NEEDED: &str = "Required value";

fn number(kind: &'static str, place: &'static str, base: Value, least: i64, most: i64) -> BoundCase {
    let beyond = [(json!(least - 1), LEAST), (json!(most + 1), MOST), (json!("1"), TYPE), (json!(-4_294_967_296_i64), LEAST)];
    bound(kind, place, base, &[json!(least), json!(most)], &beyond)
}

fn choice(kind: &'static str, place: &'static str, base: Value, choices: &[&str]) -> BoundCase {
    let within: Vec<Value> = choices.iter().map(|c| json!(c)).collect();
    bound(kind, place, base, &within, &[(json!("Whatever"), CHOICE), (json!(""), CHOICE), (json!(choices[0].to_uppercase()), CHOICE)])
}

fn object_name(kind: &'static str, place: &'static str, base: Value) -> BoundCase {
    let beyond =
        [(json!("A"), PATTERN), (json!("a/b"), PATTERN), (json!("-a"), PATTERN), (json!("a".repeat(254)), LONG), (json!(""), EMPTY)];
    bound(kind, place, base, &[json!("a"), json!("a.b-1"), json!("a".repeat(253))], &beyond)
}

fn topic_refs(kind: &'static str, place: &'static str, base: Value) -> BoundCase {
    let names = |n: usize| json!((0..n).map(|i| format!("t{i}")).collect::<Vec<_>>());
    let beyond = [
        (names(0), FEW),
        (names(17), MANY),
        (json!(["a", "a"]), TWICE),
        (json!(["A"]), PATTERN),
        (json!(["a".repeat(254)]), LONG),
        (json!("a"), TYPE),
    ];
    bound(kind, place, base, &[names(1), names(16)], &beyond)
}

/// A map of `most` keys at most, whose values have at most `long` characters.
fn map(kind: &'static str, place: &'static str, base: Value, most: usize, long: usize) -> BoundCase {
    let keys = |n: usize| Value::Object((0..n).map(|i| (format!("k{i}"), json!("v"))).collect());
    let beyond = [(keys(most + 1), MANY), (json!({"k": "v".repeat(long + 1)}), LONG), (json!({"k": 1}), TYPE)];
    bound(kind, place, base, &[json!({}), keys(most), json!({"k": "v".repeat(long)})], &beyond)
}

fn topic_bounds() -> Vec<BoundCase> {
    const KIND: &str = "KafkaTopic";
    let names = [json!("orders.DLT"), json!("A_b-c.1"), json!("a".repeat(249))];
    let no_names =
        [(json!("a b"), PATTERN), (json!("ä"), PATTERN), (json!("a/b"), PATTERN), (json!("a".repeat(250)), LONG), (json!(""), EMPTY)];
    vec![
        number(KIND, "spec.partitions", topic(), 1, 100_000),
        number(KIND, "spec.replicationFactor", topic(), 1, 32),
        bound(KIND, "spec.topicName", topic(), &names, &no_names),
        map(KIND, "spec.config", topic(), 64, 4096),
        choice(KIND, "spec.deletionPolicy", topic(), &["Retain", "Delete"]),
        bound(KIND, "spec.suspend", topic(), &[json!(true)], &[(json!("yes"), TYPE)]),
        object_name(KIND, "spec.clusterRef.name", topic()),
        bound(KIND, "spec.clusterRef", json!({}), &[json!({"name": "c"})], &[(json!({}), NEEDED), (json!("c"), TYPE)]),
    ]
}

fn cluster_bounds() -> Vec<BoundCase> {
    const KIND: &str = "KafkaCluster";
    let servers = |n: usize| json!((0..n).map(|i| format!("kafka-{i}:9092")).collect::<Vec<_>>());
    let patterns = |n: usize| json!((0..n).map(|i| format!("shop-{i}")).collect::<Vec<_>>());
    vec![
        bound(
            KIND,
            "spec.bootstrapServers",
            cluster(),
            &[servers(1), servers(16), json!(["[::1]:9092"]), json!(["10.0.0.1:1"])],
            &[
                (servers(0), FEW),
                (servers(17), MANY),
                (json!(["kafka"]), PATTERN),
                (json!(["http://kafka:9092"]), PATTERN),
                (json!(["kafka:9092,b:9092"]), PATTERN),
                (json!(["a:1", "a:1"]), TWICE),
                (json!([format!("{}:9092", "a".repeat(256))]), LONG),
            ],
        ),
        bound(KIND, "spec.access", cluster(), &[json!({"namespaces": []})], &[(json!({}), NEEDED)]),
        bound(
            KIND,
            "spec.access.namespaces",
            cluster(),
            &[json!(["shop-*", "*"]), patterns(256)],
            &[
                (json!(["Shop"]), PATTERN),
                (json!([""]), EMPTY),
                (json!(["a", "a"]), TWICE),
                (json!(["a".repeat(64)]), LONG),
                (patterns(257), MANY),
            ],
        ),
        number(KIND, "spec.topicDefaults.partitions", cluster(), 1, 100_000),
        number(KIND, "spec.topicDefaults.replicationFactor", cluster(), 1, 32),
        number(KIND, "spec.topicLimits.maxPartitions", cluster(), 1, 100_000),
    ]
}

fn pipeline_bounds() -> Vec<BoundCase> {
    const KIND: &str = "EventPipeline";
    let groups = [(json!("a b"), PATTERN), (json!("a".repeat(250)), LONG), (json!(""), EMPTY)];
    let pauses = [
        (json!("soon"), PATTERN),
        (json!("55"), PATTERN),
        (json!("-1s"), PATTERN),
        (json!("0.5s100ms"), PATTERN),
        (json!("100ms1s"), PATTERN),
        (json!("1s".repeat(9)), LONG),
        (json!("5"), "at least 2 chars"),
        (json!(5), TYPE),
    ];
    let mut delays: Vec<_> = pauses.iter().map(|(pause, words)| (json!([pause]), *words)).collect();
    delays.push((json!(["1s", "2s", "3s", "4s", "5s", "6s"]), MANY));
    let headers = [
        (json!(["Spring", "Spring"]), TWICE),
        (json!(["Spring", "Connect", "Spring"]), MANY),
        (json!(["spring"]), CHOICE),
        (json!([""]), CHOICE),
        (json!("Spring"), TYPE),
    ];
    let builtins = penstock_crds::processor::BUILTINS.iter().map(|b| b.name).collect::<Vec<_>>();
    let mut cases = vec![
        number(KIND, "spec.replicas", reader(), 0, 1000),
        number(KIND, "spec.concurrency", reader(), 1, 256),
        number(KIND, "spec.retry.attempts", reader(), 1, 100),
        number(KIND, "spec.admin.port", reader(), 1024, 65535),
        number(KIND, "spec.source.http.port", front(), 1024, 65535),
        topic_refs(KIND, "spec.source.kafka.topics", reader()),
        topic_refs(KIND, "spec.table.topics", front()),
        choice(KIND, "spec.processor.builtin", reader(), &builtins),
        choice(KIND, "spec.delivery", reader(), &["AtLeastOnce", "ExactlyOnce"]),
        number(KIND, "spec.transaction.records", exactly(), 1, 100_000),
        choice(KIND, "spec.ordering", reader(), &["Key", "Partition", "None"]),
        choice(KIND, "spec.source.kafka.groupProtocol", reader(), &["Classic", "Consumer"]),
        bound(KIND, "spec.source.kafka.sessionTimeout", reader(), &[json!("30s")], &pauses),
        number(KIND, "spec.source.kafka.fetch.minBytes", reader(), 1, 1_048_576),
        number(KIND, "spec.source.kafka.fetch.maxBytes", reader(), 1_048_576, 67_108_864),
        number(KIND, "spec.source.kafka.fetch.partitionMaxBytes", reader(), 16_384, 16_777_216),
        bound(KIND, "spec.source.kafka.fetch.maxWait", reader(), &[json!("1s")], &pauses),
        number(KIND, "spec.producer.batchBytes", reader(), 1024, 1_048_576),
        bound(KIND, "spec.producer.linger", reader(), &[json!("20ms")], &pauses),
        number(KIND, "spec.producer.circuitBreaker.failures", front(), 1, 10_000),
        bound(KIND, "spec.producer.circuitBreaker.pause", front(), &[json!("20s")], &pauses),
        choice(KIND, "spec.producer.compression", reader(), &["None", "Gzip", "Snappy", "Lz4", "Zstd"]),
        choice(KIND, "spec.source.kafka.startFrom", reader(), &["Earliest", "Latest"]),
        choice(KIND, "spec.deadLetter.format", reader(), &["Record", "Envelope"]),
        bound(KIND, "spec.deadLetter.headers", reader(), &[json!([]), json!(["Connect", "Spring"])], &headers),
        object_name(KIND, "spec.deadLetter.topic", reader()),
        object_name(KIND, "spec.sink.kafka.topic", reader()),
        object_name(KIND, "spec.priorityClassName", reader()),
        object_name(KIND, "spec.clusterRef.name", reader()),
        map(KIND, "spec.processor.options", reader(), 32, 16_384),
        map(KIND, "spec.nodeSelector", reader(), 32, 63),
        bound(KIND, "spec.source.kafka.group", reader(), &[json!("service-b.consumers_1"), json!("a".repeat(249))], &groups),
        bound(KIND, "spec.retry.delays", changed(reader(), &json!({"ordering": "None"})), &[json!(["10s"])], &delays),
        bound(KIND, "spec.transaction.interval", exactly(), &[json!("250ms")], &pauses),
        bound(KIND, "spec.retry.backoff.initial", reader(), &[json!("250ms")], &pauses),
        bound(KIND, "spec.retry.backoff.max", reader(), &[json!("10s")], &pauses),
    ];
    for (place, value) in [
        ("spec.admin", json!({"port": 1024})),
        ("spec.clusterRef", json!({"name": "c"})),
        ("spec.source.kafka", json!({"topics": ["a"]})),
        ("spec.sink", json!({"kafka": {"topic": "a"}})),
        ("spec.sink.kafka", json!({"topic": "a"})),
    ] {
        let mut base = reader();
        let (above, last) = place.trim_start_matches("spec.").rsplit_once('.').unwrap_or(("", place.trim_start_matches("spec.")));
        let above = if above.is_empty() { Some(&mut base) } else { base.get_mut(above) };
        above.and_then(Value::as_object_mut).unwrap().remove(last);
        cases.push(bound(KIND, place, base, &[value], &[(json!({}), NEEDED), (json!([]), TYPE)]));
    }
    let mut no_table = front();
    no_table.as_object_mut().unwrap().remove("table");
    cases.push(bound(KIND, "spec.table", no_table, &[json!({"topics": ["a"]})], &[(json!({}), NEEDED)]));
    let mut no_source = front();
    no_source["source"] = json!({});
    cases.push(bound(KIND, "spec.source.http", no_source, &[json!({"port": 2000})], &[(json!({}), NEEDED)]));
    for key in ["source", "processor"] {
        let mut lacking = reader();
        lacking.as_object_mut().unwrap().remove(key);
        cases.push(BoundCase { kind: KIND, at: "spec", base: lacking, within: vec![], beyond: vec![(json!({}), NEEDED)] });
    }
    cases
}

/// Bounds of `processor.byType`, with changes of one handler.
fn handler_bounds() -> Vec<BoundCase> {
    const KIND: &str = "EventPipeline";
    let many = |count: usize| by_type(&(0..count).map(|n| log(&format!("t{n}"))).collect::<Vec<_>>());
    let handler = |change: Value| by_type(&[changed(log("a"), &change)]);
    let kind = |kind: &str| handler(json!({"type": kind}));
    let options = |count: usize, long: usize| {
        handler(json!({"options": (0..count).map(|i| (format!("k{i}"), "v".repeat(long))).collect::<BTreeMap<_, _>>()}))
    };
    let case = |at, within, beyond| BoundCase { kind: KIND, at, base: reader(), within, beyond };
    vec![
        case("spec.processor.byType", vec![], vec![(json!({"processor": {"builtin": null, "byType": {}}}), NEEDED)]),
        case(
            "spec.processor.byType.handlers",
            vec![many(1), many(64)],
            vec![
                (many(0), FEW),
                (many(65), MANY),
                (by_type(&[log("a"), log("a")]), TWICE),
                (handler(json!({"type": null})), NEEDED),
                (handler(json!({"builtin": null})), NEEDED),
            ],
        ),
        case(
            "spec.processor.byType.handlers[0].type",
            vec![kind("user.created"), kind("Größe 7"), kind(&"a".repeat(253))],
            vec![(kind(""), EMPTY), (kind(&"a".repeat(254)), LONG), (kind("a\nb"), PATTERN)],
        ),
        case(
            "spec.processor.byType.handlers[0].builtin",
            vec![handler(json!({"builtin": "payments"}))],
            vec![(handler(json!({"builtin": "sms"})), CHOICE)],
        ),
        case(
            "spec.processor.byType.handlers[0].options",
            vec![options(32, 1), options(1, 16_384)],
            vec![(options(33, 1), MANY), (options(1, 16_385), LONG)],
        ),
    ]
}

fn bound_cases() -> Vec<BoundCase> {
    let pipelines = pipeline_bounds().into_iter().chain(handler_bounds());
    let mut cases: Vec<BoundCase> = topic_bounds().into_iter().chain(cluster_bounds()).chain(pipelines).collect();
    cases.push(BoundCase { kind: "KafkaCluster", at: "spec", base: json!({}), within: vec![cluster()], beyond: vec![(json!({}), NEEDED)] });
    cases
}

#[test]
fn every_bound_has_a_refused_case() {
    const BOUNDS: [&str; 9] = ["minimum", "maximum", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"];
    let cases = bound_cases();
    let covered: BTreeSet<(&str, String)> =
        cases.iter().filter(|c| !c.beyond.is_empty()).map(|c| (c.kind, c.at.replace("[0]", ""))).collect();
    let mut found = 0;
    for definition in manifest::definitions().unwrap() {
        let kind = definition.spec.names.kind.as_str();
        for (path, schema) in places(&definition) {
            let bounded = BOUNDS.iter().any(|b| !schema[b].is_null()) || schema["required"].is_array() && !path.is_empty();
            if bounded {
                found += 1;
                assert!(covered.contains(&(kind, path.clone())), "no case goes beyond the bounds of {kind} {path}");
            }
        }
    }
    assert!(found > 30, "the bounds were not found");
}

#[tokio::test]
async fn bounds_are_kept_at_apply() {
    play("api-bounds", async |scene| {
        for case in bound_cases() {
            let ask = async |change: &Value| create(scene, case.kind, "case", &changed(case.base.clone(), change), true).await;
            for change in &case.within {
                ask(change).await?.map_err(|e| format!("{} {change} is refused: {e}", case.kind))?;
            }
            for (change, words) in &case.beyond {
                let said = refusal(ask(change).await?).map_err(|e| format!("{} {change}: {e}", case.kind))?;
                assert!(said.contains(words) && said.contains(case.at), "{} {change}, expected `{words}`: {said}", case.kind);
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn null_means_absent() {
    play("api-null", async |scene| {
        for (kind, base) in [("KafkaTopic", topic()), ("KafkaCluster", cluster()), ("EventPipeline", reader()), ("EventPipeline", front())]
        {
            let without = create(scene, kind, "case", &base, true).await??.data;
            let definition = manifest::definitions()?.into_iter().find(|d| d.spec.names.kind == kind).ok_or("no such kind")?;
            let mut with_nulls = base.clone();
            let fields: Vec<String> =
                places(&definition).into_iter().filter_map(|(path, _)| Some(path.strip_prefix("spec.")?.to_owned())).collect();
            let absent: Vec<&String> = fields.iter().filter(|f| !f.contains('.') && base[f.as_str()].is_null()).collect();
            assert!(!absent.is_empty(), "{kind} has no optional field");
            for field in absent {
                with_nulls[field.as_str()] = Value::Null;
            }
            let with = create(scene, kind, "case", &with_nulls, true).await?.map_err(|e| format!("{with_nulls}: {e}"))?.data;
            assert_eq!(with["spec"], without["spec"], "{kind}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_as_kubectl_asks() {
    play("api-unknown", async |scene| {
        let params = PatchParams {
            dry_run: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("penstock-tests").force()
        };
        for (kind, base) in [("KafkaTopic", topic()), ("KafkaCluster", cluster()), ("EventPipeline", reader())] {
            let object = json!({
                "apiVersion": KafkaTopic::api_version(&()), "kind": kind, "metadata": {"name": "case"},
                "spec": changed(base, &json!({"speed": "fast"})),
            });
            match untyped(scene, kind).patch("case", &params, &Patch::Apply(object)).await {
                Err(kube::Error::Api(status)) => assert!(status.message.contains("speed"), "{}", status.message),
                other => return Err(format!("{kind}: not refused by the apiserver: {other:?}").into()),
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_has_a_scale() {
    play("api-scale", async |scene| {
        create(scene, "EventPipeline", "p", &reader(), false).await??;
        let api = scene.api::<EventPipeline>();
        assert_eq!(api.get_scale("p").await?.spec.and_then(|s| s.replicas), Some(1));
        let scale = async |replicas: i32| {
            api.patch_scale("p", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await
        };
        scale(0).await?;
        assert_eq!(api.get("p").await?.spec.replicas, 0);
        let said = refusal(scale(1001).await)?;
        assert!(said.contains("1000"), "{said}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn kubectl_knows_the_category_the_short_names_and_the_columns() {
    play("api-kubectl", async |scene| {
        for (kind, spec) in [("KafkaTopic", topic()), ("KafkaCluster", cluster()), ("EventPipeline", reader())] {
            create(scene, kind, "case", &spec, false).await??;
        }
        let kubectl = async |arguments: &[&str]| {
            let mut command = scene.cluster.tool(Tool::Kubectl);
            command.args(["-n", &scene.namespace, "get"]).args(arguments);
            install::run(command).await
        };
        let listed = kubectl(&["penstock", "-o", "name"]).await?;
        for name in ["kafkatopic", "kafkacluster", "eventpipeline"] {
            assert!(listed.contains(&format!("{name}.penstock.dev/case")), "{listed}");
        }
        let definitions = manifest::definitions()?;
        for (kind, columns) in [
            ("KafkaTopic", &["NAME", "READY", "TOPIC", "PARTITIONS", "REPLICATION", "REASON", "AGE", "MESSAGE"][..]),
            ("KafkaCluster", &["NAME", "READY", "BROKERS", "VERSION", "REASON", "AGE", "MESSAGE"]),
            ("EventPipeline", &["NAME", "READY", "PROCESSOR", "WORKERS", "DESIRED", "REASON", "AGE", "MESSAGE"]),
        ] {
            let short = definitions.iter().find(|d| d.spec.names.kind == kind).and_then(|d| d.spec.names.short_names.clone());
            let short = short.and_then(|names| names.into_iter().next()).ok_or_else(|| format!("{kind} has no short name"))?;
            let wide = kubectl(&[&short, "-o", "wide"]).await?;
            let header: Vec<&str> = wide.lines().next().unwrap_or_default().split_whitespace().collect();
            assert_eq!(header, columns, "{short} must mean {kind}, and nothing else: {wide}");
            let narrow = kubectl(&[&short]).await?;
            assert!(!narrow.contains("MESSAGE"), "{narrow}");
        }
        Ok(())
    })
    .await;
}
