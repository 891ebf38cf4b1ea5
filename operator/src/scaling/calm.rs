//! When fewer workers are enough: when they would have been over the whole window, and what is saved is more than a step costs.

use std::{collections::VecDeque, time::Duration};

/// How many workers it would have taken, at each reading of the window.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// When the window began.
    since: Option<Duration>,
    seen: VecDeque<(Duration, u32)>,
}

impl Needs {
    /// Takes in how many it took.
    pub fn push(&mut self, at: Duration, workers: u32, window: Duration) {
        self.since.get_or_insert(at);
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
}

/// Whether it pays to take workers away: if the time to come is like the window, it must save more than a step costs.
#[must_use]
pub fn pays(fewer_by: u32, window: Duration, cost: f64) -> bool {
    f64::from(fewer_by) * window.as_secs_f64() > cost
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
            needs.push(second(at), workers, window);
            expected.push(needs.most(second(at), window));
        }
        assert_eq!(expected, [None, None, None, Some(3), Some(2), Some(1), Some(4), Some(4)]);
        needs.forget();
        needs.push(second(130), 1, window);
        assert_eq!(needs.most(second(180), window), None);
        assert_eq!(needs.most(second(190), window), Some(1));
    }

    #[test]
    fn what_costs_more_than_it_saves_is_left() {
        let window = Duration::from_secs(60);
        assert!(pays(1, window, 30.0) && pays(3, window, 150.0));
        assert!(!pays(1, window, 90.0));
    }
}
