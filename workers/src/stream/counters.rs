//! The metrics of a stream, looked up once: what is counted for each record must cost next to nothing.

use std::{collections::BTreeMap, sync::Arc};

use penstock_crds::position::Moved;
use penstock_kafka::TopicPartition;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::{retry::Burial, tiers::Tiers};
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

    /// Partitions came: what is counted of each begins at 0, also of those beside it in which its records may have to wait.
    pub fn begin(&self, partitions: &[TopicPartition], tiers: &Tiers) {
        for TopicPartition { topic, partition } in partitions.iter().cloned() {
            for beside in tiers.written_for(&topic) {
                self.metrics.begin_produced(beside, partition);
            }
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

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn what_is_counted_of_a_partition_begins_at_0_with_the_partition() {
        let mut registry = Registry::default();
        let counters = Counters::of(&Metrics::register(&mut registry));
        let input = r#"{"topics": ["orders"], "group": "g", "startFrom": "Earliest", "delivery": "ExactlyOnce", "ordering": "Key",
            "concurrency": 1, "retry": {"attempts": 1, "initialBackoff": "1s", "maxBackoff": "1s"},
            "tiers": [{"delay": "10s", "topics": {"orders": "retry-1"}}, {"delay": "60s", "topics": {"orders": "retry-2"}}],
            "held": {"orders": "held"}, "deadLetter": {"topic": "d", "format": "Record"}}"#;
        let tiers = Tiers::new(&serde_json::from_str(input).unwrap());
        counters.begin(&[TopicPartition::new("orders", 2), TopicPartition::new("bills", 0)], &tiers);
        counters.begin(&[TopicPartition::new("retry-1", 1)], &tiers);
        let mut told = String::new();
        text::encode(&mut told, &registry).unwrap();
        let mut found: Vec<&str> = told.lines().filter(|line| line.contains("topic=")).collect();
        found.sort_unstable();
        let expected = [
            r#"records_consumed_total{topic="bills",partition="0"} 0"#,
            r#"records_consumed_total{topic="orders",partition="2"} 0"#,
            r#"records_consumed_total{topic="retry-1",partition="1"} 0"#,
            r#"records_produced_total{topic="held",partition="1"} 0"#,
            r#"records_produced_total{topic="held",partition="2"} 0"#,
            r#"records_produced_total{topic="retry-1",partition="1"} 0"#,
            r#"records_produced_total{topic="retry-1",partition="2"} 0"#,
            r#"records_produced_total{topic="retry-2",partition="1"} 0"#,
            r#"records_produced_total{topic="retry-2",partition="2"} 0"#,
        ];
        assert_eq!(found, expected);
    }
}
