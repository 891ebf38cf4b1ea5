//! A pipeline that is looked at again and again, and what is decided for it.

use std::time::Duration;

use super::*;

mod crowded;
mod mistakes;
mod told;

const INTERVAL: u64 = 5;

/// A pipeline that is looked at every five seconds. Its workers do what `carry` says, and its decisions are carried out at once.
struct Scene {
    policy: Policy,
    history: History,
    at: u64,
    workers: Workers,
    partitions: Vec<PartitionOffsets>,
    /// Whether decisions are carried out.
    obeys: bool,
    steps: Vec<(u64, u32, Reason)>,
}

impl Scene {
    fn new(min: u32, max: u32, workers: u32, partitions: i32) -> Self {
        let key = |partition| PartitionKey { topic: "orders".to_owned(), partition };
        let partition = |number| PartitionOffsets {
            key: key(number),
            role: Role::Source,
            start: 0,
            end: 0,
            log_end: None,
            committed: Some(0),
            begin: Begin::Start,
            empty_until: None,
            age: None,
        };
        let second = Duration::from_secs;
        Self {
            policy: Policy { min, max, drain: second(30), idle: second(60), interval: second(INTERVAL), co_partitioned: false },
            history: History::default(),
            at: 0,
            workers: Workers { declared: workers, ready: workers, ..Workers::default() },
            partitions: (0..partitions).map(partition).collect(),
            obeys: true,
            steps: vec![],
        }
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.at)
    }

    fn decide(&self) -> Decision {
        decide(&self.history, &self.policy, self.now())
    }

    /// Records that come in each partition, and what each worker handles, for so many looks.
    fn go(&mut self, looks: usize, come: impl Fn(usize) -> i64, per_worker: i64) -> Decision {
        for _ in 0..looks {
            // One worker at a time has a partition.
            handle(&mut self.partitions, per_worker * i64::from(self.workers.ready), |left, _| left.min(per_worker));
            self.partitions.iter_mut().enumerate().for_each(|(index, partition)| partition.end += come(index));
            self.look(true);
        }
        self.decide()
    }

    /// The same where partitions are shared out by number (`range`), and each worker divides its time between its own.
    fn go_by_range(&mut self, looks: usize, come: impl Fn(usize) -> i64, per_worker: i64) -> Decision {
        for _ in 0..looks {
            let workers = usize::try_from(self.workers.ready).unwrap();
            let (each, more) = (self.partitions.len() / workers, self.partitions.len() % workers);
            let mut rest = self.partitions.as_mut_slice();
            for worker in 0..workers {
                let (own, after) = rest.split_at_mut(each + usize::from(worker < more));
                handle(own, per_worker, |left, others| left / others);
                rest = after;
            }
            self.partitions.iter_mut().enumerate().for_each(|(index, partition)| partition.end += come(index));
            self.look(true);
        }
        self.decide()
    }

    fn look(&mut self, can_read: bool) -> Decision {
        self.at += INTERVAL;
        let partitions = can_read.then(|| self.partitions.clone());
        self.record(partitions, 0)
    }

    /// Some partitions could not be read; in the others so many records wait.
    fn look_at_some(&mut self, at_least: u64) -> Decision {
        self.at += INTERVAL;
        self.record(None, at_least)
    }

    fn record(&mut self, partitions: Option<Vec<PartitionOffsets>>, at_least: u64) -> Decision {
        self.history.record(Observation { at: self.now(), partitions, at_least, workers: self.workers }, &self.policy);
        let decision = self.decide();
        if let Some(desired) = decision.desired.filter(|_| self.obeys) {
            self.steps.push((self.at, desired, decision.reason));
            (self.workers.declared, self.workers.ready) = (desired, desired);
        }
        decision
    }

    fn numbers(&self) -> Vec<u32> {
        self.steps.iter().map(|(_, workers, _)| *workers).collect()
    }
}

/// Handles so many records, where least wait first: of each partition as many as `most` says of those left and the partitions to go.
fn handle(partitions: &mut [PartitionOffsets], mut left: i64, most: impl Fn(i64, i64) -> i64) {
    let mut others = i64::try_from(partitions.len()).unwrap();
    let mut least_first: Vec<&mut PartitionOffsets> = partitions.iter_mut().collect();
    least_first.sort_by_key(|partition| waiting(partition));
    for partition in least_first {
        let done = waiting(partition).min(most(left, others));
        partition.committed = partition.committed.map(|committed| committed + done);
        (left, others) = (left - done, others - 1);
    }
}

/// Records that wait in a partition.
fn waiting(partition: &PartitionOffsets) -> i64 {
    partition.end - partition.committed.unwrap_or_default()
}

fn with_speed(per_worker: f64) -> History {
    History::knowing(Known { speed: Some(per_worker), ..Known::default() })
}
