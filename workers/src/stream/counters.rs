//! The metrics of a stream, looked up once: what is counted for each record must cost next to nothing.

use std::{collections::BTreeMap, sync::Arc};

use penstock_crds::position::Moved;
use penstock_kafka::TopicPartition;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::retry::Burial;
use crate::metrics::{DeathKind, DeathLabel, Metrics, OutcomeKind, OutcomeLabel, PartitionLabel, RebalanceKind};

/// The metrics of a stream.
pub(crate) struct Counters {
    pub processing: Histogram,
    pub retries: Counter,
    pub delayed: Counter,
    pub produce_failures: Counter,
    pub dead_letter_failures: Counter,
    emitted: Counter,
    dropped: Counter,
    retried: Counter,
    rejected: Counter,
    panicked: Counter,
    buried_rejected: Counter,
    buried_exhausted: Counter,
    /// Records of the partition that came last, not counted yet.
    consumed: Option<(Arc<str>, i32, u64)>,
    metrics: Metrics,
}

impl Counters {
    pub fn of(metrics: &Metrics) -> Self {
        let outcome = |outcome| metrics.outcomes.get_or_create(&OutcomeLabel { outcome }).clone();
        let death = |reason| metrics.dead_letters.get_or_create(&DeathLabel { reason }).clone();
        Self {
            processing: metrics.processing.clone(),
            retries: metrics.retries.clone(),
            delayed: metrics.delayed.clone(),
            produce_failures: metrics.produce_failures.clone(),
            dead_letter_failures: metrics.dead_letter_failures.clone(),
            emitted: outcome(OutcomeKind::Emit),
            dropped: outcome(OutcomeKind::Drop),
            retried: outcome(OutcomeKind::Retry),
            rejected: outcome(OutcomeKind::Reject),
            panicked: outcome(OutcomeKind::Panic),
            buried_rejected: death(DeathKind::Rejected),
            buried_exhausted: death(DeathKind::Exhausted),
            consumed: None,
            metrics: metrics.clone(),
        }
    }

    pub fn outcome(&self, kind: OutcomeKind) {
        let counter = match kind {
            OutcomeKind::Emit => &self.emitted,
            OutcomeKind::Drop => &self.dropped,
            OutcomeKind::Retry => &self.retried,
            OutcomeKind::Reject => &self.rejected,
            OutcomeKind::Panic => &self.panicked,
        };
        counter.inc();
    }

    pub fn buried(&self, burial: Burial) {
        match burial {
            Burial::Rejected => self.buried_rejected.inc(),
            Burial::Exhausted => self.buried_exhausted.inc(),
        };
    }

    /// Counts a record, at the latest with the next [`Counters::flush`].
    pub fn consumed(&mut self, topic: &Arc<str>, partition: i32) {
        match &mut self.consumed {
            Some((last, number, count)) if *number == partition && Arc::ptr_eq(last, topic) => *count += 1,
            _ => {
                self.flush();
                self.consumed = Some((Arc::clone(topic), partition, 1));
            }
        }
    }

    pub fn flush(&mut self) {
        if let Some((topic, partition, count)) = self.consumed.take() {
            self.metrics.consumed.get_or_create(&PartitionLabel { topic: topic.to_string(), partition }).inc_by(count);
        }
    }

    /// Counts records that Kafka has acknowledged, or committed, by partition: once for many.
    pub fn produced(&self, stored: BTreeMap<TopicPartition, u64>) {
        for (TopicPartition { topic, partition }, count) in stored {
            self.metrics.produced.get_or_create(&PartitionLabel { topic, partition }).inc_by(count);
        }
    }

    /// Partitions came: what is counted of each begins at 0.
    pub fn begin(&self, partitions: &[TopicPartition]) {
        for TopicPartition { topic, partition } in partitions.iter().cloned() {
            drop(self.metrics.consumed.get_or_create(&PartitionLabel { topic, partition }));
        }
    }

    pub fn rebalance(&self, kind: RebalanceKind) {
        self.metrics.count_rebalance(kind);
    }

    pub fn moved(&self, partition: &TopicPartition, moved: &Moved) {
        self.metrics.count_moved(partition, moved);
    }

    pub fn assigned(&self, partitions: usize) {
        self.metrics.assigned_partitions.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    pub fn in_flight(&self, records: usize) {
        self.metrics.in_flight.set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}
