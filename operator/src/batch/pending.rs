//! What waits to be sent together. Pure: the time is handed in.
//!
//! First in, first out: a batch is the oldest that wait, in the order in which they came. A key stands in it once: what came for the same
//! key later waits for the next batch.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// How much is sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long the first one waits for others.
    pub window: Duration,
    /// How long it waits while an earlier batch is under way: what is slow to answer gets fewer and larger requests.
    pub behind: Duration,
    /// The most that are sent together.
    pub most: usize,
}

/// Something that waits.
#[derive(Debug)]
pub struct Entry<Q, T> {
    /// What it is about.
    pub key: String,
    /// What is asked.
    pub question: Q,
    /// Where the answer goes.
    pub ticket: T,
    since: Instant,
}

/// What waits, oldest first.
#[derive(Debug)]
pub struct Pending<Q, T> {
    entries: VecDeque<Entry<Q, T>>,
    limits: Limits,
}

impl<Q, T> Pending<Q, T> {
    /// Nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { entries: VecDeque::new(), limits }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Another one waits from now on.
    pub fn push(&mut self, key: String, question: Q, ticket: T, now: Instant) {
        self.entries.push_back(Entry { key, question, ticket, since: now });
    }

    /// When the next batch shall go; none: nothing waits. `is_behind`: another one is under way.
    #[must_use]
    pub fn due(&self, is_behind: bool) -> Option<Instant> {
        let first = self.entries.front()?;
        let waits = if is_behind { self.limits.behind } else { self.limits.window };
        Some(if self.entries.len() >= self.limits.most { first.since } else { first.since + waits })
    }

    /// Takes the next batch.
    pub fn cut(&mut self) -> Vec<Entry<Q, T>> {
        let (mut batch, mut keys, mut left) = (Vec::new(), BTreeSet::new(), VecDeque::new());
        while batch.len() < self.limits.most
            && let Some(entry) = self.entries.pop_front()
        {
            if keys.insert(entry.key.clone()) {
                batch.push(entry);
            } else {
                left.push_back(entry);
            }
        }
        left.append(&mut self.entries);
        self.entries = left;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(5);
    const BEHIND: Duration = Duration::from_millis(50);

    fn pending(keys: &[&str], begin: Instant) -> Pending<usize, ()> {
        let mut pending = Pending::new(Limits { window: WINDOW, behind: BEHIND, most: 3 });
        for (number, key) in keys.iter().enumerate() {
            pending.push((*key).to_owned(), number, (), begin + Duration::from_millis(u64::try_from(number).unwrap()));
        }
        pending
    }

    #[test]
    fn batches_keep_the_order_and_name_a_key_once() {
        for (keys, batches) in [
            (&[][..], &[][..]),
            (&["a"], &[&[0][..]]),
            (&["a", "b", "c"], &[&[0, 1, 2]]),
            (&["a", "b", "c", "d", "e"], &[&[0, 1, 2], &[3, 4]]),
            (&["a", "a", "b", "a", "c", "d"], &[&[0, 2, 4], &[1, 5], &[3]]),
        ] {
            let mut pending = pending(keys, Instant::now());
            let mut cut = Vec::new();
            while pending.len() > 0 {
                cut.push(pending.cut().into_iter().map(|entry| entry.question).collect::<Vec<_>>());
            }
            assert_eq!(cut, batches, "{keys:?}");
        }
    }

    #[test]
    fn a_batch_goes_when_it_is_full_or_its_first_has_waited_long_enough() {
        let begin = Instant::now();
        for (keys, is_behind, due) in [
            (&[][..], false, None),
            (&["a"], false, Some(WINDOW)),
            (&["a", "b"], false, Some(WINDOW)),
            (&["a", "b"], true, Some(BEHIND)),
            (&["a", "b", "c"], false, Some(Duration::ZERO)),
            (&["a", "b", "c"], true, Some(Duration::ZERO)),
        ] {
            assert_eq!(pending(keys, begin).due(is_behind), due.map(|after| begin + after), "{keys:?}");
        }
        let mut rest = pending(&["a", "b", "c", "d"], begin);
        rest.cut();
        assert_eq!(rest.due(false), Some(begin + Duration::from_millis(3) + WINDOW), "what is left waits for its own window");
    }
}
