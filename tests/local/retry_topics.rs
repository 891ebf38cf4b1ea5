//! Retry topics with a real broker and the real runtime: a record waits as long as it is told to, over a restart of its
//! worker, keeps its identity, and ends in exactly one place; and a group that has done everything is seen to have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use penstock_crds::worker::{
    DEFAULT_SESSION_TIMEOUT, DeadLetterFormat, DeadLetterTarget, Delivery, Fetching, GroupProtocol, KafkaInput, Ordering, PipelineId,
    Producing, RetryPolicy, StartFrom, Tier, TransactionBounds, WorkerConfig, WorkerProcessor, WorkerSource,
};
use penstock_kafka::{
    ConnectionSettings, ConsumedRecord, NewTopic, Producer, ProducerSettings, ReaderEvent, ReaderSettings, Record, TopicAdmin, TopicReader,
};
use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{
    processor::{Event, Failure, Outcome, Output, Processor},
    processors::BuiltProcessor,
    runtime,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Attempts in the source topic.
const ATTEMPTS: u16 = 2;
const PARTITIONS: i32 = 2;

/// A call of the processor.
#[derive(Clone, Debug)]
struct Call {
    id: String,
    attempt: u16,
    at: Instant,
}

/// Emits a record once it has been tried as often as its value says.
#[derive(Clone, Default)]
struct Stubborn(Arc<Mutex<Vec<Call>>>);

impl Stubborn {
    fn calls(&self, key: &str, of: &BTreeMap<String, String>) -> Vec<Call> {
        let calls = self.0.lock().unwrap();
        calls.iter().filter(|call| of.get(&call.id).is_some_and(|known| known == key)).cloned().collect()
    }
}

impl Processor for Stubborn {
    async fn process(&self, event: &Event) -> Outcome {
        self.0.lock().unwrap().push(Call { id: event.id(), attempt: event.attempt, at: Instant::now() });
        let wanted = event.payload.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        match wanted {
            Some(wanted) if event.attempt >= wanted => {
                Outcome::Emit(vec![Output { key: event.key.clone(), payload: Some(event.id().into()), ..Output::default() }])
            }
            _ => Outcome::Retry(Failure::new("NotYet", format!("attempt {}", event.attempt))),
        }
    }
}

/// A pipeline with topics of its own.
struct Pipeline {
    prefix: String,
    connection: ConnectionSettings,
    config: WorkerConfig,
    calls: Stubborn,
}

impl Pipeline {
    async fn new(brokers: &Brokers, delivery: Delivery, admin_port: u16) -> Result<Self> {
        let prefix = format!("{delivery:?}").to_lowercase();
        let connection = ConnectionSettings::new(brokers.bootstrap())?;
        let name = |suffix: &str| format!("{prefix}.{suffix}");
        let tiers = DELAYS
            .iter()
            .zip(1..)
            .map(|(delay, n)| Tier { delay: *delay, topics: BTreeMap::from([(name("in"), name(&format!("retry.{n}")))]) });
        let input = KafkaInput {
            topics: vec![name("in")],
            group: name("group"),
            start_from: StartFrom::Earliest,
            group_protocol: GroupProtocol::Classic,
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            fetch: Fetching::default(),
            delivery,
            transaction: TransactionBounds::default(),
            ordering: Ordering::None,
            concurrency: 4,
            retry: RetryPolicy { attempts: ATTEMPTS, initial_backoff: Duration::from_millis(10), max_backoff: Duration::from_millis(10) },
            tiers: tiers.collect(),
            dead_letter: DeadLetterTarget { topic: name("dead"), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
        };
        let config = WorkerConfig {
            pipeline: PipelineId { namespace: "local".into(), name: prefix.clone() },
            bootstrap_servers: brokers.bootstrap(),
            source: WorkerSource::Kafka(Box::new(input)),
            processor: WorkerProcessor { builtin: "payments".into(), options: BTreeMap::new() },
            sink: Some(name("out")),
            table: vec![],
            producer: Producing::default(),
            admin_port,
            drain_timeout: Duration::from_secs(10),
        };
        let pipeline = Self { prefix, connection, config, calls: Stubborn::default() };
        let admin = TopicAdmin::new(&pipeline.connection)?;
        for topic in pipeline.topics() {
            for (name, created) in admin.create(&[NewTopic::new(&topic).with_partitions(PARTITIONS)]).await? {
                created?;
                admin.wait_until_visible(&name, PARTITIONS, LIMIT).await?;
            }
        }
        Ok(pipeline)
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.prefix)
    }

    fn sources(&self) -> Vec<String> {
        ["in", "retry.1", "retry.2"].map(|suffix| self.name(suffix)).into()
    }

    fn topics(&self) -> Vec<String> {
        self.sources().into_iter().chain([self.name("out"), self.name("dead")]).collect()
    }

    fn start(&self) -> (CancellationToken, JoinHandle<std::result::Result<(), String>>) {
        let shutdown = CancellationToken::new();
        let processor = BuiltProcessor::Record(Arc::new(self.calls.clone()));
        let run = runtime::run_until(self.config.clone(), processor, "worker-0".to_owned(), shutdown.clone());
        (shutdown, tokio::spawn(async move { run.await.map_err(|error| error.to_string()) }))
    }

    async fn read(&self, suffix: &str) -> Result<Vec<ConsumedRecord>> {
        let reader = TopicReader::start(&self.connection, &ReaderSettings::default(), &[&self.name(suffix)])?;
        let mut records = Vec::new();
        while let ReaderEvent::Record(record) = reader.next().await? {
            records.push(record);
        }
        reader.close().await;
        Ok(records)
    }

    /// How much of the group's topics is not committed, the marks of transactions included.
    async fn lag(&self) -> Result<i64> {
        let (servers, group, topics) = (self.config.bootstrap_servers.join(","), self.name("group"), self.sources());
        tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).set("group.id", group).create()?;
            let mut wanted = TopicPartitionList::new();
            for topic in &topics {
                wanted.add_partition_range(topic, 0, PARTITIONS - 1);
            }
            let mut lag = 0;
            for element in client.committed_offsets(wanted, LIMIT)?.elements() {
                let (start, end) = client.fetch_watermarks(element.topic(), element.partition(), LIMIT)?;
                lag += end - if let Offset::Offset(offset) = element.offset() { offset } else { start };
            }
            Ok(lag)
        })
        .await?
    }
}

async fn records_wait_and_end_once(pipeline: &Pipeline) -> Result {
    let producer = Producer::new(&pipeline.connection, &ProducerSettings::default())?;
    let mut keys = BTreeMap::new();
    // By key: after how many attempts it works.
    for (key, needs) in [("at once", 1), ("in place", 2), ("later", 3), ("much later", 4), ("never", 9)] {
        let position = producer.send(Record::to(pipeline.name("in")).with_key(key).with_payload(needs.to_string())).await?;
        keys.insert(format!("{}/{}/{}", pipeline.name("in"), position.partition, position.offset), key.to_owned());
    }
    // The first worker ends while records wait; the second one goes on with them.
    let (stop, worker) = pipeline.start();
    until("a record waits for the second time", LIMIT, async || {
        let calls = pipeline.calls.calls("never", &keys).len();
        if calls > usize::from(ATTEMPTS) { Ok(()) } else { Err(Waiting::from(format!("{calls} attempts"))) }
    })
    .await?;
    stop.cancel();
    worker.await??;
    let (stop, worker) = pipeline.start();
    let ended = until("every record has ended, and the group has committed it", LIMIT, async || {
        let ends = (pipeline.read("out").await?, pipeline.read("dead").await?, pipeline.lag().await?);
        if (ends.0.len(), ends.1.len(), ends.2) == (4, 1, 0) {
            return Ok(ends);
        }
        Err(Waiting::from(format!("{} outputs, {} dead letters, lag {}", ends.0.len(), ends.1.len(), ends.2)))
    })
    .await;
    stop.cancel();
    worker.await??;
    let (outputs, letters, _) = ended?;

    for output in outputs {
        let (id, key) = (String::from_utf8_lossy(&output.payload.unwrap_or_default()).into_owned(), output.key.unwrap_or_default());
        assert_eq!(keys.get(&id).map(String::as_bytes), Some(&*key), "an output names another record than its own: {id}");
    }
    let [letter] = letters.as_slice() else { return Err("not one dead letter".into()) };
    assert_eq!(letter.key.as_deref(), Some(&b"never"[..]));
    for (name, value) in
        [("original-topic", pipeline.name("in")), ("retry-count", "3".to_owned()), ("error-message", "attempt 4".to_owned())]
    {
        let header = letter.header(&format!("penstock-dlt-{name}")).and_then(|header| header.value.clone());
        assert_eq!(header.as_deref(), Some(value.as_bytes()), "{name}");
    }
    assert!(letter.headers.iter().all(|header| !header.name.starts_with("penstock-retry-")), "{:?}", letter.headers);
    for (key, attempts) in [("at once", 1), ("in place", 2), ("later", 3), ("much later", 4), ("never", 4)] {
        let calls = pipeline.calls.calls(key, &keys);
        let numbers: Vec<_> = calls.iter().map(|call| call.attempt).collect();
        assert_eq!(numbers, (1..=attempts).collect::<Vec<u16>>(), "{key}");
        for (calls, delay) in calls.windows(2).skip(1).zip(DELAYS) {
            let waited = calls[1].at - calls[0].at;
            assert!(waited >= delay, "{key} waited {waited:?} instead of {delay:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_record_waits_as_told_and_ends_once() -> Result {
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    for (delivery, port) in [(Delivery::ExactlyOnce, 0), (Delivery::AtLeastOnce, 0)] {
        let pipeline = Pipeline::new(&brokers, delivery, port).await?;
        records_wait_and_end_once(&pipeline).await.map_err(|error| format!("{delivery:?}: {error}"))?;
    }
    Ok(())
}
