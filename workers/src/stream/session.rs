//! One consumer and one producer at a time, until told to stop; after a failure that they do not survive, new ones.
//!
//! A session ends in one of two ways. Told to stop, it finishes what is under way and commits it. Broken, it drops what
//! is under way; the next session begins at the committed offsets, so that nothing is lost and each lane keeps its order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_crds::worker::{KafkaInput, StartFrom};
use penstock_kafka::{ConnectionSettings, Consumer, ConsumerSettings, Error, Producer, ProducerSettings};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    commit,
    handle::Handler,
    in_flight::{Bounds, InFlight},
    retry,
    source::{self, Handover, Patience},
    work::Work,
};
use crate::{
    connection::{self, BATCH_BYTES, MAX_RECORD_BYTES},
    error::WorkerError,
    metrics::Metrics,
    processor::DynProcessor,
    readiness::{Need, Readiness},
};

/// Records in memory for each one in process: those whose acknowledgement is awaited, and those behind others in a lane.
const RECORDS_PER_SLOT: usize = 16;
const MIN_RECORDS: usize = 64;
const BYTES_IN_FLIGHT: usize = 32 << 20;
/// Records that the client has ready for `recv`.
const READ_AHEAD: usize = 500;
/// How long a killed worker's partitions stand still. Long enough for a broker that restarts, short enough to wait for.
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);
/// The client itself retries for so long, in order. Only what it gives up on then is read again, with what came after it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3600);
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A session that lasted this long was well.
const WELL: Duration = Duration::from_secs(60);

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Breakdown {
    /// The sink does not take records.
    #[error("cannot produce: {0}")]
    Produce(Error),
    /// The consumer has failed for good.
    #[error("cannot consume: {0}")]
    Consume(Error),
    /// A record was given up without a decision.
    #[error("a record was given up before it was settled")]
    Unsettled,
}

/// A pipeline with a Kafka source.
pub(crate) struct Stream {
    pub connection: ConnectionSettings,
    pub input: KafkaInput,
    pub sink: Option<String>,
    pub pipeline: String,
    pub processor: Arc<dyn DynProcessor>,
    pub drain_timeout: Duration,
    pub metrics: Metrics,
    pub needs: Needs,
}

/// What such a pipeline needs.
#[derive(Clone)]
pub(crate) struct Needs {
    source: Need,
    consumer: Need,
    producer: Need,
    sink: Need,
    dead_letter: Need,
}

impl Needs {
    /// Everything but the connections is thought to be well until it fails.
    pub fn new(readiness: &Readiness) -> Self {
        let needs = Self {
            source: readiness.need("source"),
            consumer: readiness.need("consumer"),
            producer: readiness.need("producer"),
            sink: readiness.need("sink"),
            dead_letter: readiness.need("dead letter topic"),
        };
        needs.think_well();
        needs
    }

    /// What failed before is thought to be well until it fails again.
    fn think_well(&self) {
        self.source.met();
        self.sink.met();
        self.dead_letter.met();
    }
}

/// The parts of one session.
struct Session {
    consumer: Arc<Consumer>,
    work: Arc<Work>,
    handler: Arc<Handler>,
    breakdowns: mpsc::Receiver<Breakdown>,
    patience: Patience,
}

impl Stream {
    /// Runs sessions until `shutdown`, which it obeys within the drain time-out.
    ///
    /// # Errors
    /// The settings are such that no client can be made.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let Err(breakdown) = self.session(&shutdown).await? else { return Ok(()) };
            failures = if begun.elapsed() < WELL { failures + 1 } else { 1 };
            let (initial, max) = RESTART_BACKOFF;
            let pause = retry::pause(initial, max, failures, rand::random());
            tracing::error!(error = %breakdown, ?pause, "the session broke down; a new one begins at the committed offsets");
            self.metrics.restarts.inc();
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn session(&self, shutdown: &CancellationToken) -> Result<Result<(), Breakdown>, WorkerError> {
        let mut session = self.begin()?;
        let end = CancellationToken::new();
        connection::watch(session.consumer.health(), self.needs.consumer.clone(), &end);
        connection::watch(session.handler.producer.health(), self.needs.producer.clone(), &end);
        let committing = tokio::spawn({
            let Session { consumer, work, .. } = &session;
            let (consumer, work, metrics, end) = (Arc::clone(consumer), Arc::clone(work), self.metrics.clone(), end.clone());
            async move { commit::keep_committing(&consumer, &work, &metrics, &end).await }
        });
        let fed = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            breakdown = self.feed(&mut session) => Err(breakdown),
        };
        let deadline = Instant::now() + self.drain_timeout;
        if fed.is_ok() {
            drain(&session.work, deadline - self.drain_timeout / 5).await;
        }
        // What is still under way will be handled again. What the producer was given already may still arrive.
        session.handler.abort.cancel();
        session.patience.end_at(deadline);
        end.cancel();
        let ending = async {
            // It ends by itself; that it panicked would be known from the log.
            let _ = committing.await;
            session.consumer.close().await;
        };
        if timeout_at(deadline.into(), ending).await.is_err() {
            tracing::warn!("Kafka did not answer in time: the last offsets may not be committed, their records come again");
        }
        Ok(fed)
    }

    fn begin(&self) -> Result<Session, WorkerError> {
        let producer = Producer::new(&self.connection, &producer_settings())?;
        let slots = usize::from(self.input.concurrency.max(1));
        let bounds = Bounds { records: (slots * RECORDS_PER_SLOT).max(MIN_RECORDS), bytes: BYTES_IN_FLIGHT };
        let work = Work::new(InFlight::new(self.input.ordering, bounds), self.metrics.in_flight.clone());
        self.metrics.assigned_partitions.set(0);
        self.needs.think_well();
        let patience = Patience::new(self.drain_timeout);
        let handover = Handover {
            work: Arc::clone(&work),
            metrics: self.metrics.clone(),
            source: self.needs.source.clone(),
            patience: patience.clone(),
        };
        let topics: Vec<&str> = self.input.topics.iter().map(String::as_str).collect();
        let consumer = Consumer::subscribe(&self.connection, &self.consumer_settings(), &topics, handover)?;
        // One breakdown is enough to end the session.
        let (sender, breakdowns) = mpsc::channel(1);
        let handler = Handler {
            processor: Arc::clone(&self.processor),
            producer,
            sink: self.sink.clone(),
            retry: self.input.retry,
            dead_letter: self.input.dead_letter.clone(),
            pipeline: self.pipeline.clone(),
            slots: Semaphore::new(slots),
            abort: CancellationToken::new(),
            breakdowns: sender,
            metrics: self.metrics.clone(),
            sink_need: self.needs.sink.clone(),
            dead_letter_need: self.needs.dead_letter.clone(),
        };
        Ok(Session { consumer: Arc::new(consumer), work, handler: Arc::new(handler), breakdowns, patience })
    }

    /// Takes records and starts them, as long as there is room. Cancel-safe.
    async fn feed(&self, session: &mut Session) -> Breakdown {
        let Session { consumer, work, handler, breakdowns, .. } = session;
        loop {
            let room = work.has_room();
            tokio::select! {
                biased;
                Some(breakdown) = breakdowns.recv() => return breakdown,
                () = work.broken().cancelled() => return Breakdown::Unsettled,
                () = work.changed(), if !room => {}
                taken = source::take(consumer, work, &self.metrics), if room => match taken {
                    Ok(taken) => {
                        self.needs.source.met();
                        if let Some(taken) = taken {
                            handler.start(taken);
                        }
                    }
                    Err(error) if error.is_fatal() => return Breakdown::Consume(error),
                    Err(error) => self.needs.source.missing(error.to_string()),
                },
            }
        }
    }

    fn consumer_settings(&self) -> ConsumerSettings {
        let mut settings = ConsumerSettings::new(&self.input.group);
        settings.start_from = match self.input.start_from {
            StartFrom::Earliest => penstock_kafka::StartFrom::Earliest,
            StartFrom::Latest => penstock_kafka::StartFrom::Latest,
        };
        settings.buffer_records = READ_AHEAD;
        settings.session_timeout = SESSION_TIMEOUT;
        // A handover may take as long as a drain, and the group must not go on without us meanwhile.
        settings.max_poll_interval = settings.max_poll_interval.max(self.drain_timeout * 2);
        settings
    }
}

fn producer_settings() -> ProducerSettings {
    let mut settings = ProducerSettings::default();
    settings.delivery_timeout = DELIVERY_TIMEOUT;
    settings.batch_bytes = BATCH_BYTES;
    settings.max_record_bytes = MAX_RECORD_BYTES;
    settings
}

/// Starts nothing more and waits for what is under way.
async fn drain(work: &Work, deadline: Instant) {
    work.with(super::in_flight::InFlight::close_all);
    while !work.is_idle() {
        let left = deadline.saturating_duration_since(Instant::now());
        if timeout(left, work.changed()).await.is_err() {
            tracing::warn!("not everything was finished in time: the rest will be handled again");
            return;
        }
    }
}
