//! What of a pipeline is watched. Pure.

use std::time::Duration;

use penstock_crds::{
    pipeline::ScalingBounds,
    worker::{KafkaInput, StartFrom},
};

use crate::scaling::{Known, Policy};

/// What of a pipeline is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The `KafkaCluster` of its topics.
    pub cluster: String,
    /// Its consumer group.
    pub group: String,
    /// Topics of its source.
    pub topics: Vec<String>,
    /// Topics in which retries wait, and for how long.
    pub tiers: Vec<(String, Duration)>,
    /// Topics in which records wait behind others.
    pub held: Vec<String>,
    /// Where it begins in a partition that it has committed nothing for.
    pub start_from: StartFrom,
    /// By what its workers are counted.
    pub policy: Policy,
    /// Whether the number is only told: nothing is written for it.
    pub dry_run: bool,
    /// Whether it is refused: its group keeps its place, and nothing else is done for it.
    pub refused: bool,
    /// What was known before it was watched, as its status says.
    pub known: Known,
}

impl Subject {
    /// What of a pipeline that reads this is watched.
    #[must_use]
    pub fn new(id: (&str, &str), cluster: &str, input: &KafkaInput, bounds: ScalingBounds, interval: Duration) -> Self {
        let without = Self::refused(id, cluster, &input.group, bounds, interval);
        Self {
            topics: input.topics.clone(),
            tiers: input.tiers.iter().flat_map(|tier| tier.topics.values().map(|topic| (topic.clone(), tier.delay))).collect(),
            held: input.held.values().cloned().collect(),
            start_from: input.start_from,
            policy: Policy { co_partitioned: !input.held.is_empty(), ..without.policy },
            refused: false,
            ..without
        }
    }

    /// What of a pipeline that is refused is watched: what it reads is not decided.
    #[must_use]
    pub fn refused(id: (&str, &str), cluster: &str, group: &str, bounds: ScalingBounds, interval: Duration) -> Self {
        let seconds = |n: u32| Duration::from_secs(n.into());
        Self {
            namespace: id.0.to_owned(),
            name: id.1.to_owned(),
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            topics: vec![],
            tiers: vec![],
            held: vec![],
            start_from: StartFrom::default(),
            policy: Policy {
                min: bounds.min,
                max: bounds.max,
                drain: seconds(bounds.drain_seconds),
                idle: seconds(bounds.idle_seconds),
                interval,
                co_partitioned: false,
            },
            dry_run: false,
            refused: true,
            known: Known::default(),
        }
    }

    /// Every topic that it reads.
    pub fn every_topic(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().chain(self.tiers.iter().map(|(topic, _)| topic)).chain(&self.held).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workers_share_partitions_out_by_number_where_records_are_held_back() {
        for (held, co_partitioned) in [(json!({}), false), (json!({"orders": "orders.held"}), true)] {
            let input = json!({
                "topics": ["orders"], "group": "g", "startFrom": "Earliest", "delivery": "ExactlyOnce", "ordering": "Key", "concurrency": 1,
                "retry": {"attempts": 1, "initialBackoff": "1s", "maxBackoff": "1s"}, "deadLetter": {"topic": "d", "format": "Record"},
                "held": held,
            });
            let bounds = ScalingBounds { min: 0, max: 1, drain_seconds: 30, idle_seconds: 60 };
            let input = serde_json::from_value(input).unwrap();
            let subject = Subject::new(("shop", "p"), "default", &input, bounds, Duration::from_secs(5));
            assert_eq!(subject.policy.co_partitioned, co_partitioned, "{:?}", input.held);
        }
    }
}
