//! Where partitions begin: what the engine does from the moment they come until they are read, and when one cannot go on.
//!
//! A partition that comes stands still until it is found out where the group begins in it. That is written into the books
//! first, and committed unless it is already; then its records come.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::FutureExt;
use penstock_crds::position::Note;
use penstock_kafka::TopicPartition;

use super::{Engine, Wake};
use crate::stream::{
    lookup::{Found, Place, Waiting},
    outbox::Outbox,
    positions::Cut,
    retry,
    ticket::Assignment,
    world::{Member, World},
};

/// The pause before another attempt to find out where to begin: the first, and the longest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The partitions that have not begun, or cannot go on.
#[derive(Default)]
pub(super) struct Places {
    waiting: HashMap<Assignment, TopicPartition>,
    /// Attempts in a row that have not found out everything.
    failures: u32,
    /// Read as far as they could be, and why no further.
    stranded: HashMap<Assignment, String>,
}

impl<W: World, O: Outbox> Engine<W, O> {
    /// Partitions came: finds out where they begin.
    pub(super) fn place(&mut self, partitions: &[TopicPartition]) {
        let books = &self.parts.books;
        let waiting: Vec<Waiting> = partitions.iter().filter_map(|name| Some((name.clone(), books.current_of(name)?))).collect();
        self.places.waiting.extend(waiting.iter().map(|(name, assignment)| (*assignment, name.clone())));
        self.look(waiting, Duration::ZERO);
    }

    fn look(&self, waiting: Vec<Waiting>, pause: Duration) {
        let lookup = Arc::clone(&self.parts.lookup);
        let found = async move {
            tokio::time::sleep(pause).await;
            Wake::Found(lookup.find(waiting).await)
        };
        self.pauses.push(found.boxed());
    }

    /// Lets those partitions begin of which it was found out where, and asks again about the others.
    pub(super) fn found(&mut self, Found { places, left, why }: Found) {
        let books = &mut self.parts.books;
        let mut begun = Vec::new();
        for Place { held, assignment, begin } in places {
            if books.current_of(&held.partition) != Some(assignment) {
                continue;
            }
            if let Some(moved) = &begin.moved {
                let (reason, lost) = (moved.reason.as_str(), moved.records_lost());
                tracing::warn!(partition = %held.partition, reason, from = moved.from, to = moved.to, lost, "the position was moved");
                self.parts.counters.moved(&held.partition, moved);
            }
            books.begin_at(assignment, begin.offset, begin.note.encode().into(), begin.is_committed);
            self.places.waiting.remove(&assignment);
            begun.push((held, begin.offset));
        }
        if !begun.is_empty() {
            self.holds.share_among(self.parts.lookup.source_partitions());
            self.see_families(&begun.iter().map(|(held, _)| held.partition.clone()).collect::<Vec<_>>());
            let member = Arc::clone(&self.parts.member);
            self.pauses.push(async move { Wake::Begun(member.begin(&begun).await) }.boxed());
            self.parts.outbox.moved(false);
        }
        let left: Vec<Waiting> = left.into_iter().filter(|(_, assignment)| self.places.waiting.contains_key(assignment)).collect();
        if left.is_empty() {
            self.places.failures = 0;
        } else {
            self.places.failures = self.places.failures.saturating_add(1);
            let why = why.map_or_else(String::new, |why| why.to_string());
            self.parts.needs.positions.missing(format!("it is not known where to begin in {} partitions: {why}", left.len()));
            let (initial, max) = LOOK_AGAIN;
            self.look(left, retry::pause(initial, max, self.places.failures, self.parts.world.chance()));
        }
        self.tell_places();
    }

    /// The next record of a partition is not there. What was read of it before is still handled. That the log may be another one
    /// is committed at once: whoever begins in it next may find it grown beyond the offset again, and nothing else would tell.
    pub(super) fn strand(&mut self, partition: TopicPartition, reason: String, cut_at: Option<i64>) {
        let Some(assignment) = self.parts.books.current_of(&partition) else { return };
        tracing::warn!(%partition, reason, cut_at, "a partition cannot be read on");
        // Where it is not known from where on, all of it may be.
        let cut_at = cut_at.unwrap_or(0);
        if let Some(note) = self.parts.books.note_of(assignment).and_then(|note| Note::decode(&note)) {
            self.parts.lookup.cut(&partition, Cut { at: cut_at, moved: note.moved.clone() });
            self.parts.books.renote(assignment, note.encode_cut(cut_at).into());
            self.parts.outbox.moved(false);
        }
        self.places.stranded.insert(assignment, format!("{partition} is gone: {reason}"));
    }

    /// Why a partition must be begun anew, once everything that was read of it is settled.
    pub fn stranded(&self) -> Option<String> {
        let done = |(assignment, why): (&Assignment, &String)| self.parts.books.is_settled(*assignment).then(|| why.clone());
        self.places.stranded.iter().find_map(done)
    }

    /// These assignments are over.
    pub(super) fn forget_places(&mut self, gone: &[Assignment]) {
        self.places.waiting.retain(|assignment, _| !gone.contains(assignment));
        self.places.stranded.retain(|assignment, _| !gone.contains(assignment));
        self.tell_places();
    }

    fn tell_places(&self) {
        if self.places.waiting.is_empty() {
            self.parts.needs.positions.met();
        }
    }
}
