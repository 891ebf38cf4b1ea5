//! How fast a worker is, measured while it has more to do than it can.
//!
//! A worker that keeps up says only how fast records come; so an interval counts only where not even what was waiting at its
//! beginning was worked off at its end.

use std::{collections::VecDeque, time::Duration};

use super::track::{Track, median, per_second};

/// How many measurements count.
const MEASUREMENTS: usize = 5;

/// What the workers did in an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Records a second, of all workers.
    pub total: f64,
    /// Records a second, of one worker with enough to do; none: none had.
    pub per_worker: Option<f64>,
    /// Partitions in which more waited than could be worked off.
    pub backlogged: usize,
}

/// What so many workers did in an interval of that length.
pub fn throughput<'a>(tracks: impl Iterator<Item = &'a Track>, ready: u32, over: Duration) -> Throughput {
    let (mut total, mut behind, mut backlogged) = (0, 0, 0_usize);
    for track in tracks {
        total += track.worked_off;
        if track.is_behind() {
            behind += track.worked_off;
            backlogged += 1;
        }
    }
    let total = per_second(total, over);
    let busy = u32::try_from(backlogged).unwrap_or(u32::MAX);
    let per_worker = match (busy, ready) {
        (0, _) | (_, 0) => None,
        (busy, ready) if busy >= ready => Some(total / f64::from(ready)),
        // Each of these partitions is at another worker, at best.
        (busy, _) => Some(per_second(behind, over) / f64::from(busy)),
    };
    Throughput { total, per_worker, backlogged }
}

/// How fast a worker is.
#[derive(Clone, Debug, Default)]
pub struct Speed {
    measured: VecDeque<f64>,
}

impl Speed {
    /// That it was so fast some time ago.
    pub fn known(per_worker: f64) -> Self {
        Self { measured: (per_worker > 0.0).then_some(per_worker).into_iter().collect() }
    }

    /// Takes a measurement in.
    pub fn measure(&mut self, seen: &Throughput, ready: u32) {
        let shown = if ready == 0 { 0.0 } else { seen.total / f64::from(ready) };
        match seen.per_worker {
            // Workers that do nothing at all are broken, not slow.
            Some(rate) if rate > 0.0 => self.push(rate),
            _ if self.per_worker().is_some_and(|known| shown > known) => self.push(shown),
            _ => {}
        }
    }

    fn push(&mut self, rate: f64) {
        self.measured.push_back(rate);
        if self.measured.len() > MEASUREMENTS {
            self.measured.pop_front();
        }
    }

    /// Records a second; none: that was not measured yet.
    pub fn per_worker(&self) -> Option<f64> {
        median(self.measured.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::lag::Standing;

    fn track(lag_before: u64, worked_off: u64, lag: u64) -> Track {
        let standing = Standing { position: 0, end: 0, lag, adrift: false };
        let mut track = Track::new(Duration::ZERO, standing, None, true);
        (track.lag_before, track.worked_off) = (lag_before, worked_off);
        track
    }

    #[test]
    fn only_workers_with_enough_to_do_tell_their_speed() {
        for (name, tracks, ready, per_worker) in [
            ("all have enough", vec![track(900, 100, 800), track(900, 100, 800)], 2, Some(20.0)),
            ("one worker with two partitions", vec![track(900, 100, 800), track(900, 100, 800)], 1, Some(40.0)),
            ("one hot partition of three workers", vec![track(900, 100, 800), track(5, 10, 5), track(5, 10, 5)], 3, Some(20.0)),
            ("they keep up: what waits was just written", vec![track(10, 100, 10)], 1, None),
            ("the same of a few", vec![track(1, 1, 1)], 1, None),
            ("they have drained it", vec![track(900, 900, 0)], 1, None),
            ("nothing moves", vec![track(900, 0, 950)], 1, Some(0.0)),
            ("no workers", vec![track(900, 0, 900)], 0, None),
        ] {
            let seen = throughput(tracks.iter(), ready, Duration::from_secs(5));
            assert_eq!(seen.per_worker, per_worker, "{name}");
        }
    }

    #[test]
    fn a_speed_is_the_middle_of_the_last_measurements() {
        let seen = |per_worker| Throughput { total: 0.0, per_worker, backlogged: 1 };
        let mut speed = Speed::default();
        for (measured, expected) in [
            (Some(0.0), None),
            (Some(100.0), Some(100.0)),
            (None, Some(100.0)),
            (Some(10.0), Some(100.0)),
            (Some(110.0), Some(100.0)),
            (Some(50.0), Some(100.0)),
            (Some(50.0), Some(50.0)),
            (Some(0.0), Some(50.0)),
        ] {
            speed.measure(&seen(measured), 1);
            assert_eq!(speed.per_worker(), expected, "{measured:?}");
        }
        let mut known = Speed::known(40.0);
        known.measure(&Throughput { total: 200.0, per_worker: None, backlogged: 0 }, 2);
        assert_eq!(known.per_worker(), Some(100.0), "it has shown more than it was known for");
    }
}
