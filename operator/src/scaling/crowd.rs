//! Whether partitions that are more than one worker can do together have met at one.
//!
//! Groups share partitions out by number, not by load: two with much to do may be at one worker while another has none of them. Nobody
//! is asked who has which. A partition that gets clearly less than it needs, and less than a worker can do, has others beside it. With
//! another number of workers they are shared out anew, and with one for each partition all are alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    effect::remembered_for,
    observation::PartitionKey,
    span::{RECORDS, Span},
};

/// The part of what a partition needs, or of what a worker can do, below which it gets too little, and how many looks that takes at
/// least. What is committed at once may fall to one look or the other, so that a smaller difference takes more of them.
const SHORT: (f64, usize) = (0.75, 3);
const A_LITTLE_SHORT: (f64, usize) = (0.9, 12);
/// How many records a worker does from look to look at the most, if one at which it does none says nothing.
const FEW: f64 = 4.0;

/// A partition of the source, or several that go to one worker together, at a look.
#[derive(Clone, Debug)]
pub struct Share {
    /// The first of them.
    pub key: PartitionKey,
    /// Whether more waited than could be worked off.
    pub is_backlogged: bool,
    /// Records that were worked off.
    pub worked_off: u64,
    /// Records a second that must be.
    pub needed: f64,
    /// Whether the oldest record that waits has used up much of its time.
    pub is_late: bool,
}

/// A number of workers that did what a smaller one did not.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Floor {
    /// For so many as it would have taken if partitions were shared out by load, or more.
    needed: u32,
    workers: u32,
    /// When fewer may be tried again.
    until: Duration,
    failures: u32,
}

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub struct Crowd {
    /// What was done in those with more than that, since the last time that it was enough to tell by.
    done: BTreeMap<PartitionKey, Span>,
    /// Those that get too little.
    short: BTreeSet<PartitionKey>,
    floor: Option<Floor>,
}

impl Crowd {
    /// Takes in an interval in which nothing but records moved. `speed`: of a worker.
    pub fn undisturbed(&mut self, over: Duration, speed: f64, shares: &[Share]) {
        // One that stands still, for example at a record that is tried again, says nothing of those beside it.
        let stands_still = |share: &Share| share.worked_off == 0 && speed * over.as_secs_f64() >= FEW;
        let telling: Vec<&Share> = shares.iter().filter(|share| share.is_backlogged && !stands_still(share)).collect();
        let keys: BTreeSet<&PartitionKey> = telling.iter().map(|share| &share.key).collect();
        self.done.retain(|key, _| keys.contains(key));
        self.short.retain(|key| keys.contains(key));
        for share in telling {
            let done = self.done.entry(share.key.clone()).or_default();
            done.add(share.worked_off, over, 1);
            if !share.is_late || done.looks() < SHORT.1 || speed * done.over().as_secs_f64() < RECORDS as f64 {
                continue;
            }
            let part = done.total() / share.needed.min(speed);
            let is_whole = done.looks() >= A_LITTLE_SHORT.1;
            let is_short = part < SHORT.0 || (is_whole && part < A_LITTLE_SHORT.0);
            if is_short || is_whole {
                *done = Span::default();
            }
            if is_short {
                self.short.insert(share.key.clone());
            } else {
                self.short.remove(&share.key);
            }
        }
    }

    /// Takes in that something else than records moved, or that partitions cannot have met.
    pub fn disturbed(&mut self) {
        self.done.clear();
        self.short.clear();
    }

    /// Whether some get too little.
    pub fn is_found(&self) -> bool {
        !self.short.is_empty()
    }

    /// Takes in that another number of workers was declared, where `needed` would do if partitions were shared out by load.
    pub fn declared(&mut self, at: Duration, from: u32, to: u32, needed: Option<u32>) {
        if let Some(needed) = needed.filter(|_| self.is_found() && to > from) {
            // What waits meanwhile makes it more than it was.
            let needed = needed.min(from);
            // Found again while it holds: it goes on to a larger number.
            let (needed, failures) = match self.floor {
                Some(floor) if at < floor.until => (needed.min(floor.needed), floor.failures),
                Some(floor) => (needed, floor.failures.saturating_add(1)),
                None => (needed, 0),
            };
            self.floor = Some(Floor { needed, workers: to, until: at + remembered_for(failures), failures });
        }
        self.disturbed();
    }

    /// How many workers it takes, where so many would do if partitions were shared out by load.
    pub fn at_least(&self, now: Duration, needed: u32) -> u32 {
        let floor = self.floor.filter(|floor| now < floor.until && needed >= floor.needed);
        floor.map_or(needed, |floor| needed.max(floor.workers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn share(partition: i32, worked_off: u64, needed: f64) -> Share {
        let key = PartitionKey { topic: "orders".to_owned(), partition };
        Share { key, is_backlogged: true, worked_off, needed, is_late: true }
    }

    #[test]
    fn a_partition_that_gets_too_little_has_others_beside_it() {
        let drained = || Share { is_backlogged: false, ..share(0, 250, 90.0) };
        // A worker does 100 records a second, 500 from look to look.
        for (name, looks, found) in [
            ("half of what it needs", vec![share(0, 250, 90.0); 3], true),
            ("not for long enough", vec![share(0, 250, 90.0); 2], false),
            ("all that it needs", vec![share(0, 250, 50.0); 3], false),
            ("all that a worker can do, and more is needed", vec![share(0, 500, 900.0); 3], false),
            ("a little less, for a minute", vec![share(0, 400, 90.0); 12], true),
            ("a little less, for less than that", vec![share(0, 400, 90.0); 11], false),
            ("nearly all, for a minute", vec![share(0, 420, 90.0); 12], false),
            ("half of that", vec![share(0, 250, 900.0); 3], true),
            ("it was drained meanwhile", vec![share(0, 250, 90.0), share(0, 250, 90.0), drained(), share(0, 250, 90.0)], false),
            ("nothing is late yet", vec![Share { is_late: false, ..share(0, 250, 90.0) }; 9], false),
            ("it stands still now and then", vec![share(0, 250, 90.0), share(0, 250, 90.0), share(0, 0, 90.0), share(0, 250, 90.0)], false),
            ("it was short, and is no more", [vec![share(0, 250, 90.0); 3], vec![share(0, 450, 90.0); 3]].concat(), false),
            ("it was short, and is drained", [vec![share(0, 250, 90.0); 3], vec![drained()]].concat(), false),
            ("it was short, and stands still", [vec![share(0, 250, 90.0); 3], vec![share(0, 0, 90.0)]].concat(), false),
            ("it was short, and another has its place", [vec![share(0, 250, 90.0); 3], vec![share(1, 450, 90.0)]].concat(), false),
        ] {
            let mut crowd = Crowd::default();
            looks.iter().for_each(|look| crowd.undisturbed(second(5), 100.0, std::slice::from_ref(look)));
            assert_eq!(crowd.is_found(), found, "{name}");
        }
    }

    #[test]
    fn slow_workers_take_longer_to_tell() {
        // One record in 20 s, of which this partition gets none.
        let mut crowd = Crowd::default();
        for look in 1..=80 {
            crowd.undisturbed(second(5), 0.05, &[share(0, 0, 1.0)]);
            assert_eq!(crowd.is_found(), look == 80, "{look}");
        }
    }

    #[test]
    fn what_was_enough_is_remembered() {
        let found = |crowd: &mut Crowd| (0..3).for_each(|_| crowd.undisturbed(second(5), 100.0, &[share(0, 250, 90.0)]));
        let mut crowd = Crowd::default();
        crowd.declared(second(0), 2, 3, Some(2));
        assert_eq!(crowd.at_least(second(1), 2), 2, "nothing was found");
        found(&mut crowd);
        crowd.declared(second(10), 2, 3, Some(2));
        assert!(!crowd.is_found());
        for (at, needed, workers) in [(11, 2, 3), (11, 1, 1), (11, 6, 6), (609, 2, 3), (610, 2, 2)] {
            assert_eq!(crowd.at_least(second(at), needed), workers, "{needed} at {at}");
        }
        found(&mut crowd);
        crowd.declared(second(700), 2, 3, Some(2));
        assert_eq!([1_899, 1_900].map(|at| crowd.at_least(second(at), 2)), [3, 2], "twice as long");
        found(&mut crowd);
        crowd.declared(second(710), 3, 6, Some(2));
        assert_eq!(crowd.at_least(second(711), 2), 6, "as many did not do");
        found(&mut crowd);
        crowd.declared(second(720), 6, 2, Some(2));
        assert_eq!(crowd.at_least(second(731), 2), 6, "a step down does not count");
        let mut crowd = Crowd::default();
        found(&mut crowd);
        crowd.declared(second(0), 2, 3, Some(4));
        assert_eq!([1, 2].map(|needed| crowd.at_least(second(1), needed)), [1, 3], "what waited meanwhile does not count");
    }
}
