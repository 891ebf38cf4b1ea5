//! How far a worker has come in each of its partitions: consumer lag and producer lag. Of a front, the partitions are those that it
//! writes to, and have no consumer lag.
//!
//! Where partitions end is asked of Kafka every few seconds, apart from reading: a worker that cannot write reads no further, and
//! would not see what comes. A session that breaks down changes nothing: its partitions count until the group gives them to another.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_kafka::TopicPartition;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{partition::Reached, world::World};
use crate::metrics::PartitionLabel;

/// How often Kafka is asked where partitions end.
const LOOK: Duration = Duration::from_secs(5);

/// What a worker's metrics are made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The topics that count: what waits beside them for another attempt is late on purpose.
    sources: BTreeSet<String>,
    places: BTreeMap<TopicPartition, Place>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    position: i64,
    end: Option<i64>,
    /// From the time of the event to its delivery, in seconds.
    producer_lag: Option<f64>,
}

impl Progress {
    /// Counts these topics only.
    pub fn count(&self, sources: &[String]) {
        self.state().sources = sources.iter().cloned().collect();
    }

    /// Kafka has just acknowledged these positions.
    pub fn reached(&self, places: Vec<Reached>, now_ms: i64) {
        let mut state = self.state();
        for Reached { partition, position, event_ms } in places {
            if state.sources.contains(&partition.topic) {
                let place = state.places.entry(partition).or_default();
                place.position = position;
                place.producer_lag = event_ms.map(|event| seconds(now_ms.saturating_sub(event))).or(place.producer_lag);
            }
        }
    }

    /// Kafka has just acknowledged a record that was not read from it, but is of an event of that time.
    pub fn delivered(&self, partition: TopicPartition, event_ms: i64, now_ms: i64) {
        self.state().places.entry(partition).or_default().producer_lag = Some(seconds(now_ms.saturating_sub(event_ms)));
    }

    /// Forgets all partitions but these.
    pub fn keep(&self, is_ours: impl Fn(&TopicPartition) -> bool) {
        self.state().places.retain(|partition, _| is_ours(partition));
    }

    /// Asks where the partitions end, again and again.
    pub async fn watch(&self, world: &impl World) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            let partitions: Vec<_> = self.state().places.keys().cloned().collect();
            match world.ends(&partitions).await {
                Ok(ends) => self.ends(ends.into_iter().filter_map(|(partition, end)| Some((partition, end.ok()?)))),
                Err(error) => tracing::debug!(%error, "it is not known where partitions end"),
            }
        }
    }

    fn ends(&self, ends: impl Iterator<Item = (TopicPartition, i64)>) {
        let mut state = self.state();
        for (partition, end) in ends {
            if let Some(place) = state.places.get_mut(&partition) {
                place.end = Some(end);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Consumer lag, where the end is known.
    fn consumer_lags(&self) -> Vec<(TopicPartition, i64)> {
        let lag = |(partition, place): (&TopicPartition, &Place)| Some((partition.clone(), (place.end? - place.position).max(0)));
        self.state().places.iter().filter_map(lag).collect()
    }

    /// Producer lag, where something was delivered.
    fn producer_lags(&self) -> Vec<(TopicPartition, f64)> {
        self.state().places.iter().filter_map(|(partition, place)| Some((partition.clone(), place.producer_lag?))).collect()
    }
}

/// Never negative: clocks differ.
#[allow(clippy::cast_precision_loss, reason = "a lag of 285,000 years")]
fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1_000.0
}

impl Collector for Progress {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Records of a partition that the group has not handled: latest - processed";
        let gauges = encoder.encode_descriptor("consumer_lag_records", help, None, MetricType::Gauge)?;
        encode_each(gauges, self.consumer_lags())?;
        let help = "Seconds from the time of the event delivered last to its delivery";
        let gauges = encoder.encode_descriptor("producer_lag_seconds", help, None, MetricType::Gauge)?;
        encode_each(gauges, self.producer_lags())
    }
}

fn encode_each<N>(mut gauges: MetricEncoder<'_>, lags: Vec<(TopicPartition, N)>) -> Result<(), fmt::Error>
where
    ConstGauge<N>: EncodeMetric,
{
    for (TopicPartition { topic, partition }, lag) in lags {
        ConstGauge::new(lag).encode(gauges.encode_family(&PartitionLabel { topic, partition })?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    fn reached(partition: TopicPartition, position: i64, event_ms: Option<i64>) -> Reached {
        Reached { partition, position, event_ms }
    }

    fn progress() -> Progress {
        let progress = Progress::default();
        progress.count(&["t".to_owned()]);
        progress
            .reached(vec![reached(at("t", 0), 5, Some(1_000)), reached(at("t", 1), 0, None), reached(at("t.retry", 0), 9, Some(9))], 3_500);
        progress
    }

    #[test]
    fn producer_lag_is_that_of_the_last_delivery() {
        let progress = progress();
        assert_eq!(progress.producer_lags(), [(at("t", 0), 2.5)], "what waits beside a source is late on purpose");
        // The end of the partition came nearer without a record; a clock that is behind makes no lag negative.
        progress.reached(vec![reached(at("t", 0), 6, None), reached(at("t", 1), 1, Some(9_500))], 9_000);
        assert_eq!(progress.producer_lags(), [(at("t", 0), 2.5), (at("t", 1), 0.0)]);
    }

    #[test]
    fn a_front_has_producer_lag_where_it_writes() {
        let progress = Progress::default();
        progress.delivered(at("sink", 1), 1_000, 4_500);
        progress.delivered(at("sink", 0), 5_000, 4_900);
        assert_eq!((progress.producer_lags(), progress.consumer_lags()), (vec![(at("sink", 0), 0.0), (at("sink", 1), 3.5)], vec![]));
    }

    #[test]
    fn consumer_lag_is_what_is_written_and_not_handled() {
        let progress = progress();
        assert_eq!(progress.consumer_lags(), [], "nobody knows yet where partitions end");
        progress.ends([(at("t", 0), 12), (at("t", 1), 0), (at("t", 2), 7)].into_iter());
        assert_eq!(progress.consumer_lags(), [(at("t", 0), 7), (at("t", 1), 0)]);
        progress.reached(vec![reached(at("t", 0), 13, None)], 0);
        assert_eq!(progress.consumer_lags(), [(at("t", 0), 0), (at("t", 1), 0)], "the end was asked for before");
        progress.keep(|partition| partition.partition == 1);
        assert_eq!(progress.consumer_lags(), [(at("t", 1), 0)]);
    }

    #[test]
    fn it_is_scraped_under_its_names() {
        let (progress, mut registry) = (progress(), prometheus_client::registry::Registry::default());
        registry.sub_registry_with_prefix("penstock_worker").register_collector(Box::new(progress.clone()));
        progress.ends([(at("t", 1), 3)].into_iter());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "penstock_worker_producer_lag_seconds{topic=\"t\",partition=\"0\"} 2.5",
            "penstock_worker_consumer_lag_records{topic=\"t\",partition=\"1\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
