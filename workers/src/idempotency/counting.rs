//! What of requests with a key is counted: their events, never the notes about the key.

use std::collections::BTreeMap;

use penstock_kafka::TopicPartition;

use crate::{
    cloudevents::time_of,
    metrics::{Metrics, PartitionLabel},
    processor::Output,
};

/// Counts the events of requests with a key.
pub(super) struct Counting {
    metrics: Metrics,
    /// That of the events.
    topic: String,
}

impl Counting {
    pub fn new(metrics: Metrics, topic: String) -> Self {
        Self { metrics, topic }
    }

    /// A request that came at that time was committed, with so many records in each partition. Which of its events is in which of
    /// them is not told: each counts as late as the oldest.
    pub fn written(&self, events: &[Output], stored: &BTreeMap<TopicPartition, u64>, came_ms: i64, now_ms: i64) {
        let times = events.iter().map(|event| time_of(&event.headers).map_or(came_ms, |time| time.as_millisecond()));
        let oldest = times.min().unwrap_or(came_ms);
        for (at, count) in stored.iter().filter(|(at, _)| at.topic == self.topic) {
            let TopicPartition { topic, partition } = at.clone();
            self.metrics.produced.get_or_create(&PartitionLabel { topic, partition }).inc_by(*count);
            self.metrics.progress.delivered(at.clone(), oldest, now_ms);
        }
    }

    /// So many events were not written, or maybe not.
    pub fn failed(&self, events: u64) {
        self.metrics.produce_failures.inc_by(events);
    }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::Header;
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    fn event(time: Option<&str>) -> Output {
        let header = |time: &str| Header { name: "ce_time".to_owned(), value: Some(time.to_owned().into()) };
        Output { key: None, payload: None, headers: time.into_iter().map(header).collect() }
    }

    #[test]
    fn events_are_counted_and_notes_are_not() {
        let stored = |counts: &[(&str, i32, u64)]| -> BTreeMap<TopicPartition, u64> {
            counts.iter().map(|(topic, partition, count)| (TopicPartition::new(*topic, *partition), *count)).collect()
        };
        let (came, now) = (3_000, 4_500);
        let (old, young) = (Some("1970-01-01T00:00:01Z"), Some("1970-01-01T00:00:04Z"));
        // (events, stored) -> partition, written, lag
        for (events, stored, expected) in [
            (vec![None], stored(&[("events", 0, 1), ("keys", 1, 1)]), vec![(0, 1, "1.5")]),
            (vec![old], stored(&[("events", 3, 1), ("keys", 0, 1)]), vec![(3, 1, "3.5")]),
            (vec![young, old, None], stored(&[("events", 0, 1), ("events", 1, 2), ("keys", 0, 1)]), vec![(0, 1, "3.5"), (1, 2, "3.5")]),
            (vec![], stored(&[("keys", 0, 1)]), vec![]),
        ] {
            let mut registry = Registry::default();
            let counting = Counting::new(Metrics::register(&mut registry), "events".to_owned());
            let events: Vec<_> = events.into_iter().map(event).collect();
            counting.written(&events, &stored, came, now);
            let mut told = String::new();
            text::encode(&mut told, &registry).unwrap();
            let lines = |name: &str| told.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
            for (partition, written, lag) in &expected {
                let labels = format!("{{topic=\"events\",partition=\"{partition}\"}}");
                for line in [format!("records_produced_total{labels} {written}"), format!("producer_lag_seconds{labels} {lag}")] {
                    assert!(told.lines().any(|found| found == line), "{line}: {told}");
                }
            }
            assert_eq!((lines("records_produced_total"), lines("producer_lag_seconds")), (expected.len(), expected.len()), "{told}");
        }
    }

    #[test]
    fn each_event_that_is_not_written_is_a_failure() {
        let metrics = Metrics::register(&mut Registry::default());
        Counting::new(metrics.clone(), "events".to_owned()).failed(3);
        assert_eq!(metrics.produce_failures.get(), 3);
    }
}
