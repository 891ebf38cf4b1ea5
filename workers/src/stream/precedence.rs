//! Which records may be put beside a source topic already. Pure.
//!
//! A record that waits in a retry topic, or is held back, is found there by whoever reads the partition next, before it reads
//! again what was not committed. So what is put beside must not be in Kafka before what follows from every earlier record of the
//! lane: else, after a crash, the earlier one would be handled for the first time behind it. What is held back needs not wait for
//! what is held back: it goes to one partition, where the client keeps the order once the broker knows the producer. So one
//! goes ahead, and others follow it together.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// What follows from a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Outputs, a dead letter, or nothing.
    Effect,
    /// It waits in a retry topic.
    Retried,
    /// It is held back.
    HeldBack,
}

/// What is under way in lanes.
#[derive(Debug)]
pub(crate) struct Precedence<K, T>(HashMap<K, Lane<T>>);

#[derive(Debug)]
struct Lane<T> {
    /// What is not acknowledged, and others wait for.
    preceding: u32,
    /// What may not be written yet, in its order.
    waiting: VecDeque<(Consequence, T)>,
}

impl<K, T> Default for Precedence<K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { preceding: 0, waiting: VecDeque::new() }
    }
}

impl<T> Lane<T> {
    fn may_write(&self, consequence: Consequence) -> bool {
        consequence == Consequence::Effect || self.preceding == 0
    }

    fn next(&mut self) -> Option<T> {
        if self.waiting.front().is_none_or(|(consequence, _)| !self.may_write(*consequence)) {
            return None;
        }
        let (consequence, item) = self.waiting.pop_front()?;
        self.preceding += u32::from(consequence == Consequence::Retried);
        Some(item)
    }
}

impl<K: Eq + Hash, T> Precedence<K, T> {
    /// It is decided what follows from the next record of a lane. Gives it back if it may be written now: others wait for it then.
    pub fn decide(&mut self, lane: K, consequence: Consequence, item: T) -> Option<T> {
        let known = self.0.entry(lane).or_default();
        if consequence == Consequence::Effect || (known.waiting.is_empty() && known.may_write(consequence)) {
            known.preceding += 1;
            return Some(item);
        }
        known.waiting.push_back((consequence, item));
        None
    }

    /// Others wait for what follows from a record, though they did not when it was decided or do not any more.
    pub fn precede(&mut self, lane: K) {
        self.0.entry(lane).or_default().preceding += 1;
    }

    /// Nothing waits any more for what follows from a record, as a rule because Kafka has it. Gives back what may be written now.
    pub fn settle(&mut self, lane: &K) -> Vec<T> {
        let Some(known) = self.0.get_mut(lane) else { return Vec::new() };
        known.preceding = known.preceding.saturating_sub(1);
        let free = std::iter::from_fn(|| known.next()).collect();
        if known.preceding == 0 && known.waiting.is_empty() {
            self.0.remove(lane);
        }
        free
    }

    /// Forgets lanes, with what waited in them.
    pub fn remove(&mut self, mut gone: impl FnMut(&K) -> bool) {
        self.0.retain(|lane, _| !gone(lane));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Consequence::*, *};

    #[test]
    fn what_is_put_beside_waits_for_what_came_before_it_in_its_lane() {
        let mut precedence = Precedence::default();
        assert_eq!(precedence.decide('k', Effect, 1), Some(1));
        assert_eq!(precedence.decide('k', Effect, 2), Some(2));
        assert_eq!(precedence.decide('k', Retried, 3), None);
        assert_eq!((precedence.decide('k', HeldBack, 4), precedence.decide('k', HeldBack, 5)), (None, None));
        assert_eq!(precedence.decide('l', Retried, 6), Some(6));
        assert!(precedence.settle(&'k').is_empty());
        assert_eq!(precedence.settle(&'k'), [3]);
        assert_eq!(precedence.decide('k', HeldBack, 7), None);
        assert_eq!(precedence.settle(&'k'), [4, 5, 7]);
        // One goes ahead.
        assert_eq!((precedence.decide('k', HeldBack, 8), precedence.decide('k', HeldBack, 9)), (Some(8), None));
        assert_eq!(precedence.settle(&'k'), [9]);
        // It could not be held back, and became a dead letter.
        precedence.precede('k');
        assert_eq!((precedence.decide('k', HeldBack, 10), precedence.settle(&'k')), (None, vec![10]));
        assert!(precedence.settle(&'l').is_empty());
        assert!(precedence.0.is_empty());
    }

    fn consequence() -> impl Strategy<Value = Consequence> {
        prop_oneof![Just(Effect), Just(Retried), Just(HeldBack)]
    }

    proptest! {
        /// Whenever something put beside is with the client, nothing else that comes before it is, but what is held back once
        /// the first of it is acknowledged.
        #[test]
        fn nothing_put_beside_overtakes(records in prop::collection::vec(consequence(), 1..60), picks in prop::collection::vec(any::<prop::sample::Index>(), 200)) {
            let (mut precedence, mut coming) = (Precedence::default(), records.iter().copied().enumerate());
            let (mut written, mut under_way): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
            for pick in picks {
                let free: Vec<(usize, bool)> = if pick.index(2) == 0 || under_way.is_empty() {
                    let decided = coming.next().and_then(|(at, consequence)| precedence.decide('k', consequence, at));
                    decided.into_iter().map(|at| (at, true)).collect()
                } else {
                    under_way.swap_remove(pick.index(under_way.len()));
                    precedence.settle(&'k').into_iter().map(|at| (at, records[at] == Retried)).collect()
                };
                for (at, precedes) in free {
                    if records[at] != Effect {
                        prop_assert!(under_way.is_empty(), "{at} is written while {under_way:?} are under way");
                        prop_assert!(written.iter().all(|before| records[*before] == Effect || before < &at), "{at} overtakes");
                    }
                    written.push(at);
                    if precedes {
                        under_way.push(at);
                    }
                }
            }
            let left = coming.count();
            while under_way.pop().is_some() {
                for at in precedence.settle(&'k') {
                    written.push(at);
                    if records[at] == Retried {
                        under_way.push(at);
                    }
                }
            }
            written.sort_unstable();
            prop_assert_eq!(written, (0..records.len() - left).collect::<Vec<_>>());
            prop_assert!(precedence.0.is_empty());
        }
    }
}
