//! The built-in `events-gateway` and `log` between real clients and a real broker: what is posted is on the topic, to the byte, what
//! Kafka does not acknowledge is never accepted, and what is no JSON is a dead letter that holds up nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use penstock_crds::worker::{
    Choice, DEFAULT_SESSION_TIMEOUT, DeadLetterFormat, DeadLetterTarget, Delivery, Fetching, GroupProtocol, KafkaInput, Ordering,
    PipelineId, Producing, RetryPolicy, StartFrom, TransactionBounds, WorkerConfig, WorkerSource,
};
use penstock_kafka::{ConnectionSettings, ConsumedRecord, NewTopic, Producer, ProducerSettings, Record, TopicAdmin};
use penstock_tests::{
    local::{BrokerSettings, Brokers, get, ports, post},
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{error::WorkerError, processors, runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::topic::read;

const SCHEMA: &str = r#"{"type": "object", "required": ["n"]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

type Worker = (CancellationToken, JoinHandle<std::result::Result<(), WorkerError>>);

fn start(brokers: &Brokers, builtin: &str, options: &[(&str, &str)], source: WorkerSource, sink: Option<&str>) -> Result<Worker> {
    let config = WorkerConfig {
        pipeline: PipelineId { namespace: "local".into(), name: builtin.to_owned() },
        bootstrap_servers: brokers.bootstrap(),
        source,
        processor: Choice::builtin(builtin, options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
        sink: sink.map(str::to_owned),
        table: vec![],
        producer: Producing::default(),
        admin_port: 0,
        drain_timeout: Duration::from_secs(10),
    };
    let (processor, shutdown) = (processors::build(&config)?, CancellationToken::new());
    Ok((shutdown.clone(), tokio::spawn(runtime::run_until(config, processor, format!("{builtin}-0"), shutdown))))
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
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let admin = TopicAdmin::new(&connection)?;
    for (name, created) in admin.create(&[NewTopic::new("events").with_partitions(2), NewTopic::new("dead").with_partitions(1)]).await? {
        created?;
        admin.wait_until_visible(&name, if name == "events" { 2 } else { 1 }, LIMIT).await?;
    }
    let port = ports::free(1)?[0];
    let options = [
        ("key", "subject"),
        ("defaultType", "bare"),
        ("defaultSource", "/local"),
        ("schema", SCHEMA),
        ("produceTimeout", "2s"),
        ("acceptedStatus", "200"),
    ];
    let gateway = start(&brokers, "events-gateway", &options, WorkerSource::Http { port, auth: None }, Some("events"))?;
    let log = start(&brokers, "log", &[("require", "Json")], records_of("events", "dead"), None)?;
    until("the gateway is healthy", LIMIT, async || match get(port, "/health").await {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(Waiting::NotYet(format!("{other:?}"))),
    })
    .await?;

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
    let records = read(&connection, "events").await?;
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

    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    producer.send(Record::to("events").with_payload("poison")).await?;
    until("the poison is a dead letter", LIMIT, async || {
        let letters: Vec<_> = read(&connection, "dead").await?.iter().map(|record| told(record).0).collect();
        if letters == ["poison"] { Ok(()) } else { Err(Waiting::NotYet(format!("{letters:?}"))) }
    })
    .await?;

    brokers.kill(0)?;
    let answer = post(port, "/events", &[JSON], "{\"n\": 6}").await?;
    assert!(answer.status == 503 && answer.body.contains("\"acknowledged\":false"), "{answer:?}");
    for (shutdown, worker) in [gateway, log] {
        shutdown.cancel();
        worker.await??;
    }
    Ok(())
}
