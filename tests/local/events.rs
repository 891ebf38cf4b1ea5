//! The built-in `events-gateway` and `log` between real clients and a real broker: what is posted is on the topic, to the byte, what
//! Kafka does not acknowledge is never accepted, and what is no JSON is a dead letter that holds up nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use penstock_crds::worker::{
    Breaking, DEFAULT_SESSION_TIMEOUT, DeadLetterFormat, DeadLetterTarget, Delivery, Fetching, GroupProtocol, KafkaInput, Ordering,
    RetryPolicy, StartFrom, TransactionBounds, WorkerConfig, WorkerSource,
};
use penstock_kafka::{ConnectionSettings, ConsumedRecord, NewTopic, Producer, ProducerSettings, Record};
use penstock_tests::{
    local::{Answer, BrokerSettings, Brokers, get, ports, post},
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{error::WorkerError, processors, runtime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    front::front,
    series::series,
    shared,
    topic::{make, read},
};

const EVENTS: &str = "posted.events";
const SLOW: &str = "posted.slow";
const DEAD: &str = "posted.dead";
const SCHEMA: &str = r#"{"type": "object", "required": ["n"]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

type Worker = (CancellationToken, JoinHandle<std::result::Result<(), WorkerError>>);

fn start(config: WorkerConfig) -> Result<Worker> {
    let (processor, shutdown) = (processors::build(&config)?, CancellationToken::new());
    let name = format!("{}-0", config.pipeline.name);
    Ok((shutdown.clone(), tokio::spawn(runtime::run_until(config, processor, name, shutdown))))
}

fn records_of(topic: &str, dead_letters: &str) -> WorkerSource {
    WorkerSource::Kafka(Box::new(KafkaInput {
        topics: vec![topic.to_owned()],
        group: "log".to_owned(),
        start_from: StartFrom::Earliest,
        group_protocol: GroupProtocol::Classic,
        session_timeout: DEFAULT_SESSION_TIMEOUT,
        fetch: Fetching::default(),
        delivery: Delivery::AtLeastOnce,
        transaction: TransactionBounds::default(),
        ordering: Ordering::Key,
        concurrency: 4,
        retry: RetryPolicy::default(),
        tiers: vec![],
        held: BTreeMap::new(),
        dead_letter: DeadLetterTarget { topic: dead_letters.to_owned(), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
    }))
}

/// The value of a record, and its key.
fn told(record: &ConsumedRecord) -> (String, Option<String>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (record.payload.as_deref().map(text).unwrap_or_default(), record.key.as_deref().map(text))
}

fn event(id: u8, key: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/local","type":"t","subject":"{key}","data":{{"n": {id}.0}}}}"#)
}

#[tokio::test]
async fn posted_events_are_records_to_the_byte_and_poison_is_a_dead_letter() -> Result {
    let brokers = shared::broker().await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    make(&connection, &[NewTopic::new(EVENTS).with_partitions(2), NewTopic::new(DEAD).with_partitions(1)]).await?;
    let ports = ports::free(3)?;
    let (port, admin, log_admin) = (ports[0], ports[1], ports[2]);
    let options = [
        ("key", "subject"),
        ("defaultType", "bare"),
        ("defaultSource", "/local"),
        ("schema", SCHEMA),
        ("produceTimeout", "2s"),
        ("acceptedStatus", "200"),
    ];
    let gateway = start(WorkerConfig { admin_port: admin, ..front(&brokers, "events-gateway", &options, port, EVENTS) })?;
    let log = front(&brokers, "log", &[("require", "Json")], port, EVENTS);
    let log = start(WorkerConfig { admin_port: log_admin, source: records_of(EVENTS, DEAD), sink: None, ..log })?;
    until("the gateway is healthy", LIMIT, async || match get(port, "/health").await {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(Waiting::NotYet(format!("{other:?}"))),
    })
    .await?;

    // A rate knows of the first record only where it stood at 0 before.
    for (admin, topic, partitions) in [(admin, EVENTS, 2), (log_admin, DEAD, 1)] {
        until("all that is written is counted from 0", LIMIT, async || {
            let written = series(admin, "penstock_worker_records_produced_total").await?;
            let expected: Vec<_> = (0..partitions).map(|n| (format!("topic=\"{topic}\",partition=\"{n}\""), 0.0)).collect();
            let is_there = |of: &(String, f64)| written.contains(of);
            if expected.len() == written.len() && expected.iter().all(is_there) { Ok(()) } else { Err(format!("{written:?}").into()) }
        })
        .await?;
    }

    let binary = [JSON, ("ce-specversion", "1.0"), ("ce-id", "4"), ("ce-source", "/local"), ("ce-type", "t"), ("ce-subject", "%C3%A4")];
    for (headers, body, status) in [
        (&[("content-type", "application/cloudevents+json")][..], event(1, "a"), 200),
        (&[("content-type", "application/cloudevents-batch+json")], format!("[{}, {}]", event(2, "a"), event(3, "a")), 200),
        (&binary, "{\"n\": 4.0}".to_owned(), 200),
        (&[JSON], " {\"n\": 5.0}\n".to_owned(), 200),
        (&[JSON], "{}".to_owned(), 422),
        (&[JSON], "{".to_owned(), 400),
    ] {
        let answer = post(port, "/events", headers, &body).await?;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let records = read(&connection, EVENTS).await?;
    let some = |key: &str| Some(key.to_owned());
    let expected = [
        (" {\"n\": 5.0}\n".to_owned(), None),
        ("{\"n\": 1.0}".to_owned(), some("a")),
        ("{\"n\": 2.0}".to_owned(), some("a")),
        ("{\"n\": 3.0}".to_owned(), some("a")),
        ("{\"n\": 4.0}".to_owned(), some("ä")),
    ];
    let mut found: Vec<_> = records.iter().map(told).collect();
    found.sort();
    assert_eq!(found, expected);
    for record in &records {
        for name in ["ce_specversion", "ce_id", "ce_source", "ce_type", "content-type"] {
            assert!(record.header(name).is_some(), "{name} of {record:?}");
        }
    }
    let of_one_key: Vec<_> = records.iter().map(told).filter(|(_, key)| key.as_deref() == Some("a")).map(|(value, _)| value).collect();
    assert_eq!(of_one_key, ["{\"n\": 1.0}", "{\"n\": 2.0}", "{\"n\": 3.0}"], "in their order");

    let lags = series(admin, "penstock_worker_producer_lag_seconds").await?;
    assert!(!lags.is_empty() && lags.iter().all(|(of, lag)| of.starts_with(&format!("topic=\"{EVENTS}\"")) && *lag < 60.0), "{lags:?}");
    let an_hour_ago = (Timestamp::now() - SignedDuration::from_hours(1)).to_string();
    let old = [&binary[..], &[("ce-time", an_hour_ago.as_str())]].concat();
    assert_eq!(post(port, "/events", &old, "{\"n\": 0}").await?.status, 200);
    let lags = series(admin, "penstock_worker_producer_lag_seconds").await?;
    assert_eq!(lags.iter().filter(|(_, lag)| (3_600.0..3_660.0).contains(lag)).count(), 1, "{lags:?}");

    let written = series(admin, "penstock_worker_records_produced_total").await?;
    assert_eq!(written.iter().map(|(_, count)| count).sum::<f64>(), 6.0, "each partition for itself: {written:?}");

    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    producer.send(Record::to(EVENTS).with_payload("poison")).await?;
    until("the poison is a dead letter", LIMIT, async || {
        let letters: Vec<_> = read(&connection, DEAD).await?.iter().map(|record| told(record).0).collect();
        if letters == ["poison"] { Ok(()) } else { Err(Waiting::NotYet(format!("{letters:?}"))) }
    })
    .await?;
    let dead = series(log_admin, "penstock_worker_records_produced_total").await?;
    assert_eq!(dead, [(format!("topic=\"{DEAD}\",partition=\"0\""), 1.0)]);

    for (shutdown, worker) in [gateway, log] {
        shutdown.cancel();
        worker.await??;
    }
    Ok(())
}

/// What is answered to a request whose body comes byte by byte, and stops after so many.
async fn answer_to_slow_body(port: u16, bytes: usize) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let (mut from, mut to) = stream.split();
    let trickle = async {
        let head =
            "POST /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 90000\r\n\r\n";
        let mut open = to.write_all(head.as_bytes()).await.is_ok();
        let mut ticks = interval(Duration::from_millis(100));
        for _ in 0..bytes {
            ticks.tick().await;
            open = open && to.write_all(b" ").await.is_ok();
        }
        std::future::pending::<()>().await;
    };
    let mut answer = String::new();
    tokio::select! {
        read = timeout(LIMIT, from.read_to_string(&mut answer)) => drop(read??),
        () = trickle => {}
    }
    Ok(answer)
}

#[tokio::test]
async fn a_body_that_trickles_in_or_stops_is_given_up_in_time() -> Result {
    let brokers = shared::broker().await?;
    make(&ConnectionSettings::new(brokers.bootstrap())?, &[NewTopic::new(SLOW).with_partitions(1)]).await?;
    // A byte each 100 ms would take hours for the whole body; each of the two bounds ends one of the requests by itself.
    for (body_timeout, idle_timeout, bytes) in [("1s", "60s", 90_000), ("5m", "500ms", 1)] {
        let port = ports::free(1)?[0];
        let options = [("defaultType", "t"), ("defaultSource", "/local"), ("bodyTimeout", body_timeout), ("bodyIdleTimeout", idle_timeout)];
        let (shutdown, worker) = start(front(&brokers, "events-gateway", &options, port, SLOW))?;
        until("the front is healthy", LIMIT, async || match get(port, "/health").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(Waiting::NotYet(format!("{other:?}"))),
        })
        .await?;
        let answer = answer_to_slow_body(port, bytes).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {answer}"))?;
        assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("content-type: application/problem+json"), "{answer}");
        let problem: serde_json::Value = serde_json::from_str(body)?;
        assert_eq!((problem["type"].as_str(), &problem["status"]), (Some("tag:penstock.dev,2026:body-timeout"), &408.into()), "{answer}");
        shutdown.cancel();
        worker.await??;
    }
    assert_eq!(read(&ConnectionSettings::new(brokers.bootstrap())?, SLOW).await?.len(), 0, "nothing is written");
    Ok(())
}

#[tokio::test]
async fn a_front_refuses_at_once_while_its_circuit_is_open_and_goes_on_when_kafka_is_back() -> Result {
    let (failures, pause) = (3, Duration::from_secs(4));
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    make(&ConnectionSettings::new(brokers.bootstrap())?, &[NewTopic::new(EVENTS).with_partitions(1)]).await?;
    let [port, admin_port] = ports::free(2)?[..] else { return Err("no ports".into()) };
    let options = [("defaultType", "bare"), ("defaultSource", "/local"), ("produceTimeout", "1s")];
    let mut config = front(&brokers, "events-gateway", &options, port, EVENTS);
    config.admin_port = admin_port;
    config.producer.circuit_breaker = Some(Breaking { failures, pause });
    let (shutdown, worker) = start(config)?;
    let send = async || -> Result<Answer> { Ok(post(port, "/events", &[JSON], "{}").await?) };
    until("the gateway takes events", LIMIT, async || match send().await {
        Ok(answer) if answer.status == 202 => Ok(()),
        other => Err(Waiting::NotYet(format!("{other:?}"))),
    })
    .await?;

    let told = async || -> Result<Vec<(String, f64)>> { series(admin_port, "penstock_worker_circuit_open").await };
    let of_events = |open: f64| vec![(format!("topic=\"{EVENTS}\""), open)];
    assert_eq!(told().await?, of_events(0.0));

    brokers.kill(0)?;
    for _ in 0..failures {
        let answer = send().await?;
        assert!(answer.status == 503 && answer.body.contains("may or may not be written"), "{answer:?}");
        assert!(answer.body.contains("\"acknowledged\":false"), "{answer:?}");
    }
    // One that was on its way in may still be waited for.
    let (refused, after) = until("the circuit is open", LIMIT, async || {
        let (begun, answer) = (Instant::now(), send().await?);
        if answer.body.contains("was not sent") { Ok((answer, begun.elapsed())) } else { Err(Waiting::NotYet(format!("{answer:?}"))) }
    })
    .await?;
    assert!(refused.status == 503 && after < Duration::from_millis(500), "{refused:?} after {after:?}");
    assert_eq!(told().await?, of_events(1.0));
    // After the pause one is tried; it fails, and the pause begins anew.
    let tried = until("one is let through", pause * 3, async || {
        let answer = send().await?;
        if answer.body.contains("may or may not be written") { Ok(answer) } else { Err(Waiting::NotYet(format!("{answer:?}"))) }
    })
    .await?;
    assert_eq!(tried.status, 503);
    until("the circuit is open again", LIMIT, async || {
        let answer = send().await?;
        if answer.body.contains("was not sent") { Ok(()) } else { Err(Waiting::NotYet(format!("{answer:?}"))) }
    })
    .await?;

    brokers.restart(0).await?;
    until("the circuit is closed", LIMIT, async || {
        let answer = send().await?;
        if answer.status == 202 { Ok(()) } else { Err(Waiting::NotYet(format!("{answer:?}"))) }
    })
    .await?;
    assert_eq!((send().await?.status, send().await?.status), (202, 202));
    assert_eq!(told().await?, of_events(0.0));
    shutdown.cancel();
    worker.await??;
    Ok(())
}
