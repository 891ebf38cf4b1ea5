//! Numaflow's autoscaling of source vertices, as its documentation describes it.
//!
//! - [Specification](https://numaflow.numaproj.io/specifications/autoscaling/): `desiredReplicas = (pendingMessages /
//!   targetProcessingSeconds) / (currentProcessingRate / currentReplicas)`.
//! - [Reference](https://numaflow.numaproj.io/user-guide/reference/autoscaling/): both are averages of the last `lookbackSeconds`
//!   (120); after a step up or down it waits 90 s before the next (`scaleUpCooldownSeconds`, `scaleDownCooldownSeconds`), and takes
//!   at most two workers at a time (`replicasPerScaleUp`, `replicasPerScaleDown`); with nothing pending and no rate it goes to
//!   `min`, if that is 0 it starts one worker every `zeroReplicaSleepSeconds` (120) to peek.
//!
//! `targetProcessingSeconds` is `drainSeconds`; all else is as it comes. What the documentation leaves open is taken in its favour:
//! the result is rounded up, is at least one while something is pending or handled, and no more than there are partitions.

use std::collections::VecDeque;

use crate::{contestant::Contestant, trace::Trace, world::World};

const LOOKBACK: u64 = 120;
const COOLDOWN: u64 = 90;
const SLEEP: u64 = 120;
const PER_STEP: u32 = 2;
/// How often it looks. The documentation does not say.
const INTERVAL: u64 = 5;

/// Numaflow.
pub struct Numaflow {
    min: u32,
    max: u32,
    target: f64,
    stepped: Option<u64>,
    /// When, what was pending, and what had been handled in all.
    seen: VecDeque<(u64, u64, u64)>,
}

impl Numaflow {
    pub fn new(trace: &Trace) -> Self {
        let partitions = u32::try_from(trace.partitions).unwrap_or(u32::MAX);
        Self {
            min: trace.scaling.min_replicas,
            max: trace.scaling.max_replicas.min(partitions.max(trace.scaling.min_replicas)),
            target: trace.scaling.drain_seconds as f64,
            stepped: None,
            seen: VecDeque::new(),
        }
    }

    /// The average of what was pending, and of what was handled each second.
    fn averages(&self) -> (f64, f64) {
        let (Some(first), Some(last)) = (self.seen.front(), self.seen.back()) else { return (0.0, 0.0) };
        let pending = self.seen.iter().map(|(_, pending, _)| *pending as f64).sum::<f64>() / self.seen.len() as f64;
        let over = (last.0 - first.0).max(1) as f64;
        (pending, (last.2 - first.2) as f64 / over)
    }

    fn desired(&self, now: u32) -> u32 {
        let (pending, rate) = self.averages();
        if pending <= 0.0 && rate <= 0.0 {
            return self.min;
        }
        if rate <= 0.0 {
            return now;
        }
        let wanted = (pending / self.target) / (rate / f64::from(now));
        (1..self.max).find(|n| f64::from(*n) >= wanted).unwrap_or(self.max).max(self.min)
    }
}

impl Contestant for Numaflow {
    fn name(&self) -> &'static str {
        "numaflow"
    }

    fn look(&mut self, world: &World) -> Option<u32> {
        let second = world.second;
        if !second.is_multiple_of(INTERVAL) {
            return None;
        }
        self.seen.push_back((second, world.lag(), world.handled()));
        while self.seen.front().is_some_and(|(seen, ..)| second - seen > LOOKBACK) {
            self.seen.pop_front();
        }
        let now = world.declared();
        let since = self.stepped.map(|stepped| second - stepped);
        if now == 0 {
            if since.is_some_and(|since| since < SLEEP) {
                return None;
            }
            self.stepped = Some(second);
            return Some(1);
        }
        if since.is_some_and(|since| since < COOLDOWN) {
            return None;
        }
        let desired = self.desired(now).clamp(now.saturating_sub(PER_STEP), now + PER_STEP);
        if desired != now {
            self.stepped = Some(second);
        }
        Some(desired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::BUILT_IN;

    #[test]
    fn the_formula_of_the_documentation() {
        let mut numaflow = Numaflow { target: 3.0, max: 50, min: 0, ..Numaflow::new(&Trace::parse(BUILT_IN[0].1).unwrap()) };
        assert_eq!(numaflow.desired(2), 0, "nothing pending, no rate");
        numaflow.seen = VecDeque::from([(0, 60_000, 0), (1, 60_000, 10_000)]);
        assert_eq!(numaflow.desired(2), 4, "the example of its specification");
        numaflow.seen = VecDeque::from([(0, 60_000, 0), (1, 60_000, 0)]);
        assert_eq!(numaflow.desired(2), 2, "no rate to divide by");
        numaflow.seen = VecDeque::from([(0, 0, 0), (1, 0, 10_000)]);
        assert_eq!(numaflow.desired(4), 1, "no lag while records keep coming");
    }
}
