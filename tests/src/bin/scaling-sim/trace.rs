//! What comes when, and what workers there are for it: a file that is replayed second by second.

use std::time::Duration;

use penstock_operator::scaling::Policy;
use serde::Deserialize;

/// How often the operator looks, in seconds.
pub const SWEEP: u64 = 5;
/// The traces that are built in.
pub const BUILT_IN: [(&str, &str); 9] = [
    ("steady", include_str!("traces/steady.yaml")),
    ("burst", include_str!("traces/burst.yaml")),
    ("daily-wave", include_str!("traces/daily-wave.yaml")),
    ("hot-partition", include_str!("traces/hot-partition.yaml")),
    ("uneven", include_str!("traces/uneven.yaml")),
    ("slow-processor", include_str!("traces/slow-processor.yaml")),
    ("on-off", include_str!("traces/on-off.yaml")),
    ("shared-limit", include_str!("traces/shared-limit.yaml")),
    ("trickle", include_str!("traces/trickle.yaml")),
];

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trace {
    /// What it is like, in a few words.
    pub about: String,
    /// Partitions of the topic.
    pub partitions: usize,
    /// How long it takes from a worker's declaration to its first record, in seconds.
    pub start_seconds: u64,
    /// For how long a partition that moves stands still, in seconds.
    pub rebalance_seconds: u64,
    /// Workers at the beginning.
    pub workers: u32,
    /// What the pipeline says.
    pub scaling: Scaling,
    /// How fast workers are. Each entry holds from its second on.
    pub speed: Vec<Speed>,
    /// What comes. Each entry holds until the next one's second.
    pub arrivals: Vec<Arrivals>,
    /// When it ends, in seconds.
    pub ends: u64,
}

/// `spec.scaling`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scaling {
    pub min_replicas: u32,
    pub max_replicas: u32,
    pub drain_seconds: u64,
    pub idle_seconds: u64,
}

/// How fast workers are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Speed {
    pub from: u64,
    /// Records a second of one worker.
    pub per_worker: f64,
    /// Records a second of all of them, where something behind them is slower than they are.
    pub at_most: Option<f64>,
}

/// What comes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arrivals {
    pub from: u64,
    /// Records a second of each partition; fewer numbers than partitions: the last one counts for the others too.
    pub per_second: Vec<f64>,
    /// Times this, at the crest of a wave of which `perSecond` is the trough.
    pub crest: Option<f64>,
    /// How long a wave is, or how long it comes and then does not, in seconds.
    pub period: Option<u64>,
    /// Only in the first so many seconds of each period.
    pub on: Option<u64>,
}

impl Trace {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trace: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let Scaling { min_replicas, max_replicas, drain_seconds, .. } = trace.scaling;
        for (wrong, what) in [
            (!(1..=1_000).contains(&trace.partitions), "partitions must be from 1 to 1000"),
            (!(1..=1_000_000).contains(&trace.ends), "ends must be from 1 to 1000000"),
            (min_replicas > max_replicas || max_replicas == 0, "minReplicas must not be above maxReplicas, and that not 0"),
            (drain_seconds == 0, "drainSeconds must not be 0"),
            (trace.speed.first().is_none_or(|speed| speed.from != 0), "speed must begin with `from: 0`"),
            (trace.speed.iter().any(|speed| speed.per_worker <= 0.0), "perWorker must be above 0"),
            (trace.arrivals.iter().any(|a| a.per_second.is_empty() || a.period == Some(0)), "arrivals need perSecond, and no period of 0"),
        ] {
            if wrong {
                return Err(what.to_owned());
            }
        }
        Ok(trace)
    }

    /// How fast workers are then.
    pub fn speed(&self, second: u64) -> Option<Speed> {
        self.speed.iter().rev().find(|speed| speed.from <= second).copied()
    }

    /// Records that come then in a partition.
    pub fn arrival(&self, second: u64, partition: usize) -> f64 {
        let Some(arrivals) = self.arrivals.iter().rev().find(|arrivals| arrivals.from <= second) else { return 0.0 };
        let base = arrivals.per_second.get(partition).or(arrivals.per_second.last()).copied().unwrap_or_default();
        let since = second - arrivals.from;
        match (arrivals.period, arrivals.on, arrivals.crest) {
            (Some(period), Some(on), _) if since % period >= on => 0.0,
            (Some(period), None, Some(crest)) => {
                let turn = (since % period) as f64 / period as f64 * std::f64::consts::TAU;
                base * (1.0 + (crest - 1.0) * (1.0 - turn.cos()) / 2.0)
            }
            _ => base,
        }
    }

    /// What our autoscaler is told.
    pub fn policy(&self) -> Policy {
        Policy {
            min: self.scaling.min_replicas,
            max: self.scaling.max_replicas,
            drain: Duration::from_secs(self.scaling.drain_seconds),
            idle: Duration::from_secs(self.scaling.idle_seconds),
            interval: Duration::from_secs(SWEEP),
            co_partitioned: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_can_be_read() {
        for (name, text) in BUILT_IN {
            Trace::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn what_comes_when() {
        let arrivals = |fields: &str| {
            let text = BUILT_IN[0].1;
            let head = text.split("arrivals:").next().unwrap().to_owned();
            Trace::parse(&format!("{head}arrivals: [{{from: 10, {fields}}}]\nends: 100\n")).unwrap()
        };
        for (fields, second, partition, expected) in [
            ("perSecond: [5]", 9, 0, 0.0),
            ("perSecond: [5]", 10, 3, 5.0),
            ("perSecond: [5, 1]", 10, 3, 1.0),
            ("perSecond: [5], period: 20, on: 5", 14, 0, 5.0),
            ("perSecond: [5], period: 20, on: 5", 15, 0, 0.0),
            ("perSecond: [5], period: 20, on: 5", 30, 0, 5.0),
            ("perSecond: [5], period: 20, crest: 3", 10, 0, 5.0),
            ("perSecond: [5], period: 20, crest: 3", 20, 0, 15.0),
        ] {
            assert!((arrivals(fields).arrival(second, partition) - expected).abs() < 1e-9, "{fields} at {second}");
        }
    }
}
