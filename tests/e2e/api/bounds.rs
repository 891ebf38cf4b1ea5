//! Every bound of the three kinds' schemas: values within it, and beyond.

mod own_code;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use penstock_crds::manifest;
use penstock_tests::scene::{play, refusal};
use serde_json::{Value, json};

use super::{by_type, changed, cluster, create, exactly, front, log, places, reader, topic};

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

/// Amounts of CPU and memory, as requests and limits.
fn amounts(places: [&'static str; 4], base: &Value) -> Vec<BoundCase> {
    let amounts = [json!(1), json!("250m"), json!("0.5"), json!("1.5Gi"), json!("1e3"), json!("64Mi")];
    let none = [(json!("lots"), PATTERN), (json!("1GB"), PATTERN), (json!("-1"), PATTERN), (json!(""), PATTERN), (json!(-1), LEAST)];
    places.into_iter().map(|place| bound("EventPipeline", place, base.clone(), &amounts, &none)).collect()
}

fn topic_bounds() -> Vec<BoundCase> {
    const KIND: &str = "KafkaTopic";
    let names = [json!("orders.DLT"), json!("A_b-c.1"), json!("a".repeat(249))];
    let no_names =
        [(json!("a b"), PATTERN), (json!("ä"), PATTERN), (json!("a/b"), PATTERN), (json!("a".repeat(250)), LONG), (json!(""), EMPTY)];
    let policies = |n: usize| Value::Object((0..n).map(|i| (format!("k{i}.*"), json!("Ignore"))).collect());
    vec![
        number(KIND, "spec.partitions", topic(), 1, 100_000),
        number(KIND, "spec.replicationFactor", topic(), 1, 32),
        bound(KIND, "spec.topicName", topic(), &names, &no_names),
        map(KIND, "spec.config", topic(), 64, 4096),
        choice(KIND, "spec.deletionPolicy", topic(), &["Retain", "Delete"]),
        number(KIND, "spec.deletionProtectionSeconds", topic(), 0, 31_536_000),
        choice(KIND, "spec.approval", topic(), &["Automatic", "Manual"]),
        bound(KIND, "spec.configPolicy", topic(), &[policies(32)], &[(policies(33), MANY), (json!({"a": "Whatever"}), CHOICE)]),
        bound(KIND, "spec.allowKeyMoves", topic(), &[json!(true)], &[(json!("yes"), TYPE)]),
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
            &[servers(1), servers(16), json!(["[::1]:9092"]), json!(["10.0.0.1:1"]), json!(["kafka:65535"])],
            &[
                (servers(0), FEW),
                (servers(17), MANY),
                (json!(["kafka"]), PATTERN),
                (json!(["kafka:0"]), PATTERN),
                (json!(["kafka:65536"]), PATTERN),
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
        number(KIND, "spec.topicDefaults.deletionProtectionSeconds", cluster(), 0, 31_536_000),
        number(KIND, "spec.topicLimits.maxPartitions", cluster(), 1, 100_000),
        number(KIND, "spec.reassignment.throttleBytesPerSecond", cluster(), 1_000, 1_000_000_000_000),
    ]
}

fn pipeline_bounds() -> Vec<BoundCase> {
    const KIND: &str = "EventPipeline";
    let secrets = |count: usize| json!((0..count).map(|n| json!({"name": format!("s{n}")})).collect::<Vec<_>>());
    let twice = json!([{"name": "s"}, {"name": "s"}]);
    let secret = |name: Value| json!({"imagePullSecrets": [changed(json!({"name": "s"}), &json!({"name": name}))]});
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
    let scaled = |most: i32| changed(reader(), &json!({"scaling": {"maxReplicas": most}}));
    let mut cases = vec![
        number(KIND, "spec.replicas", reader(), 0, 1000),
        number(KIND, "spec.scaling.minReplicas", scaled(1000), 0, 1000),
        number(KIND, "spec.scaling.maxReplicas", scaled(1), 1, 1000),
        number(KIND, "spec.scaling.drainSeconds", scaled(1), 5, 3600),
        number(KIND, "spec.scaling.idleSeconds", scaled(1), 10, 86_400),
        number(KIND, "spec.concurrency", reader(), 1, 256),
        number(KIND, "spec.retry.attempts", reader(), 1, 100),
        number(KIND, "spec.admin.port", reader(), 1024, 65535),
        number(KIND, "spec.source.http.port", front(), 1024, 65535),
        topic_refs(KIND, "spec.source.kafka.topics", reader()),
        topic_refs(KIND, "spec.table.topics", changed(front(), &json!({"sink": {"kafka": {"topic": "t0"}}}))),
        object_name(KIND, "spec.table.keys", front()),
        choice(KIND, "spec.processor.builtin", reader(), &["enrich", "payments"]),
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
        bound(KIND, "spec.imagePullSecrets", reader(), &[secrets(0), secrets(8)], &[(secrets(9), MANY), (twice, TWICE), (json!({}), TYPE)]),
        BoundCase {
            kind: KIND,
            at: "spec.imagePullSecrets[0].name",
            base: reader(),
            within: vec![secret(json!("a.b-1"))],
            beyond: vec![(secret(json!("A")), PATTERN), (secret(json!("")), EMPTY), (secret(Value::Null), NEEDED)],
        },
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
        ("spec.scaling", json!({"maxReplicas": 1})),
        ("spec.sink.kafka", json!({"topic": "a"})),
    ] {
        let mut base = reader();
        let (above, last) = place.trim_start_matches("spec.").rsplit_once('.').unwrap_or(("", place.trim_start_matches("spec.")));
        let above = if above.is_empty() { Some(&mut base) } else { base.get_mut(above) };
        above.and_then(Value::as_object_mut).unwrap().remove(last);
        cases.push(bound(KIND, place, base, &[value], &[(json!({}), NEEDED), (json!([]), TYPE)]));
    }
    let amount_places =
        ["spec.resources.requests.cpu", "spec.resources.requests.memory", "spec.resources.limits.cpu", "spec.resources.limits.memory"];
    cases.extend(amounts(amount_places, &reader()));
    let mut no_table = front();
    no_table.as_object_mut().unwrap().remove("table");
    cases.push(bound(KIND, "spec.table", no_table, &[json!({"topics": ["out"]})], &[(json!({}), NEEDED)]));
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
    let base = || changed(reader(), &json!({"sink": null}));
    let case = |at, within, beyond| BoundCase { kind: KIND, at, base: base(), within, beyond };
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
            vec![changed(handler(json!({"builtin": "payments"})), &json!({"sink": {"kafka": {"topic": "out"}}}))],
            vec![(handler(json!({"builtin": "sms"})), CHOICE), (handler(json!({"builtin": "events-gateway"})), CHOICE)],
        ),
        case(
            "spec.processor.byType.handlers[0].options",
            vec![options(32, 1), options(1, 16_384)],
            vec![(options(33, 1), MANY), (options(1, 16_385), LONG)],
        ),
    ]
}

fn bound_cases() -> Vec<BoundCase> {
    let pipelines = pipeline_bounds().into_iter().chain(handler_bounds()).chain(own_code::bounds()).chain(tokens::bounds());
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
