//! Decides which records wait for one another. Pure.
//!
//! In a lane one record is under way at a time, and the next one follows in the order in which they came. Lanes never
//! wait for one another.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
};

/// The lanes that have a record under way, each with what waits behind it.
#[derive(Debug)]
pub struct Lanes<K, T> {
    busy: HashMap<K, VecDeque<T>>,
}

impl<K, T> Default for Lanes<K, T> {
    fn default() -> Self {
        Self { busy: HashMap::new() }
    }
}

impl<K: Eq + Hash, T> Lanes<K, T> {
    /// Adds an item to its lane and gives it back if it may start at once.
    pub fn push(&mut self, lane: K, item: T) -> Option<T> {
        match self.busy.entry(lane) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(item);
                None
            }
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                Some(item)
            }
        }
    }

    /// Whether an item is under way in the lane.
    pub fn is_busy(&self, lane: &K) -> bool {
        self.busy.contains_key(lane)
    }

    /// Whether no lane has an item under way.
    pub fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }

    /// The item under way lets the next one pass, which is given back to be started.
    pub fn release(&mut self, lane: &K) -> Option<T> {
        let next = self.busy.get_mut(lane)?.pop_front();
        if next.is_none() {
            self.busy.remove(lane);
        }
        next
    }

    /// Forgets lanes and gives back what waited in them.
    pub fn remove(&mut self, mut gone: impl FnMut(&K) -> bool) -> Vec<T> {
        self.busy.extract_if(|lane, _| gone(lane)).flat_map(|(_, waiting)| waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lane_passes_one_at_a_time_and_ends_when_it_is_empty() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.push('a', 1), Some(1));
        assert_eq!(lanes.push('a', 2), None);
        assert_eq!(lanes.push('b', 3), Some(3));
        assert_eq!(lanes.release(&'a'), Some(2));
        assert_eq!(lanes.release(&'a'), None);
        assert_eq!(lanes.release(&'a'), None);
        assert_eq!(lanes.push('a', 4), Some(4));
        assert_eq!(lanes.push('b', 5), None);
        assert_eq!(lanes.remove(|lane| *lane == 'b'), [5]);
        assert_eq!(lanes.push('b', 6), Some(6));
    }

    proptest! {
        #[test]
        fn each_lane_keeps_its_order_whatever_ends_first(
            records in prop::collection::vec(0_u8..5, 1..100),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut lanes = Lanes::default();
            let mut under_way: Vec<(u8, usize)> = Vec::new();
            let mut started: HashMap<u8, Vec<usize>> = HashMap::new();
            let mut arriving = records.iter().copied().enumerate();
            for pick in picks {
                let begun = if pick.index(2) == 0 || under_way.is_empty() {
                    arriving.next().and_then(|(at, lane)| lanes.push(lane, (lane, at)))
                } else {
                    let (lane, _) = under_way.swap_remove(pick.index(under_way.len()));
                    lanes.release(&lane)
                };
                if let Some((lane, at)) = begun {
                    prop_assert!(under_way.iter().all(|(other, _)| *other != lane), "two in lane {lane}");
                    under_way.push((lane, at));
                    started.entry(lane).or_default().push(at);
                }
            }
            for (at, lane) in arriving {
                if let Some(begun) = lanes.push(lane, (lane, at)) {
                    under_way.push(begun);
                    started.entry(lane).or_default().push(at);
                }
            }
            while let Some((lane, _)) = under_way.pop() {
                if let Some(begun) = lanes.release(&lane) {
                    under_way.push(begun);
                    started.entry(lane).or_default().push(begun.1);
                }
            }
            for lane in 0..5 {
                let came: Vec<usize> = records.iter().enumerate().filter(|(_, l)| **l == lane).map(|(at, _)| at).collect();
                prop_assert_eq!(started.remove(&lane).unwrap_or_default(), came);
            }
        }
    }
}
