//! Where a group goes on, with a real broker and the real runtime: what can be read is never skipped, and whenever a group
//! does not go on where it had stopped, its notes and its metrics say so.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use penstock_crds::{
    position::{MoveReason, Moved, Note},
    worker::{
        DeadLetterFormat, DeadLetterTarget, Delivery, GroupProtocol, KafkaInput, Ordering, PipelineId, RetryPolicy, StartFrom,
        TransactionBounds, WorkerConfig, WorkerProcessor, WorkerSource,
    },
};
use penstock_kafka::{
    CommittedOffset, ConnectionSettings, NewTopic, Producer, ProducerSettings, Record, TopicAdmin, TopicId, TopicPartition,
};
use penstock_tests::{
    local::{BrokerSettings, Brokers, get, ports},
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

/// A record as the processor saw it: its partition and offset.
type Seen = (i32, i64);

/// The value of records that nobody remembers.
const UNIMPORTANT: &str = "unimportant";

/// Remembers what it saw, and handles nothing while its gate is closed.
#[derive(Clone)]
struct Witness {
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

struct Running {
    stop: CancellationToken,
    worker: JoinHandle<std::result::Result<(), String>>,
    admin_port: u16,
}

impl Running {
    async fn stop(self) -> Result {
        self.stop.cancel();
        Ok(self.worker.await??)
    }

    /// Waits until it takes no more records, though there are more.
    async fn is_full(&self) -> Result {
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
struct Pipeline {
    topic: String,
    connection: ConnectionSettings,
    admin: TopicAdmin,
    config: WorkerConfig,
    witness: Witness,
}

impl Pipeline {
    async fn new(brokers: &Brokers, name: &str, (delivery, group_protocol): Kind, start_from: StartFrom) -> Result<Self> {
        let name = format!("{name}-{delivery:?}").to_lowercase();
        let connection = ConnectionSettings::new(brokers.bootstrap())?;
        let topic = format!("{name}.in");
        let input = KafkaInput {
            topics: vec![topic.clone()],
            group: format!("{name}.group"),
            start_from,
            group_protocol,
            delivery,
            transaction: TransactionBounds::default(),
            ordering: Ordering::None,
            concurrency: 4,
            retry: RetryPolicy::default(),
            tiers: vec![],
            dead_letter: DeadLetterTarget { topic: format!("{name}.dead"), format: DeadLetterFormat::Record },
        };
        let config = WorkerConfig {
            pipeline: PipelineId { namespace: "local".into(), name },
            bootstrap_servers: brokers.bootstrap(),
            source: WorkerSource::Kafka(input),
            processor: WorkerProcessor { builtin: "payments".into(), options: [].into() },
            sink: None,
            table: vec![],
            admin_port: 0,
            drain_timeout: Duration::from_secs(10),
        };
        let witness = Witness { seen: Arc::default(), gate: watch::Sender::new(true) };
        let pipeline = Self { topic, admin: TopicAdmin::new(&connection)?, connection, config, witness };
        pipeline.create(1).await?;
        Ok(pipeline)
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

    async fn recreate(&self) -> Result {
        let id = self.admin.wait_until_visible(&self.topic, 1, LIMIT).await?.id;
        self.admin.delete(&[(&self.topic, id)]).await?.remove(&self.topic).ok_or("no answer")??;
        self.create(1).await.map(drop)
    }

    fn start(&self) -> Result<Running> {
        let admin_port = ports::free(1)?.remove(0);
        let config = WorkerConfig { admin_port, ..self.config.clone() };
        let stop = CancellationToken::new();
        let processor = BuiltProcessor::Record(Arc::new(self.witness.clone()));
        let run = runtime::run_until(config, processor, "worker-0".to_owned(), stop.clone());
        Ok(Running { stop, worker: tokio::spawn(async move { run.await.map_err(|error| error.to_string()) }), admin_port })
    }

    async fn produce(&self, partition: i32, count: usize, payload: &str) -> Result {
        let producer = Producer::new(&self.connection, &ProducerSettings::default())?;
        let record = || Record::to(&self.topic).with_partition(partition).with_payload(payload.to_owned());
        futures::future::try_join_all((0..count).map(|_| producer.send(record()))).await?;
        Ok(())
    }

    fn seen(&self) -> Vec<Seen> {
        self.witness.seen.lock().unwrap().clone()
    }

    fn forget(&self) {
        self.witness.seen.lock().unwrap().clear();
    }

    /// Waits until it has seen just these offsets of a partition.
    async fn sees(&self, partition: i32, expected: impl IntoIterator<Item = i64>) -> Result {
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
    async fn commits(&self, partition: i32, offset: i64) -> Result<Note> {
        until("the offset is committed", LIMIT, async || {
            let committed = self.committed(partition).await?;
            match committed.as_ref().map(|committed| (committed.offset, Note::decode(&committed.metadata))) {
                Some((at, Some(note))) if at == offset => Ok(note),
                _ => Err(Waiting::from(format!("{committed:?} instead of {offset}"))),
            }
        })
        .await
    }

    async fn commit_by_hand(&self, offset: i64, metadata: String) -> Result {
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

    async fn delete_records(&self, before: i64) -> Result {
        let servers = self.config.bootstrap_servers.join(",");
        let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", servers).create()?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topic, 0, Offset::Offset(before))?;
        client.delete_records(&offsets, &AdminOptions::new()).await?;
        Ok(())
    }

    async fn counts(&self, worker: &Running, metric: &str, label: &str, expected: u64) -> Result {
        until(metric, LIMIT, async || {
            let text = metrics(worker.admin_port).await?;
            let mut lines = text.lines().filter(|line| line.starts_with(metric) && line.contains(label) && line.contains(&self.topic));
            let value = lines.next().and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default();
            if value == expected { Ok(()) } else { Err(Waiting::from(format!("{value} instead of {expected}"))) }
        })
        .await
    }

    async fn tells(&self, worker: &Running, reason: MoveReason, lost: u64) -> Result {
        self.counts(worker, "penstock_worker_positions_moved_total", reason.as_str(), 1).await?;
        self.counts(worker, "penstock_worker_records_lost_total", "", lost).await
    }
}

async fn metrics(port: u16) -> std::result::Result<String, Waiting> {
    get(port, "/metrics").await.map(|answer| answer.body).map_err(|error| Waiting::from(error.to_string()))
}

fn moved(note: &Note) -> Option<(MoveReason, Option<i64>, i64)> {
    note.moved.as_ref().map(|Moved { reason, from, to, .. }| (*reason, *from, *to))
}

async fn records_deleted_before_they_were_read_are_told(brokers: &Brokers, kind: Kind) -> Result {
    // Even with `Latest` what is left is read.
    let pipeline = Pipeline::new(brokers, "deleted", kind, StartFrom::Latest).await?;
    let worker = pipeline.start()?;
    pipeline.commits(0, 0).await?;
    pipeline.produce(0, 10, "v").await?;
    pipeline.sees(0, 0..10).await?;
    let note = pipeline.commits(0, 10).await?;
    assert_eq!((moved(&note), note.initial), (None, 1));
    worker.stop().await?;

    let stopped = pipeline.committed(0).await?.ok_or("nothing committed")?.offset;
    pipeline.produce(0, 40, "v").await?;
    pipeline.delete_records(30).await?;
    pipeline.forget();
    let worker = pipeline.start()?;
    pipeline.sees(0, 30..50).await?;
    let note = pipeline.commits(0, 50).await?;
    assert_eq!(moved(&note), Some((MoveReason::OffsetOutOfRange, Some(stopped), 30)));
    pipeline.tells(&worker, MoveReason::OffsetOutOfRange, u64::try_from(30 - stopped)?).await?;
    worker.stop().await?;

    // The note is carried on, and the position is not moved a second time.
    let worker = pipeline.start()?;
    pipeline.produce(0, 1, "v").await?;
    let carried = pipeline.commits(0, 51).await?;
    assert_eq!(carried, note);
    worker.stop().await
}

async fn an_overtaken_reader_handles_what_it_has_and_goes_on(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "overtaken", kind, StartFrom::Earliest).await?;
    // More than a worker holds in memory.
    const COUNT: usize = 6000;
    pipeline.produce(0, COUNT, &"v".repeat(10 << 10)).await?;
    let end = i64::try_from(COUNT)?;
    pipeline.witness.gate.send_replace(false);
    let worker = pipeline.start()?;
    worker.is_full().await?;
    pipeline.delete_records(end - 10).await?;
    pipeline.witness.gate.send_replace(true);
    let note = pipeline.commits(0, end).await?;
    let Some((MoveReason::OffsetOutOfRange, Some(from), to)) = moved(&note) else { return Err(format!("{note:?}").into()) };
    assert!(to == end - 10 && from > 100 && from < to, "{from} {to}");
    // What it had read by then is handled although it is not in Kafka any more.
    pipeline.sees(0, (0..from).chain(to..end)).await?;
    pipeline.tells(&worker, MoveReason::OffsetOutOfRange, u64::try_from(to - from)?).await?;
    worker.stop().await
}

async fn a_recreated_topic_is_read_from_its_start(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "recreated", kind, StartFrom::Latest).await?;
    let worker = pipeline.start()?;
    let mut expected: Range<i64> = 0..20;
    let old = pipeline.commits(0, 0).await?;
    pipeline.produce(0, 20, "v").await?;
    // While it runs: with fewer records than it had read, then with more.
    for count in [5, 40] {
        pipeline.sees(0, expected).await?;
        pipeline.forget();
        pipeline.recreate().await?;
        pipeline.produce(0, usize::try_from(count)?, "v").await?;
        expected = 0..count;
    }
    pipeline.sees(0, expected).await?;
    let note = pipeline.commits(0, 40).await?;
    assert_eq!(moved(&note).map(|(reason, _, to)| (reason, to)), Some((MoveReason::TopicRecreated, 0)));
    assert!(note.topic_id != old.topic_id && note.initial == 0, "{note:?} {old:?}");
    pipeline.counts(&worker, "penstock_worker_positions_moved_total", "TopicRecreated", 2).await?;
    worker.stop().await?;

    // While nothing runs, and the group has kept its offset.
    pipeline.recreate().await?;
    pipeline.produce(0, 60, "v").await?;
    pipeline.commit_by_hand(30, note.encode()).await?;
    pipeline.forget();
    let worker = pipeline.start()?;
    pipeline.sees(0, 0..60).await?;
    let note = pipeline.commits(0, 60).await?;
    assert_eq!(moved(&note), Some((MoveReason::TopicRecreated, Some(30), 0)));
    pipeline.tells(&worker, MoveReason::TopicRecreated, 0).await?;
    worker.stop().await
}

async fn a_topic_recreated_behind_the_readers_back_is_noticed(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "unnoticed", kind, StartFrom::Earliest).await?;
    // More than a worker holds in memory, so that it asks for nothing while the topic is made anew; and fewer than there are
    // then, so that its position lies within the new topic.
    const OLD: usize = 40_000;
    const NEW: usize = 50_000;
    pipeline.produce(0, OLD, UNIMPORTANT).await?;
    pipeline.witness.gate.send_replace(false);
    let worker = pipeline.start()?;
    worker.is_full().await?;
    pipeline.recreate().await?;
    pipeline.produce(0, NEW, "v").await?;
    pipeline.witness.gate.send_replace(true);
    let end = i64::try_from(NEW)?;
    pipeline.sees(0, 0..end).await?;
    assert_eq!(moved(&pipeline.commits(0, end).await?).map(|(reason, _, to)| (reason, to)), Some((MoveReason::TopicRecreated, 0)));
    pipeline.tells(&worker, MoveReason::TopicRecreated, 0).await?;
    worker.stop().await
}

async fn latest_skips_nothing_once_the_group_has_begun(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "latest", kind, StartFrom::Latest).await?;
    pipeline.produce(0, 10, "v").await?;
    let worker = pipeline.start()?;
    // Without a record.
    let note = pipeline.commits(0, 10).await?;
    assert_eq!((moved(&note), note.initial), (None, 1));
    worker.stop().await?;
    pipeline.produce(0, 5, "v").await?;
    let worker = pipeline.start()?;
    pipeline.sees(0, 10..15).await?;
    pipeline.commits(0, 15).await?;
    worker.stop().await?;

    // Records of a partition that was added come before anybody reads it.
    pipeline.admin.add_partitions(&[(&pipeline.topic, 2)]).await?.remove(&pipeline.topic).ok_or("no answer")??;
    pipeline.admin.wait_until_visible(&pipeline.topic, 2, LIMIT).await?;
    pipeline.produce(1, 7, "v").await?;
    let worker = pipeline.start()?;
    pipeline.sees(1, 0..7).await?;
    let note = pipeline.commits(1, 7).await?;
    assert_eq!((moved(&note), note.initial), (Some((MoveReason::PartitionsAdded, None, 0)), 1));
    pipeline.tells(&worker, MoveReason::PartitionsAdded, 0).await?;
    worker.stop().await
}

async fn an_offset_that_was_reset_by_hand_is_obeyed(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "reset", kind, StartFrom::Earliest).await?;
    pipeline.produce(0, 10, "v").await?;
    let worker = pipeline.start()?;
    pipeline.sees(0, 0..10).await?;
    pipeline.commits(0, 10).await?;
    worker.stop().await?;
    for (offset, metadata) in [(3, ""), (7, "by hand"), (9, "{\"penstock\":")] {
        pipeline.forget();
        pipeline.commit_by_hand(offset, metadata.to_owned()).await?;
        let worker = pipeline.start()?;
        pipeline.sees(0, offset..10).await?;
        assert_eq!(moved(&pipeline.commits(0, 10).await?), None);
        worker.stop().await?;
    }
    Ok(())
}

/// How the records are handled, and who shares the partitions out.
type Kind = (Delivery, GroupProtocol);

#[tokio::test]
async fn positions_are_kept_or_told() -> Result {
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    for kind in [(Delivery::ExactlyOnce, GroupProtocol::Classic), (Delivery::AtLeastOnce, GroupProtocol::Consumer)] {
        let cases = async {
            tokio::try_join!(
                latest_skips_nothing_once_the_group_has_begun(&brokers, kind),
                an_offset_that_was_reset_by_hand_is_obeyed(&brokers, kind),
                records_deleted_before_they_were_read_are_told(&brokers, kind),
                a_recreated_topic_is_read_from_its_start(&brokers, kind),
                a_topic_recreated_behind_the_readers_back_is_noticed(&brokers, kind),
                an_overtaken_reader_handles_what_it_has_and_goes_on(&brokers, kind),
            )
        };
        cases.await.map_err(|error| format!("{kind:?}: {error}"))?;
    }
    Ok(())
}
