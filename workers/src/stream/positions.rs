//! Decides where a group begins in a partition, and tells when that is not where it had stopped. Pure: no I/O; the time is
//! handed in.
//!
//! Nothing that can be read is ever skipped in favour of what came later: where the committed offset is of no use, the
//! partition is read from its start. An offset that somebody else has set is obeyed.

use jiff::{Timestamp, Unit};
use penstock_crds::{
    position::{MoveReason, Moved, Note},
    worker::StartFrom,
};
use penstock_kafka::{CommittedOffset, PartitionEdges};

/// What this worker took a topic for since it started. Kafka forgets a group's offsets together with a topic, and with them
/// every note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub topic_id: Option<String>,
    pub initial: i32,
}

/// What is known of a topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topic {
    /// Its id; none where the brokers know no ids.
    pub id: Option<String>,
    /// How many partitions it has.
    pub partitions: i32,
    pub remembered: Option<Remembered>,
    /// What stands beside the group's offsets in it, one for each. Needed only for a partition that the group has none for.
    pub notes: Vec<Option<Note>>,
}

impl Topic {
    /// Whether that is the id of another topic, which had the same name.
    fn is_other(&self, id: Option<&String>) -> bool {
        matches!((&self.id, id), (Some(own), Some(other)) if own != other)
    }

    /// How the group knows it: how many partitions it had when the group began with it, and whether it was another one then.
    fn acquaintance(&self) -> (i32, bool) {
        let noted = self.notes.iter().flatten().map(|note| (note.topic_id.as_ref(), note.initial));
        let remembered = self.remembered.iter().map(|remembered| (remembered.topic_id.as_ref(), remembered.initial));
        let (others, same): (Vec<_>, Vec<_>) = noted.chain(remembered).partition(|(id, _)| self.is_other(*id));
        let was_other = !others.is_empty();
        let is_new = self.notes.is_empty() && !was_other;
        let initial = same.into_iter().map(|(_, initial)| initial).min();
        (initial.unwrap_or(if is_new { self.partitions } else { 0 }), was_other)
    }
}

/// A log that was found cut while this worker read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// From there on it may be another one than was read.
    pub at: i64,
    /// How the group knew the partition then: where it has begun anew since, it knows another move.
    pub moved: Option<Moved>,
}

impl Cut {
    /// Whether the group has not begun anew since, though nothing beside its offset tells of the cut: it was not committed in
    /// time. Who has set the offset by hand knows where to go on.
    pub fn still_counts(&self, committed: &CommittedOffset) -> bool {
        Note::decode(&committed.metadata).is_some_and(|note| note.moved == self.moved)
    }
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub offset: i64,
    /// What stands beside every offset that is committed from now on.
    pub note: Note,
    /// Whether the group has committed just that.
    pub is_committed: bool,
    /// That this is not where the group had stopped, or where it would have begun.
    pub moved: Option<Moved>,
}

/// Decides where a partition begins. `cut_at`: where this worker found it cut, though nothing that is committed says so.
pub(crate) fn begin(
    partition: i32,
    committed: Option<&CommittedOffset>,
    cut_at: Option<i64>,
    topic: &Topic,
    edges: PartitionEdges,
    start_from: StartFrom,
    now: Timestamp,
) -> Begin {
    match committed {
        Some(committed) => go_on(committed, Note::decode_cut(&committed.metadata).or(cut_at), topic, edges, now),
        None => start(partition, topic, edges, start_from, now),
    }
}

fn go_on(committed: &CommittedOffset, cut_at: Option<i64>, topic: &Topic, edges: PartitionEdges, now: Timestamp) -> Begin {
    let note = Note::decode(&committed.metadata);
    let offset = committed.offset;
    let moved = |reason, to| Some(Moved { reason, from: Some(offset), to, at: second(now) });
    let log = edges.start..=edges.end;
    let moved = if topic.is_other(note.as_ref().and_then(|note| note.topic_id.as_ref())) {
        moved(MoveReason::TopicRecreated, edges.start)
    } else if log.contains(&offset) && cut_at.is_none_or(|at| offset <= at.max(edges.start)) {
        // Of a log that was cut there is nothing before the offset that could be read.
        None
    } else {
        // It may have grown beyond the offset again, with other records than those that were cut off.
        let cut_at = cut_at.filter(|at| log.contains(at) && *at < offset);
        moved(MoveReason::OffsetOutOfRange, cut_at.unwrap_or(edges.start))
    };
    let is_recreated = moved.as_ref().is_some_and(|moved| moved.reason == MoveReason::TopicRecreated);
    // Without a note nobody knows with how many partitions the group began.
    let initial = note.as_ref().filter(|_| !is_recreated).map_or(0, |note| note.initial);
    let before = note.as_ref().and_then(|note| note.moved.clone());
    let is_cut = Note::decode_cut(&committed.metadata).is_some();
    let next = Note { topic_id: topic.id.clone(), initial, moved: moved.clone().or(before) };
    Begin {
        offset: moved.as_ref().map_or(offset, |moved| moved.to),
        is_committed: moved.is_none() && note.as_ref() == Some(&next) && !is_cut,
        note: next,
        moved,
    }
}

fn start(partition: i32, topic: &Topic, edges: PartitionEdges, start_from: StartFrom, now: Timestamp) -> Begin {
    let (initial, was_other) = topic.acquaintance();
    let is_later = partition >= initial;
    let reason = match start_from {
        _ if was_other => Some(MoveReason::TopicRecreated),
        StartFrom::Latest if is_later => Some(MoveReason::PartitionsAdded),
        StartFrom::Latest | StartFrom::Earliest => None,
    };
    let offset = match start_from {
        StartFrom::Latest if reason.is_none() => edges.stable_end,
        StartFrom::Latest | StartFrom::Earliest => edges.start,
    };
    let moved = reason.map(|reason| Moved { reason, from: None, to: offset, at: second(now) });
    let note = Note { topic_id: topic.id.clone(), initial, moved: moved.clone() };
    Begin { offset, note, is_committed: false, moved }
}

/// To the second: that is what people read, and the note stays short.
fn second(now: Timestamp) -> Timestamp {
    now.round(Unit::Second).unwrap_or(now)
}

#[cfg(test)]
mod tests;
