//! The processor against real handlers on loopback.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{suspects::Turn, *};
use crate::processor::{Failure, TimestampType, waiting};

const WHOLE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

fn handler(at: SocketAddr, timeout: Duration) -> Arc<HttpHandler> {
    Arc::new(HttpHandler::new(&HttpCall { port: at.port(), path: "/events".to_owned(), timeout }, true).unwrap())
}

fn event(offset: i64, payload: &str) -> Event {
    Event {
        topic: "orders".into(),
        partition: 0,
        offset,
        key: Some("k".into()),
        payload: Some(Bytes::copy_from_slice(payload.as_bytes())),
        headers: vec![],
        timestamp_ms: None,
        timestamp_type: TimestampType::default(),
        attempt: 1,
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

/// Serves until it is dropped.
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn serve(listener: TcpListener, routes: Router) -> Server {
    Server(tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }))
}

/// Does what the body of the request says.
async fn obey(headers: HeaderMap, body: Bytes) -> Response {
    match &*body {
        b"echo" => ([("ce-type", "echoed"), ("ce-subject", headers["ce-id"].to_str().unwrap())], "done").into_response(),
        b"nothing" => StatusCode::NO_CONTENT.into_response(),
        b"refuse" => (StatusCode::UNPROCESSABLE_ENTITY, "no amount").into_response(),
        b"busy" => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "later").into_response(),
        b"large" => vec![b'x'; response::MAX_BODY + 1].into_response(),
        b"fits" => vec![b'x'; response::MAX_BODY].into_response(),
        b"hang" => std::future::pending().await,
        other => panic!("{other:?}"),
    }
}

fn obedient() -> Router {
    Router::new().route("/events", post(obey))
}

/// Waits until it holds.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WHOLE, wait).await.unwrap();
}

fn retried(outcome: Outcome) -> Failure {
    let Outcome::Retry(failure) = outcome else { panic!("{outcome:?}") };
    failure
}

#[tokio::test]
async fn an_answer_decides() {
    let (listener, at) = listener().await;
    let _server = serve(listener, obedient());
    let handler = handler(at, WHOLE);
    let mut outcomes = vec![];
    for (offset, payload) in (0..).zip(["echo", "nothing", "refuse", "busy", "large", "fits"]) {
        outcomes.push(handler.process(&event(offset, payload)).await);
    }
    let fits = outcomes.pop().unwrap();
    assert!(matches!(&fits, Outcome::Emit(outputs) if outputs[0].payload.as_ref().is_some_and(|body| body.len() == response::MAX_BODY)));
    let [Outcome::Emit(outputs), Outcome::Drop, Outcome::Reject(refused), Outcome::Retry(busy), Outcome::Reject(large)] =
        outcomes.as_slice()
    else {
        panic!("{outcomes:?}")
    };
    let [output] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((output.key.as_deref(), output.payload.as_deref()), (Some(&b"k"[..]), Some(&b"done"[..])));
    let subject = output.headers.iter().find(|header| header.name == "ce_subject").unwrap();
    assert_eq!(subject.value.as_deref(), Some(&b"orders/0/0"[..]));
    assert_eq!(
        (refused.error_type.as_str(), busy.error_type.as_str(), large.error_type.as_str()),
        ("Http422", "Http503", "AnswerTooLarge")
    );
    assert_eq!((refused.message.ends_with(": no amount"), busy.retry_after), (true, Some(Duration::from_secs(7))));
    let (mut registry, mut text) = (Registry::default(), String::new());
    handler.register_metrics(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in ["handler_requests_total{result=\"2xx\"} 4", "handler_requests_total{result=\"5xx\"} 1", "handler_seconds_count 6"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_record_waits_for_a_handler_that_is_not_there_yet() {
    let (reserved, at) = listener().await;
    drop(reserved);
    let handler = handler(at, SHORT);
    let waits = tokio::spawn({
        let handler = Arc::clone(&handler);
        async move { handler.process(&event(0, "echo")).await }
    });
    until(|| handler.metrics.times_unreachable() >= 2).await;
    assert_eq!(handler.metrics.waiting.get(), 1);
    let _server = serve(TcpListener::bind(at).await.unwrap(), obedient());
    assert!(matches!(waits.await.unwrap(), Outcome::Emit(_)));
    assert_eq!(handler.metrics.waiting.get(), 0);
}

#[tokio::test]
async fn a_record_that_is_given_up_waits_no_more() {
    let (reserved, at) = listener().await;
    drop(reserved);
    let handler = handler(at, SHORT);
    let record = event(0, "echo");
    tokio::select! {
        outcome = handler.process(&record) => panic!("{outcome:?}"),
        () = until(|| handler.metrics.waiting.get() == 1) => {}
    }
    assert_eq!(handler.metrics.waiting.get(), 0);
}

#[tokio::test]
async fn a_record_has_begun_once_it_was_sent() {
    let (reserved, at) = listener().await;
    drop(reserved);
    let (handler, record) = (handler(at, WHOLE), event(0, "x"));
    let mut attempt = pin!(handler.process(&record));
    let away = poll_fn(|cx| {
        assert!(matches!(waiting::poll(attempt.as_mut(), cx), (Poll::Pending, true)));
        if handler.metrics.times_unreachable() < 2 { Poll::Pending } else { Poll::Ready(()) }
    });
    tokio::time::timeout(WHOLE, away).await.unwrap();
    let listener = TcpListener::bind(at).await.unwrap();
    let sent = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        read_request(&mut connection).await.unwrap();
        connection
    };
    let _connection = tokio::select! {
        outcome = &mut attempt => panic!("{outcome:?}"),
        connection = sent => connection,
    };
    poll_fn(|cx| {
        assert!(matches!(waiting::poll(attempt.as_mut(), cx), (Poll::Pending, false)));
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_an_attempt() {
    let (listener, at) = listener().await;
    let _server = serve(listener, obedient());
    let failure = retried(handler(at, SHORT).process(&event(0, "hang")).await);
    assert_eq!((failure.error_type.as_str(), failure.retry_after), ("HandlerTimeout", None));
}

/// Reads a request up to its body, which is one that says how long it is.
async fn read_request(connection: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
            if body.len() >= length {
                return Some(body.to_owned());
            }
        }
        if connection.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_is_an_attempt() {
    for (answer, word) in [
        (&b""[..], "HandlerGone"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "HandlerGone"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "HandlerNotHttp"),
    ] {
        let (listener, at) = listener().await;
        let handler = handler(at, WHOLE);
        let record = event(0, "x");
        let (outcome, ()) = tokio::join!(handler.process(&record), async {
            let (mut connection, _) = listener.accept().await.unwrap();
            assert_eq!(read_request(&mut connection).await.as_deref(), Some("x"));
            connection.write_all(answer).await.unwrap();
        });
        assert_eq!(retried(outcome).error_type, word);
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_handler_has_closed_costs_no_attempt() {
    let (listener, at) = listener().await;
    let handler = handler(at, WHOLE);
    for offset in 0..20 {
        let record = event(offset, "x");
        let (outcome, ()) = tokio::join!(handler.process(&record), async {
            let (mut connection, _) = listener.accept().await.unwrap();
            read_request(&mut connection).await.unwrap();
            connection.write_all(EMPTY).await.unwrap();
        });
        assert_eq!(outcome, Outcome::Drop, "{offset}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_many_requests_are_under_way_at_once() {
    const MANY: usize = 8;
    let (listener, at) = listener().await;
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = tokio::spawn({
        let (connections, requests) = (Arc::clone(&connections), Arc::clone(&requests));
        let all = Arc::new(tokio::sync::Barrier::new(MANY));
        async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, all) = (Arc::clone(&requests), Arc::clone(&all));
                tokio::spawn(async move {
                    while read_request(&mut connection).await.is_some() {
                        requests.fetch_add(1, Ordering::SeqCst);
                        // Nobody is answered before all have asked.
                        all.wait().await;
                        connection.write_all(EMPTY).await.unwrap();
                    }
                });
            }
        }
    });
    let _server = Server(server);
    let handler = handler(at, WHOLE);
    for round in 0..3 {
        let records: Vec<Event> = (0..MANY).map(|n| event(i64::try_from(round * MANY + n).unwrap(), "x")).collect();
        let outcomes = join_all(records.iter().map(|record| handler.process(record))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Drop), "{outcomes:?}");
    }
    assert_eq!((requests.load(Ordering::SeqCst), connections.load(Ordering::SeqCst) < 3 * MANY), (3 * MANY, true));
}

#[tokio::test]
async fn those_that_went_down_with_a_handler_are_tried_one_after_the_other() {
    let (listener, at) = listener().await;
    let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = tokio::spawn({
        let (most, now) = (Arc::clone(&most), Arc::clone(&now));
        async move {
            // Goes down with the first two.
            let mut first = vec![];
            while first.len() < 2 {
                let (mut connection, _) = listener.accept().await.unwrap();
                read_request(&mut connection).await.unwrap();
                first.push(connection);
            }
            drop(first);
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let (most, now) = (Arc::clone(&most), Arc::clone(&now));
                tokio::spawn(async move {
                    while read_request(&mut connection).await.is_some() {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        connection.write_all(EMPTY).await.unwrap();
                    }
                });
            }
        }
    });
    let _server = Server(server);
    let (handler, records) = (handler(at, WHOLE), [event(0, "x"), event(1, "x")]);
    for outcome in join_all(records.iter().map(|record| handler.process(record))).await {
        assert_eq!(retried(outcome).error_type, "HandlerGone");
    }
    let again = join_all(records.iter().map(|record| handler.process(record))).await;
    assert_eq!((again, most.load(Ordering::SeqCst)), (vec![Outcome::Drop, Outcome::Drop], 1));
    // They are like any other now.
    assert!(matches!(handler.suspects.turn(|| records[0].id()).await, Turn::Beside(_)));
}
