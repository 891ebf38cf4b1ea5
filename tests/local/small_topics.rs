//! Topics that take less than a batch: only a record that is itself too large is refused, with each delivery and behind a front,
//! and a dead letter of a small record is whole. What a pipeline says of its clients is what real brokers take.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use penstock_crds::worker::{
    Choice, Compression, DeadLetterFormat, DeadLetterHeaders, DeadLetterTarget, Delivery, Fetching, GroupProtocol, KafkaInput, Ordering,
    PipelineId, Producing, RetryPolicy, StartFrom, TransactionBounds, WorkerConfig, WorkerSource,
};
use penstock_kafka::{ConnectionSettings, ConsumedRecord, NewTopic, Producer, ProducerSettings, Record};
use penstock_tests::{
    local::Brokers,
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{
    error::WorkerError,
    front::{Front, FrontContext, PublishError},
    processor::{BoxFuture, Event, Failure, Outcome, Output, Processor},
    processors::BuiltProcessor,
    runtime,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    shared,
    topic::{header, make, read},
};

/// What the topics take at once.
const TAKES: &str = "10000";
const SMALL: usize = 500;
const LARGE: usize = 30_000;
/// Together far more than a topic takes.
const OUTPUTS: usize = 200;
const LETTERS: usize = 60;

/// Bytes that no compression makes smaller, others for each number. The first tells what becomes of them.
fn noise(first: u8, number: usize, size: usize) -> Bytes {
    let seed = u32::try_from(number).unwrap().wrapping_mul(2_654_435_761) | 1;
    let numbers = std::iter::successors(Some(seed), |n| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    std::iter::once(first).chain(numbers.map(|n| (n >> 24) as u8)).take(size).collect()
}

/// Emits what begins with `e`, as it is, and rejects everything else.
struct Echo;

impl Processor for Echo {
    async fn process(&self, event: &Event) -> Outcome {
        match &event.payload {
            Some(payload) if payload.starts_with(b"e") => {
                Outcome::Emit(vec![Output { payload: Some(payload.clone()), ..Output::default() }])
            }
            _ => Outcome::Reject(Failure::new("Unwanted", "it does not begin with e")),
        }
    }
}

pub async fn make_topic(connection: &ConnectionSettings, name: &str, config: (&str, &str)) -> Result {
    make(connection, &[NewTopic::new(name).with_partitions(1).with_config(config.0, config.1)]).await
}

pub fn config(brokers: &Brokers, name: &str, source: WorkerSource, sink: String) -> WorkerConfig {
    WorkerConfig {
        pipeline: PipelineId { namespace: "local".into(), name: name.to_owned() },
        bootstrap_servers: brokers.bootstrap(),
        source,
        processor: Choice::builtin("payments", BTreeMap::new()),
        sink: Some(sink),
        table: vec![],
        keys: None,
        producer: Producing { linger: Duration::from_millis(20), compression: Compression::Snappy, ..Producing::default() },
        admin_port: 0,
        drain_timeout: Duration::from_secs(10),
    }
}

pub fn start(config: WorkerConfig, processor: BuiltProcessor) -> (CancellationToken, JoinHandle<std::result::Result<(), WorkerError>>) {
    let shutdown = CancellationToken::new();
    (shutdown.clone(), tokio::spawn(runtime::run_until(config, processor, "worker-0".to_owned(), shutdown)))
}

fn origin(letter: &ConsumedRecord) -> Option<i64> {
    Some(i64::from_be_bytes(header(letter, "kafka_dlt-original-offset")?.try_into().ok()?))
}

async fn only_large_records_are_refused(brokers: &Brokers, delivery: Delivery) -> Result {
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let prefix = format!("small-{delivery:?}").to_lowercase();
    let name = |suffix: &str| format!("{prefix}.{suffix}");
    make_topic(&connection, &name("in"), ("message.timestamp.type", "LogAppendTime")).await?;
    for topic in ["out", "dead"] {
        make_topic(&connection, &name(topic), ("max.message.bytes", TAKES)).await?;
    }
    let mut sent = Vec::new();
    sent.extend((0..OUTPUTS).map(|n| noise(b'e', n, SMALL)));
    sent.extend((0..LETTERS).map(|n| noise(b'r', n, SMALL)));
    sent.extend([noise(b'e', 0, LARGE), noise(b'r', 0, LARGE)]);
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    for payload in &sent {
        drop(producer.enqueue(Record::to(name("in")).with_payload(payload.clone())).await?);
    }
    producer.flush(LIMIT).await?;

    let input = KafkaInput {
        topics: vec![name("in")],
        group: name("group"),
        start_from: StartFrom::Earliest,
        group_protocol: GroupProtocol::Classic,
        session_timeout: Duration::from_secs(6),
        fetch: Fetching { min_bytes: 100, max_bytes: 1 << 20, partition_max_bytes: 16 << 10, max_wait: Duration::from_millis(50) },
        delivery,
        transaction: TransactionBounds::default(),
        ordering: Ordering::None,
        concurrency: 4,
        retry: RetryPolicy::default(),
        tiers: vec![],
        held: BTreeMap::new(),
        dead_letter: DeadLetterTarget {
            topic: name("dead"),
            format: DeadLetterFormat::Record,
            headers: BTreeSet::from([DeadLetterHeaders::Spring, DeadLetterHeaders::Connect]),
        },
    };
    let config = config(brokers, &prefix, WorkerSource::Kafka(Box::new(input)), name("out"));
    let (stop, worker) = start(config, BuiltProcessor::Record(Arc::new(Echo)));
    let ended = until("every record has ended", LIMIT, async || {
        let (outputs, letters) = (read(&connection, &name("out")).await?, read(&connection, &name("dead")).await?);
        let emitted = outputs.iter().filter_map(|record| record.payload.clone()).collect::<BTreeSet<_>>().len();
        let buried = letters.iter().filter_map(origin).collect::<BTreeSet<_>>().len();
        if (emitted, buried) == (OUTPUTS, LETTERS + 2) {
            return Ok((outputs, letters));
        }
        Err(Waiting::from(format!("{emitted} outputs, {buried} dead letters")))
    })
    .await;
    stop.cancel();
    worker.await??;
    let (outputs, letters) = ended?;

    if delivery == Delivery::ExactlyOnce {
        assert_eq!((outputs.len(), letters.len()), (OUTPUTS, LETTERS + 2));
    }
    for letter in &letters {
        let record = &sent[usize::try_from(origin(letter).unwrap())?];
        let is_small = record.len() == SMALL;
        assert_eq!(letter.payload.as_ref(), Some(record).filter(|_| is_small));
        assert_eq!(header(letter, "penstock-dlt-value-dropped").is_none(), is_small);
        let (error, stage) = if record.starts_with(b"e") { ("OutputTooLarge", "KAFKA_PRODUCE") } else { ("Unwanted", "TASK_PUT") };
        for (name, value) in [
            ("penstock-dlt-error-type", error.as_bytes()),
            ("kafka_dlt-exception-fqcn", error.as_bytes()),
            ("kafka_dlt-original-partition", &[0; 4]),
            ("kafka_dlt-original-timestamp-type", b"LogAppendTime"),
            ("__connect.errors.exception.class.name", error.as_bytes()),
            ("__connect.errors.stage", stage.as_bytes()),
        ] {
            assert_eq!(header(letter, name), Some(value), "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_small_record_is_not_refused_for_its_batch() -> Result {
    let brokers = shared::broker().await?;
    let both = [Delivery::AtLeastOnce, Delivery::ExactlyOnce].map(async |delivery| -> Result {
        only_large_records_are_refused(&brokers, delivery).await.map_err(|error| format!("{delivery:?}: {error}").into())
    });
    try_join_all(both).await.map(drop)
}

type Published = Arc<Mutex<Vec<std::result::Result<(), PublishError>>>>;

/// Publishes small records and a large one, all at once.
struct Burst(Published);

impl Front for Burst {
    fn publish_timeout(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn serve(self: Box<Self>, context: FrontContext) -> BoxFuture<'static, std::result::Result<(), WorkerError>> {
        Box::pin(async move {
            let payloads = (0..OUTPUTS).map(|n| noise(b'e', n, SMALL)).chain([noise(b'e', 0, LARGE)]);
            let outputs = payloads.map(|payload| Output { payload: Some(payload), ..Output::default() });
            let published = join_all(outputs.map(|output| context.sink.publish(output))).await;
            self.0.lock().unwrap().extend(published.into_iter().map(|published| published.map(drop)));
            context.shutdown.cancelled().await;
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_small_request_is_not_refused_for_its_batch() -> Result {
    let brokers = shared::broker().await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    make_topic(&connection, "requests", ("max.message.bytes", TAKES)).await?;
    let published = Published::default();
    let config = config(&brokers, "front", WorkerSource::Http { port: 0, auth: None }, "requests".to_owned());
    let (stop, worker) = start(config, BuiltProcessor::Front(Box::new(Burst(Arc::clone(&published)))));
    let answered = until("every request is answered", LIMIT, async || {
        let answered = published.lock().unwrap().clone();
        if answered.len() > OUTPUTS { Ok(answered) } else { Err(Waiting::from("requests are open".to_owned())) }
    })
    .await;
    stop.cancel();
    worker.await??;
    let answered = answered?;
    assert_eq!(answered.iter().filter(|answer| answer.is_ok()).count(), OUTPUTS, "{answered:?}");
    assert!(matches!(answered.last(), Some(Err(PublishError::TooLarge(_)))), "{:?}", answered.last());
    assert_eq!(read(&connection, "requests").await?.len(), OUTPUTS);
    Ok(())
}
