//! How fast a worker is, measured while it has more to do than it can.
//!
//! A worker that keeps up says only how fast records come; so a look counts only where not even what was waiting at the last
//! one was worked off in a partition of the source.

use std::{collections::VecDeque, time::Duration};

use super::{
    need::surely_busy,
    span::Span,
    track::{Track, per_second, sorted},
};

/// How many measurements count.
const MEASUREMENTS: usize = 5;
/// What lasts for fewer looks than that is passing.
const LOOKS: usize = 3;

/// What the workers did in an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Records, of all workers.
    pub records: u64,
    /// How long the interval was.
    pub over: Duration,
    /// Records of those workers that had enough to do, and how many they were; none: none had.
    pub busy: Option<(u64, u32)>,
    /// Whether they were so many and did nothing else, however partitions were shared out.
    pub is_sure: bool,
    /// How many had enough to do at least, however partitions were shared out.
    pub surely: u32,
    /// Lots in which more waited in partitions of the source than could be worked off.
    pub backlogged: usize,
}

impl Throughput {
    /// Records a second, of all workers.
    pub fn total(&self) -> f64 {
        per_second(self.records, self.over)
    }
}

/// What so many workers did in an interval of that length. `lots`: partitions that go to one worker together.
pub fn throughput<'a>(lots: impl Iterator<Item = Vec<&'a Track>>, ready: u32, over: Duration) -> Throughput {
    let (mut records, mut behind, mut backlogged, mut sources) = (0, 0, 0_usize, 0_u32);
    for lot in lots {
        sources += u32::from(lot.iter().any(|track| track.is_source));
        let worked_off = lot.iter().map(|track| track.worked_off).sum::<u64>();
        records += worked_off;
        if lot.iter().any(|track| track.is_backlogged()) {
            behind += worked_off;
            backlogged += 1;
        }
    }
    let busy = match (u32::try_from(backlogged).unwrap_or(u32::MAX), ready) {
        (0, _) | (_, 0) => None,
        (busy, ready) if busy >= ready => Some((records, ready)),
        // Each of these lots is at another worker, at best.
        (busy, _) => Some((behind, busy)),
    };
    let surely = surely_busy(backlogged, sources, ready);
    // Where not all are busy, those that are do other partitions as well, unless each has one.
    let is_sure = busy.is_none_or(|(_, busy)| surely >= busy && (busy == ready || ready >= sources));
    Throughput { records, over, busy, is_sure, surely, backlogged }
}

/// How fast a worker is.
#[derive(Clone, Debug, Default)]
pub struct Speed {
    measured: VecDeque<f64>,
    /// What those with enough to do have done since the last measurement.
    busy: Span,
    /// What those that keep up have done.
    keeping_up: Span,
    /// Whether that is a guess.
    is_guess: bool,
    /// What was measured of workers that have taken the place of those that the others are of; none: there are no such workers.
    fresh: Option<Vec<f64>>,
}

impl Speed {
    /// That it was so fast some time ago.
    pub fn known(per_worker: f64) -> Self {
        Self { measured: (per_worker > 0.0).then_some(per_worker).into_iter().collect(), ..Self::default() }
    }

    /// Takes in an interval in which nothing but records moved.
    pub fn look(&mut self, seen: &Throughput, ready: u32) {
        if let Some((records, _)) = seen.busy.filter(|_| !seen.is_sure) {
            return self.guess(records, seen);
        }
        if let Some((records, workers)) = seen.busy {
            self.keeping_up = Span::default();
            self.busy.add(records, seen.over, workers);
            if let Some(span) = self.busy.take_if_enough() {
                self.push(span.per_worker());
            }
            return;
        }
        self.busy = Span::default();
        if seen.records == 0 {
            self.keeping_up = Span::default();
            return;
        }
        self.keeping_up.add(seen.records, seen.over, ready);
        if let Some(shown) = self.keeping_up.take_if_enough()
            && self.per_worker().is_some_and(|known| shown.per_worker() > known)
        {
            self.push(shown.per_worker());
        }
    }

    /// Takes in what may have been done by one worker or by several: better than nothing, until that is known.
    fn guess(&mut self, records: u64, seen: &Throughput) {
        if self.per_worker().is_some() {
            return self.interrupt();
        }
        self.busy.add(records, seen.over, seen.surely.max(1));
        if let Some(span) = self.busy.take_if_enough() {
            self.push(span.per_worker());
            self.is_guess = true;
        }
    }

    /// Takes in that something else than records moved, or that workers are broken, not slow.
    pub fn interrupt(&mut self) {
        (self.busy, self.keeping_up) = (Span::default(), Span::default());
    }

    /// Takes in that other workers have taken the place of those that were measured: what is known counts until they were measured
    /// often enough, since the first records take longer.
    pub fn replaced(&mut self) {
        self.interrupt();
        self.fresh = Some(Vec::new());
    }

    fn push(&mut self, rate: f64) {
        if std::mem::take(&mut self.is_guess) {
            self.measured.clear();
        }
        if let Some(mut fresh) = self.fresh.take() {
            fresh.push(rate);
            if fresh.len() < LOOKS && !self.measured.is_empty() {
                self.fresh = Some(fresh);
                return;
            }
            self.measured = fresh.into();
            return;
        }
        self.measured.push_back(rate);
        if self.measured.len() > MEASUREMENTS {
            self.measured.pop_front();
        }
    }

    /// Records a second: the middle one of the last measurements, of two the larger, since one that was cut short shows less. None: that
    /// was not measured yet.
    pub fn per_worker(&self) -> Option<f64> {
        let rates = sorted(self.measured.iter().copied());
        rates.get(rates.len() / 2).copied()
    }

    /// Whether workers have enough to do, and how fast they are will be known soon.
    pub fn is_being_measured(&self) -> bool {
        self.measured.is_empty() && self.busy.looks() >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::lag::Standing;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn track(lag_before: u64, worked_off: u64, lag: u64) -> Track {
        let standing = Standing { start: 0, position: 0, reached: true, end: 0, lag, adrift: false };
        let mut track = Track::new(Duration::ZERO, standing, None, true);
        (track.lag_before, track.worked_off) = (lag_before, worked_off);
        track
    }

    fn retries(lag_before: u64, worked_off: u64, lag: u64) -> Track {
        let mut track = track(lag_before, worked_off, lag);
        track.is_source = false;
        track
    }

    #[test]
    fn only_workers_with_enough_to_do_tell_their_speed() {
        for (name, tracks, ready, busy) in [
            ("all have enough", vec![track(900, 100, 800), track(900, 100, 800)], 2, Some((200, 2))),
            ("one worker with two partitions", vec![track(900, 100, 800), track(900, 100, 800)], 1, Some((200, 1))),
            ("one hot partition of three workers", vec![track(900, 100, 800), track(5, 10, 5), track(5, 10, 5)], 3, Some((100, 1))),
            ("they keep up: what waits was just written", vec![track(10, 100, 10)], 1, None),
            ("the same of a few", vec![track(1, 1, 1)], 1, None),
            ("they have drained it", vec![track(900, 900, 0)], 1, None),
            ("nothing moves", vec![track(900, 0, 950)], 1, Some((0, 1))),
            ("they keep up, and retries wait for when they may", vec![track(10, 100, 10), retries(9, 0, 9)], 1, None),
            ("they have enough, and retry some of it", vec![track(900, 100, 800), retries(9, 5, 9)], 1, Some((105, 1))),
            ("no workers", vec![track(900, 0, 900)], 0, None),
        ] {
            let lots = tracks.iter().map(|track| vec![track]);
            assert_eq!(throughput(lots, ready, INTERVAL).busy, busy, "{name}");
        }
        let (one, other) = (track(900, 100, 800), track(900, 50, 850));
        let together = throughput([vec![&one, &other]].into_iter(), 2, INTERVAL);
        assert_eq!((together.busy, together.backlogged), (Some((150, 1)), 1), "one worker has both");
    }

    #[test]
    fn two_partitions_may_be_at_one_worker() {
        let quiet = || track(0, 0, 0);
        for (name, tracks, ready, is_sure) in [
            ("two of four, with two workers", vec![track(900, 100, 800), track(900, 100, 800), quiet(), quiet()], 2, false),
            ("with four", vec![track(900, 100, 800), track(900, 100, 800), quiet(), quiet()], 4, true),
            ("three of four, with two", vec![track(900, 100, 800), track(900, 100, 800), track(900, 100, 800), quiet()], 2, true),
            ("one, whose worker may do others beside it", vec![track(900, 100, 800), quiet(), quiet(), quiet()], 2, false),
            ("one, with one worker", vec![track(900, 100, 800), quiet(), quiet(), quiet()], 1, true),
            ("one, with four", vec![track(900, 100, 800), quiet(), quiet(), quiet()], 4, true),
            ("none", vec![quiet(), quiet()], 1, true),
        ] {
            assert_eq!(throughput(tracks.iter().map(|track| vec![track]), ready, INTERVAL).is_sure, is_sure, "{name}");
        }
        let unsure = Throughput { busy: Some((500, 2)), is_sure: false, ..busy(500) };
        let mut speed = Speed::default();
        (0..9).for_each(|_| speed.look(&unsure, 2));
        assert_eq!(speed.per_worker(), Some(100.0), "better than nothing");
        speed.look(&busy(300), 1);
        assert_eq!(speed.per_worker(), Some(60.0), "until it is known");
        let mut speed = Speed::known(100.0);
        (0..9).for_each(|_| speed.look(&unsure, 2));
        assert_eq!(speed.per_worker(), Some(100.0));
    }

    #[test]
    fn other_workers_are_measured_anew() {
        let mut speed = Speed::known(100.0);
        (0..5).for_each(|_| speed.look(&busy(500), 1));
        speed.replaced();
        for (records, expected) in [(100, 100.0), (250, 100.0), (300, 50.0), (300, 60.0)] {
            speed.look(&busy(records), 1);
            assert_eq!(speed.per_worker(), Some(expected), "{records}");
        }
    }

    fn busy(records: u64) -> Throughput {
        Throughput { records, over: INTERVAL, busy: Some((records, 1)), is_sure: true, surely: 1, backlogged: 1 }
    }

    fn keeps_up(records: u64) -> Throughput {
        Throughput { busy: None, backlogged: 0, ..busy(records) }
    }

    #[test]
    fn a_speed_is_the_middle_of_the_last_measurements() {
        let mut speed = Speed::default();
        for (seen, expected) in [
            (busy(0), None),
            (keeps_up(500), None),
            (busy(500), Some(100.0)),
            (keeps_up(50), Some(100.0)),
            (busy(50), Some(100.0)),
            (busy(550), Some(100.0)),
            (busy(250), Some(100.0)),
            (busy(250), Some(50.0)),
            (busy(0), Some(50.0)),
        ] {
            speed.look(&seen, 1);
            assert_eq!(speed.per_worker(), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_slow_worker_is_as_slow_as_it_is() {
        for (name, looks, expected) in [
            ("a record takes 20 s", [0, 0, 0, 1].repeat(3), Some(0.05)),
            ("not before a minute", [0, 0, 0, 1].repeat(2), None),
            ("a record takes two minutes", [vec![0; 23], vec![1]].concat(), Some(1.0 / 120.0)),
            ("nothing is done", vec![0; 99], None),
        ] {
            let mut speed = Speed::default();
            for records in looks {
                assert_eq!(speed.per_worker(), None, "{name}");
                speed.look(&busy(records), 1);
            }
            assert_eq!(speed.per_worker(), expected, "{name}");
            assert_eq!(speed.is_being_measured(), expected.is_none(), "{name}");
        }
    }

    #[test]
    fn more_may_be_shown_by_workers_that_keep_up() {
        for (name, looks, ready, expected) in [
            ("more than it was known for", vec![keeps_up(1_000)], 2, 100.0),
            ("as much", vec![keeps_up(400)], 2, 40.0),
            ("one record of a few", [keeps_up(1), keeps_up(0)].repeat(20), 1, 0.1),
            ("a few all the time", vec![keeps_up(1); 12], 1, 0.2),
            ("not for long enough", vec![keeps_up(1); 11], 1, 0.1),
        ] {
            let mut speed = Speed::known(if ready == 1 { 0.1 } else { 40.0 });
            looks.iter().for_each(|seen| speed.look(seen, ready));
            assert_eq!(speed.per_worker(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_measurement_that_was_interrupted_begins_anew() {
        let mut speed = Speed::default();
        (0..11).for_each(|_| speed.look(&busy(1), 1));
        speed.interrupt();
        speed.look(&busy(1), 1);
        assert_eq!(speed.per_worker(), None);
    }
}
