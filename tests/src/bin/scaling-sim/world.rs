//! A topic, a consumer group and its pods, second by second. There is no chance in it: the same trace gives the same figures.
//!
//! A new worker takes its time to start. When workers come or go, partitions move so that each has as many, as few of them as
//! possible (cooperative-sticky), and those that move stand still for a while. A worker divides its time between its partitions.

use std::collections::VecDeque;

use crate::trace::Trace;

/// A partition.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    /// Records that were written.
    pub end: u64,
    /// Records that were handled.
    pub position: u64,
    /// What is left of a record that is not whole yet.
    coming: f64,
    /// The same of those that are handled.
    handling: f64,
    /// When records came that wait: the second, and the end after it.
    came: VecDeque<(u64, u64)>,
    owner: Option<u32>,
    stands_still_until: u64,
}

impl Partition {
    /// Records that wait.
    pub fn lag(&self) -> u64 {
        self.end - self.position
    }

    fn arrive(&mut self, second: u64, records: f64) {
        self.coming += records;
        let whole = whole(self.coming);
        self.coming -= whole as f64;
        if whole > 0 {
            self.end += whole;
            self.came.push_back((second, self.end));
        }
    }

    fn handle(&mut self, records: f64) {
        self.handling += records;
        let done = whole(self.handling).min(self.lag());
        self.handling -= done as f64;
        self.position += done;
        if self.lag() == 0 {
            self.handling = 0.0;
        }
        while self.came.front().is_some_and(|(_, end)| *end <= self.position) {
            self.came.pop_front();
        }
    }

    /// How long the oldest waiting record waits, in seconds.
    fn age(&self, second: u64) -> u64 {
        self.came.front().map_or(0, |(came, _)| second - came)
    }
}

/// Records that are whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative, and few")]
fn whole(records: f64) -> u64 {
    records.floor() as u64
}

/// Everything at one second.
#[derive(Clone, Debug)]
pub struct World {
    pub second: u64,
    pub partitions: Vec<Partition>,
    /// Workers: their number, and when they are ready. The last one goes first.
    pods: Vec<(u32, u64)>,
    members: Vec<u32>,
    named: u32,
    start: u64,
    rebalance: u64,
}

impl World {
    /// As a trace begins.
    pub fn new(trace: &Trace) -> Self {
        let mut world = Self {
            second: 0,
            partitions: vec![Partition::default(); trace.partitions],
            pods: Vec::new(),
            members: Vec::new(),
            named: 0,
            start: 0,
            rebalance: 0,
        };
        world.declare(trace.workers);
        world.share_out();
        (world.start, world.rebalance) = (trace.start_seconds, trace.rebalance_seconds);
        world
    }

    /// Declares that many workers.
    pub fn declare(&mut self, workers: u32) {
        while self.declared() > workers {
            self.pods.pop();
        }
        while self.declared() < workers {
            self.pods.push((self.named, self.second + self.start));
            self.named += 1;
        }
    }

    /// Lets a second pass.
    pub fn pass(&mut self, trace: &Trace) {
        self.second += 1;
        let second = self.second;
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            partition.arrive(second, trace.arrival(second, index));
        }
        self.share_out();
        let Some(speed) = trace.speed(second) else { return };
        let wanted: f64 = self.members.iter().map(|member| self.carry(*member, speed.per_worker).iter().map(|(_, n)| n).sum::<f64>()).sum();
        let throttle = speed.at_most.map_or(1.0, |most| (most / wanted).min(1.0));
        for member in self.members.clone() {
            for (index, records) in self.carry(member, speed.per_worker) {
                if let Some(partition) = self.partitions.get_mut(index) {
                    partition.handle(records * throttle);
                }
            }
        }
    }

    /// What a worker takes of each of its partitions: as much of each, and of the others what one does not need.
    fn carry(&self, member: u32, mut capacity: f64) -> Vec<(usize, f64)> {
        let mine = |(_, partition): &(usize, &Partition)| partition.owner == Some(member) && partition.stands_still_until <= self.second;
        let mut waiting: Vec<(usize, f64)> = self
            .partitions
            .iter()
            .enumerate()
            .filter(mine)
            .filter(|(_, partition)| partition.lag() > 0)
            .map(|(index, partition)| (index, partition.lag() as f64 - partition.handling))
            .collect();
        waiting.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut left = waiting.len() as f64;
        for (_, records) in &mut waiting {
            *records = records.min(capacity / left).max(0.0);
            capacity -= *records;
            left -= 1.0;
        }
        waiting
    }

    /// Gives each worker that is ready as many partitions as the others, and moves as few as possible.
    fn share_out(&mut self) {
        let ready: Vec<u32> = self.pods.iter().filter(|(_, ready)| *ready <= self.second).map(|(name, _)| *name).collect();
        if ready == self.members {
            return;
        }
        let (count, workers) = (self.partitions.len(), ready.len());
        for partition in &mut self.partitions {
            partition.owner = partition.owner.filter(|owner| ready.contains(owner));
        }
        for (index, worker) in ready.iter().enumerate() {
            let quota = count / workers + usize::from(index < count % workers);
            let mut has = 0;
            for partition in self.partitions.iter_mut().filter(|partition| partition.owner == Some(*worker)) {
                has += 1;
                if has > quota {
                    partition.owner = None;
                }
            }
        }
        for (index, worker) in ready.iter().enumerate() {
            let quota = count / workers + usize::from(index < count % workers);
            let has = self.partitions.iter().filter(|partition| partition.owner == Some(*worker)).count();
            let free = self.partitions.iter_mut().filter(|partition| partition.owner.is_none());
            for partition in free.take(quota.saturating_sub(has)) {
                partition.owner = Some(*worker);
                partition.stands_still_until = self.second + self.rebalance;
            }
        }
        self.members = ready;
    }

    /// Workers that are declared.
    pub fn declared(&self) -> u32 {
        u32::try_from(self.pods.len()).unwrap_or(u32::MAX)
    }

    /// Workers that are ready.
    pub fn ready(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Whether partitions move.
    pub fn is_rebalancing(&self) -> bool {
        self.partitions.iter().any(|partition| partition.stands_still_until > self.second)
    }

    /// Records that wait.
    pub fn lag(&self) -> u64 {
        self.partitions.iter().map(Partition::lag).sum()
    }

    /// Records that were handled so far.
    pub fn handled(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.position).sum()
    }

    /// How long the oldest waiting record waits, in seconds.
    pub fn age(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.age(self.second)).max().unwrap_or_default()
    }
}
