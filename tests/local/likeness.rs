//! The runtime in memory (`penstock_workers::testing`) and a worker with a real broker do the same with the same records: what lies in
//! every topic in the end is compared, record by record.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use penstock_crds::worker::{Choice, DRAIN_TIMEOUT, PipelineId, Producing, WorkerConfig, WorkerSource};
use penstock_kafka::{ConnectionSettings, ConsumedRecord, NewTopic, Producer, ProducerSettings, Record};
use penstock_tests::{
    local::{Brokers, ports},
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{
    Event, Failure, Outcome, Output, Processor,
    processors::BuiltProcessor,
    runtime,
    testing::{DeadLetterFormat, Delivery, Ordering, Pipeline, TestRuntime},
};
use tokio_util::sync::CancellationToken;

use crate::{
    pipeline::lag_of,
    series::series,
    shared,
    topic::{make, read},
};

const SINK: &str = "out";
/// How many workers with a broker work side by side.
const AT_ONCE: usize = 4;
/// In place of the words of who has refused a record.
const TOO_LARGE: &str = "<too large>";

/// Does what a record's value says.
struct Scripted;

impl Processor for Scripted {
    #[allow(clippy::panic, reason = "some scripts say so")]
    async fn process(&self, event: &Event) -> Outcome {
        let script = String::from_utf8_lossy(event.payload.as_deref().unwrap_or_default()).into_owned();
        let output = |n: usize| Output {
            key: event.key.clone(),
            payload: Some(format!("{n} of {}", event.id()).into()),
            headers: event.headers.clone(),
        };
        let outputs = |count| Outcome::Emit((0..count).map(output).collect());
        match script.split_once(' ').unwrap_or((&script, "")) {
            ("emit", count) => outputs(count.parse().unwrap_or(0)),
            ("drop", _) => Outcome::Drop,
            ("reject", why) => Outcome::Reject(Failure::new("Refused", why)),
            ("panic", why) => panic!("{why}"),
            ("large", bytes) => {
                Outcome::Emit(vec![Output { payload: Some(incompressible(bytes.parse().unwrap_or(0)).into()), ..output(0) }])
            }
            // Works at that attempt.
            ("at", attempt) if attempt.parse().is_ok_and(|attempt: u16| event.attempt >= attempt) => outputs(1),
            _ => Outcome::Retry(Failure::new("NotYet", format!("attempt {}", event.attempt))),
        }
    }
}

/// So many bytes of text in which nothing comes again: in memory nothing is compressed.
fn incompressible(bytes: usize) -> Vec<u8> {
    let states = std::iter::successors(Some(88_172_645_463_325_252_u64), |state| {
        let state = state ^ (state << 13);
        let state = state ^ (state >> 7);
        Some(state ^ (state << 17))
    });
    states.flat_map(u64::to_be_bytes).map(|byte| b'0' + byte % 64).take(bytes).collect()
}

/// What is put on the source topic before a worker starts: key (none: `-`) and script.
type Given = &'static [(&'static str, &'static str)];

const PLAIN: Given = &[("a", "emit 1"), ("b", "emit 3"), ("c", "drop"), ("a", "emit 2"), ("d", "emit 0"), ("é", "emit 1"), ("", "emit 1")];
const FAILING: Given =
    &[("a", "at 2"), ("a", "emit 1"), ("b", "reject it is bad"), ("b", "emit 1"), ("c", "panic oh"), ("c", "at 9"), ("d", "nonsense")];
const WAITING: Given = &[
    ("a", "at 3"),
    ("a", "emit 1"),
    ("a", "at 2"),
    ("b", "at 4"),
    ("b", "reject it is bad"),
    ("c", "at 9"),
    ("c", "emit 1"),
    ("d", "emit 1"),
];
const LARGE: Given =
    &[("a", "large 900000"), ("a", "emit 1"), ("b", "large 1500000"), ("b", "emit 1"), ("c", "large 17000000"), ("c", "emit 1")];

/// A pipeline that reads `<name>.in`, and what it is given.
fn scenarios() -> Vec<(&'static str, Pipeline, Given)> {
    let (once, least) = (Delivery::ExactlyOnce, Delivery::AtLeastOnce);
    let short = Duration::from_millis(10);
    let of = |name: &'static str, delivery, ordering| {
        let base =
            Pipeline::reading(&[&format!("{name}.in")]).writing(&format!("{name}.{SINK}")).with_attempts(2).with_backoff(short, short);
        base.with_delivery(delivery).with_ordering(ordering)
    };
    let delays = [Duration::from_secs(1), Duration::from_secs(2)];
    vec![
        ("plain", of("plain", once, Ordering::Key), PLAIN),
        ("plain-least", of("plain-least", least, Ordering::Partition), PLAIN),
        ("failing", of("failing", once, Ordering::Key), FAILING),
        (
            "failing-least",
            of("failing-least", least, Ordering::Key).with_dead_letters("failing-least.DLT", DeadLetterFormat::Envelope),
            FAILING,
        ),
        ("failing-none", of("failing-none", least, Ordering::None), FAILING),
        ("waiting", of("waiting", once, Ordering::Key).with_delays(&delays), WAITING),
        ("waiting-least", of("waiting-least", least, Ordering::Key).with_delays(&delays), WAITING),
        ("waiting-partition", of("waiting-partition", once, Ordering::Partition).with_delays(&delays).with_partitions(1), WAITING),
        ("waiting-none", of("waiting-none", once, Ordering::None).with_delays(&delays), WAITING),
        ("large", of("large", once, Ordering::Key), LARGE),
        ("large-least", of("large-least", least, Ordering::Key), LARGE),
    ]
}

fn records(name: &str, given: Given) -> impl Iterator<Item = Record> {
    let record = move |(number, (key, script)): (usize, &'static (&'static str, &'static str))| {
        Record::to(format!("{name}.in")).with_key(*key).with_payload(*script).with_header("number", number.to_string())
    };
    given.iter().enumerate().map(record).collect::<Vec<_>>().into_iter()
}

/// What lies in a topic: of each partition and key the records in their order, each as its value and headers.
type Lying = BTreeMap<(i32, String), Vec<(String, Vec<(String, String)>)>>;

/// The words of people, and what is another at each run: when something happened.
fn timeless(name: &str, value: &str) -> String {
    let is_time = ["timestamp", "not-before", "failed-at"].iter().any(|time| name.ends_with(time));
    let text = if is_time { "<time>".to_owned() } else { value.to_owned() };
    // The broker's words are its own.
    let is_words = name.ends_with("error-message") || name.ends_with("error-stack");
    if is_words && (text.contains("too large") || text.contains("too-large")) { TOO_LARGE.to_owned() } else { text }
}

fn envelope(text: &str) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(text) else { return text.to_owned() };
    for (_, value) in fields.iter_mut().filter(|(name, _)| name.to_lowercase().contains("time") || name.ends_with("At")) {
        *value = "<time>".into();
    }
    serde_json::Value::Object(fields).to_string()
}

fn lying(found: Vec<ConsumedRecord>, is_ordered: bool) -> Lying {
    let text = |bytes: Option<&[u8]>| bytes.map_or("<null>".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut all = Lying::new();
    for record in found {
        let headers = record.headers.iter().map(|header| (header.name.clone(), timeless(&header.name, &text(header.value.as_deref()))));
        let mut headers: Vec<_> = headers.collect();
        if headers.iter().any(|(_, value)| value == TOO_LARGE) {
            // It is one of those words.
            headers.retain(|(name, _)| !name.ends_with("error-fingerprint"));
        }
        let value = (envelope(&text(record.payload.as_deref())), headers);
        all.entry((record.partition, text(record.key.as_deref()))).or_default().push(value);
    }
    if !is_ordered {
        all.values_mut().for_each(|records| records.sort());
    }
    all
}

/// All pipelines have one name in memory; workers of one pipeline have names of their own.
fn worker(name: &str) -> String {
    format!("{name}-0")
}

fn in_memory(name: &str, pipeline: &Pipeline, given: Given, seed: u64) -> Result<BTreeMap<String, Lying>> {
    let mut test = TestRuntime::new(pipeline.clone(), seed, async |(): ()| Ok::<_, io::Error>(Scripted))?;
    for record in records(name, given) {
        test.produce(record)?;
    }
    test.start(&worker(name))?;
    test.run_until_idle()?;
    test.stop(&worker(name))?;
    let is_ordered = pipeline.input().ordering != Ordering::None;
    let topics = pipeline.topics().into_iter();
    topics.map(|topic| Ok((topic.name.clone(), lying(test.records(&topic.name)?, is_ordered)))).collect()
}

async fn with_broker(name: &str, pipeline: &Pipeline, given: Given, brokers: &Brokers) -> Result<BTreeMap<String, Lying>> {
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let topics = pipeline.topics().into_iter().map(|topic| {
        NewTopic::new(&topic.name).with_partitions(topic.partitions).with_config("max.message.bytes", topic.max_bytes.to_string())
    });
    make(&connection, &topics.collect::<Vec<_>>()).await?;
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    for record in records(name, given) {
        producer.send(record).await?;
    }
    let input = pipeline.input();
    let read_topics: Vec<String> =
        input.topics.iter().chain(input.tiers.iter().flat_map(|tier| tier.topics.values())).chain(input.held.values()).cloned().collect();
    let (group, is_ordered) = (input.group.clone(), input.ordering != Ordering::None);
    let admin_port = ports::free(1)?[0];
    let config = WorkerConfig {
        pipeline: PipelineId { namespace: "test".into(), name: "pipeline".into() },
        bootstrap_servers: brokers.bootstrap(),
        source: WorkerSource::Kafka(Box::new(input)),
        processor: Choice::Image { options: BTreeMap::new() },
        sink: pipeline.sink.clone(),
        table: vec![],
        keys: None,
        producer: Producing::default(),
        admin_port,
        drain_timeout: DRAIN_TIMEOUT,
    };
    let shutdown = CancellationToken::new();
    let run = runtime::run_until(config, BuiltProcessor::Record(Arc::new(Scripted)), worker(name), shutdown.clone());
    let running = tokio::spawn(async move { run.await.map_err(|error| error.to_string()) });
    let partitions = pipeline.topics().first().map_or(1, |topic| topic.partitions);
    let idle = until("the group has committed everything", LIMIT, async || {
        let lag = lag_of(brokers.bootstrap().join(","), group.clone(), read_topics.clone(), partitions).await?;
        if lag == 0 { Ok(()) } else { Err(Waiting::from(format!("lag {lag}"))) }
    })
    .await;
    // What a session that breaks down has not heard of is not counted, and a batch that is too large ends one.
    let counted = if name.starts_with("large") { Ok(()) } else { counts_what_it_writes(&connection, pipeline, admin_port).await };
    shutdown.cancel();
    running.await??;
    idle?;
    counted?;
    let mut all = BTreeMap::new();
    for topic in pipeline.topics() {
        all.insert(topic.name.clone(), lying(read(&connection, &topic.name).await?, is_ordered));
    }
    Ok(all)
}

/// Waits until the worker has counted, partition by partition, what lies in the topics that it writes.
async fn counts_what_it_writes(connection: &ConnectionSettings, pipeline: &Pipeline, admin: u16) -> Result {
    let mut lying = BTreeMap::<String, f64>::new();
    for topic in pipeline.topics() {
        if !pipeline.input().topics.contains(&topic.name) {
            for record in read(connection, &topic.name).await? {
                *lying.entry(format!("topic=\"{}\",partition=\"{}\"", record.topic, record.partition)).or_default() += 1.0;
            }
        }
    }
    until("every record is counted in its partition", LIMIT, async || {
        let told = series(admin, "penstock_worker_records_produced_total").await?;
        let counted: BTreeMap<_, _> = told.into_iter().filter(|(_, count)| *count > 0.0).collect();
        if counted == lying { Ok(()) } else { Err(Waiting::from(format!("{counted:?}, not {lying:?}"))) }
    })
    .await
}

#[test]
fn what_happens_in_memory_happens_with_a_broker() -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let brokers = runtime.block_on(shared::broker())?;
    let (brokers, scenarios) = (&*brokers, scenarios());
    let all = scenarios.iter().map(async |&(name, ref pipeline, given)| {
        let real = with_broker(name, pipeline, given, brokers).await;
        real.map_err(|error| format!("{name}: {error}"))
    });
    let all: Vec<_> = runtime.block_on(stream::iter(all).buffered(AT_ONCE).try_collect())?;
    for (&(name, ref pipeline, given), real) in scenarios.iter().zip(all) {
        assert!(real.values().any(|topic| !topic.is_empty()), "{name}");
        for seed in 0..5 {
            let found = in_memory(name, pipeline, given, seed).map_err(|error| format!("{name}, seed {seed}: {error}"))?;
            for (topic, expected) in &real {
                assert_eq!(found.get(topic), Some(expected), "{name}, seed {seed}: {topic}");
            }
        }
    }
    Ok(())
}
