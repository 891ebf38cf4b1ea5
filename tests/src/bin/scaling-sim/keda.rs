//! KEDA's Kafka scaler with the HorizontalPodAutoscaler that it makes, as their documentation describes them.
//!
//! - [ScaledObject](https://keda.sh/docs/latest/reference/scaledobject-spec/): every `pollingInterval` (30 s) KEDA looks whether
//!   there is any lag (`activationLagThreshold`, 0), and goes from 0 workers to one; it goes back to 0 once there was none for
//!   `cooldownPeriod`. In between the HorizontalPodAutoscaler decides.
//! - [Kafka scaler](https://keda.sh/docs/latest/scalers/apache-kafka/): the metric is the lag of all partitions, `lagThreshold`
//!   its target for one worker (`AverageValue`); there are no more workers than partitions.
//! - [Algorithm](https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details): every
//!   15 s, lag divided by target, rounded up; nothing where that differs by at most a tenth from what there is. Up: at most twice
//!   as many, or four more, in 15 s. Down: to the most that was asked for in the last 300 s.
//!
//! It gets the threshold that somebody would choose who knows the workers' speed: what one of them can do in `drainSeconds`.
//! `cooldownPeriod` is `idleSeconds`; all else is as it comes.

use std::collections::VecDeque;

use crate::{contestant::Contestant, trace::Trace, world::World};

const POLLING: u64 = 30;
const SYNC: u64 = 15;
const TOLERANCE: f64 = 0.1;
const STABILIZATION: u64 = 300;

/// KEDA with a HorizontalPodAutoscaler.
pub struct Keda {
    min: u32,
    max: u32,
    cooldown: u64,
    threshold: f64,
    partitions: u32,
    active: u64,
    asked_for: VecDeque<(u64, u32)>,
}

impl Keda {
    pub fn new(trace: &Trace) -> Self {
        let speed = trace.speed(0).map_or(1.0, |speed| speed.per_worker);
        Self {
            min: trace.scaling.min_replicas,
            max: trace.scaling.max_replicas,
            cooldown: trace.scaling.idle_seconds,
            threshold: (speed * trace.scaling.drain_seconds as f64).max(1.0),
            partitions: u32::try_from(trace.partitions).unwrap_or(u32::MAX),
            active: 0,
            asked_for: VecDeque::new(),
        }
    }

    /// What the HorizontalPodAutoscaler makes of a lag.
    fn recommend(&mut self, second: u64, lag: f64, now: u32) -> u32 {
        let lag = lag.min(f64::from(self.partitions) * self.threshold);
        let ratio = lag / (f64::from(now) * self.threshold);
        let asked = if (ratio - 1.0).abs() <= TOLERANCE { now } else { ceil(lag / self.threshold) };
        let asked = asked.clamp(self.min.max(1), self.max.max(1));
        self.asked_for.push_back((second, asked));
        while self.asked_for.front().is_some_and(|(asked, _)| second - asked > STABILIZATION) {
            self.asked_for.pop_front();
        }
        let stabilized = self.asked_for.iter().map(|(_, workers)| *workers).max().unwrap_or(asked);
        if asked > now { asked.min((2 * now).max(now + 4)) } else { stabilized.min(now) }
    }
}

/// The next whole number of workers.
fn ceil(workers: f64) -> u32 {
    (0..u32::MAX).find(|n| f64::from(*n) >= workers).unwrap_or(u32::MAX)
}

impl Contestant for Keda {
    fn name(&self) -> &'static str {
        "keda"
    }

    fn look(&mut self, world: &World) -> Option<u32> {
        let (second, lag, now) = (world.second, world.lag(), world.declared());
        if second.is_multiple_of(POLLING) {
            if lag > 0 {
                self.active = second;
            }
            if now == 0 && lag > 0 {
                return Some(self.min.max(1));
            }
            if self.min == 0 && now > 0 && lag == 0 && second - self.active >= self.cooldown {
                self.asked_for.clear();
                return Some(0);
            }
        }
        (now > 0 && second.is_multiple_of(SYNC)).then(|| self.recommend(second, lag as f64, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::BUILT_IN;

    #[test]
    fn the_formula_of_the_documentation() {
        let keda = || Keda { threshold: 10.0, partitions: 20, max: 50, ..Keda::new(&Trace::parse(BUILT_IN[0].1).unwrap()) };
        for (lag, now, expected) in [
            (50.0, 1, 5),    // four more
            (500.0, 6, 12),  // twice as many
            (500.0, 15, 20), // no more than partitions
            (54.0, 5, 5),    // within a tenth
            (56.0, 5, 6),
            (10.0, 5, 1),
        ] {
            assert_eq!(keda().recommend(0, lag, now), expected, "{lag} {now}");
        }
        let mut keda = keda();
        assert_eq!(keda.recommend(0, 100.0, 6), 10);
        assert_eq!(keda.recommend(300, 10.0, 10), 10, "the most of the last 300 s");
        assert_eq!(keda.recommend(301, 10.0, 10), 1);
    }
}
