//! Every answer that needs no Kafka, through the whole router. Where the sink stands in, it fails, hangs or panics, or takes its time
//! with what overlaps: whatever else is accepted is proven against a real Kafka elsewhere.

use std::{
    collections::BTreeMap,
    future,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, StatusCode};
use penstock_crds::processor;
use penstock_kafka::RecordPosition;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{reading::Content, *};
use crate::{
    front::{Publish, PublishError},
    processor::Output,
    readiness::Readiness,
};

const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";
const OTHER: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964fe";

const PLACES: usize = 3;

enum Broken {
    Failing(PublishError),
    Hanging,
    Panicking,
    /// Writes after so long, and counts what it is given.
    Slow(Duration, Arc<AtomicUsize>),
}

impl Publish for Broken {
    fn publish(&self, _: Output) -> BoxFuture<'_, Result<RecordPosition, PublishError>> {
        match self {
            Self::Failing(why) => Box::pin(future::ready(Err(why.clone()))),
            Self::Hanging => Box::pin(future::pending()),
            Self::Panicking => panic!("the sink is broken"),
            Self::Slow(pause, given) => {
                given.fetch_add(1, SeqCst);
                Box::pin(async {
                    tokio::time::sleep(*pause).await;
                    Ok(RecordPosition { partition: 0, offset: 0 })
                })
            }
        }
    }
}

struct Bench {
    app: Router,
    orders: Arc<Orders>,
    readiness: Readiness,
}

fn bench_with(sink: Broken, origin: &str) -> Bench {
    let given = BTreeMap::from([
        ("corsOrigin".to_owned(), origin.to_owned()),
        ("maxBodyBytes".to_owned(), "2048".to_owned()),
        ("maxRequests".to_owned(), PLACES.to_string()),
    ]);
    let options = HttpOptions::new(&processor::find("orders-gateway").unwrap().options(&given, "orders").unwrap()).unwrap();
    let (orders, readiness) = (Arc::<Orders>::default(), Readiness::new());
    let desk = Desk {
        pipeline: PipelineId { namespace: "shop".into(), name: "orders".into() },
        orders: Arc::clone(&orders),
        topic: "orders".into(),
        sink: Arc::new(sink),
        once: None,
        readiness: readiness.clone(),
        gate: Gate::new(options.gate, Traffic::default().bodies),
        under_way: Arc::default(),
    };
    let health = Router::new().route("/health", axum::routing::get(|| async { "well" }));
    Bench { app: app("shop", options, Arc::new(desk), health, None, Traffic::default()), orders, readiness }
}

fn bench() -> Bench {
    bench_with(Broken::Failing(PublishError::Unavailable("no broker".into())), "*")
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    text: String,
}

impl Reply {
    /// The kind of problem that it tells.
    fn kind(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix("tag:penstock.dev,2026:")).unwrap_or_default()
    }
}

impl Bench {
    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().into()).unwrap();
        Reply { status: parts.status, headers: parts.headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, body: impl Into<Body>) -> Reply {
        self.send(post(body)).await
    }

    fn follow_with(&self, key: &str, text: &str) {
        let headers = [reading::key_header(idempotency::KeyId::new("shop", "orders", None, key))];
        self.orders.take(&"orders".into(), Content { key: None, payload: Some(text.as_bytes()), headers: &headers, timestamp_ms: Some(0) });
    }

    fn follow(&self, topic: &str, text: &str) {
        self.orders.take(&topic.into(), Content { key: None, payload: Some(text.as_bytes()), headers: &[], timestamp_ms: Some(0) });
    }
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/orders").header("content-type", "application/json").body(body.into()).unwrap()
}

fn post_with(key: Option<&str>, order: String) -> Request<Body> {
    let mut request = post(order);
    if let Some(key) = key {
        request.headers_mut().insert(idempotency::HEADER, key.parse().unwrap());
    }
    request
}

/// An order whose amount would lose its form in a binary number.
fn order() -> String {
    format!(r#"{{"orderId":"{ID}","userId":"u","amount":20.10,"currency":"EUR","items":[{{"productId":"p","quantity":1,"price":1e1}}]}}"#)
}

fn created(order: &str) -> String {
    format!(r#"{{"eventType":"ORDER_CREATED","eventId":"{ID}","timestamp":"2026-01-31T12:00:00.000Z","data":{order}}}"#)
}

#[tokio::test]
async fn requests_that_cannot_be_taken() {
    let bench = bench();
    let json = |body: &str| post(body.to_owned());
    let with = |name: &'static str, value: &str| {
        Request::post("/orders").header("content-type", "application/json").header(name, value).body(Body::from(order())).unwrap()
    };
    let typed = |media: &str| Request::post("/orders").header("content-type", media).body(Body::from(order())).unwrap();
    for (request, status, kind) in [
        (json(""), 400, "malformed"),
        (json("{"), 400, "malformed"),
        (json("[]"), 400, "malformed"),
        (json("null"), 400, "malformed"),
        (json(&order().replace("\"userId\":\"u\"", "\"amount\":1")), 400, "malformed"),
        (post(&b"{\"orderId\":\"\xff\"}"[..]), 400, "malformed"),
        (json("{}"), 400, "invalid-order"),
        (json(&format!("{{\"orderId\":{}", "[".repeat(1900))), 400, "malformed"),
        (json(&format!("{{\"x\":{}{}}}", "[".repeat(900), "]".repeat(900))), 400, "invalid-order"),
        (json(&" ".repeat(2049)), 413, "body-too-large"),
        (Request::post("/orders").body(Body::from(order())).unwrap(), 415, "unsupported-media-type"),
        (typed("text/plain"), 415, "unsupported-media-type"),
        (typed("application/json; charset=latin1"), 415, "unsupported-media-type"),
        (with("content-encoding", "gzip"), 415, "unsupported-media-type"),
        (Request::get("/").body(Body::empty()).unwrap(), 404, "not-found"),
        (Request::get("/orders/").body(Body::empty()).unwrap(), 404, "not-found"),
        (Request::get(format!("/orders/{ID}")).body(Body::empty()).unwrap(), 404, "unknown-order"),
        (Request::get("/orders/17").body(Body::empty()).unwrap(), 404, "unknown-order"),
        (Request::get("/orders/%ff").body(Body::empty()).unwrap(), 404, "unknown-order"),
        (Request::get("/orders").body(Body::empty()).unwrap(), 405, "method-not-allowed"),
        (Request::delete(format!("/orders/{ID}")).body(Body::empty()).unwrap(), 405, "method-not-allowed"),
        (Request::post("/health").body(Body::empty()).unwrap(), 405, "method-not-allowed"),
    ] {
        let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
        let reply = bench.send(request).await;
        assert_eq!((reply.status.as_u16(), reply.kind()), (status, kind), "{what}: {}", reply.text);
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{what}");
        assert_eq!(reply.headers.contains_key("allow"), status == 405, "{what}");
    }
}

#[tokio::test]
async fn media_types_that_are_json() {
    let bench = bench();
    for media in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\"", "application/vnd.shop+json"]
    {
        let request = Request::post("/orders").header("content-type", media).body(Body::from("{}")).unwrap();
        assert_eq!(bench.send(request).await.status, 400, "{media}");
    }
}

#[tokio::test]
async fn every_field_at_fault_is_named() {
    let reply = bench()
        .post(r#"{"orderId":"1","userId":"u","amount":0,"currency":"EUR","items":[{"productId":"p","quantity":0,"price":1}]}"#)
        .await;
    assert_eq!(reply.status, 400);
    let expected = json!([
        {"pointer": "/orderId", "detail": "must be a UUID"},
        {"pointer": "/amount", "detail": "must be greater than 0"},
        {"pointer": "/items/0/quantity", "detail": "must be a whole number of 1 or more"},
    ]);
    assert_eq!((reply.kind(), &reply.body["errors"]), ("invalid-order", &expected));
    // However many: an order of a thousand empty items names three fields of each.
    let items = vec!["{}"; 600].join(",");
    let reply = bench().post(format!(r#"{{"items":[{items}]}}"#)).await;
    assert_eq!(reply.body["errors"].as_array().unwrap().len(), 4 + 3 * 600);
}

#[tokio::test]
async fn what_is_not_acknowledged_is_never_accepted_nor_known() {
    for (sink, status, kind) in [
        (Broken::Failing(PublishError::Unavailable("broker 10.0.0.1 down".into())), 503, "unacknowledged"),
        (Broken::Failing(PublishError::NotSent(Duration::from_secs(9))), 503, "not-sent"),
        (Broken::Failing(PublishError::TooLarge("1 MB".into())), 413, "record-too-large"),
        (Broken::Failing(PublishError::Refused("topic orders: not authorized".into())), 500, "internal"),
        (Broken::Panicking, 500, "internal"),
    ] {
        let bench = bench_with(sink, "*");
        bench.post(order()).await;
        let reply = bench.post(order()).await;
        assert_eq!((reply.status.as_u16(), reply.kind()), (status, kind), "nobody waits for the first: {}", reply.text);
        assert_eq!(reply.headers.contains_key("retry-after"), status == 503);
        assert!(!reply.text.contains("10.0.0.1") && !reply.text.contains("topic orders"), "tells our inside: {}", reply.text);
        assert_eq!(reply.headers["x-content-type-options"], "nosniff", "errors have security headers too");
        assert_eq!(bench.get(&format!("/orders/{ID}")).await.status, 404);
    }
}

#[tokio::test]
async fn an_order_is_shown_as_it_was_placed_and_as_far_as_it_is() {
    let bench = bench();
    bench.follow("orders", &created(&order()));
    let shown = |status: &str, payment: &str, updated: &str| {
        format!(
            r#"{{"orderId":"{ID}","userId":"u","amount":20.10,"currency":"EUR","items":[{{"productId":"p","quantity":1,"price":1e1}}],"status":"{status}","paymentId":{payment},"createdAt":"2026-01-31T12:00:00.000Z","updatedAt":"{updated}"}}"#
        )
    };
    let path = format!("/orders/{}", ID.to_uppercase());
    assert_eq!(bench.get(&path).await.text, shown("pending", "null", "2026-01-31T12:00:00.000Z"));
    let letter = format!(r#"{{"originalTopic":"orders","originalValue":{},"failedAt":"2026-01-31T12:00:05Z"}}"#, created(&order()));
    bench.follow("orders.DLT", &letter);
    assert_eq!(bench.get(&path).await.text, shown("failed", "null", "2026-01-31T12:00:05.000Z"));
    let payment =
        format!(r#"{{"eventType":"PAYMENT_COMPLETED","timestamp":"2026-01-31T12:00:06Z","data":{{"orderId":"{ID}","paymentId":"p-1"}}}}"#);
    bench.follow("payments", &payment);
    assert_eq!(bench.get(&path).await.text, shown("completed", "\"p-1\"", "2026-01-31T12:00:06.000Z"));
    bench.orders.forget("orders");
    bench.orders.forget("orders.DLT");
    assert_eq!(bench.get(&path).await.status, 404);
}

#[tokio::test]
async fn an_order_that_broke_the_rules_is_shown_with_what_it_had() {
    let bench = bench();
    bench.follow("orders", "poison");
    bench.follow("orders", &created(&format!(r#"{{"orderId":"{ID}","amount":"much"}}"#)));
    let reply = bench.get(&format!("/orders/{ID}")).await;
    assert_eq!((reply.status.as_u16(), &reply.body["amount"], &reply.body["items"]), (200, &json!("much"), &Value::Null));
}

#[tokio::test]
async fn a_known_order_is_accepted_again_without_kafka_and_another_with_its_id_is_not() {
    let bench = bench();
    bench.follow("orders", &created(&order()));
    let again = bench.post(order().replace("20.10", "201e-1")).await;
    assert_eq!(again.status, 202, "{}", again.text);
    assert_eq!(again.body, json!({"message": "Order accepted for processing", "orderId": ID}));
    let other = bench.post(order().replace("20.10", "20.11")).await;
    assert_eq!((other.status.as_u16(), other.kind()), (409, "order-taken"), "{}", other.text);
}

#[tokio::test]
async fn a_key_stands_for_one_order() {
    let bench = bench();
    bench.follow_with("k-1", &created(&order()));
    let other = order().replace(ID, OTHER);
    let send = async |key: &str, order: String| bench.send(post_with(Some(key), order)).await;
    for (key, order, status, kind) in [
        ("k-1", order(), 202, ""),
        ("\"k-1\"", order(), 202, ""),
        ("k-1", order().replace("20.10", "20.11"), 409, "order-taken"),
        ("k-1", other.clone(), 409, "idempotency-key-reused"),
        ("k-2", other.clone(), 503, "unacknowledged"),
        ("k 2", other.clone(), 400, "invalid-idempotency-key"),
    ] {
        let reply = send(key, order).await;
        assert_eq!((reply.status.as_u16(), reply.kind()), (status, kind), "{key}: {}", reply.text);
    }
    let table = bench.readiness.need("table");
    assert_eq!(send("k-2", other.clone()).await.kind(), "not-caught-up");
    table.met();
    bench.orders.forget("orders");
    assert_eq!(send("k-1", other).await.kind(), "unacknowledged");
}

#[tokio::test(start_paused = true)]
async fn requests_that_overlap_write_one_order() {
    let (same, changed, other) = (order(), order().replace("20.10", "20.11"), order().replace(ID, OTHER));
    let (brief, long) = (Duration::from_millis(900), Duration::from_secs(3));
    // (Kafka takes, key and order of the first, of the second) -> the second's answer, orders that Kafka is given
    for (pause, (key, first), (again, second), (status, kind), expected) in [
        (brief, (Some("k"), &same), (Some("k"), &same), (202, ""), 1),
        (brief, (Some("k"), &same), (Some("k"), &other), (409, "idempotency-key-reused"), 1),
        (brief, (Some("k"), &same), (Some("l"), &same), (202, ""), 1),
        (brief, (Some("k"), &same), (Some("l"), &other), (202, ""), 2),
        (brief, (None, &same), (None, &same), (202, ""), 1),
        (brief, (None, &same), (None, &changed), (409, "order-taken"), 1),
        (brief, (None, &same), (None, &other), (202, ""), 2),
        (long, (Some("k"), &same), (Some("k"), &same), (409, "idempotency-key-in-use"), 1),
        (long, (Some("k"), &same), (Some("k"), &other), (409, "idempotency-key-in-use"), 1),
        (long, (Some("k"), &same), (Some("l"), &same), (503, "unacknowledged"), 1),
        (long, (None, &same), (None, &same), (503, "unacknowledged"), 1),
        (long, (None, &same), (Some("k"), &other), (202, ""), 2),
    ] {
        let what = format!("{pause:?} {key:?} {first} {again:?} {second}");
        let given = Arc::new(AtomicUsize::new(0));
        let bench = bench_with(Broken::Slow(pause, Arc::clone(&given)), "*");
        let (one, two) = tokio::join!(bench.send(post_with(key, first.clone())), bench.send(post_with(again, second.clone())));
        assert_eq!((one.status.as_u16(), two.status.as_u16(), two.kind()), (202, status, kind), "{what}: {}", two.text);
        assert_eq!(two.headers.contains_key("retry-after"), kind == "idempotency-key-in-use" || status == 503, "{what}");
        assert_eq!(bench.send(post_with(key, first.clone())).await.status, 202, "{what}");
        assert_eq!(given.load(SeqCst), expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_nothing_taken_and_its_order_is_written_once() {
    let given = Arc::new(AtomicUsize::new(0));
    let bench = bench_with(Broken::Slow(Duration::from_millis(900), Arc::clone(&given)), "*");
    let mut leaving: Vec<_> = (0..2).map(|_| Box::pin(bench.send(post_with(Some("k"), order())))).collect();
    for request in &mut leaving {
        assert!(futures::poll!(request.as_mut()).is_pending());
    }
    // One whose order is on its way, and one that waits for it.
    drop(leaving);
    assert_eq!(bench.send(post_with(Some("k"), order())).await.status, 202);
    assert_eq!(given.load(SeqCst), 1);
    let other = bench.send(post_with(Some("k"), order().replace(ID, OTHER))).await;
    assert_eq!(other.kind(), "idempotency-key-reused", "{}", other.text);
}

#[tokio::test]
async fn an_order_is_not_denied_before_everything_was_read() {
    let bench = bench();
    let table = bench.readiness.need("table");
    let reply = bench.get(&format!("/orders/{ID}")).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    table.met();
    assert_eq!(bench.get(&format!("/orders/{ID}")).await.status, 404);
}

#[tokio::test]
async fn too_many_orders_at_once_are_refused_at_once_and_reads_go_on() {
    let bench = bench_with(Broken::Hanging, "*");
    let mut waiting: Vec<_> = (0..PLACES).map(|_| Box::pin(bench.post(order()))).collect();
    for request in &mut waiting {
        assert!(futures::poll!(request.as_mut()).is_pending());
    }
    let refused = bench.post(order()).await;
    assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (503, &"1".parse().unwrap()), "{}", refused.text);
    assert_eq!(bench.get(&format!("/orders/{ID}")).await.status, 404);
    waiting.pop();
    let mut next = Box::pin(bench.post(order()));
    assert!(futures::poll!(next.as_mut()).is_pending(), "a place is free again");
}

#[tokio::test]
async fn every_answer_has_security_headers_and_a_request_id() {
    let bench = bench();
    for path in ["/health", "/nowhere", "/orders"] {
        let reply = bench.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.headers[name], value, "{path}");
        }
        assert!(reply.headers["strict-transport-security"].to_str().unwrap().starts_with("max-age="), "{path}");
        assert_eq!(reply.headers["x-request-id"].len(), 36, "{path}");
    }
    let request = Request::get("/health").header("x-request-id", "mine").body(Body::empty()).unwrap();
    assert_eq!(bench.send(request).await.headers["x-request-id"], "mine");
}

#[tokio::test]
async fn browsers_may_call_from_the_given_origin() {
    let preflight = |origin: &str| {
        Request::options("/orders")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .body(Body::empty())
            .unwrap()
    };
    for (configured, origin, answer) in [
        ("*", "https://a.example", "*"),
        ("https://shop.example", "https://shop.example", "https://shop.example"),
        ("https://shop.example", "https://evil.example", "https://shop.example"),
    ] {
        let reply = bench_with(Broken::Hanging, configured).send(preflight(origin)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["access-control-allow-origin"], answer);
        assert!(reply.headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
        assert!(reply.headers["access-control-allow-headers"].to_str().unwrap().contains("content-type"));
    }
}
