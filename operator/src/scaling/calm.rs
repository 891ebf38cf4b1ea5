//! When fewer workers are enough: when they would have been over the whole window, and what is saved is more than a step costs.

use std::{collections::VecDeque, time::Duration};

/// How many workers it would have taken, at each reading of the window.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// When the window began.
    since: Option<Duration>,
    /// Since when fewer have been enough than there are.
    fewer: Option<Duration>,
    seen: VecDeque<(Duration, u32)>,
}

impl Needs {
    /// Takes in how many it took, and how many there are.
    pub fn push(&mut self, at: Duration, workers: u32, window: Duration, declared: u32) {
        self.since.get_or_insert(at);
        self.fewer = if workers < declared { self.fewer.or(Some(at)) } else { None };
        // What is smaller than a later one never counts any more.
        while self.seen.back().is_some_and(|(_, earlier)| *earlier <= workers) {
            self.seen.pop_back();
        }
        self.seen.push_back((at, workers));
        while self.seen.front().is_some_and(|(seen, _)| at.saturating_sub(*seen) > window) {
            self.seen.pop_front();
        }
    }

    /// Begins anew: what happened meanwhile is not known.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The most that it took in the window; none: it was not seen as a whole.
    pub fn most(&self, now: Duration, window: Duration) -> Option<u32> {
        let since = self.since.filter(|since| now.saturating_sub(*since) >= window);
        since.and(self.seen.front()).map(|(_, workers)| *workers)
    }

    /// For how long fewer have been enough than there are; none: they are not.
    pub fn since_fewer(&self, now: Duration) -> Option<Duration> {
        self.fewer.map(|since| now.saturating_sub(since))
    }
}

/// Whether it pays to take workers away: it must save more than a step costs if fewer are enough for as long again as they have been.
#[must_use]
pub fn pays(fewer_by: u32, lasted: Duration, cost: f64) -> bool {
    f64::from(fewer_by) * lasted.as_secs_f64() > cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_the_whole_window_counts() {
        let (second, window) = (Duration::from_secs, Duration::from_secs(60));
        let mut needs = Needs::default();
        let mut expected = vec![];
        for (at, workers) in [(0, 3), (20, 1), (40, 2), (60, 1), (80, 1), (101, 1), (121, 4), (122, 1)] {
            needs.push(second(at), workers, window, 4);
            expected.push(needs.most(second(at), window));
        }
        assert_eq!(expected, [None, None, None, Some(3), Some(2), Some(1), Some(4), Some(4)]);
        needs.forget();
        needs.push(second(130), 1, window, 4);
        assert_eq!(needs.most(second(180), window), None);
        assert_eq!(needs.most(second(190), window), Some(1));
    }

    #[test]
    fn what_costs_more_than_it_saves_is_left() {
        let window = Duration::from_secs(60);
        assert!(pays(1, window, 30.0) && pays(3, window, 150.0));
        assert!(!pays(1, window, 90.0));
        let mut needs = Needs::default();
        for (at, workers, lasted) in [(0, 1, Some(0)), (50, 1, Some(50)), (60, 3, None), (90, 2, Some(0)), (190, 1, Some(100))] {
            let second = Duration::from_secs;
            needs.push(second(at), workers, window, 3);
            assert_eq!(needs.since_fewer(second(at)), lasted.map(second), "{at}");
        }
    }
}
