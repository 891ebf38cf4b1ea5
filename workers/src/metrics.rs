//! What a worker counts, under the names by which it is scraped. Base units: seconds, records.

use penstock_crds::position::{MoveReason, Moved};
use penstock_kafka::{TopicDescription, TopicPartition};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{circuits::Circuits, processor::Outcome, stream::progress::Progress};

/// What all names begin with.
pub const PREFIX: &str = "penstock_worker";

/// 1 ms to some 16 s.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 16.0];

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TopicLabel {
    /// Its name.
    pub topic: String,
}

/// What a processor answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the variants of `processor::Outcome`, and the panic")]
pub enum OutcomeKind {
    Emit,
    Drop,
    Retry,
    Reject,
    Panic,
}

/// What a processor answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// Which kind.
    pub outcome: OutcomeKind,
}

/// Why a record became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the variants of `stream::retry::Burial`")]
pub enum DeathKind {
    Rejected,
    Exhausted,
}

/// Why a record became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeathLabel {
    /// Which kind.
    pub reason: DeathKind,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "they say it themselves")]
pub enum ResultKind {
    Ok,
    Failed,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// Which way.
    pub result: ResultKind,
}

/// What a rebalance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the callbacks of `penstock_kafka::RebalanceListener`")]
pub enum RebalanceKind {
    Assigned,
    Revoked,
    Lost,
}

/// What a rebalance did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RebalanceLabel {
    /// Which of the three.
    pub kind: RebalanceKind,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabel {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
}

/// Why a group did not go on where it had stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "the variants of `penstock_crds::position::MoveReason`")]
pub enum MoveKind {
    OffsetOutOfRange,
    TopicRecreated,
    PartitionsAdded,
}

impl From<MoveReason> for MoveKind {
    fn from(reason: MoveReason) -> Self {
        match reason {
            MoveReason::OffsetOutOfRange => Self::OffsetOutOfRange,
            MoveReason::TopicRecreated => Self::TopicRecreated,
            MoveReason::PartitionsAdded => Self::PartitionsAdded,
        }
    }
}

/// A partition in which a group did not go on where it had stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MoveLabel {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Why.
    pub reason: MoveKind,
}

/// Everything that the runtime counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Records taken from the source.
    pub consumed: Family<PartitionLabel, Counter>,
    /// Answers of the processor, one per attempt.
    pub outcomes: Family<OutcomeLabel, Counter>,
    /// Pauses before another attempt.
    pub retries: Counter,
    /// Records that wait in a retry topic for another attempt.
    pub delayed: Counter,
    /// Dead letters that Kafka has acknowledged.
    pub dead_letters: Family<DeathLabel, Counter>,
    /// Dead letters that could not be written, each time that it was tried.
    pub dead_letter_failures: Counter,
    /// Records written and acknowledged: to the sink, the dead letter topic and retry topics.
    pub produced: Family<PartitionLabel, Counter>,
    /// Records that Kafka did not acknowledge.
    pub produce_failures: Counter,
    /// How long one attempt of the processor took.
    pub processing: Histogram,
    /// Records taken and not settled.
    pub in_flight: Gauge,
    /// Commits, by their result.
    pub commits: Family<ResultLabel, Counter>,
    /// Rebalances, by what they did.
    pub rebalances: Family<RebalanceLabel, Counter>,
    /// Partitions that this worker has.
    pub assigned_partitions: Gauge,
    /// Times that the group did not go on where it had stopped.
    pub positions_moved: Family<MoveLabel, Counter>,
    /// Offsets that were deleted before the group had read them.
    pub records_lost: Family<PartitionLabel, Counter>,
    /// Times that the clients were thrown away and made anew.
    pub restarts: Counter,
    /// 1 while the table has been read to its end.
    pub table_caught_up: Gauge,
    /// Records read into the table.
    pub table_records: Family<TopicLabel, Counter>,
    /// Times that records of the table were deleted before they were read.
    pub table_records_lost: Counter,
    /// How far it has come in each partition.
    pub(crate) progress: Progress,
    /// Whether it sends what it shall write.
    pub(crate) circuits: Circuits,
}

impl OutcomeKind {
    /// The kind of an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Emit(_) => Self::Emit,
            Outcome::Drop => Self::Drop,
            Outcome::Retry(_) => Self::Retry,
            Outcome::Reject(_) => Self::Reject,
        }
    }
}

impl Metrics {
    /// Creates them, in a registry that has [`PREFIX`].
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            consumed: Family::default(),
            outcomes: Family::default(),
            retries: Counter::default(),
            delayed: Counter::default(),
            dead_letters: Family::default(),
            dead_letter_failures: Counter::default(),
            produced: Family::default(),
            produce_failures: Counter::default(),
            processing: Histogram::new(BUCKETS),
            in_flight: Gauge::default(),
            commits: Family::default(),
            rebalances: Family::default(),
            assigned_partitions: Gauge::default(),
            positions_moved: Family::default(),
            records_lost: Family::default(),
            restarts: Counter::default(),
            table_caught_up: Gauge::default(),
            table_records: Family::default(),
            table_records_lost: Counter::default(),
            progress: Progress::default(),
            circuits: Circuits::default(),
        };
        let m = metrics.clone();
        registry.register("records_consumed", "Records taken from the source", m.consumed);
        registry.register("outcomes", "Answers of the processor, one per attempt", m.outcomes);
        registry.register("retries", "Pauses before another attempt", m.retries);
        registry.register("records_delayed", "Records written to a retry topic, to be tried again later", m.delayed);
        registry.register("dead_letters", "Records written to the dead letter topic and acknowledged", m.dead_letters);
        registry.register("dead_letter_failures", "Failed attempts to write a dead letter", m.dead_letter_failures);
        registry.register("records_produced", "Records written and acknowledged: outputs, dead letters, records that wait", m.produced);
        registry.register("produce_failures", "Records that Kafka did not acknowledge", m.produce_failures);
        registry.register("processing_seconds", "Time that one attempt of the processor took", m.processing);
        registry.register("records_in_flight", "Records taken and not settled yet", m.in_flight);
        registry.register("commits", "Commits of offsets", m.commits);
        registry.register("rebalances", "Rebalances that gave or took partitions", m.rebalances);
        registry.register("assigned_partitions", "Partitions that this worker has", m.assigned_partitions);
        registry.register("positions_moved", "Times that the group did not go on where it had stopped", m.positions_moved);
        registry.register("records_lost", "Offsets that were deleted before the group had read them", m.records_lost);
        registry.register("restarts", "Times that the Kafka clients were made anew after a failure", m.restarts);
        registry.register("table_caught_up", "1 while the table has been read to its end", m.table_caught_up);
        registry.register("table_records", "Records read into the table", m.table_records);
        registry.register("table_records_lost", "Times that records of the table were deleted unread", m.table_records_lost);
        registry.register_collector(Box::new(m.progress));
        registry.register_collector(Box::new(m.circuits));
        metrics
    }

    pub(crate) fn count_rebalance(&self, kind: RebalanceKind) {
        self.rebalances.get_or_create(&RebalanceLabel { kind }).inc();
    }

    pub(crate) fn count_moved(&self, at: &TopicPartition, moved: &Moved) {
        let TopicPartition { topic, partition } = at.clone();
        let label = PartitionLabel { topic: topic.clone(), partition };
        self.positions_moved.get_or_create(&MoveLabel { topic, partition, reason: moved.reason.into() }).inc();
        self.records_lost.get_or_create(&label).inc_by(moved.records_lost());
    }

    /// What is counted of each partition that is written begins at 0: no rate knows of the record that a series begins with.
    pub(crate) fn begin_produced(&self, topic: &str, partition: i32) {
        drop(self.produced.get_or_create(&PartitionLabel { topic: topic.to_owned(), partition }));
    }

    /// The same for all partitions of a topic.
    pub(crate) fn begin_produced_in(&self, topic: &TopicDescription) {
        for partition in &topic.partitions {
            self.begin_produced(&topic.name, partition.id);
        }
    }

    pub(crate) fn count_produced(&self, at: &TopicPartition) {
        let TopicPartition { topic, partition } = at.clone();
        self.produced.get_or_create(&PartitionLabel { topic, partition }).inc();
    }

    pub(crate) fn count_commit(&self, ok: bool) {
        let result = if ok { ResultKind::Ok } else { ResultKind::Failed };
        self.commits.get_or_create(&ResultLabel { result }).inc();
    }
}
