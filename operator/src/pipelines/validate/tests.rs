use penstock_crds::condition::Reason;
use serde_json::{Value, json};

use super::*;
use crate::pipelines::testing::{UID, cluster, derived_by, example_topics, gateway, handled, payments, references, topic, unready, with};

fn only(topics: Vec<KafkaTopic>, names: &[&str]) -> Vec<KafkaTopic> {
    topics.into_iter().filter(|t| names.contains(&t.metadata.name.as_deref().unwrap())).collect()
}

fn options_of(choice: &Choice) -> &BTreeMap<String, String> {
    let Choice::Builtin(one) = choice else { panic!("{choice:?}") };
    &one.options
}

fn by_type(handlers: Value) -> Value {
    json!({"builtin": null, "byType": {"handlers": handlers}})
}

#[test]
fn the_example_is_valid() {
    for pipeline in [payments(json!({})), gateway(json!({}))] {
        let verdict = validate(&pipeline, &references(example_topics()));
        assert_eq!(verdict.unready, None);
        let valid = verdict.pipeline.unwrap();
        assert_eq!(valid.worker.bootstrap_servers, ["kafka-0:9092", "kafka-1:9092"]);
        assert_eq!(valid.owner.uid, UID);
        assert_eq!(valid.owner.controller, Some(true));
        let options = options_of(&valid.worker.processor);
        assert_eq!(options.get("serviceName"), pipeline.metadata.name.as_ref());
    }
}

#[test]
fn a_spec_that_makes_no_sense_is_refused() {
    let kafka = |patch: Value| payments(patch);
    let log = || json!({"type": "user.created", "builtin": "log"});
    let rows: Vec<(EventPipeline, Reason, &str)> = vec![
        (kafka(json!({"processor": {"builtin": null}})), Reason::InvalidSpec, "exactly one of builtin, byType, http and image"),
        (kafka(json!({"processor": by_type(json!([]))})), Reason::InvalidSpec, "at least one handler"),
        (kafka(json!({"processor": by_type(json!([log(), log()]))})), Reason::InvalidSpec, "one for each type"),
        (kafka(json!({"processor": by_type(json!([log()]))})), Reason::ProcessorMismatch, "`by-type` needs no sink"),
        (
            kafka(json!({"processor": by_type(json!([{"type": "a", "builtin": "events-gateway"}]))})),
            Reason::ProcessorMismatch,
            "the handler of `a` is events-gateway",
        ),
        (
            kafka(json!({"sink": null, "processor": by_type(json!([{"type": "a", "builtin": "log", "options": {"speed": "9"}}]))})),
            Reason::InvalidOptions,
            "handler of `a`: `speed` is not an option of log",
        ),
        (
            kafka(json!({"processor": {"builtin": "nope"}})),
            Reason::InvalidSpec,
            "`nope` is not a built-in processor: this version has enrich, events-gateway, log, orders-gateway, payments",
        ),
        (
            gateway(json!({"processor": {"options": {"maxConnections": "100"}}})),
            Reason::InvalidOptions,
            "option maxConnections is 100: it must be greater than maxRequests, which is 256",
        ),
        (kafka(handled(json!({"port": 8080}))), Reason::InvalidSpec, "processor.http.port and admin.port are both 8080"),
        (kafka(with(handled(json!({})), json!({"admin": {"port": 9000}}))), Reason::InvalidSpec, "are both 9000"),
        (kafka(handled(json!({"timeout": "6m"}))), Reason::InvalidSpec, "processor.http.timeout: `6m` is out of bounds"),
        (kafka(handled(json!({"image": "a b"}))), Reason::InvalidSpec, "processor.http.image: `a b` is not the name of an image"),
        (
            kafka(handled(json!({"resources": {"limits": {"cpu": "lots"}}}))),
            Reason::InvalidSpec,
            "processor.http.resources.limits.cpu: `lots` is not an amount",
        ),
        (kafka(json!({"processor": {"builtin": null, "image": ""}})), Reason::InvalidSpec, "processor.image"),
        (gateway(handled(json!({}))), Reason::ProcessorMismatch, "`http` needs source.kafka"),
        (gateway(json!({"processor": {"builtin": null, "image": "w:1"}})), Reason::ProcessorMismatch, "`image` needs source.kafka"),
        (kafka(json!({"processor": {"builtin": "orders-gateway"}})), Reason::ProcessorMismatch, "needs source.http"),
        (kafka(json!({"sink": null})), Reason::ProcessorMismatch, "`payments` needs sink"),
        (kafka(json!({"table": {"topics": ["orders"]}})), Reason::ProcessorMismatch, "needs no table"),
        (gateway(json!({"sink": null, "table": null})), Reason::ProcessorMismatch, "needs sink: it produces records; and table"),
        (
            gateway(json!({"table": {"topics": ["payments"]}})),
            Reason::ProcessorMismatch,
            "needs the topic of sink.kafka.topic in table.topics",
        ),
        (gateway(json!({"table": {"keys": "payments"}})), Reason::ProcessorMismatch, "needs a topic of its own in table.keys"),
        (
            gateway(json!({"table": {"topics": ["payments"], "keys": "keys"}, "processor": {"builtin": "events-gateway"}})),
            Reason::ProcessorMismatch,
            "needs no table.keys: its table is the topic of keys",
        ),
        (gateway(json!({"processor": {"builtin": "payments"}})), Reason::ProcessorMismatch, "needs source.kafka"),
        (
            gateway(json!({"processor": {"options": {"corsOrigin": "shop.example"}}})),
            Reason::InvalidOptions,
            "option corsOrigin: `shop.example` is not an origin",
        ),
        (kafka(json!({"processor": {"options": {"successRate": "2", "speed": "9"}}})), Reason::InvalidOptions, "`speed` is not an option"),
        (
            kafka(json!({"processor": {"options": {"successRate": "2", "speed": "9"}}})),
            Reason::InvalidOptions,
            "`2` is not a number from 0 to 1",
        ),
        (
            gateway(json!({"processor": {"builtin": "events-gateway", "options": null}})),
            Reason::ProcessorMismatch,
            "needs one topic in table.topics, and not that of sink.kafka.topic",
        ),
        (
            gateway(json!({"table": null, "processor": {"builtin": "events-gateway", "options": {"schema": "{\"type\": "}}})),
            Reason::InvalidOptions,
            "option schema: is not JSON",
        ),
        (kafka(json!({"processor": {"builtin": "log"}})), Reason::ProcessorMismatch, "needs no sink"),
        (kafka(json!({"transaction": {"interval": "5ms"}})), Reason::InvalidSpec, "transaction.interval"),
        (kafka(json!({"transaction": {"records": 0}})), Reason::InvalidSpec, "transaction.records"),
        (kafka(json!({"source": {"kafka": {"sessionTimeout": "1s"}}})), Reason::InvalidSpec, "source.kafka.sessionTimeout"),
        (kafka(json!({"source": {"kafka": {"fetch": {"maxBytes": 1}}}})), Reason::InvalidSpec, "source.kafka.fetch.maxBytes"),
        (kafka(json!({"producer": {"circuitBreaker": {}}})), Reason::InvalidSpec, "goes with source.http"),
        (kafka(json!({"producer": {"batchBytes": 1}})), Reason::InvalidSpec, "producer.batchBytes"),
        (gateway(json!({"producer": {"linger": "1m"}})), Reason::InvalidSpec, "producer.linger"),
        (kafka(json!({"source": {"kafka": null}})), Reason::ProcessorMismatch, "needs source.kafka"),
        (kafka(json!({"source": {"kafka": {"topics": []}}})), Reason::InvalidSpec, "name at least one"),
        (kafka(json!({"source": {"http": {"port": 3001}}})), Reason::InvalidSpec, "exactly one of kafka and http"),
        (kafka(json!({"resources": {"limits": {"cpu": "lots"}}})), Reason::InvalidSpec, "resources.limits.cpu: `lots` is not an amount"),
        (kafka(json!({"concurrency": 0})), Reason::InvalidSpec, "concurrency"),
        (kafka(json!({"retry": {"backoff": {"initial": "1h"}}})), Reason::InvalidSpec, "retry.backoff.initial"),
        (kafka(json!({"ordering": "None", "retry": {"delays": ["1ms"]}})), Reason::InvalidSpec, "`1ms` is out of bounds"),
        (kafka(json!({"ordering": "None", "retry": {"delays": ["1s", "1s", "1s", "1s", "1s", "1s"]}})), Reason::InvalidSpec, "at most 5"),
        (kafka(json!({"sink": {"kafka": {"topic": "orders"}}})), Reason::InvalidSpec, "handle its own output"),
        (kafka(json!({"deadLetter": {"topic": "orders"}})), Reason::InvalidSpec, "deadLetter.topic is `orders`"),
        (gateway(json!({"admin": {"port": 3001}})), Reason::InvalidSpec, "both 3001"),
        (gateway(json!({"source": {"http": {"port": 8080}}})), Reason::InvalidSpec, "both 8080"),
    ];
    for (pipeline, reason, part) in rows {
        let problem = validate(&pipeline, &references(example_topics())).pipeline.unwrap_err();
        assert_eq!(problem.reason, reason, "{problem}");
        assert!(problem.message.contains(part), "{part}: {problem}");
    }
}

#[test]
fn own_code_may_go_without_a_sink() {
    let image = json!({"processor": {"builtin": null, "image": "w:1", "options": {"a": "b"}}});
    for (mut patch, name) in [(handled(json!({})), "http"), (image, "image")] {
        for (sink, expected) in [(json!({"kafka": {"topic": "payments"}}), Some("payments")), (Value::Null, None)] {
            patch["sink"] = sink;
            let worker = validate(&payments(patch.clone()), &references(example_topics())).pipeline.unwrap().worker;
            assert_eq!((worker.processor.name(), worker.sink.as_deref()), (name, expected));
        }
    }
}

#[test]
fn an_option_that_may_be_absent_is_not_in_the_worker_s_file() {
    let bare = json!({"defaultType": "t", "defaultSource": "/s"});
    for (options, expected) in
        [(json!({}), [false, false]), (bare.clone(), [true, false]), (with(bare, json!({"schema": "true"})), [true, true])]
    {
        let pipeline = gateway(json!({"table": null, "processor": {"builtin": "events-gateway", "options": options}}));
        let worker = validate(&pipeline, &references(example_topics())).pipeline.unwrap().worker;
        let given = ["defaultType", "schema"].map(|name| options_of(&worker.processor).contains_key(name));
        assert_eq!((given, options_of(&worker.processor).contains_key("path")), (expected, true), "{options}");
    }
}

#[test]
fn the_topic_of_the_keys_is_followed_beside_the_table() {
    let pipeline = gateway(json!({"table": {"topics": ["orders"], "keys": "payments"}}));
    let worker = validate(&pipeline, &references(example_topics())).pipeline.unwrap().worker;
    assert_eq!((worker.table, worker.keys.as_deref()), (vec!["orders".to_owned()], Some("payments")));
    let problem = validate(&pipeline, &references(only(example_topics(), &["orders"]))).pipeline.unwrap_err();
    assert_eq!(problem.reason, Reason::TopicNotFound, "{problem}");
}

#[test]
fn topics_are_found_or_told_of() {
    let elsewhere = json!({"spec": {"clusterRef": {"name": "other"}}});
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    // The topics, the refusal, what it waits for.
    type Row<'a> = (Vec<KafkaTopic>, Option<(Reason, &'a str)>, Option<&'a str>);
    let rows: Vec<Row> = vec![
        (example_topics(), None, None),
        (only(example_topics(), &["orders", "orders-dlt"]), Some((Reason::TopicNotFound, "KafkaTopic `payments`")), None),
        (vec![], Some((Reason::TopicNotFound, "KafkaTopic `orders`, `payments`")), None),
        (
            vec![topic("orders", json!({})), topic("payments", elsewhere.clone())],
            Some((Reason::TopicOnOtherCluster, "`payments` is on KafkaCluster `other`, but the pipeline is on `default`")),
            Some("is being made"),
        ),
        (vec![topic("payments", elsewhere)], Some((Reason::TopicNotFound, "`payments` is on KafkaCluster `other`")), None),
        (with_topics(&[topic("payments", unready("TopicConflict"))]), None, Some("`payments` is not ready (TopicConflict: the words)")),
        (with_topics(&[topic("payments", json!({"status": null}))]), None, Some("`payments` is not ready (it has no status yet)")),
        (with_topics(&[topic("payments", going)]), None, Some("it is being deleted")),
    ];
    for (topics, refusal, waits) in rows {
        let verdict = validate(&payments(json!({})), &references(topics.clone()));
        match refusal {
            Some((reason, part)) => {
                let problem = verdict.pipeline.unwrap_err();
                assert_eq!(problem.reason, reason, "{problem}");
                assert!(problem.message.contains(part), "{part}: {problem}");
            }
            None => drop(verdict.pipeline.unwrap()),
        }
        match (verdict.unready, waits) {
            (Some(problem), Some(part)) => {
                assert_eq!(problem.reason, Reason::TopicNotReady);
                assert!(problem.message.contains(part), "{part}: {problem}");
            }
            (got, expected) => assert_eq!(got.map(|p| p.message).as_deref(), expected),
        }
    }
}

fn with_topics(instead: &[KafkaTopic]) -> Vec<KafkaTopic> {
    let mut topics = example_topics();
    for topic in instead {
        topics.retain(|t| t.metadata.name != topic.metadata.name);
        topics.push(topic.clone());
    }
    topics
}

#[test]
fn a_cluster_that_may_not_be_used_is_a_refusal_and_one_that_is_not_ready_is_waited_for() {
    let not_found = Refusal::new(Reason::ClusterNotFound, "no such cluster");
    let references = References { cluster: Err(not_found.clone()), ..references(example_topics()) };
    let verdict = validate(&payments(json!({})), &references);
    assert_eq!(verdict.pipeline.unwrap_err(), not_found);
    assert_eq!(verdict.topics.refusal, None);

    let not_ready = Refusal::new(Reason::ClusterNotReady, "down");
    let references = References { cluster: Ok(cluster(Err(not_ready.clone()))), ..references };
    let verdict = validate(&payments(json!({})), &references);
    assert!(verdict.pipeline.is_ok());
    assert_eq!(verdict.unready, Some(not_ready));
}

#[test]
fn an_unreadable_topic_is_told_of() {
    let mut references = references(only(example_topics(), &["orders", "orders-dlt"]));
    let broken = json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": "payments", "namespace": "shop"}, "spec": 7,
    });
    references.topics.push(Arc::new(serde_json::from_value(broken).unwrap()));
    let problem = validate(&payments(json!({})), &references).pipeline.unwrap_err();
    assert_eq!(problem.reason, Reason::TopicNotReady);
    assert!(problem.message.contains("`payments` cannot be read"), "{problem}");
}

#[test]
fn where_dead_letters_go() {
    let dlt = |name: &str, patch: Value| topic(name, with(json!({"spec": {"topicName": "orders.DLT"}}), patch));
    let own = || derived_by("payments", UID);
    let others = || derived_by("billing", "another-uid");
    let younger = || json!({"metadata": {"creationTimestamp": "2026-01-02T00:00:00Z"}});
    let going = || json!({"metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"}});
    // The dead letter topics that there are; the object chosen; whether it is derived.
    let rows: Vec<(Value, Vec<KafkaTopic>, &str, bool)> = vec![
        (json!({}), vec![], "payments-orders-dlt", true),
        (json!({}), vec![dlt("payments-orders-dlt", own())], "payments-orders-dlt", true),
        (json!({}), vec![dlt("orders-dlt", json!({}))], "orders-dlt", false),
        // A user's object comes before a derived one, however old.
        (json!({}), vec![dlt("payments-orders-dlt", own()), dlt("orders-dlt", younger())], "orders-dlt", false),
        // Of two derived at once, both pipelines choose the same one.
        (json!({}), vec![dlt("payments-orders-dlt", own()), dlt("billing-dlt", others())], "billing-dlt", false),
        (json!({}), vec![dlt("payments-orders-dlt", own()), dlt("billing-dlt", with(others(), younger()))], "payments-orders-dlt", true),
        // One that goes, or is on another cluster, is none.
        (json!({}), vec![dlt("billing-dlt", with(others(), going()))], "payments-orders-dlt", true),
        (json!({}), vec![dlt("x", json!({"spec": {"clusterRef": {"name": "other"}}}))], "payments-orders-dlt", true),
        (json!({"deadLetter": {"topic": "named"}}), vec![dlt("payments-orders-dlt", own())], "named", false),
    ];
    for (patch, dead_letters, object, derived) in rows {
        let mut topics = only(example_topics(), &["orders", "payments"]);
        topics.extend(dead_letters);
        let choice = validate(&payments(patch), &references(topics)).topics.dead_letter.unwrap();
        assert_eq!(choice.object(), object);
        assert_eq!(matches!(choice, DeadLetterChoice::Derive { .. }), derived, "{object}");
    }
    assert_eq!(validate(&gateway(json!({})), &references(example_topics())).topics.dead_letter, None);
}

#[test]
fn a_derived_topic_never_contradicts_what_is_there() {
    let own = |spec: Value, status: Value| {
        topic("payments-orders-dlt", with(derived_by("payments", UID), json!({"spec": spec, "status": status})))
    };
    let source = |partitions: i32| topic("orders", json!({"status": {"partitions": partitions, "replicationFactor": 3}}));
    // Source, own derived object; partitions and replication factor that it shall declare.
    let dlt = |partitions: i32, factor: i32| json!({"topicName": "orders.DLT", "partitions": partitions, "replicationFactor": factor});
    for (source, existing, expected) in [
        (source(3), None, Some((3, Some(3)))),
        (source(6), Some(own(dlt(3, 3), json!({"partitions": 3, "replicationFactor": 3}))), Some((6, Some(3)))),
        (source(3), Some(own(dlt(6, 3), json!({"partitions": 6, "replicationFactor": 3}))), Some((6, Some(3)))),
        // What is in Kafka already has more partitions and fewer copies.
        (source(3), Some(own(dlt(3, 3), json!({"partitions": 12, "replicationFactor": 1}))), Some((12, Some(1)))),
        (topic("orders", json!({"status": null})), None, None),
    ] {
        let topics: Vec<_> = [source, topic("payments", json!({}))].into_iter().chain(existing).collect();
        match validate(&payments(json!({})), &references(topics)).topics.dead_letter {
            Some(DeadLetterChoice::Derive { spec, .. }) => {
                assert_eq!(spec.map(|s| (s.partitions.unwrap(), s.replication_factor)), expected);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_derived_topic_takes_over_the_retention_and_nothing_else() {
    let orders = topic("orders", json!({"spec": {"config": {"retention.ms": "1000", "cleanup.policy": "compact"}}}));
    let verdict = validate(&payments(json!({})), &references(vec![orders, topic("payments", json!({}))]));
    let Some(DeadLetterChoice::Derive { object, topic, spec: Some(spec) }) = verdict.topics.dead_letter else { panic!("not derived") };
    assert_eq!((object.as_str(), topic.as_str()), ("payments-orders-dlt", "orders.DLT"));
    assert_eq!(spec.config, BTreeMap::from([("retention.ms".into(), "1000".into())]));
    assert_eq!(verdict.unready.unwrap().message, "the dead letter topic `orders.DLT` is being made");
}

#[test]
fn each_delay_has_a_retry_topic_of_each_source_and_an_order_one_for_what_is_held_back() {
    let pipeline = |ordering: &str| {
        payments(json!({"source": {"kafka": {"topics": ["orders", "refunds"]}}, "ordering": ordering, "retry": {"delays": ["10s", "1m"]}}))
    };
    let sources = || {
        let config = json!({"retention.ms": "1000", "max.message.bytes": "2000000", "cleanup.policy": "compact"});
        let kept = json!({"spec": {"config": config}, "status": {"partitions": 6}});
        [
            topic("orders", json!({})),
            topic("refunds", kept),
            topic("payments", json!({})),
            topic("orders-dlt", json!({"spec": {"topicName": "orders.DLT"}})),
        ]
    };
    let verdict = validate(&pipeline("None"), &references(sources().into()));
    let names = |verdict: &Verdict| verdict.topics.retries.iter().map(|retry| retry.object.clone()).collect::<Vec<_>>();
    let two = |source: &str| [1, 2].map(|n| format!("payments-{source}-retry-{n}"));
    assert_eq!(names(&verdict), [two("orders"), two("refunds")].concat());
    let verdict = validate(&pipeline("Key"), &references(sources().into()));
    let three = |source: &str| [two(source).to_vec(), vec![format!("payments-{source}-held")]].concat();
    assert_eq!(names(&verdict), [three("orders"), three("refunds")].concat());
    let waiting = verdict.unready.unwrap().message;
    assert!(waiting.contains("the retry topic `refunds.service-b-consumers.retry.2` is being made"), "{waiting}");
    let spec = verdict.topics.retries[3].spec.clone().unwrap();
    let config: Vec<_> = spec.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(spec.partitions, Some(6));
    assert_eq!(config, [("max.message.bytes", "2004096"), ("retention.ms", "86400000")], "neither shorter nor smaller than what waits");

    let WorkerSource::Kafka(input) = verdict.pipeline.unwrap().worker.source else { panic!("no Kafka source") };
    let tiers: Vec<_> = input.tiers.iter().map(|tier| (tier.delay.as_secs(), tier.topics["refunds"].as_str())).collect();
    assert_eq!(tiers, [(10, "refunds.service-b-consumers.retry.1"), (60, "refunds.service-b-consumers.retry.2")]);
    assert_eq!(input.held["refunds"], "refunds.service-b-consumers.held");

    let foreign = topic("payments-orders-retry-1", derived_by("billing", "another-uid"));
    let refused = validate(&pipeline("None"), &references(sources().into_iter().chain([foreign]).collect()));
    assert_eq!(refused.pipeline.unwrap_err().reason, Reason::NameConflict);
}

#[test]
fn a_dead_letter_topic_that_cannot_be_derived_is_told_of() {
    let foreign = vec![topic("orders", json!({})), topic("payments", json!({})), topic("payments-orders-dlt", json!({}))];
    let long = topic("orders", json!({"spec": {"topicName": "o".repeat(248)}}));
    for (topics, reason) in [(foreign, Reason::NameConflict), (vec![long, topic("payments", json!({}))], Reason::InvalidSpec)] {
        let problem = validate(&payments(json!({})), &references(topics)).pipeline.unwrap_err();
        assert_eq!(problem.reason, reason, "{problem}");
        assert!(problem.message.contains("deadLetter.topic"), "{problem}");
    }
}

#[test]
fn the_number_of_workers_is_the_specs_or_the_decided_one() {
    let scaling = json!({"minReplicas": 1, "maxReplicas": 6});
    for (patch, decided, expected) in [
        (json!({}), None, 1),
        (json!({"replicas": 3}), Some(5), 3),
        (json!({"replicas": 3, "suspend": true}), None, 0),
        (json!({"replicas": 0}), None, 0),
        (json!({"scaling": scaling}), Some(5), 5),
        (json!({"scaling": scaling}), Some(9), 6),
        (json!({"scaling": scaling, "suspend": true}), Some(5), 0),
        (json!({"scaling": {"maxReplicas": 6, "dryRun": true}, "replicas": 3}), Some(5), 3),
        // A pipeline whose bounds make no sense keeps the workers that it has.
        (json!({"scaling": {"maxReplicas": 0}}), Some(5), 5),
    ] {
        let verdict = validate(&payments(patch.clone()), &References { decided, ..references(example_topics()) });
        assert_eq!(verdict.replicas, expected, "{patch}");
    }
}

#[test]
fn scaling_that_makes_no_sense_is_told() {
    for (pipeline, part) in [
        (payments(json!({"scaling": {"minReplicas": 4, "maxReplicas": 3}})), "minReplicas is 4, above scaling.maxReplicas"),
        (payments(json!({"scaling": {"maxReplicas": 3, "drainSeconds": 1}})), "drainSeconds is 1"),
        (gateway(json!({"scaling": {"maxReplicas": 3}})), "scaling goes with source.kafka"),
    ] {
        let refusal = validate(&pipeline, &references(example_topics())).pipeline.unwrap_err();
        assert!(refusal.reason == Reason::InvalidSpec && refusal.message.contains(part), "{refusal:?}");
    }
}

#[test]
fn keys_that_are_not_there_keep_workers_from_being_started() {
    let auth = json!({"jwt": {"issuer": "i", "audience": "a", "jwks": {"configMap": "login-keys"}}});
    let pipeline = gateway(json!({"source": {"http": {"auth": auth}}}));
    for (keys, reason) in
        [(SeenKeys::Fine, None), (SeenKeys::NoConfigMap, Some(Reason::KeysNotFound)), (SeenKeys::NoKey, Some(Reason::KeysNotFound))]
    {
        let verdict = validate(&pipeline, &References { keys, ..references(example_topics()) });
        assert_eq!((verdict.unready.map(|unready| unready.reason), verdict.pipeline.is_ok()), (reason, true), "{keys:?}");
    }
    let wrong = gateway(json!({"source": {"http": {"auth": {"jwt": {"issuer": "", "audience": "a", "jwks": {"configMap": "k"}}}}}}));
    let refusal = validate(&wrong, &references(example_topics())).pipeline.unwrap_err();
    assert!(refusal.reason == Reason::InvalidSpec && refusal.message.contains("auth.jwt.issuer"), "{refusal:?}");
}
