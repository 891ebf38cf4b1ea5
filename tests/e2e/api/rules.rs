//! Every CEL rule of the three kinds: what it accepts, what it refuses, and with which words.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use penstock_crds::manifest;
use penstock_tests::scene::{Result, play, refusal};
use serde_json::{Value, json};

use super::{breaker, by_type, changed, cluster, create, exactly, front, guarded, handled, imaged, log, places, reader, topic, untyped};

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
            "spec.configPolicy",
            "patterns are Kafka's topic configuration names",
            topic(),
            vec![json!({"configPolicy": {"retention.*": "Ignore", "*": "Enforce"}}), json!({"configPolicy": {}})],
            vec![
                json!({"configPolicy": {"Retention": "Ignore"}}),
                json!({"configPolicy": {"": "Ignore"}}),
                json!({"configPolicy": {"a?": "Ignore"}}),
            ],
        ),
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

fn pipeline_rules() -> Vec<RuleCase> {
    const KIND: &str = "EventPipeline";
    let transaction = |interval: &str| json!({"transaction": {"interval": interval}});
    let kafka = |change: Value| json!({"source": {"kafka": change}});
    let session = |timeout: &str, protocol: &str| kafka(json!({"sessionTimeout": timeout, "groupProtocol": protocol}));
    let fetch = |change: Value| kafka(json!({"fetch": change}));
    let backoff = |initial: &str, max: &str| json!({"retry": {"backoff": {"initial": initial, "max": max}}});
    let grouped = changed(reader(), &json!({"source": {"kafka": {"group": "g"}}}));
    let elsewhere = json!({"clusterRef": {"name": "elsewhere"}});
    let without_sink = |mut change: Value| {
        change["sink"] = Value::Null;
        change
    };
    vec![
        rule(
            KIND,
            "spec.processor",
            "processor needs exactly one",
            reader(),
            vec![
                json!({"processor": {"builtin": "payments", "options": {"successRate": "1"}}}),
                without_sink(by_type(&[log("a")])),
                handled(json!({})),
                imaged("shop/worker:1"),
            ],
            vec![
                json!({"processor": {"builtin": null}}),
                json!({"processor": {"builtin": null, "options": {"successRate": "1"}}}),
                changed(by_type(&[log("a")]), &json!({"processor": {"builtin": "log"}})),
                changed(handled(json!({})), &json!({"processor": {"builtin": "log"}})),
                json!({"processor": {"builtin": null, "image": "shop/worker:1", "http": {"image": "shop/handler:1", "port": 9000}}}),
                changed(by_type(&[log("a")]), &imaged("shop/worker:1")),
            ],
        ),
        rule(
            KIND,
            "spec.processor",
            "processor.options goes with",
            reader(),
            vec![
                json!({"processor": {"options": {"successRate": "1"}}}),
                changed(imaged("shop/worker:1"), &json!({"processor": {"options": {"speed": "9"}}})),
            ],
            vec![
                changed(by_type(&[log("a")]), &json!({"processor": {"options": {"maxBytes": "1"}}})),
                changed(handled(json!({})), &json!({"processor": {"options": {"speed": "9"}}})),
            ],
        ),
        rule(
            KIND,
            "spec.processor.http.timeout",
            "must be from",
            reader(),
            vec![handled(json!({"timeout": "1s"})), handled(json!({"timeout": "5m"}))],
            vec![handled(json!({"timeout": "999ms"})), handled(json!({"timeout": "301s"}))],
        ),
        rule(
            KIND,
            "spec",
            "processor.byType, processor.http and processor.image",
            changed(reader(), &json!({"sink": null})),
            vec![handled(json!({})), imaged("shop/worker:1"), by_type(&[log("a")])],
            vec![],
        ),
        rule(
            KIND,
            "spec",
            "processor.byType, processor.http and processor.image",
            changed(front(), &json!({"table": null})),
            vec![],
            vec![handled(json!({})), imaged("shop/worker:1"), by_type(&[log("a")])],
        ),
        rule(
            KIND,
            "spec",
            "of the built-in processors events-gateway, orders-gateway go with source.http",
            reader(),
            vec![json!({"processor": {"builtin": "enrich"}}), without_sink(by_type(&[log("a")]))],
            vec![json!({"processor": {"builtin": "events-gateway"}}), json!({"source": {"kafka": null, "http": {"port": 3001}}})],
        ),
        rule(
            KIND,
            "spec",
            "of the built-in processors enrich, events-gateway, orders-gateway, payments need a sink",
            reader(),
            vec![
                json!({"processor": {"builtin": "log"}, "sink": null}),
                without_sink(by_type(&[log("a")])),
                changed(handled(json!({})), &json!({"sink": null})),
            ],
            vec![json!({"sink": null}), json!({"processor": {"builtin": "log"}})],
        ),
        rule(
            KIND,
            "spec",
            "of the built-in processors orders-gateway need a table",
            front(),
            vec![
                json!({"processor": {"builtin": "events-gateway"}, "table": null}),
                json!({"processor": {"builtin": "events-gateway"}, "table": {"topics": ["keys"]}}),
            ],
            vec![json!({"table": null})],
        ),
        rule(
            KIND,
            "spec",
            "table.topics must hold sink.kafka.topic",
            front(),
            vec![json!({"table": {"topics": ["more", "out"]}})],
            vec![json!({"table": {"topics": ["more"]}}), json!({"sink": {"kafka": {"topic": "more"}}})],
        ),
        rule(
            KIND,
            "spec",
            "of events-gateway table.topics must be one topic",
            changed(front(), &json!({"processor": {"builtin": "events-gateway"}, "table": {"topics": ["keys"]}})),
            vec![json!({"table": null})],
            vec![json!({"table": {"topics": ["out"]}}), json!({"table": {"topics": ["keys", "more"]}})],
        ),
        rule(
            KIND,
            "spec",
            "table.keys goes with orders-gateway",
            changed(front(), &json!({"table": {"keys": "keys"}})),
            vec![json!({"table": {"keys": null}})],
            vec![json!({"processor": {"builtin": "events-gateway"}, "table": {"topics": ["more"]}})],
        ),
        rule(
            KIND,
            "spec.table",
            "table.keys must not be among table.topics",
            front(),
            vec![json!({"table": {"keys": "keys"}})],
            vec![json!({"table": {"keys": "out"}})],
        ),
        rule(
            KIND,
            "spec",
            "processor.byType needs a sink where",
            changed(changed(reader(), &by_type(&[log("a")])), &json!({"sink": null})),
            vec![changed(by_type(&[log("a"), json!({"type": "b", "builtin": "payments"})]), &json!({"sink": {"kafka": {"topic": "out"}}}))],
            vec![json!({"sink": {"kafka": {"topic": "out"}}}), by_type(&[json!({"type": "b", "builtin": "payments"})])],
        ),
        rule(
            KIND,
            "spec",
            "sink.kafka.topic must not be",
            reader(),
            vec![kafka(json!({"topics": ["in", "more"]}))],
            vec![json!({"sink": {"kafka": {"topic": "in"}}}), kafka(json!({"topics": ["in", "out"]}))],
        ),
        rule(
            KIND,
            "spec",
            "deadLetter.topic must not be",
            reader(),
            vec![json!({"deadLetter": {"topic": "dead"}}), json!({"deadLetter": {"format": "Envelope"}})],
            vec![json!({"deadLetter": {"topic": "in"}})],
        ),
        rule(
            KIND,
            "spec",
            "processor.http.port and admin.port",
            reader(),
            vec![handled(json!({"port": 8081})), changed(handled(json!({"port": 8080})), &json!({"admin": {"port": 8081}}))],
            vec![handled(json!({"port": 8080})), changed(handled(json!({"port": 9000})), &json!({"admin": {"port": 9000}}))],
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
        rule(
            KIND,
            "spec.source.http.auth.jwt.leeway",
            "must be from",
            front(),
            vec![guarded(json!({"leeway": "0s"})), guarded(json!({"leeway": "5m"}))],
            vec![guarded(json!({"leeway": "301s"})), guarded(json!({"leeway": "999999h"}))],
        ),
        rule(
            KIND,
            "spec",
            "replicas and scaling exclude each other",
            reader(),
            vec![
                json!({"scaling": {"maxReplicas": 3}}),
                json!({"scaling": {"maxReplicas": 3}, "replicas": 1}),
                json!({"scaling": {"maxReplicas": 3, "dryRun": true}, "replicas": 2}),
                json!({"replicas": 2}),
            ],
            vec![json!({"scaling": {"maxReplicas": 3}, "replicas": 2}), json!({"scaling": {"maxReplicas": 3}, "replicas": 0})],
        ),
        rule(
            KIND,
            "spec.scaling",
            "scaling.minReplicas (default 1)",
            reader(),
            vec![json!({"scaling": {"minReplicas": 3, "maxReplicas": 3}}), json!({"scaling": {"maxReplicas": 1}})],
            vec![json!({"scaling": {"minReplicas": 4, "maxReplicas": 3}})],
        ),
        rule(KIND, "spec", "scaling goes with source.kafka", front(), vec![json!({})], vec![json!({"scaling": {"maxReplicas": 3}})]),
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
            "source.kafka.topics may not lose a topic",
            changed(reader(), &json!({"source": {"kafka": {"topics": ["a", "b"]}}, "retry": {"delays": ["10s"]}})),
            vec![json!({"source": {"kafka": {"topics": ["b", "c", "a"]}}})],
            vec![json!({"source": {"kafka": {"topics": ["a"]}}}), json!({"source": {"kafka": {"topics": ["b", "c"]}}})],
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

fn cluster_rules() -> Vec<RuleCase> {
    let defaults =
        |partitions: u32, most: u32| json!({"topicDefaults": {"partitions": partitions}, "topicLimits": {"maxPartitions": most}});
    vec![rule(
        "KafkaCluster",
        "spec",
        "topicDefaults.partitions must not be",
        cluster(),
        vec![
            defaults(4, 4),
            json!({"topicDefaults": {"partitions": 4}}),
            json!({"topicDefaults": {}, "topicLimits": {"maxPartitions": 1}}),
        ],
        vec![defaults(5, 4)],
    )]
}

fn rule_cases() -> Vec<RuleCase> {
    topic_rules().into_iter().chain(cluster_rules()).chain(pipeline_rules()).collect()
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
