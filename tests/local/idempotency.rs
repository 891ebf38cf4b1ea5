//! `Idempotency-Key` with two real worker processes on one broker: what came with a key is on the topic once, whoever was asked, at
//! whatever moment, and whatever was killed or cut off meanwhile.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use penstock_crds::worker::WorkerConfig;
use penstock_kafka::{ConnectionSettings, NewTopic};
use penstock_tests::{
    local::{Answer, BrokerSettings, Brokers, WorkerOptions, WorkerProcess, debug_worker_binary, ports, post},
    scene::{LIMIT, Result, Waiting, until},
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    front::front,
    series::series,
    shared,
    topic::{make, read},
};

const JSON: (&str, &str) = ("content-type", "application/json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

struct Rig {
    brokers: Arc<Brokers>,
    connection: ConnectionSettings,
    binary: PathBuf,
    name: &'static str,
    window: &'static str,
}

/// A worker that may be killed and come again on the same port.
struct Gateway {
    config: WorkerConfig,
    options: WorkerOptions,
    port: u16,
    worker: WorkerProcess,
}

impl Rig {
    async fn new(brokers: Arc<Brokers>, name: &'static str, window: &'static str) -> Result<Self> {
        let binary = debug_worker_binary().await?;
        let connection = ConnectionSettings::new(brokers.bootstrap())?;
        let rig = Self { brokers, connection, binary, name, window };
        let topics = [rig.topic("events"), rig.topic("keys")].map(|topic| NewTopic::new(topic).with_partitions(2));
        make(&rig.connection, &topics).await?;
        Ok(rig)
    }

    fn topic(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.name)
    }

    async fn gateway(&self, pod: &str) -> Result<Gateway> {
        let [port, admin_port] = ports::free(2)?[..] else { return Err("no ports".into()) };
        let options = [("defaultType", "t"), ("defaultSource", "/local"), ("produceTimeout", "2s"), ("idempotencyWindow", self.window)];
        let mut config = front(&self.brokers, "events-gateway", &options, port, &self.topic("events"));
        // Whoever has the same name shares its keys.
        config.pipeline.name = self.name.to_owned();
        let config = WorkerConfig { table: vec![self.topic("keys")], admin_port, ..config };
        let options = WorkerOptions { pod: pod.to_owned(), ..WorkerOptions::new(&self.binary) };
        let worker = WorkerProcess::start(&config, &options)?;
        worker.wait_ready(LIMIT).await?;
        let gateway = Gateway { config, options, port, worker };
        // The first transaction of all makes Kafka's own topic for transactions, which takes a while.
        gateway.ask_until_accepted(&format!("first-of-{pod}"), JSON, "{}").await?;
        Ok(gateway)
    }

    /// How many events with that in their data are on the topic.
    async fn written(&self, mark: &str) -> Result<usize> {
        let records = read(&self.connection, &self.topic("events")).await?;
        let has = |payload: &[u8]| String::from_utf8_lossy(payload).contains(mark);
        Ok(records.iter().filter(|record| record.payload.as_deref().is_some_and(has)).count())
    }
}

impl Gateway {
    async fn ask(&self, key: &str, kind: (&str, &str), body: &str) -> Result<Answer> {
        Ok(post(self.port, "/events", &[kind, ("idempotency-key", key)], body).await?)
    }

    /// Asks again and again, as a client does, until it is told what came of the request.
    async fn ask_until_accepted(&self, key: &str, kind: (&str, &str), body: &str) -> Result<String> {
        until("accepted", LIMIT, async || match self.ask(key, kind, body).await {
            Ok(found) if found.status == 202 => Ok(found.body),
            Ok(found) if [409, 503].contains(&found.status) && !found.body.contains("reused") => Err(Waiting::NotYet(format!("{found:?}"))),
            Ok(other) => Err(Waiting::Never(format!("{other:?}").into())),
            Err(error) => Err(Waiting::NotYet(error.to_string())),
        })
        .await
    }

    /// Sends a request and hears no answer.
    async fn send_and_leave(&self, key: &str, body: &str) -> Result {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let (name, media) = JSON;
        let request = format!(
            "POST /events HTTP/1.1\r\nhost: x\r\n{name}: {media}\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        Ok(())
    }

    async fn failures(&self) -> Result<f64> {
        Ok(self.worker.metric("penstock_worker_produce_failures_total").await?.unwrap_or_default())
    }

    async fn kill_and_restart(&mut self) -> Result {
        self.worker.process().kill();
        self.worker = WorkerProcess::start(&self.config, &self.options)?;
        self.worker.wait_ready(LIMIT).await?;
        Ok(())
    }
}

fn problem(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    body["type"].as_str().and_then(|kind| kind.rsplit_once(':')).map(|(_, kind)| kind.to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn the_same_key_and_request_is_written_once_and_answered_the_same() -> Result {
    let rig = Rig::new(shared::broker().await?, "keys-same", "1h").await?;
    let (mut a, b) = (rig.gateway("a").await?, rig.gateway("b").await?);

    let first = a.ask("k-1", JSON, r#"{"mark": "one"}"#).await?;
    assert_eq!(first.status, 202, "{first:?}");
    for _ in 0..3 {
        assert_eq!(a.ask("\"k-1\"", JSON, r#"{"mark": "one"}"#).await?, first, "in quotes it is the same key");
        assert_eq!(b.ask_until_accepted("k-1", JSON, r#"{"mark": "one"}"#).await?, first.body);
    }
    for gateway in [&a, &b] {
        let other = gateway.ask("k-1", JSON, r#"{"mark": "two"}"#).await?;
        assert_eq!((other.status, problem(&other).as_str()), (409, "idempotency-key-reused"), "{other:?}");
    }
    let event = |id: u8| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{{"mark": "batch"}}}}"#);
    let batch = format!("[{}, {}, {}]", event(1), event(2), event(3));
    assert_eq!(a.ask("k-2", BATCH, &batch).await?.body, r#"{"ids":["1","2","3"]}"#);
    assert_eq!(b.ask_until_accepted("k-2", BATCH, &batch).await?, r#"{"ids":["1","2","3"]}"#);

    a.kill_and_restart().await?;
    assert_eq!(a.ask("k-1", JSON, r#"{"mark": "one"}"#).await?, first, "a worker that comes again knows every key");
    assert_eq!(a.ask("k-2", BATCH, &batch).await?.status, 202);

    // A request that breaks the rules leaves its key free.
    assert_eq!(a.ask("k-3", JSON, "{").await?.status, 400);
    a.send_and_leave("k-3", r#"{"mark": "left"}"#).await?;
    b.ask_until_accepted("k-3", JSON, r#"{"mark": "left"}"#).await?;
    a.ask_until_accepted("k-3", JSON, r#"{"mark": "left"}"#).await?;

    for (mark, expected) in [("one", 1), ("two", 0), ("batch", 3), ("left", 1)] {
        assert_eq!(rig.written(mark).await?, expected, "{mark}");
    }
    Ok(())
}

#[tokio::test]
async fn events_with_a_key_are_counted_as_those_without_are() -> Result {
    let rig = Rig::new(shared::broker().await?, "keys-counted", "1h").await?;
    let a = rig.gateway("a").await?;
    let event = |id: u8, time: Timestamp| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","time":"{time}"}}"#);
    let (now, an_hour_ago) = (Timestamp::now(), Timestamp::now() - SignedDuration::from_hours(1));
    let written = async || series(a.config.admin_port, "penstock_worker_records_produced_total").await;
    let count = |written: &[(String, f64)]| written.iter().map(|(_, count)| count).sum::<f64>();
    // The first of all had a key, and may have been asked for again.
    let (before, failures) = (count(&written().await?), a.failures().await?);
    for _ in 0..2 {
        assert_eq!(a.ask("k-1", JSON, "{}").await?.status, 202);
        assert_eq!(a.ask("k-2", BATCH, &format!("[{}, {}]", event(1, now), event(2, now))).await?.status, 202);
    }
    assert_eq!(post(a.port, "/events", &[JSON], "{}").await?.status, 202);
    let (admin, of_events) = (a.config.admin_port, format!("topic=\"{}\"", rig.topic("events")));
    let lags = series(admin, "penstock_worker_producer_lag_seconds").await?;
    assert!(!lags.is_empty() && lags.iter().all(|(of, lag)| of.starts_with(&of_events) && *lag < 60.0), "{lags:?}");

    assert_eq!(a.ask("k-3", BATCH, &format!("[{}]", event(3, an_hour_ago))).await?.status, 202);
    let lags = series(admin, "penstock_worker_producer_lag_seconds").await?;
    assert_eq!(lags.iter().filter(|(_, lag)| (3_600.0..3_660.0).contains(lag)).count(), 1, "{lags:?}");
    let written = written().await?;
    assert!(written.iter().all(|(of, _)| of.starts_with(&of_events)), "{written:?}");
    assert_eq!((count(&written) - before, a.failures().await? - failures), (5.0, 0.0), "{written:?}");
    Ok(())
}

#[tokio::test]
async fn two_workers_that_are_asked_at_the_same_instant_write_it_once() -> Result {
    const ROUNDS: usize = 30;
    let rig = Rig::new(shared::broker().await?, "keys-raced", "1h").await?;
    let (a, b) = (rig.gateway("a").await?, rig.gateway("b").await?);
    for round in 0..ROUNDS {
        let (key, body) = (format!("k-{round}"), format!(r#"{{"mark": "round-{round}-"}}"#));
        let (one, other) = tokio::join!(a.ask(&key, JSON, &body), b.ask(&key, JSON, &body));
        for answer in [&one?, &other?] {
            assert!(answer.status == 202 || ["idempotency-key-in-use", "not-sent"].contains(&problem(answer).as_str()), "{answer:?}");
        }
        assert_eq!(a.ask_until_accepted(&key, JSON, &body).await?, b.ask_until_accepted(&key, JSON, &body).await?);
    }
    for round in 0..ROUNDS {
        assert_eq!(rig.written(&format!("round-{round}-")).await?, 1, "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_cut_off_by_a_crash_or_by_kafka_is_written_once() -> Result {
    const ROUNDS: usize = 3;
    let brokers = Arc::new(Brokers::start(1, BrokerSettings::default()).await?);
    let rig = Rig::new(brokers, "keys-cut", "1h").await?;
    let (mut a, b) = (rig.gateway("a").await?, rig.gateway("b").await?);
    for round in 0..ROUNDS {
        let (key, body) = (format!("crash-{round}"), format!(r#"{{"mark": "crash-{round}"}}"#));
        a.send_and_leave(&key, &body).await?;
        a.kill_and_restart().await?;
        b.ask_until_accepted(&key, JSON, &body).await?;
        a.ask_until_accepted(&key, JSON, &body).await?;
    }

    let failures = a.failures().await?;
    rig.brokers.pause(0)?;
    let cut = a.ask("cut", JSON, r#"{"mark": "cut"}"#).await?;
    assert_eq!(cut.status, 503, "{cut:?}");
    assert_eq!(a.failures().await? - failures, 1.0, "one event, whatever became of the notes about its key");
    rig.brokers.resume(0)?;
    a.ask_until_accepted("cut", JSON, r#"{"mark": "cut"}"#).await?;
    b.ask_until_accepted("cut", JSON, r#"{"mark": "cut"}"#).await?;

    for mark in (0..ROUNDS).map(|round| format!("crash-{round}")).chain(["cut".to_owned()]) {
        assert_eq!(rig.written(&mark).await?, 1, "{mark}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_is_free_again_once_its_window_is_over() -> Result {
    let rig = Rig::new(shared::broker().await?, "keys-free", "2s").await?;
    let a = rig.gateway("a").await?;
    assert_eq!(a.ask("k", JSON, r#"{"mark": "first"}"#).await?.status, 202);
    let reused = a.ask("k", JSON, r#"{"mark": "second"}"#).await?;
    assert_eq!(problem(&reused), "idempotency-key-reused", "{reused:?}");
    until("the window is over", LIMIT, async || match a.ask("k", JSON, r#"{"mark": "second"}"#).await {
        Ok(answer) if answer.status == 202 => Ok(()),
        other => Err(Waiting::NotYet(format!("{other:?}"))),
    })
    .await?;
    assert_eq!((rig.written("first").await?, rig.written("second").await?), (1, 1));
    Ok(())
}
