//! Penstock's own autoscaler: the function that the operator runs, fed with what a sweep would see.

use std::time::Duration;

use penstock_operator::scaling::{Begin, History, Observation, PartitionKey, PartitionOffsets, Policy, Role, Workers, decide};

use crate::{contestant::Contestant, trace::SWEEP, trace::Trace, world::World};

/// Our own.
pub struct Ours {
    policy: Policy,
    history: History,
}

impl Ours {
    pub fn new(trace: &Trace) -> Self {
        Self { policy: trace.policy(), history: History::default() }
    }
}

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        "penstock"
    }

    fn look(&mut self, world: &World) -> Option<u32> {
        if !world.second.is_multiple_of(SWEEP) {
            return None;
        }
        let now = Duration::from_secs(world.second);
        self.history.record(observation(world, now), &self.policy);
        decide(&self.history, &self.policy, now).desired
    }
}

fn observation(world: &World, at: Duration) -> Observation {
    let offset = |records: u64| i64::try_from(records).unwrap_or(i64::MAX);
    let partitions = world.partitions.iter().zip(0..).map(|(partition, number)| PartitionOffsets {
        key: PartitionKey { topic: "orders".to_owned(), partition: number },
        role: Role::Source,
        start: 0,
        end: offset(partition.end),
        log_end: None,
        committed: Some(offset(partition.position)),
        begin: Begin::Start,
        empty_until: None,
        age: None,
    });
    let workers = Workers { declared: world.declared(), ready: world.ready(), rolling_out: false, rebalancing: world.is_rebalancing() };
    Observation { at, partitions: Some(partitions.collect()), at_least: 0, workers }
}
