//! One consumer, and its producer or two that take turns, until told to stop; after a failure that they do not survive, new ones.
//!
//! A session ends in one of two ways. Told to stop, it finishes what is under way and commits it. Broken, it drops what
//! is under way; the next session begins at the committed offsets, so that nothing is lost and each lane keeps its order.

use std::{sync::Arc, time::Duration};

use penstock_crds::worker::{Delivery, KafkaInput, Producing};
use penstock_kafka::Error;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    books::Books,
    bounds::Bounds,
    counters::Counters,
    dead_letter::Sender,
    engine::{Engine, Parts},
    handover::{Handover, Patience, Rebalance},
    lookup::{KnownTopics, Lookup},
    outbox::{AtLeastOnce, Batching, Cut, ExactlyOnce, Outbox},
    refused::Refused,
    retry,
    tiers::Tiers,
    world::{Bulk, Member, Producer, World},
    writing::Addresses,
};
use crate::{
    clients,
    error::WorkerError,
    metrics::Metrics,
    processor::DynProcessor,
    readiness::{Need, Readiness},
};

/// What is in memory at most: enough to go on while a transaction is being committed.
const BOUNDS: Bounds = Bounds { records: 10_000, bytes: 8 << 20 };
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A session that lasted this long was well.
const WELL: Duration = Duration::from_secs(60);

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Breakdown {
    /// The sink does not take records.
    #[error("cannot produce: {0}")]
    Produce(Error),
    /// The dead letter topic does not take records.
    #[error("cannot write dead letters: {0}")]
    Bury(Error),
    /// A topic did not take a batch of small records.
    #[error("a topic takes no batch so large; smaller batches follow (is its max.message.bytes below producer.batchBytes?)")]
    TooLarge,
    /// A topic did not take records for what they are, and others with them.
    #[error("a topic refuses what follows from {} records, which become dead letters, and refused others with it: {reason}", .events.len())]
    Refused {
        /// The ids of their events.
        events: Vec<String>,
        /// What it says of the first.
        reason: Error,
    },
    /// Nothing of a transaction counts.
    #[error("cannot commit: the transaction was aborted: {0}")]
    Aborted(Error),
    /// A transaction counts as a whole, or not at all.
    #[error("cannot commit: the producer is gone and the outcome of its transaction unknown: {0}")]
    Doubt(Error),
    /// The consumer has failed for good.
    #[error("cannot consume: {0}")]
    Consume(Error),
    /// The group went on without this worker.
    #[error("the group went on without this worker while something was under way")]
    Lost,
    /// What follows from records of a partition was still on its way when the partition had to go.
    #[error("Kafka did not take everything in time before a partition had to go")]
    Unwritten,
    /// The next record of a partition is not there any more.
    #[error("the position in {0}; it is decided anew where to go on")]
    OutOfRange(String),
    /// A topic was deleted and created again.
    #[error("the topic {0} was deleted and created again; it is decided anew where to go on")]
    Recreated(String),
    /// A transaction was not committed before a partition had to go, or the worker had to end.
    #[error("a transaction was not committed in time")]
    Uncommitted,
}

/// A pipeline with a Kafka source.
pub(crate) struct Stream<W> {
    pub world: W,
    pub input: KafkaInput,
    pub producing: Producing,
    pub sink: Option<String>,
    pub pipeline: String,
    /// Names this worker among all: the same after a restart, so that it takes up its own transactions.
    pub worker: String,
    pub processor: Arc<dyn DynProcessor>,
    pub processor_name: String,
    pub topics: KnownTopics,
    pub drain_timeout: Duration,
    pub metrics: Metrics,
    pub needs: Needs,
}

/// What such a pipeline needs.
#[derive(Clone)]
pub(crate) struct Needs {
    pub source: Need,
    pub positions: Need,
    pub consumer: Need,
    pub producer: Need,
    pub sink: Need,
    pub dead_letter: Need,
}

impl Needs {
    /// Everything but the connections is thought to be well until it fails.
    pub fn new(readiness: &Readiness) -> Self {
        let needs = Self {
            source: readiness.need("source"),
            positions: readiness.need("positions"),
            consumer: readiness.need("consumer"),
            producer: readiness.need("producer"),
            sink: readiness.need("sink"),
            dead_letter: readiness.need("dead letter topic"),
        };
        needs.can_read();
        needs.can_write();
        needs
    }

    /// What failed before is thought to be well until it fails again.
    fn can_read(&self) {
        self.source.met();
        self.positions.met();
    }

    /// What was written is in Kafka.
    fn can_write(&self) {
        self.sink.met();
        self.dead_letter.met();
    }

    /// Tells which topic a breakdown is about, until something is written again. One that is about a connection is told there.
    fn break_down(&self, breakdown: &Breakdown, dead_letter: &str) {
        let (error, need) = match breakdown {
            Breakdown::Bury(error) => (error, &self.dead_letter),
            Breakdown::Produce(error) => (error, &self.sink),
            Breakdown::Aborted(error @ Error::UnknownTopic { topic }) | Breakdown::Doubt(error @ Error::UnknownTopic { topic })
                if topic == dead_letter =>
            {
                (error, &self.dead_letter)
            }
            Breakdown::Aborted(error) | Breakdown::Doubt(error) => (error, &self.sink),
            _ => return,
        };
        if matches!(
            error,
            Error::UnknownTopic { .. } | Error::Authorization { .. } | Error::PolicyViolation { .. } | Error::InvalidRequest { .. }
        ) {
            need.missing(error.to_string());
        }
    }
}

impl<W: World> Stream<W> {
    /// Runs sessions until `shutdown`, which it obeys within the drain time-out.
    ///
    /// # Errors
    /// The settings are such that no client can be made.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let (mut failures, mut producing, mut refused) = (0, self.producing, Refused::default());
        loop {
            let begun = Instant::now();
            let session = match self.input.delivery {
                Delivery::AtLeastOnce => self.at_least_once(&producing, &refused, &shutdown).await?,
                Delivery::ExactlyOnce => self.exactly_once(&producing, &refused, &shutdown).await?,
            };
            let Err(breakdown) = session else { return Ok(()) };
            self.needs.break_down(&breakdown, &self.input.dead_letter.topic);
            let is_new = match &breakdown {
                // Another attempt with another batch, not another failure of the same.
                Breakdown::TooLarge => clients::smaller(producing.batch_bytes) < producing.batch_bytes,
                // They are another's each time.
                Breakdown::Refused { events, .. } => !events.is_empty(),
                _ => begun.elapsed() >= WELL,
            };
            if let Breakdown::TooLarge = &breakdown {
                producing.batch_bytes = clients::smaller(producing.batch_bytes);
            }
            if begun.elapsed() >= WELL {
                // What was known before is committed by now, or will be refused again.
                refused = Refused::default();
            }
            failures = if is_new { 1 } else { failures + 1 };
            let (initial, max) = RESTART_BACKOFF;
            let pause = retry::pause(initial, max, failures, self.world.chance());
            tracing::error!(error = %breakdown, ?pause, "the session broke down; a new one begins at the committed offsets");
            self.metrics.restarts.inc();
            if let Breakdown::Refused { events, reason } = breakdown {
                refused.extend(events, &reason);
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn at_least_once(
        &self,
        producing: &Producing,
        refused: &Refused,
        shutdown: &CancellationToken,
    ) -> Result<Result<(), Breakdown>, WorkerError> {
        let settings = clients::bulk(producing);
        let room = usize::try_from(settings.buffer_records).unwrap_or(usize::MAX);
        let (producer, end) = (self.world.bulk(&settings)?, CancellationToken::new());
        producer.watch(self.needs.producer.clone(), &end);
        let addresses = self.addresses(refused);
        let group = self.join(&addresses.tiers)?;
        let outbox = AtLeastOnce::new(
            self.world.clone(),
            producer,
            Batching { bytes: producing.batch_bytes, linger: producing.linger, room },
            Arc::clone(&group.member),
            addresses.clone(),
            self.counting(),
        );
        Ok(self.session(group, outbox, addresses, end, shutdown).await)
    }

    async fn exactly_once(
        &self,
        producing: &Producing,
        refused: &Refused,
        shutdown: &CancellationToken,
    ) -> Result<Result<(), Breakdown>, WorkerError> {
        let [first, second] = clients::transactional(&self.pipeline, &self.worker, producing);
        // Both are waited for, also where one fails: what still goes on would fence the next session's.
        let start = futures::future::join(self.world.transactional(&first), self.world.transactional(&second));
        let (first, second) = match shutdown.run_until_cancelled(start).await {
            None => return Ok(Ok(())),
            Some((Err(Error::InvalidSettings(error)), _) | (_, Err(Error::InvalidSettings(error)))) => {
                return Err(Error::InvalidSettings(error).into());
            }
            Some((Err(error), _) | (_, Err(error))) => {
                self.needs.producer.missing(error.to_string());
                return Ok(Err(Breakdown::Produce(error)));
            }
            Some((Ok(first), Ok(second))) => (first, second),
        };
        let end = CancellationToken::new();
        // Both are connected to the same brokers.
        first.watch(self.needs.producer.clone(), &end);
        let addresses = self.addresses(refused);
        let group = self.join(&addresses.tiers)?;
        let transaction = self.input.transaction;
        let cut = Cut { interval: transaction.interval, records: transaction.records, batch_bytes: producing.batch_bytes };
        let outbox =
            ExactlyOnce::new(self.world.clone(), [first, second], Arc::clone(&group.member), addresses.clone(), cut, self.counting());
        Ok(self.session(group, outbox, addresses, end, shutdown).await)
    }

    async fn session<O: Outbox>(
        &self,
        group: Group<W>,
        outbox: O,
        addresses: Addresses,
        end: CancellationToken,
        shutdown: &CancellationToken,
    ) -> Result<(), Breakdown> {
        let Group { member, lookup, decisions, patience } = group;
        let _end = end.clone().drop_guard();
        member.watch(self.needs.consumer.clone(), &end);
        self.needs.can_read();
        self.metrics.progress.count(&self.input.topics);
        let written: Vec<&str> = self.sink.as_deref().into_iter().chain([&*self.input.dead_letter.topic]).collect();
        let books = Books::new(self.input.ordering, O::EMISSION, BOUNDS);
        let mut engine = Engine::new(Parts {
            processor: Arc::clone(&self.processor),
            books: if addresses.tiers.hold_back() { books.holding_back() } else { books },
            outbox,
            addresses,
            ordering: self.input.ordering,
            retry: self.input.retry,
            concurrency: usize::from(self.input.concurrency.max(1)),
            world: self.world.clone(),
            member: Arc::clone(&member),
            lookup: Arc::clone(&lookup),
            decisions,
            counters: Counters::of(&self.metrics),
            progress: self.metrics.progress.clone(),
            needs: self.needs.clone(),
        });
        let work = async {
            engine.run(shutdown).await?;
            let deadline = Instant::now() + self.drain_timeout;
            patience.end_at(deadline);
            engine.drain(deadline - self.drain_timeout / 5).await?;
            engine.leave(member.close()).await?;
            engine.stranded().map_or(Ok(()), |why| Err(Breakdown::OutOfRange(why)))
        };
        // Once told to stop, it does so in time, whatever it waits for.
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(self.drain_timeout).await;
        };
        let worked = tokio::select! {
            worked = work => worked,
            topic = lookup.recreated(&written, |topic| self.metrics.begin_produced_in(topic)) => Err(Breakdown::Recreated(topic)),
            never = self.metrics.progress.watch(&self.world) => match never {},
            () = late => {
                tracing::warn!("not everything was finished in time: the rest will be handled again");
                Ok(())
            }
        };
        // What the client still holds must not come after what the next owner of the partitions writes.
        drop(engine);
        patience.end_at(Instant::now());
        if timeout_at(Instant::now() + self.drain_timeout / 5, member.close()).await.is_err() {
            tracing::warn!("Kafka did not answer in time: the group goes on once this worker's session is over");
        }
        worked
    }

    fn join(&self, tiers: &Tiers) -> Result<Group<W>, WorkerError> {
        let patience = Patience::new(self.drain_timeout);
        let (handover, decisions) = Handover::new(patience.clone());
        let topics: Vec<&str> = self.input.topics.iter().map(String::as_str).chain(tiers.topics()).collect();
        let member = Arc::new(self.world.join(&clients::consumer(&self.input, self.drain_timeout), &topics, handover)?);
        let lookup = Arc::new(Lookup::new(self.world.clone(), self.topics.clone(), Arc::clone(&member), &self.input));
        Ok(Group { member, lookup, decisions, patience })
    }

    fn addresses(&self, refused: &Refused) -> Addresses {
        Addresses {
            sink: self.sink.as_deref().map(Arc::from),
            tiers: Arc::new(Tiers::new(&self.input)),
            dead_letter: self.input.dead_letter.clone(),
            sender: Sender { pipeline: self.pipeline.clone(), group: self.input.group.clone(), processor: self.processor_name.clone() },
            refused: refused.clone(),
        }
    }

    fn counting(&self) -> impl Fn(bool, u64) + Send + Sync + use<W> {
        let (metrics, needs) = (self.metrics.clone(), self.needs.clone());
        let writes_too = self.input.delivery == Delivery::ExactlyOnce;
        move |ok, unwritten| {
            metrics.count_commit(ok);
            metrics.produce_failures.inc_by(unwritten);
            if ok && writes_too {
                needs.can_write();
            }
        }
    }
}

/// A membership in the group.
struct Group<W: World> {
    member: Arc<W::Member>,
    lookup: Arc<Lookup<W>>,
    decisions: UnboundedReceiver<Rebalance>,
    patience: Patience,
}
