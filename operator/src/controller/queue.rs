//! Which objects are to be reconciled, and when. Pure: the time is handed in.
//!
//! First asked for, first served, however many wait. An object waits once, however often it is asked for, and is never handed out
//! while it is being worked on: who asks for it meanwhile has it handed out again afterwards.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    time::Duration,
};

use tokio::time::Instant;

/// The objects.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<T>,
    is_waiting: HashSet<T>,
    working: HashSet<T>,
    /// Asked for while they were being worked on.
    again: HashSet<T>,
    later: BTreeMap<(Instant, u64), T>,
    alarms: HashMap<T, (Instant, u64)>,
    number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            is_waiting: HashSet::new(),
            working: HashSet::new(),
            again: HashSet::new(),
            later: BTreeMap::new(),
            alarms: HashMap::new(),
            number: 0,
        }
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// Somebody asks for the object now.
    pub fn ask(&mut self, object: T) {
        self.disarm(&object);
        if self.working.contains(&object) {
            self.again.insert(object);
        } else if self.is_waiting.insert(object.clone()) {
            self.waiting.push_back(object);
        }
    }

    /// Those whose pause is over wait from now on.
    pub fn wake(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
            let object = first.remove();
            self.ask(object);
        }
    }

    /// When the next pause is over.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Instant> {
        self.later.keys().next().map(|(at, _)| *at)
    }

    /// The object that has waited longest. It is being worked on from now on.
    pub fn take(&mut self) -> Option<T> {
        let object = self.waiting.pop_front()?;
        self.is_waiting.remove(&object);
        self.working.insert(object.clone());
        Some(object)
    }

    /// The work on the object has ended; it is asked for again after the pause, if one is given.
    pub fn done(&mut self, object: T, pause: Option<Duration>, now: Instant) {
        self.working.remove(&object);
        if self.again.remove(&object) {
            self.ask(object);
        } else if let Some(pause) = pause {
            self.disarm(&object);
            self.number += 1;
            let alarm = (now + pause, self.number);
            self.alarms.insert(object.clone(), alarm);
            self.later.insert(alarm, object);
        }
    }

    fn disarm(&mut self, object: &T) {
        if let Some(alarm) = self.alarms.remove(object) {
            self.later.remove(&alarm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.take()).collect()
    }

    #[test]
    fn first_asked_first_served_and_each_once() {
        let mut queue = Queue::default();
        for object in ["c", "a", "b", "a", "c", "d"] {
            queue.ask(object);
        }
        assert_eq!(drain(&mut queue), ["c", "a", "b", "d"]);
    }

    #[test]
    fn what_is_asked_for_during_the_work_comes_again_after_it() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.ask("a");
        assert_eq!(queue.take(), Some("a"));
        queue.ask("a");
        queue.ask("a");
        assert_eq!(queue.take(), None, "never twice at once");
        queue.done("a", Some(Duration::from_secs(60)), now);
        assert_eq!(queue.take(), Some("a"), "the pause does not hold back what was asked for");
        queue.done("a", None, now);
        assert_eq!((queue.take(), queue.next_alarm()), (None, None));
    }

    #[test]
    fn a_pause_ends_in_time_or_with_the_next_question() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut queue = Queue::default();
        for (object, pause) in [("a", 3), ("b", 1), ("c", 2), ("d", 1)] {
            queue.ask(object);
            queue.take();
            queue.done(object, Some(pause * second), now);
        }
        assert_eq!(queue.next_alarm(), Some(now + second));
        queue.ask("a");
        assert_eq!(drain(&mut queue), ["a"]);
        queue.wake(now + second);
        assert_eq!(drain(&mut queue), ["b", "d"]);
        queue.wake(now + 5 * second);
        assert_eq!(drain(&mut queue), ["c"], "the pause of `a` ended when it was asked for");
        assert_eq!(queue.next_alarm(), None);
    }
}
