//! A pipeline with a topic of its own, and a worker that runs in this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use penstock_crds::{
    position::{MoveReason, Note},
    worker::{
        Choice, DEFAULT_SESSION_TIMEOUT, DeadLetterFormat, DeadLetterTarget, Delivery, Fetching, GroupProtocol, KafkaInput, Ordering,
        PipelineId, Producing, RetryPolicy, StartFrom, TransactionBounds, WorkerConfig, WorkerSource,
    },
};
use penstock_kafka::{
    CommittedOffset, ConnectionSettings, NewTopic, Producer, ProducerSettings, Record, TopicAdmin, TopicId, TopicPartition,
};
use penstock_tests::{
    local::{Brokers, get, ports},
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{
    processor::{Event, Outcome, Processor},
    processors::BuiltProcessor,
    runtime,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How the records are handled, and who shares the partitions out.
pub type Kind = (Delivery, GroupProtocol);

/// A record as the processor saw it: its partition and offset.
type Seen = (i32, i64);

/// The value of records that nobody remembers.
pub const UNIMPORTANT: &str = "unimportant";

/// Remembers what it saw, and handles nothing while its gate is closed.
#[derive(Clone)]
pub struct Witness {
    seen: Arc<Mutex<Vec<Seen>>>,
    gate: watch::Sender<bool>,
}

impl Processor for Witness {
    async fn process(&self, event: &Event) -> Outcome {
        let mut gate = self.gate.subscribe();
        // The sender lives as long as the processor.
        let _ = gate.wait_for(|open| *open).await;
        if event.payload.as_deref() != Some(UNIMPORTANT.as_bytes()) {
            self.seen.lock().unwrap().push((event.partition, event.offset));
        }
        Outcome::Drop
    }
}

pub struct Running {
    stop: CancellationToken,
    worker: JoinHandle<std::result::Result<(), String>>,
    admin_port: u16,
}

impl Running {
    pub async fn stop(self) -> Result {
        self.stop.cancel();
        Ok(self.worker.await??)
    }

    /// Waits until it takes no more records, though there are more.
    pub async fn is_full(&self) -> Result {
        let mut before = None;
        until("the worker is full", LIMIT, async || {
            let text = metrics(self.admin_port).await?;
            let consumed = text.lines().find(|line| line.starts_with("penstock_worker_records_consumed_total")).map(str::to_owned);
            // Nothing tells that a worker will take nothing more.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let is_full = consumed.is_some() && before == consumed;
            before = consumed.clone();
            if is_full { Ok(()) } else { Err(Waiting::from(format!("{consumed:?}"))) }
        })
        .await
    }
}

/// A pipeline with a topic of its own.
pub struct Pipeline {
    topic: String,
    connection: ConnectionSettings,
    admin: TopicAdmin,
    config: WorkerConfig,
    witness: Witness,
}

impl Pipeline {
    pub async fn new(brokers: &Brokers, name: &str, (delivery, group_protocol): Kind, start_from: StartFrom) -> Result<Self> {
        let name = format!("{name}-{delivery:?}").to_lowercase();
        let connection = ConnectionSettings::new(brokers.bootstrap())?;
        let topic = format!("{name}.in");
        let input = KafkaInput {
            topics: vec![topic.clone()],
            group: format!("{name}.group"),
            start_from,
            group_protocol,
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            fetch: Fetching::default(),
            delivery,
            transaction: TransactionBounds::default(),
            ordering: Ordering::None,
            concurrency: 4,
            retry: RetryPolicy::default(),
            tiers: vec![],
            held: BTreeMap::new(),
            dead_letter: DeadLetterTarget { topic: format!("{name}.dead"), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
        };
        let config = WorkerConfig {
            pipeline: PipelineId { namespace: "local".into(), name },
            bootstrap_servers: brokers.bootstrap(),
            source: WorkerSource::Kafka(Box::new(input)),
            processor: Choice::builtin("payments", BTreeMap::new()),
            sink: None,
            table: vec![],
            keys: None,
            producer: Producing::default(),
            admin_port: 0,
            drain_timeout: Duration::from_secs(10),
        };
        let witness = Witness { seen: Arc::default(), gate: watch::Sender::new(true) };
        let pipeline = Self { topic, admin: TopicAdmin::new(&connection)?, connection, config, witness };
        pipeline.create(1).await?;
        Ok(pipeline)
    }

    /// The same with a session that outlives a restart of its broker.
    pub fn patient(mut self) -> Self {
        if let WorkerSource::Kafka(input) = &mut self.config.source {
            input.session_timeout = LIMIT;
        }
        self
    }

    fn group(&self) -> &str {
        let WorkerSource::Kafka(input) = &self.config.source else { return "" };
        &input.group
    }

    async fn create(&self, partitions: i32) -> Result<TopicId> {
        let topic = NewTopic::new(&self.topic).with_partitions(partitions);
        until("the topic is there", LIMIT, async || {
            let created = self.admin.create(std::slice::from_ref(&topic)).await?.remove(&self.topic).ok_or("no answer")?;
            created.map_err(|error| Waiting::from(error.to_string()))
        })
        .await?;
        Ok(self.admin.wait_until_visible(&self.topic, partitions, LIMIT).await?.id)
    }

    pub async fn add_partitions(&self, total: i32) -> Result {
        self.admin.add_partitions(&[(&self.topic, total)]).await?.remove(&self.topic).ok_or("no answer")??;
        self.admin.wait_until_visible(&self.topic, total, LIMIT).await?;
        Ok(())
    }

    pub async fn recreate(&self) -> Result {
        let id = self.admin.wait_until_visible(&self.topic, 1, LIMIT).await?.id;
        self.admin.delete(&[(&self.topic, id)]).await?.remove(&self.topic).ok_or("no answer")??;
        self.create(1).await.map(drop)
    }

    pub fn start(&self) -> Result<Running> {
        let admin_port = ports::free(1)?.remove(0);
        let config = WorkerConfig { admin_port, ..self.config.clone() };
        let stop = CancellationToken::new();
        let processor = BuiltProcessor::Record(Arc::new(self.witness.clone()));
        let run = runtime::run_until(config, processor, "worker-0".to_owned(), stop.clone());
        Ok(Running { stop, worker: tokio::spawn(async move { run.await.map_err(|error| error.to_string()) }), admin_port })
    }

    pub async fn produce(&self, partition: i32, count: usize, payload: &str) -> Result {
        let producer = Producer::new(&self.connection, &ProducerSettings::default())?;
        let record = || Record::to(&self.topic).with_partition(partition).with_payload(payload.to_owned());
        futures::future::try_join_all((0..count).map(|_| producer.send(record()))).await?;
        Ok(())
    }

    fn seen(&self) -> Vec<Seen> {
        self.witness.seen.lock().unwrap().clone()
    }

    /// Whether records are handled.
    pub fn open(&self, open: bool) {
        self.witness.gate.send_replace(open);
    }

    pub fn forget(&self) {
        self.witness.seen.lock().unwrap().clear();
    }

    /// Waits until it has seen just these offsets of a partition.
    pub async fn sees(&self, partition: i32, expected: impl IntoIterator<Item = i64>) -> Result {
        let expected: BTreeSet<i64> = expected.into_iter().collect();
        until("the records are handled", LIMIT, async || {
            let seen: BTreeSet<i64> = self.seen().into_iter().filter(|(of, _)| *of == partition).map(|(_, offset)| offset).collect();
            let (first, last) = (seen.first(), seen.last());
            if seen == expected { Ok(()) } else { Err(Waiting::from(format!("{} records, {first:?} to {last:?}", seen.len()))) }
        })
        .await
    }

    async fn committed(&self, partition: i32) -> Result<Option<CommittedOffset>> {
        let at = TopicPartition::new(&self.topic, partition);
        Ok(self.admin.group_offsets(self.group()).await?.remove(&at).transpose()?)
    }

    /// Waits until that is committed, with a note of ours.
    pub async fn commits(&self, partition: i32, offset: i64) -> Result<Note> {
        until("the offset is committed", LIMIT, async || {
            let committed = self.committed(partition).await?;
            match committed.as_ref().map(|committed| (committed.offset, Note::decode(&committed.metadata))) {
                Some((at, Some(note))) if at == offset => Ok(note),
                _ => Err(Waiting::from(format!("{committed:?} instead of {offset}"))),
            }
        })
        .await
    }

    /// Waits until it is noted that the partition was found cut.
    pub async fn notes_a_cut(&self) -> Result {
        until("the cut is noted", LIMIT, async || {
            let committed = self.committed(0).await?;
            let cut = committed.as_ref().and_then(|committed| Note::decode_cut(&committed.metadata));
            cut.map(drop).ok_or_else(|| Waiting::from(format!("{committed:?}")))
        })
        .await
    }

    /// The folder of its partition, in that of its broker's data.
    pub fn folder(&self, data: &Path) -> PathBuf {
        data.join(format!("{}-0", self.topic))
    }

    pub async fn commit_by_hand(&self, offset: i64, metadata: String) -> Result {
        let (servers, group, topic) = (self.config.bootstrap_servers.join(","), self.group().to_owned(), self.topic.clone());
        tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).set("group.id", group).create()?;
            let mut offsets = TopicPartitionList::new();
            let mut element = offsets.add_partition(&topic, 0);
            element.set_offset(Offset::Offset(offset))?;
            element.set_metadata(metadata);
            Ok(client.commit(&offsets, CommitMode::Sync)?)
        })
        .await?
    }

    pub async fn delete_records(&self, before: i64) -> Result {
        let servers = self.config.bootstrap_servers.join(",");
        let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", servers).create()?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topic, 0, Offset::Offset(before))?;
        client.delete_records(&offsets, &AdminOptions::new()).await?;
        Ok(())
    }

    pub async fn counts(&self, worker: &Running, metric: &str, label: &str, expected: u64) -> Result {
        until(metric, LIMIT, async || {
            let text = metrics(worker.admin_port).await?;
            let mut lines = text.lines().filter(|line| line.starts_with(metric) && line.contains(label) && line.contains(&self.topic));
            let value = lines.next().and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default();
            if value == expected { Ok(()) } else { Err(Waiting::from(format!("{value} instead of {expected}"))) }
        })
        .await
    }

    pub async fn tells(&self, worker: &Running, reason: MoveReason, lost: u64) -> Result {
        self.counts(worker, "penstock_worker_positions_moved_total", reason.as_str(), 1).await?;
        self.counts(worker, "penstock_worker_records_lost_total", "", lost).await
    }
}

async fn metrics(port: u16) -> std::result::Result<String, Waiting> {
    get(port, "/metrics").await.map(|answer| answer.body).map_err(|error| Waiting::from(error.to_string()))
}
