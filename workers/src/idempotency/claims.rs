//! What is known of every key, put together from the notes about it in their order. Pure: no I/O, no clock.
//!
//! Every worker that has read the same notes knows the same. A claim counts where nobody has the key, or where it names the one whose
//! place it takes; so of many that want a key one gets it, the first in the log. Notes that come a second time change nothing.

use std::collections::HashMap;

use uuid::Uuid;

use super::{
    key::{KeyId, Request},
    notes::Note,
};

/// How much longer than the window a key is remembered, in milliseconds: clocks differ.
const SLACK: i64 = 3_600_000;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing that counts. What claims it must name this one, if there is one.
    Free(Option<Uuid>),
    /// Somebody is about to write what came with it.
    Held {
        /// The claim.
        claim: Uuid,
        /// Names the producer that it is written with.
        writer: Uuid,
        /// When it was claimed, in milliseconds since the Unix epoch.
        at: i64,
    },
    /// What came with it is written.
    Done(Request),
}

#[derive(Debug)]
struct Entry {
    claim: Uuid,
    at: i64,
    state: State,
}

#[derive(Debug)]
enum State {
    Held(Uuid),
    Done(Request),
}

/// Every key.
#[derive(Debug)]
pub struct Claims {
    entries: HashMap<KeyId, Entry>,
    /// For how long a key counts, in milliseconds.
    window: i64,
}

impl Claims {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(window: i64) -> Self {
        Self { entries: HashMap::new(), window }
    }

    /// Takes in a note that was written at that time.
    pub fn apply(&mut self, key: KeyId, note: Note, at: i64) {
        let known = self.entries.get(&key);
        match note {
            Note::Claimed { claim, writer, after, .. } => {
                let counts = known.is_none_or(|known| match known.state {
                    State::Held(_) => after == Some(known.claim),
                    State::Done(_) => known.at.saturating_add(self.window) <= at,
                });
                if counts {
                    self.entries.insert(key, Entry { claim, at, state: State::Held(writer) });
                }
            }
            Note::Done { claim, request } => drop(self.entries.insert(key, Entry { claim, at, state: State::Done(request) })),
            Note::Released { claim } => {
                if known.is_some_and(|known| known.claim == claim && matches!(known.state, State::Held(_))) {
                    self.entries.remove(&key);
                }
            }
        }
    }

    /// What is known of a key at that time.
    #[must_use]
    pub fn standing(&self, key: KeyId, now: i64) -> Standing {
        match self.entries.get(&key) {
            None => Standing::Free(None),
            Some(Entry { claim, at, state: State::Done(_) }) if at.saturating_add(self.window) <= now => Standing::Free(Some(*claim)),
            Some(Entry { state: State::Done(request), .. }) => Standing::Done(*request),
            Some(Entry { claim, at, state: State::Held(writer) }) => Standing::Held { claim: *claim, writer: *writer, at: *at },
        }
    }

    /// Whether that claim has the key.
    #[must_use]
    pub fn is_held_by(&self, key: KeyId, claim: Uuid) -> bool {
        self.entries.get(&key).is_some_and(|known| known.claim == claim && matches!(known.state, State::Held(_)))
    }

    /// Forgets what counts no more at that time.
    pub fn forget_old(&mut self, now: i64) {
        let oldest = now.saturating_sub(self.window).saturating_sub(SLACK);
        self.entries.retain(|_, known| known.at > oldest);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How many keys are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    const WINDOW: i64 = 1_000;

    fn key() -> KeyId {
        KeyId::new("n", "p", None, "k")
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn request() -> Request {
        Request::new(&HeaderMap::new(), b"")
    }

    fn claimed(n: u128, after: Option<u128>) -> Note {
        Note::Claimed { claim: id(n), request: request(), writer: id(n), after: after.map(id) }
    }

    fn done(n: u128) -> Note {
        Note::Done { claim: id(n), request: request() }
    }

    fn released(n: u128) -> Note {
        Note::Released { claim: id(n) }
    }

    fn after(notes: &[(Note, i64)]) -> Claims {
        let mut claims = Claims::new(WINDOW);
        for (note, at) in notes {
            claims.apply(key(), note.clone(), *at);
        }
        claims
    }

    #[test]
    fn who_has_the_key() {
        let held = |n: u128, at| Standing::Held { claim: id(n), writer: id(n), at };
        for (notes, now, expected) in [
            (vec![], 0, Standing::Free(None)),
            (vec![(claimed(1, None), 5)], 9, held(1, 5)),
            // The first in the log, also much later.
            (vec![(claimed(1, None), 5), (claimed(2, None), 6)], 9, held(1, 5)),
            (vec![(claimed(1, None), 5), (claimed(2, None), 9_000)], 9_001, held(1, 5)),
            // One that names who it follows; of two such the first.
            (vec![(claimed(1, None), 5), (claimed(2, Some(1)), 6), (claimed(3, Some(1)), 7)], 9, held(2, 6)),
            (vec![(claimed(1, None), 5), (released(1), 6)], 9, Standing::Free(None)),
            (vec![(claimed(1, None), 5), (released(2), 6)], 9, held(1, 5)),
            (vec![(claimed(1, None), 5), (released(1), 6), (claimed(2, Some(1)), 7)], 9, held(2, 7)),
            (vec![(claimed(1, None), 5), (done(1), 6)], 9, Standing::Done(request())),
            // What is done stays done, whoever wants to follow, until its window is over.
            (vec![(claimed(1, None), 5), (done(1), 6), (claimed(2, Some(1)), 7)], 9, Standing::Done(request())),
            (vec![(claimed(1, None), 5), (done(1), 6), (released(1), 7)], 9, Standing::Done(request())),
            (vec![(claimed(1, None), 5), (done(1), 6)], 6 + WINDOW, Standing::Free(Some(id(1)))),
            (vec![(done(1), 6), (claimed(2, Some(1)), 6 + WINDOW)], 6 + WINDOW, held(2, 6 + WINDOW)),
            // The claim is gone from the topic, or all of it comes again.
            (vec![(done(1), 6)], 9, Standing::Done(request())),
            (vec![(claimed(1, None), 5), (done(1), 6), (claimed(1, None), 5), (done(1), 6)], 9, Standing::Done(request())),
        ] {
            let claims = after(&notes);
            assert_eq!(claims.standing(key(), now), expected, "{notes:?}");
            if let Standing::Held { claim, .. } = expected {
                assert!(claims.is_held_by(key(), claim) && !claims.is_held_by(key(), id(99)));
            }
        }
    }

    #[test]
    fn old_keys_are_forgotten() {
        let mut claims = after(&[(done(1), 5)]);
        claims.forget_old(5 + WINDOW + SLACK - 1);
        assert_eq!(claims.len(), 1);
        claims.forget_old(5 + WINDOW + SLACK);
        assert_eq!(claims.len(), 0);
    }

    proptest! {
        /// Writers are bound to the protocol: done only who has the key, and who follows has ended the one before.
        #[test]
        fn at_most_one_is_done_within_a_window(steps in prop::collection::vec((0_u8..4, 0_usize..4), 0..40)) {
            let (mut claims, mut next, mut written) = (Claims::new(i64::MAX), 0_u128, 0);
            let (mut open, mut fenced): (Vec<u128>, Vec<u128>) = (Vec::new(), Vec::new());
            for (at, (step, who)) in (0_i64..).zip(steps) {
                match step {
                    0 => {
                        next += 1;
                        open.push(next);
                        claims.apply(key(), claimed(next, None), at);
                    }
                    1 => if let Standing::Held { claim, .. } = claims.standing(key(), at) {
                        next += 1;
                        open.push(next);
                        fenced.push(claim.as_u128());
                        claims.apply(key(), claimed(next, Some(claim.as_u128())), at);
                    },
                    2 => if let Some(one) = open.get(who % open.len().max(1)).copied()
                        && claims.is_held_by(key(), id(one)) && !fenced.contains(&one)
                    {
                        written += 1;
                        claims.apply(key(), done(one), at);
                    },
                    _ => if let Some(one) = open.get(who % open.len().max(1)).copied() && !fenced.contains(&one) {
                        fenced.push(one);
                        claims.apply(key(), released(one), at);
                    },
                }
            }
            prop_assert!(written <= 1);
        }
    }
}
