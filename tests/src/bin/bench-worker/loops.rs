//! What the worker is compared with: the same work done by hand, in a loop around plain rdkafka clients.
//!
//! `Naive` is what one writes first. `Tuned` has its three traps removed: a full fetch queue stops fetching for a second,
//! `flush` (and so `commit_transaction`) waits in steps of 100 ms, and `poll(0)` serves one event only. The work itself is the
//! worker's own code, and batches are compressed as the worker's. Runs as a process of its own until it is killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use penstock_crds::worker::{DeadLetterFormat, DeadLetterTarget};
use penstock_kafka::{Record, TimestampType};
use penstock_tests::bench::{Acknowledged, LIMIT, config};
use penstock_tests::scene::Result;
use penstock_workers::processor::Event;
use penstock_workers::processors::payments::pay;
use penstock_workers::stream::dead_letter::{DeadLetter, Extent, Sender, Step};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::orders::SUCCESS_RATE;

/// What a loop does between two polls of its producer.
const DRAIN_EVERY: u32 = 256;

/// How a loop is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// As one writes it first.
    Naive,
    /// Without the three traps.
    Tuned,
}

/// What is promised about each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Guarantee {
    /// It is processed once or more.
    #[value(name = "alo")]
    AtLeastOnce,
    /// It is processed once.
    #[value(name = "eos")]
    ExactlyOnce,
}

/// What a loop does.
#[derive(Args, Clone, Debug)]
pub struct Job {
    #[arg(long)]
    pub style: Style,
    #[arg(long)]
    pub guarantee: Guarantee,
    #[arg(long)]
    pub brokers: String,
    #[arg(long)]
    pub group: String,
    #[arg(long)]
    pub source: String,
    #[arg(long)]
    pub payments: String,
    #[arg(long)]
    pub letters: String,
    /// How batches are compressed.
    #[arg(long)]
    pub compression: String,
}

/// When a loop commits.
struct Rhythm {
    longest: Duration,
    records: u32,
    /// Commits as soon as nothing has come for so long.
    idle: Duration,
}

impl Job {
    fn rhythm(&self) -> Rhythm {
        let (longest, records, idle) = match (self.style, self.guarantee) {
            (Style::Naive, _) => (100, 10_000, 100),
            // A commit makes it stand still for some milliseconds, so it makes few.
            (Style::Tuned, Guarantee::AtLeastOnce) => (1_000, u32::MAX, 20),
            (Style::Tuned, Guarantee::ExactlyOnce) => (100, 100_000, 20),
        };
        Rhythm { longest: Duration::from_millis(longest), records, idle: Duration::from_millis(idle) }
    }

    fn consumer(&self) -> Result<BaseConsumer> {
        let mut config = config(&self.brokers);
        config.set("group.id", &self.group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        if self.style == Style::Tuned {
            config.set("fetch.queue.backoff.ms", "5");
        }
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[&self.source])?;
        Ok(consumer)
    }

    fn producer(&self) -> Result<BaseProducer<Acknowledged>> {
        let mut config = config(&self.brokers);
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("compression.type", &self.compression);
        if self.guarantee == Guarantee::ExactlyOnce {
            config.set("transactional.id", &self.group);
        }
        let producer: BaseProducer<Acknowledged> = config.create_with_context(Acknowledged::default())?;
        if self.guarantee == Guarantee::ExactlyOnce {
            producer.init_transactions(LIMIT)?;
        }
        Ok(producer)
    }
}

struct Loop {
    consumer: BaseConsumer,
    producer: BaseProducer<Acknowledged>,
    topic: Arc<str>,
    /// The next offset of each partition that has moved since the last commit.
    offsets: Vec<Option<i64>>,
    pending: u32,
    since: Instant,
    letters: DeadLetterTarget,
    sender: Sender,
    job: Job,
}

/// Runs until it is killed.
pub fn run(job: Job) -> Result {
    let rhythm = job.rhythm();
    let mut state = Loop {
        consumer: job.consumer()?,
        producer: job.producer()?,
        topic: job.source.as_str().into(),
        offsets: Vec::new(),
        pending: 0,
        since: Instant::now(),
        letters: DeadLetterTarget { topic: job.letters.clone(), format: DeadLetterFormat::Envelope, headers: BTreeSet::new() },
        sender: Sender { pipeline: "bench/loop".into(), group: job.group.clone(), processor: "payments".into() },
        job,
    };
    loop {
        let polled = state.poll(rhythm.idle)?;
        let due = !polled || state.pending >= rhythm.records || state.since.elapsed() >= rhythm.longest;
        if state.pending > 0 && due {
            state.commit()?;
            state.producer.context().check()?;
        }
    }
}

impl Loop {
    /// Handles one record. False: none came.
    fn poll(&mut self, wait: Duration) -> Result<bool> {
        let Some(message) = self.consumer.poll(wait) else { return Ok(false) };
        let message = message?;
        if self.pending == 0 {
            self.since = Instant::now();
            if self.job.guarantee == Guarantee::ExactlyOnce {
                self.producer.begin_transaction()?;
            }
        }
        self.handle(&message)?;
        let partition = usize::try_from(message.partition())?;
        if self.offsets.len() <= partition {
            self.offsets.resize(partition + 1, None);
        }
        self.offsets[partition] = Some(message.offset() + 1);
        self.pending += 1;
        match self.job.style {
            Style::Naive => self.producer.poll(Duration::ZERO),
            Style::Tuned if self.pending.is_multiple_of(DRAIN_EVERY) => self.serve_reports(),
            Style::Tuned => {}
        }
        Ok(true)
    }

    fn handle(&self, message: &BorrowedMessage<'_>) -> Result {
        let now = Timestamp::now();
        match pay(message.payload(), SUCCESS_RATE, now) {
            Ok(output) => self.send(&self.job.payments, output.key.as_deref(), output.payload.as_deref(), None),
            Err(refusal) => {
                let event = self.event(message);
                let (failure, step) = (refusal.failure(), Step::Processing);
                let letter = DeadLetter { event: &event, failure: &failure, step, failed_at: now, sender: &self.sender };
                let Record { key, payload, headers, .. } = letter.write(&self.letters, Extent::Whole);
                let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |list, header| {
                    list.insert(Header { key: &header.name, value: header.value.as_deref() })
                });
                self.send(&self.job.letters, key.as_deref(), payload.as_deref(), Some(headers))
            }
        }
    }

    fn event(&self, message: &BorrowedMessage<'_>) -> Event {
        Event {
            topic: Arc::clone(&self.topic),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(|key| key.to_vec().into()),
            payload: message.payload().map(|payload| payload.to_vec().into()),
            headers: Vec::new(),
            timestamp_ms: message.timestamp().to_millis(),
            timestamp_type: TimestampType::default(),
            attempt: 1,
        }
    }

    fn send(&self, topic: &str, key: Option<&[u8]>, payload: Option<&[u8]>, headers: Option<OwnedHeaders>) -> Result {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        (record.key, record.payload, record.headers) = (key, payload, headers);
        while let Err((error, rejected)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = rejected;
            self.producer.poll(Duration::from_millis(1));
        }
        Ok(())
    }

    /// `poll(0)` serves one event: again, until one brings no report.
    fn serve_reports(&self) {
        loop {
            let before = self.producer.context().count();
            self.producer.poll(Duration::ZERO);
            if self.producer.context().count() == before {
                return;
            }
        }
    }

    fn commit(&mut self) -> Result {
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in self.offsets.iter_mut().enumerate() {
            if let Some(offset) = offset.take() {
                offsets.add_partition_offset(&self.topic, i32::try_from(partition)?, Offset::Offset(offset))?;
            }
        }
        match (self.job.style, self.job.guarantee) {
            (Style::Tuned, _) => self.flush_in_small_steps()?,
            (Style::Naive, Guarantee::AtLeastOnce) => self.producer.flush(LIMIT)?,
            // `commit_transaction` flushes.
            (Style::Naive, Guarantee::ExactlyOnce) => {}
        }
        match self.job.guarantee {
            Guarantee::AtLeastOnce => self.consumer.commit(&offsets, CommitMode::Sync)?,
            Guarantee::ExactlyOnce => {
                let group = self.consumer.group_metadata().ok_or("the consumer has no group")?;
                self.producer.send_offsets_to_transaction(&offsets, &group, LIMIT)?;
                self.producer.commit_transaction(LIMIT)?;
            }
        }
        self.pending = 0;
        Ok(())
    }

    fn flush_in_small_steps(&self) -> Result {
        loop {
            match self.producer.flush(Duration::from_millis(1)) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
