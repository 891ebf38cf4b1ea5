//! What is kept of one partition: where the group stands, how fast records come, and when they came.

use std::{collections::VecDeque, time::Duration};

use super::lag::Standing;

/// How many intervals the rate of arrival is taken from.
const RATES: usize = 3;
/// How many times are kept at which the end was somewhere. Of more, every other one is forgotten.
const MARKS: usize = 32;

/// What is kept of a partition.
#[derive(Clone, Debug)]
pub struct Track {
    /// Where the group stood last.
    pub standing: Standing,
    /// Records that were worked off since the reading before that.
    pub worked_off: u64,
    /// The lag at the reading before that.
    pub lag_before: u64,
    /// Whether it is one of the source's.
    pub is_source: bool,
    /// How old the oldest waiting record was when its timestamp was read, and when that was.
    told_age: Option<(Duration, Duration)>,
    arrivals: VecDeque<f64>,
    /// Where the end was seen when.
    marks: VecDeque<Mark>,
}

/// An end: what is before it came no later than it was seen first, what follows it came no sooner than it was seen last.
#[derive(Clone, Copy, Debug)]
struct Mark {
    first: Duration,
    last: Duration,
    end: i64,
}

impl Track {
    /// A partition that is seen for the first time.
    pub fn new(at: Duration, standing: Standing, age: Option<Duration>, is_source: bool) -> Self {
        let marks = VecDeque::from([Mark { first: at, last: at, end: standing.end }]);
        let told_age = age.map(|age| (at, age));
        Self { standing, worked_off: 0, lag_before: standing.lag, is_source, told_age, arrivals: VecDeque::new(), marks }
    }

    /// Takes in another reading, that long after the last.
    pub fn update(&mut self, at: Duration, since: Duration, standing: Standing, age: Option<Duration>) {
        let before = std::mem::replace(&mut self.standing, standing);
        if standing.end < before.end || standing.position < before.position {
            // Another topic of that name, or somebody has set the group back: what was seen before says nothing.
            *self = Self::new(at, standing, age, self.is_source);
            return;
        }
        self.worked_off = worked_off(before, standing);
        self.lag_before = before.lag;
        self.told_age = age.map(|age| (at, age)).or(self.told_age.filter(|_| standing.position == before.position));
        self.arrivals.push_back(per_second(difference(standing.end, before.end), since));
        if self.arrivals.len() > RATES {
            self.arrivals.pop_front();
        }
        self.mark(at);
    }

    fn mark(&mut self, at: Duration) {
        let Standing { position, end, .. } = self.standing;
        // The last mark at or before the position tells when the oldest waiting record came at the earliest.
        while self.marks.get(1).is_some_and(|mark| mark.end <= position) {
            self.marks.pop_front();
        }
        match self.marks.back_mut() {
            Some(mark) if mark.end == end => mark.last = at,
            _ => self.marks.push_back(Mark { first: at, last: at, end }),
        }
        if self.marks.len() > MARKS {
            let mut index = 0_usize;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// Whether not even what was waiting at the last reading is worked off.
    pub fn is_behind(&self) -> bool {
        self.lag_before > self.worked_off && self.standing.lag > 0
    }

    /// The same, where that tells of workers: what waits for a retry, or behind others, may wait for longer than it seems to.
    pub fn is_backlogged(&self) -> bool {
        self.is_source && self.is_behind()
    }

    /// Records that come each second: the middle one of the last intervals, of two the smaller, so that one burst is no rate.
    pub fn arrival(&self) -> f64 {
        let rates = sorted(self.arrivals.iter().copied());
        rates.get(rates.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// How old the oldest waiting record is, as its timestamp told. Else at most, by when others were seen to come, or at least, where it
    /// came before anybody looked. None: nothing waits.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        if self.standing.lag == 0 {
            return None;
        }
        let since = |at: Duration| now.saturating_sub(at);
        let is_before = |mark: &&Mark| mark.end <= self.standing.position;
        let at_most = self.marks.front().filter(is_before).map(|mark| since(mark.last));
        let at_least = self.marks.iter().find(|mark| !is_before(mark)).map(|mark| since(mark.first));
        let told = self.told_age.map(|(at, age)| age + since(at));
        // A clock that is wrong, or a time that is not that of writing, tells no more than what was seen.
        let told = told.map(|told| told.min(at_most.unwrap_or(told)).max(at_least.unwrap_or_default()));
        told.or(at_most).or(at_least)
    }
}

/// Records that workers have done from one reading to the next. What was deleted meanwhile is nobody's work.
fn worked_off(before: Standing, after: Standing) -> u64 {
    if after.reached { difference(after.position, before.position.max(after.start)) } else { 0 }
}

/// The smallest first.
pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// A number of records over a time.
pub fn per_second(records: u64, over: Duration) -> f64 {
    if over.is_zero() { 0.0 } else { records as f64 / over.as_secs_f64() }
}

fn difference(later: i64, earlier: i64) -> u64 {
    u64::try_from(later.saturating_sub(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(position: i64, end: i64) -> Standing {
        Standing { start: 0, position, reached: true, end, lag: u64::try_from(end - position).unwrap(), adrift: false }
    }

    fn seen(readings: &[(i64, i64)]) -> Track {
        let second = Duration::from_secs;
        let mut readings = readings.iter();
        let (position, end) = readings.next().unwrap();
        let mut track = Track::new(second(0), standing(*position, *end), None, true);
        for (at, (position, end)) in (5..).step_by(5).zip(readings) {
            track.update(second(at), second(5), standing(*position, *end), None);
        }
        track
    }

    #[test]
    fn an_age_is_that_of_the_oldest_record_that_waits() {
        for (name, readings, now, age) in [
            ("nothing waits", &[(0, 0), (10, 10)][..], 5, None),
            ("came since the last reading", &[(0, 0), (0, 0), (0, 10)], 10, Some(5)),
            ("waits since then", &[(0, 0), (0, 10), (0, 20), (5, 30)], 15, Some(15)),
            ("the first ones are done", &[(0, 0), (0, 10), (0, 20), (10, 30)], 15, Some(10)),
            ("waited before anybody looked, and more does not come", &[(0, 10), (0, 10), (5, 10)], 10, Some(10)),
            ("came after a long time in which those before were worked off", &[(0, 10), (5, 10), (9, 10), (15, 20)], 15, Some(5)),
            ("and more", &[(0, 0), (0, 10), (0, 20), (19, 30)], 20, Some(15)),
        ] {
            assert_eq!(seen(readings).age(Duration::from_secs(now)), age.map(Duration::from_secs), "{name}");
        }
        let mut track = seen(&[(0, 10)]);
        track.update(Duration::from_secs(5), Duration::from_secs(5), standing(0, 10), Some(Duration::from_secs(600)));
        assert_eq!(track.age(Duration::from_secs(15)), Some(Duration::from_secs(610)), "the record's own timestamp counts");
        for (name, readings, told, age) in [
            ("a time that is not that of writing", &[(0, 0), (0, 0), (0, 10)][..], 9_000, 5),
            ("a clock that is ahead", &[(0, 0), (0, 10), (0, 10)], 0, 5),
            ("nobody looked before it came", &[(0, 10), (0, 10), (0, 10)], 9_000, 9_000),
        ] {
            let mut track = seen(readings);
            track.told_age = Some((Duration::from_secs(10), Duration::from_secs(told)));
            assert_eq!(track.age(Duration::from_secs(10)), Some(Duration::from_secs(age)), "{name}");
        }
        let many: Vec<(i64, i64)> = (0..500).map(|end| (0, end)).collect();
        assert!(seen(&many).marks.len() <= MARKS);
        assert_eq!(seen(&many).age(Duration::from_secs(2495)), Some(Duration::from_secs(2495)));
    }

    #[test]
    fn what_was_deleted_is_nobodys_work() {
        for (name, start, (from, to), reached, worked_off) in [
            ("nothing was deleted", 0, (40, 60), true, 20),
            ("what was done already", 40, (40, 60), true, 20),
            ("some that waited, and others were done", 55, (40, 60), true, 5),
            ("all that was committed", 60, (40, 60), true, 0),
            ("more than that", 90, (40, 90), false, 0),
            ("nothing is committed yet", 90, (80, 90), false, 0),
        ] {
            let mut track = seen(&[(from, 100)]);
            track.update(Duration::from_secs(5), Duration::from_secs(5), Standing { start, reached, ..standing(to, 100) }, None);
            assert_eq!(track.worked_off, worked_off, "{name}");
        }
    }

    #[test]
    fn a_burst_is_no_rate() {
        for (readings, rate) in [
            (&[(0, 0), (0, 0), (0, 50_000)][..], 0.0),
            (&[(0, 0), (0, 50), (0, 100), (0, 150)], 10.0),
            (&[(0, 0), (0, 0), (0, 50_000), (0, 50_000), (0, 50_000)], 0.0),
            // A group that was set back, a topic that was made anew.
            (&[(90, 100), (90, 200), (0, 200)], 0.0),
            (&[(90, 100), (90, 200), (0, 10), (0, 60)], 10.0),
        ] {
            assert!((seen(readings).arrival() - rate).abs() < 1e-9, "{readings:?}");
        }
    }
}
