//! Every answer that needs no Kafka, through the whole router. The sink stands in for Kafka, and does to each record what its key
//! says.

use std::{
    future,
    sync::{Mutex, PoisonError},
};

use axum::{
    body::{Body, to_bytes},
    response::IntoResponse,
};
use http::{HeaderMap, Request, StatusCode};
use penstock_crds::worker::{Choice, PipelineId, Producing, WorkerSource};
use penstock_kafka::{ConnectionSettings, RecordPosition};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;
use crate::{
    clients,
    front::PublishError,
    idempotency::{Keys, OnceSettings, Refusal},
    metrics::Metrics,
    processor::Output,
    readiness::Readiness,
    sink::Sink,
};

const SCHEMA: &str = r#"{"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}}"#;
const BARE: [(&str, &str); 2] = [("defaultType", "order.placed"), ("defaultSource", "/orders")];

#[derive(Default)]
struct Stand {
    taken: Mutex<Vec<Output>>,
    /// Ends the wait of a record that hangs.
    answer: Notify,
    /// For how long it refuses what it is given.
    pause: Option<Duration>,
}

impl Publish for Stand {
    fn publish(&self, output: Output) -> BoxFuture<'_, Result<RecordPosition, PublishError>> {
        let answer = match output.key.as_deref() {
            Some(b"unavailable") => Err(PublishError::Unavailable("broker 10.0.0.1 down".into())),
            Some(b"unsent") => Err(PublishError::NotSent(Duration::from_millis(8_200))),
            Some(b"refused") => Err(PublishError::Refused("topic orders: not authorized".into())),
            Some(b"large") => Err(PublishError::TooLarge("1 MB".into())),
            Some(b"panic") => panic!("the sink is broken"),
            Some(b"hang") => {
                return Box::pin(async {
                    self.answer.notified().await;
                    self.taken.lock().unwrap().push(output);
                    Ok(RecordPosition { partition: 0, offset: 0 })
                });
            }
            _ => Ok(RecordPosition { partition: 0, offset: 0 }),
        };
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(output);
        Box::pin(future::ready(answer))
    }

    fn pause(&self) -> Option<Duration> {
        self.pause
    }
}

struct Bench {
    app: Router,
    sink: Arc<Stand>,
}

fn config(options: &[(&str, &str)]) -> WorkerConfig {
    WorkerConfig {
        pipeline: PipelineId { namespace: "n".into(), name: "p".into() },
        bootstrap_servers: vec!["localhost:9092".into()],
        source: WorkerSource::Http { port: 3000, auth: None },
        processor: Choice::builtin(
            "events-gateway",
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ),
        sink: Some("events".into()),
        table: vec![],
        keys: None,
        producer: Producing::default(),
        admin_port: 8080,
        drain_timeout: Duration::from_secs(25),
    }
}

fn gateway(options: &[(&str, &str)]) -> Result<EventsGateway, ConfigError> {
    let config = config(options);
    let Choice::Builtin(one) = &config.processor else { panic!("{config:?}") };
    let options = one.options("p").unwrap();
    EventsGateway::new(&options, &config)
}

fn app(options: &[(&str, &str)], sink: Arc<dyn Publish>, once: Option<Arc<Once>>) -> Router {
    let health = Router::new().route("/health", axum::routing::get(|| async { "well" }));
    gateway(options).unwrap().app(sink, once, health, None)
}

fn bench(options: &[(&str, &str)]) -> Bench {
    let sink = Arc::<Stand>::default();
    Bench { app: app(options, Arc::clone(&sink) as _, None), sink }
}

/// What writes with keys through a sink that refuses everything for so long; Kafka is away.
fn once(pause: Duration) -> Once {
    let publish = Stand { pause: Some(pause), ..Stand::default() };
    Once::new(OnceSettings {
        connection: ConnectionSettings::new(["127.0.0.1:1"]).unwrap(),
        producing: Producing::default(),
        pipeline: "n/p".into(),
        sink: "events".into(),
        topic: "keys".into(),
        publish: Arc::new(publish),
        keys: Arc::new(Keys::new(60_000)),
        readiness: Readiness::new(),
        limit: Duration::from_secs(5),
        metrics: Metrics::register(&mut Registry::default()),
    })
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Bench {
    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    async fn post(&self, headers: &[(&str, &str)], body: &str) -> Reply {
        self.send(post(headers, body)).await
    }

    fn taken(&self) -> Vec<Output> {
        self.sink.taken.lock().unwrap().clone()
    }
}

fn post(headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let request = headers.iter().fold(Request::post("/events"), |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body.to_owned())).unwrap()
}

const STRUCTURED: [(&str, &str); 1] = [("content-type", "application/cloudevents+json; charset=UTF-8")];
const BATCHED: [(&str, &str); 1] = [("content-type", "application/cloudevents-batch+json")];
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const BINARY: [(&str, &str); 5] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "7"),
    ("ce-source", "/orders"),
    ("ce-type", "order.placed"),
    ("content-type", "application/json"),
];

fn event(id: &str, key: &str, data: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/orders","type":"order.placed","partitionkey":"{key}","data":{data}}}"#)
}

fn header<'a>(output: &'a Output, name: &str) -> Option<&'a str> {
    output.headers.iter().find(|header| header.name == name).map(|header| std::str::from_utf8(header.value.as_ref().unwrap()).unwrap())
}

#[tokio::test]
async fn every_mode_gives_the_same_record() {
    let data = r#"{"b": 1.10,  "name":"n"}"#;
    let bench = bench(&BARE);
    let mut binary = BINARY.to_vec();
    binary.push(("ce-partitionkey", "k"));
    for (headers, body, ids) in [
        (&STRUCTURED[..], event("7", "k", data), json!(["7"])),
        (&BATCHED, format!("[{}, {}]", event("7", "k", data), event("8", "k", data)), json!(["7", "8"])),
        (&binary, data.to_owned(), json!(["7"])),
    ] {
        let reply = bench.post(headers, &body).await;
        assert_eq!((reply.status, &reply.body), (202, &json!({"ids": ids})), "{headers:?}");
    }
    let taken = bench.taken();
    assert_eq!(taken.len(), 4);
    for output in &taken {
        assert_eq!((output.key.as_deref(), output.payload.as_deref()), (Some(&b"k"[..]), Some(data.as_bytes())));
        assert_eq!((header(output, "ce_source"), header(output, "ce_partitionkey")), (Some("/orders"), Some("k")));
        assert_eq!((header(output, "ce_type"), header(output, "content-type")), (Some("order.placed"), Some("application/json")));
    }
}

#[tokio::test]
async fn bare_json_becomes_an_event_where_that_is_wanted() {
    let body = " {\"name\": \"n\"}\n";
    let reply = bench(&[]).post(&JSON, body).await;
    assert_eq!((reply.status, reply.body["detail"].as_str().map(|d| d.contains("application/json"))), (415, Some(false)), "{reply:?}");
    let bench = bench(&BARE);
    let reply = bench.post(&JSON, body).await;
    let output = bench.taken().pop().unwrap();
    assert_eq!((reply.status, reply.body["ids"][0].as_str()), (202, header(&output, "ce_id")), "{reply:?}");
    assert_eq!((output.key.as_deref(), output.payload.as_deref()), (None, Some(body.as_bytes())));
    assert_eq!((header(&output, "ce_type"), header(&output, "ce_source")), (Some("order.placed"), Some("/orders")));
    assert!(header(&output, "ce_time").unwrap().ends_with('Z') && header(&output, "ce_id").unwrap().len() == 36);
    assert_eq!(header(&output, "content-type"), Some("application/json"));
}

#[tokio::test]
async fn requests_that_cannot_be_taken() {
    let bench = bench(&[("maxBodyBytes", "2048"), ("schema", SCHEMA), BARE[0], BARE[1]]);
    let long = format!("[{}]", vec!["1"; 1001].join(","));
    for (headers, body, status) in [
        (&JSON[..], "", 400),
        (&JSON, "{", 400),
        (&JSON, "{} {}", 400),
        (&JSON, "{}", 422),
        (&JSON, "[]", 422),
        (&[("content-type", "application/json; charset=latin1")], "{}", 415),
        (&[("content-type", "text/plain")], "{}", 415),
        (&[("content-type", "application/x-www-form-urlencoded")], "{}", 415),
        (&[], "{}", 415),
        (&[("content-type", "application/json"), ("content-encoding", "gzip")], "{}", 415),
        (&[("content-type", "application/cloudevents")], "{}", 415),
        (&[("content-type", "application/cloudevents+avro")], "{}", 415),
        (&[("content-type", "application/cloudevents+json; charset=latin1")], "{}", 415),
        (&STRUCTURED, "{}", 400),
        (&STRUCTURED, "[]", 400),
        (&STRUCTURED, &event("1", "k", "{}"), 422),
        (&BATCHED, "{}", 400),
        (&BATCHED, "[{}]", 400),
        (&BATCHED, &long, 413),
        (&BINARY[1..], "{}", 400),
        (&BINARY, "{}", 422),
        (&BINARY, "", 422),
        (&JSON, &" ".repeat(2049), 413),
    ] {
        let reply = bench.post(headers, body).await;
        let shown = body.get(..body.len().min(60));
        assert_eq!((reply.status, reply.body["status"].as_u64()), (status, Some(u64::from(status))), "{headers:?} {shown:?}: {reply:?}");
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{shown:?}");
        assert!(reply.body["title"].is_string() && reply.body["detail"].is_string(), "{reply:?}");
        assert_eq!(reply.body["errors"].is_array(), status == 422 || reply.body["type"] == "tag:penstock.dev,2026:no-event");
    }
    assert_eq!(bench.taken(), []);
    for (request, status) in [
        (Request::get("/events"), 405),
        (Request::post("/"), 404),
        (Request::post("/events/"), 404),
        (Request::post("/health"), 405),
        (Request::get("/health"), 200),
    ] {
        let reply = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((reply.status, reply.headers.contains_key("allow")), (status, status == 405), "{reply:?}");
        assert!(status == 200 || reply.headers["content-type"] == "application/problem+json");
    }
}

#[tokio::test]
async fn every_fault_is_told_by_its_place_in_the_request() {
    let bench = bench(&[("schema", SCHEMA), BARE[0], BARE[1]]);
    let batch = format!("[{}, {}, {}]", event("1", "k", r#"{"name":"n"}"#), event("2", "k", "{}"), event("3", "k", r#"{"name":""}"#));
    for (headers, body, errors) in [
        (&JSON[..], r#"{"name": 7}"#.to_owned(), json!([{"pointer": "/name", "detail": "it is not of type \"string\""}])),
        (&STRUCTURED, event("1", "k", "{}"), json!([{"pointer": "/data/name", "detail": "is required"}])),
        (
            &BATCHED,
            batch,
            json!([
                {"pointer": "/1/data/name", "detail": "is required"},
                {"pointer": "/2/data/name", "detail": "it is shorter than 1 character"},
            ]),
        ),
        (
            &BATCHED,
            format!("[{}, {{}}]", event("1", "k", "{}").replace("/orders", "a b")),
            json!([
                {"pointer": "/0/source", "detail": "must be a URI reference"},
                {"pointer": "/1/specversion", "detail": "is required"},
                {"pointer": "/1/id", "detail": "is required"},
                {"pointer": "/1/source", "detail": "is required"},
                {"pointer": "/1/type", "detail": "is required"},
            ]),
        ),
        (&BINARY[1..], "{}".to_owned(), json!([{"header": "ce-specversion", "detail": "is required"}])),
    ] {
        let reply = bench.post(headers, &body).await;
        assert_eq!(reply.body["errors"], errors, "{headers:?} {body}");
    }
    assert_eq!(bench.taken(), [], "of a batch with a fault nothing is written");
}

#[tokio::test]
async fn an_answer_is_as_the_options_say() {
    for (accepted, failure, key, expected) in [
        ("202", "503", "k", 202),
        ("200", "503", "k", 200),
        ("201", "503", "k", 201),
        ("204", "503", "k", 204),
        ("204", "503", "unavailable", 503),
        ("200", "500", "unavailable", 500),
        ("200", "503", "refused", 500),
        ("200", "503", "large", 413),
        ("200", "503", "panic", 500),
    ] {
        let bench = bench(&[("acceptedStatus", accepted), ("failureStatus", failure)]);
        let reply = bench.post(&STRUCTURED, &event("1", key, "{}")).await;
        assert_eq!(reply.status, expected, "{key}: {reply:?}");
        assert_eq!(reply.headers.contains_key("retry-after"), expected == 503, "{key}");
        assert_eq!(reply.body.is_null(), expected == 204, "{key}");
        let text = reply.body.to_string();
        assert!(!text.contains("10.0.0.1") && !text.contains("topic orders"), "tells our inside: {text}");
    }
}

#[tokio::test]
async fn who_comes_while_the_circuit_is_open_is_told_when_it_is_tried_again() {
    for (keys, failure, after) in
        [(["unsent", "a"], "503", Some("9")), (["unavailable", "a"], "503", Some("1")), (["unsent", "a"], "500", None)]
    {
        let bench = bench(&[("failureStatus", failure)]);
        let reply = bench.post(&BATCHED, &format!("[{}, {}]", event("1", keys[0], "{}"), event("2", keys[1], "{}"))).await;
        assert_eq!(reply.headers.get("retry-after").map(|after| after.to_str().unwrap()), after, "{reply:?}");
    }
}

#[tokio::test]
async fn who_comes_with_a_key_while_the_circuit_is_open_is_told_so_too_and_at_once() {
    let pause = Duration::from_millis(8_200);
    for (why, failure, after) in [
        (Refusal::Paused(pause), StatusCode::SERVICE_UNAVAILABLE, Some("9")),
        (Refusal::Paused(pause), StatusCode::INTERNAL_SERVER_ERROR, None),
        (Refusal::NotSent("no producer was free in time".into()), StatusCode::SERVICE_UNAVAILABLE, None),
    ] {
        let answer = problem::of_key(&why, failure).into_response();
        assert_eq!(answer.status(), failure, "{why:?}");
        assert_eq!(answer.headers().get("retry-after").map(|after| after.to_str().unwrap()), after, "{why:?}");
    }
    let app = app(&[], Arc::<Stand>::default(), Some(Arc::new(once(pause))));
    let request = post(&[STRUCTURED[0], ("idempotency-key", "k-1")], &event("1", "k", "{}"));
    let asked = tokio::time::timeout(Duration::from_secs(1), app.oneshot(request));
    let answer = asked.await.unwrap().unwrap();
    assert_eq!((answer.status(), &answer.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"9".parse().unwrap()));
}

#[tokio::test]
async fn a_batch_tells_which_of_its_events_failed() {
    for (keys, status, acknowledged) in [
        (["a", "unavailable", "b"], 503, [true, false, true]),
        (["large", "b", "c"], 413, [false, true, true]),
        (["large", "refused", "c"], 500, [false, false, true]),
        (["large", "refused", "unavailable"], 503, [false, false, false]),
    ] {
        let bench = bench(&[]);
        let events: Vec<String> = keys.iter().zip(1..).map(|(key, id)| event(&id.to_string(), key, "{}")).collect();
        let reply = bench.post(&BATCHED, &format!("[{}]", events.join(","))).await;
        assert_eq!(reply.status, status, "{reply:?}");
        let told: Vec<(&str, bool, bool)> = reply.body["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| (e["id"].as_str().unwrap(), e["acknowledged"].as_bool().unwrap(), e["detail"].is_string()))
            .collect();
        let expected: Vec<_> = ["1", "2", "3"].into_iter().zip(acknowledged).map(|(id, done)| (id, done, !done)).collect();
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn a_large_batch_is_handed_over_in_its_order() {
    let bench = bench(&[("maxBodyBytes", "900000")]);
    let events: Vec<String> = (0..1_000).map(|n| event(&n.to_string(), "k", "1")).collect();
    assert_eq!(bench.post(&BATCHED, &format!("[{}]", events.join(","))).await.status, 202);
    let taken: Vec<String> = bench.taken().iter().map(|output| header(output, "ce_id").unwrap().to_owned()).collect();
    assert_eq!(taken, (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(bench.post(&BATCHED, "[]").await.body, json!({"ids": []}));
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused() {
    let bench = bench(&[("maxRequests", "3")]);
    let (hang, go) = (event("1", "hang", "{}"), event("1", "k", "{}"));
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bench.post(&STRUCTURED, &hang))).collect();
    for request in &mut waiting {
        assert!(futures::poll!(request.as_mut()).is_pending());
    }
    let refused = bench.post(&STRUCTURED, &go).await;
    assert_eq!((refused.status, &refused.headers["content-type"]), (503, &"application/problem+json".parse().unwrap()));
    assert!(refused.headers.contains_key("retry-after"));
    // What its client waits for no more is under way all the same.
    waiting.pop();
    assert_eq!(bench.post(&STRUCTURED, &go).await.status, 503, "as many events are on their way");
    tokio::task::yield_now().await;
    bench.sink.answer.notify_waiters();
    while bench.taken().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.post(&STRUCTURED, &go).await.status, 202, "a place is free again");
}

#[tokio::test]
async fn events_that_nobody_waits_for_are_counted() {
    let (metrics, limit) = (Metrics::register(&mut Registry::default()), Duration::from_millis(200));
    let (connection, producing) = (ConnectionSettings::new(["127.0.0.1:1"]).unwrap(), Producing::default());
    let (settings, need) = (clients::front(&producing, limit), Readiness::new().need("producer"));
    let sink = Sink::new(&connection, "events", settings, limit, need, metrics.clone()).unwrap();
    let app = app(&[], Arc::new(sink), None);
    for (headers, body, failures) in
        [(&STRUCTURED, event("1", "k", "{}"), 1), (&BATCHED, format!("[{}, {}]", event("2", "k", "{}"), event("3", "k", "{}")), 3)]
    {
        let mut asked = Box::pin(app.clone().oneshot(post(headers, &body)));
        assert!(futures::poll!(asked.as_mut()).is_pending());
        drop(asked);
        let counted = async {
            while metrics.produce_failures.get() < failures {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), counted).await.unwrap();
    }
    assert_eq!(metrics.produce_failures.get(), 3, "each once");
}

#[tokio::test]
async fn path_and_key_are_as_the_options_say_and_a_browser_may_send_attributes() {
    let bench = bench(&[("path", "/v1/in"), ("key", "id")]);
    let mut request = post(&BINARY, "{}");
    *request.uri_mut() = "/v1/in".parse().unwrap();
    assert_eq!(bench.send(request).await.status, 202);
    assert_eq!(bench.taken()[0].key.as_deref(), Some(&b"7"[..]));
    assert_eq!(bench.post(&BINARY, "{}").await.status, 404);
    let preflight = Request::options("/v1/in")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "ce-id,ce-tenant,content-type");
    let reply = bench.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, &reply.headers["access-control-allow-origin"]), (200, &"*".parse().unwrap()));
    assert!(reply.headers["access-control-allow-headers"].to_str().unwrap().contains("ce-tenant"), "{reply:?}");
}

#[tokio::test]
async fn the_key_may_be_a_field_of_the_data() {
    let keyed = [("dataKey", "/user/id"), BARE[0], BARE[1]];
    for (headers, body, expected) in [
        (&JSON, r#"{"user": {"id": "u-1"}}"#.to_owned(), Ok("u-1")),
        (&JSON, r#"{"user": {"id": 7}}"#.to_owned(), Ok("7")),
        (&JSON, r#"{"user": {"id": null}}"#.to_owned(), Err("/user/id")),
        (&STRUCTURED, event("1", "k", r#"{"user": {"id": "u-2"}}"#), Ok("u-2")),
        (&STRUCTURED, event("1", "k", "{}"), Err("/data/user/id")),
        (&STRUCTURED, event("1", "k", r#"{"user": {"id": "a", "id": "b"}}"#), Err("/data")),
    ] {
        let bench = bench(&keyed);
        let reply = bench.post(headers, &body).await;
        match expected {
            Ok(key) => assert_eq!((reply.status, bench.taken()[0].key.as_deref()), (202, Some(key.as_bytes())), "{reply:?}"),
            Err(at) => {
                assert_eq!((reply.status, bench.taken().len()), (422, 0), "{reply:?}");
                assert_eq!(reply.body["errors"][0]["pointer"], at, "{reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_refused_where_none_is_kept() {
    let bench = bench(&BARE);
    let reply = bench.post(&[JSON[0], ("idempotency-key", "k-1")], "{}").await;
    assert_eq!((reply.status, &reply.body["type"]), (400, &json!("tag:penstock.dev,2026:idempotency-keys-not-kept")), "{reply:?}");
    assert_eq!(bench.taken(), []);
}

#[tokio::test]
async fn attributes_are_held_to_their_schema_wherever_they_stand() {
    let bench = bench(&[("attributeSchema", r#"{"required": ["subject"]}"#), ("schema", SCHEMA), BARE[0], BARE[1]]);
    let (without, data) = (event("1", "k", "{}"), r#"{"name": "n"}"#);
    let with = without.replace("{}", data).replace("\"data\"", "\"subject\": \"s\", \"data\"");
    let binary = [&BINARY[..], &[("ce-subject", "s")]].concat();
    let required = |place: &str, at: &str| json!({place: at, "detail": "is required"});
    for (headers, body, errors) in [
        (&STRUCTURED[..], &*without, json!([required("pointer", "/subject"), required("pointer", "/data/name")])),
        (&BATCHED, &format!("[{with}, {without}]"), json!([required("pointer", "/1/subject"), required("pointer", "/1/data/name")])),
        (&BINARY, data, json!([required("header", "ce-subject")])),
        (&JSON, data, json!([required("header", "ce-subject")])),
        (&STRUCTURED, &with, Value::Null),
        (&BATCHED, &format!("[{with}]"), Value::Null),
        (&binary, data, Value::Null),
    ] {
        let reply = bench.post(headers, body).await;
        assert_eq!((reply.status, &reply.body["errors"]), (if errors.is_null() { 202 } else { 422 }, &errors), "{headers:?} {body}");
    }
    assert_eq!(bench.taken().len(), 3);
}

#[tokio::test]
async fn the_document_tells_that_attributes_are_held_to_a_schema() {
    let schema = json!({"required": ["subject"]});
    let text = schema.to_string();
    for (options, status, told) in [(&[("attributeSchema", text.as_str())][..], true, &schema), (&[], false, &Value::Null)] {
        let document = bench(options).send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.body;
        assert_eq!(&document["components"]["schemas"]["Event"]["x-attribute-schema"], told);
        let posts = document["paths"].as_object().unwrap().values().map(|path| &path["post"]).filter(|post| post.is_object());
        assert!(posts.into_iter().all(|post| post["responses"]["422"].is_object() == status), "{document}");
    }
}

#[test]
fn what_cannot_be_built_says_what_to_change() {
    for (options, part) in [
        (&[("schema", "{\"type\": 7}")][..], "option schema: is not a JSON Schema that can be used: at /type"),
        (&[("attributeSchema", "{\"type\": 7}")], "option attributeSchema: is not a JSON Schema that can be used: at /type"),
        (&[("defaultType", "\u{fdd0}"), ("defaultSource", "/orders")], "options defaultType and defaultSource"),
    ] {
        let why = gateway(options).unwrap_err().to_string();
        assert!(why.contains(part), "{part}: {why}");
    }
    let statuses = ["200", "201", "202", "204", "500", "503"].map(|status| status.parse::<StatusCode>().is_ok());
    assert_eq!(statuses, [true; 6]);
}
