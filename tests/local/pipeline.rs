//! A pipeline of the real runtime with topics of its own, whose processor is told how often to fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use penstock_crds::worker::{
    Choice, DEFAULT_SESSION_TIMEOUT, DeadLetterFormat, DeadLetterTarget, Delivery, Fetching, GroupProtocol, KafkaInput, Ordering,
    PipelineId, Producing, RetryPolicy, StartFrom, Tier, TransactionBounds, WorkerConfig, WorkerSource,
};
use penstock_kafka::{ConnectionSettings, ConsumedRecord, NewTopic};
use penstock_tests::{
    local::Brokers,
    scene::{LIMIT, Result},
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

use crate::topic::{make, read};

pub const DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Attempts in the source topic.
pub const ATTEMPTS: u16 = 2;
pub const PARTITIONS: i32 = 2;

/// A call of the processor.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub attempt: u16,
    pub at: Instant,
}

/// Emits a record once it has been tried as often as its value says.
#[derive(Clone, Default)]
pub struct Stubborn {
    calls: Arc<Mutex<Vec<Call>>>,
    /// How long each call computes.
    work: Duration,
}

impl Stubborn {
    /// How often it was called.
    pub fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The calls for the records with this key, by what key each record has.
    pub fn calls(&self, key: &str, of: &BTreeMap<String, String>) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| of.get(&call.id).is_some_and(|known| known == key)).cloned().collect()
    }
}

impl Processor for Stubborn {
    async fn process(&self, event: &Event) -> Outcome {
        self.calls.lock().unwrap().push(Call { id: event.id(), attempt: event.attempt, at: Instant::now() });
        std::thread::sleep(self.work);
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
pub struct Pipeline {
    prefix: String,
    pub connection: ConnectionSettings,
    config: WorkerConfig,
    pub calls: Stubborn,
}

impl Pipeline {
    /// One of the test `of` that waits for delays.
    pub async fn new(brokers: &Brokers, of: &str, delivery: Delivery, ordering: Ordering, group_protocol: GroupProtocol) -> Result<Self> {
        Self::with(brokers, of, delivery, ordering, group_protocol, &DELAYS).await
    }

    /// One of the test `of` that tries a record in place only.
    pub async fn without_delays(brokers: &Brokers, of: &str, delivery: Delivery) -> Result<Self> {
        Self::with(brokers, of, delivery, Ordering::None, GroupProtocol::Classic, &[]).await
    }

    async fn with(
        brokers: &Brokers,
        of: &str,
        delivery: Delivery,
        ordering: Ordering,
        group_protocol: GroupProtocol,
        delays: &[Duration],
    ) -> Result<Self> {
        let prefix = format!("{of}-{delivery:?}").to_lowercase();
        let connection = ConnectionSettings::new(brokers.bootstrap())?;
        let name = |suffix: &str| format!("{prefix}.{suffix}");
        let tiers = delays
            .iter()
            .zip(1..)
            .map(|(delay, n)| Tier { delay: *delay, topics: BTreeMap::from([(name("in"), name(&format!("retry.{n}")))]) });
        let input = KafkaInput {
            topics: vec![name("in")],
            group: name("group"),
            start_from: StartFrom::Earliest,
            group_protocol,
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            fetch: Fetching::default(),
            delivery,
            transaction: TransactionBounds::default(),
            ordering,
            concurrency: 4,
            retry: RetryPolicy { attempts: ATTEMPTS, initial_backoff: Duration::from_millis(10), max_backoff: Duration::from_millis(10) },
            tiers: tiers.collect(),
            held: (ordering != Ordering::None).then(|| (name("in"), name("held"))).into_iter().collect(),
            dead_letter: DeadLetterTarget { topic: name("dead"), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
        };
        let config = WorkerConfig {
            pipeline: PipelineId { namespace: "local".into(), name: prefix.clone() },
            bootstrap_servers: brokers.bootstrap(),
            source: WorkerSource::Kafka(Box::new(input)),
            processor: Choice::builtin("payments", BTreeMap::new()),
            sink: Some(name("out")),
            table: vec![],
            keys: None,
            producer: Producing::default(),
            admin_port: 0,
            drain_timeout: Duration::from_secs(10),
        };
        let pipeline = Self { prefix, connection, config, calls: Stubborn::default() };
        let topics: Vec<_> = pipeline.topics().into_iter().map(|topic| NewTopic::new(topic).with_partitions(PARTITIONS)).collect();
        make(&pipeline.connection, &topics).await?;
        Ok(pipeline)
    }

    /// The same whose processor computes for that long each time, and lets its thread do nothing else.
    pub fn computing_for(mut self, work: Duration) -> Self {
        self.calls.work = work;
        self
    }

    pub fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.prefix)
    }

    fn sources(&self) -> Vec<String> {
        ["in", "retry.1", "retry.2", "held"].map(|suffix| self.name(suffix)).into()
    }

    fn topics(&self) -> Vec<String> {
        self.sources().into_iter().chain([self.name("out"), self.name("dead")]).collect()
    }

    /// Starts a worker of that name.
    pub fn start(&self, worker: &str) -> (CancellationToken, JoinHandle<std::result::Result<(), String>>) {
        self.start_at(worker, 0)
    }

    /// Starts a worker of that name, with its admin server at that port.
    pub fn start_at(&self, worker: &str, admin_port: u16) -> (CancellationToken, JoinHandle<std::result::Result<(), String>>) {
        let config = WorkerConfig { admin_port, ..self.config.clone() };
        let shutdown = CancellationToken::new();
        let processor = BuiltProcessor::Record(Arc::new(self.calls.clone()));
        let run = runtime::run_until(config, processor, worker.to_owned(), shutdown.clone());
        (shutdown, tokio::spawn(async move { run.await.map_err(|error| error.to_string()) }))
    }

    /// Everything that is committed in a topic.
    pub async fn read(&self, suffix: &str) -> Result<Vec<ConsumedRecord>> {
        read(&self.connection, &self.name(suffix)).await
    }

    /// How much of the group's topics is not committed, the marks of transactions included.
    pub async fn lag(&self) -> Result<i64> {
        lag_of(self.config.bootstrap_servers.join(","), self.name("group"), self.sources(), PARTITIONS).await
    }
}

/// How much of these topics, each of so many partitions, a group has not committed, the marks of transactions included.
pub async fn lag_of(servers: String, group: String, topics: Vec<String>, partitions: i32) -> Result<i64> {
    tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).set("group.id", group).create()?;
        let mut wanted = TopicPartitionList::new();
        for topic in &topics {
            wanted.add_partition_range(topic, 0, partitions - 1);
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
