//! How many records wait in a partition.
//!
//! Never more than a worker would get to read: what retention has deleted does not count, nor do the marks of transactions,
//! nor retries that are not due.

use super::observation::{Begin, PartitionOffsets, Role};

/// How a group stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The offset of the oldest record.
    pub start: i64,
    /// The offset at which it goes on.
    pub position: i64,
    /// Whether workers have brought it there: else what it goes on with moves as records are deleted, or come.
    pub reached: bool,
    /// The offset up to which records count.
    pub end: i64,
    /// Records that wait.
    pub lag: u64,
    /// Nobody has committed where it begins, and that place moves until a worker does: records that come meanwhile would be
    /// skipped.
    pub adrift: bool,
}

/// How a group stands in a partition.
#[must_use]
pub fn standing(offsets: &PartitionOffsets) -> Standing {
    let is_in_log = |offset: &i64| offsets.log_end.is_some_and(|log_end| (offsets.end..=log_end).contains(offset));
    // A group that has read what a transaction has not committed yet is beyond what others may read: it goes on there.
    let end = offsets.committed.filter(is_in_log).unwrap_or(offsets.end);
    let (start, log_end) = (offsets.start, end.max(offsets.start));
    let (begins, reached) = match (offsets.committed, offsets.begin) {
        (Some(committed), _) if (start..=log_end).contains(&committed) => (committed, true),
        // Deleted unread, or the log was cut: workers go on at the start.
        (Some(_), _) | (None, Begin::Start) => (start, false),
        (None, Begin::End) => (log_end, false),
    };
    let position = offsets.empty_until.map_or(begins, |until| until.clamp(begins, log_end));
    let end = match offsets.role {
        Role::Retry { due_end } => due_end.clamp(position, log_end),
        Role::Source | Role::Held => log_end,
    };
    let lag = u64::try_from(end.saturating_sub(position)).unwrap_or_default();
    Standing { start, position, reached, end, lag, adrift: offsets.committed.is_none() && offsets.begin == Begin::End }
}

/// Whether what is held counts: not while all that it waits behind is still to become due.
#[must_use]
pub fn held_counts(partitions: &[PartitionOffsets]) -> bool {
    let retries = || partitions.iter().filter(|p| matches!(p.role, Role::Retry { .. }));
    retries().any(|p| standing(p).lag > 0) || retries().all(|p| standing(p).position >= p.end)
}

/// Records that wait at least, by some of the partitions alone. What is held does not count: what it waits behind may be elsewhere.
#[must_use]
pub fn at_least(partitions: &[PartitionOffsets]) -> u64 {
    partitions.iter().filter(|p| p.role != Role::Held).map(|p| standing(p).lag).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::PartitionKey;

    fn offsets(start: i64, end: i64, committed: Option<i64>) -> PartitionOffsets {
        let key = PartitionKey { topic: "orders".to_owned(), partition: 0 };
        PartitionOffsets {
            key,
            role: Role::Source,
            start,
            end,
            log_end: None,
            committed,
            begin: Begin::Start,
            empty_until: None,
            age: None,
        }
    }

    #[test]
    fn what_waits() {
        let latest = |offsets| PartitionOffsets { begin: Begin::End, ..offsets };
        let peeked = |offsets, until| PartitionOffsets { empty_until: Some(until), ..offsets };
        let written = |offsets, log_end| PartitionOffsets { log_end: Some(log_end), ..offsets };
        let due = |offsets, due_end| PartitionOffsets { role: Role::Retry { due_end }, ..offsets };
        for (name, offsets, lag, adrift) in [
            ("nothing", offsets(0, 0, None), 0, false),
            ("since the commit", offsets(0, 100, Some(40)), 60, false),
            ("all read", offsets(0, 100, Some(100)), 0, false),
            ("never below the log's start", offsets(90, 100, Some(40)), 10, false),
            ("the log was cut", offsets(0, 100, Some(140)), 100, false),
            ("the log was cut, and somebody writes to it", written(offsets(0, 100, Some(140)), 139), 100, false),
            ("what a transaction is still to commit was read", written(offsets(0, 100, Some(140)), 140), 0, false),
            ("not all of it was", written(offsets(0, 100, Some(120)), 140), 0, false),
            ("no commit, from the earliest: what is left of the history", offsets(70, 100, None), 30, false),
            ("no commit, from the latest", latest(offsets(70, 100, None)), 0, true),
            ("a commit decides, whatever startFrom says", latest(offsets(70, 100, Some(80))), 20, false),
            ("the mark of a transaction alone", peeked(offsets(0, 101, Some(100)), 101), 0, false),
            ("marks, then records", peeked(offsets(0, 110, Some(100)), 103), 7, false),
            ("marks where the log begins", peeked(offsets(100, 110, None), 103), 7, false),
            ("marks where the rest of the log begins", peeked(offsets(100, 110, Some(40)), 103), 7, false),
            ("an old look", peeked(offsets(0, 110, Some(105)), 103), 5, false),
            ("a look beyond the end", peeked(offsets(0, 110, Some(105)), 120), 0, false),
            ("retries that are due", due(offsets(0, 100, Some(40)), 55), 15, false),
            ("retries that are not due", due(offsets(0, 100, Some(40)), 30), 0, false),
            ("an end that is below the start", offsets(100, 90, Some(95)), 0, false),
        ] {
            let standing = standing(&offsets);
            assert_eq!((standing.lag, standing.adrift), (lag, adrift), "{name}");
        }
    }

    #[test]
    fn workers_have_reached_what_is_committed_and_still_there() {
        for (name, offsets, reached) in [
            ("a commit", offsets(0, 100, Some(40)), true),
            ("where the rest of the log begins", offsets(40, 100, Some(40)), true),
            ("deleted unread", offsets(41, 100, Some(40)), false),
            ("the log was cut", offsets(0, 100, Some(140)), false),
            ("no commit", offsets(70, 100, None), false),
            ("no commit, from the latest", PartitionOffsets { begin: Begin::End, ..offsets(70, 100, None) }, false),
        ] {
            assert_eq!(standing(&offsets).reached, reached, "{name}");
        }
    }

    #[test]
    fn what_is_held_waits_for_retries() {
        let of = |role, end, committed| PartitionOffsets { role, ..offsets(0, end, Some(committed)) };
        let held = of(Role::Held, 5, 0);
        for (name, retry, counts) in [
            ("none is left", of(Role::Retry { due_end: 9 }, 9, 9), true),
            ("one is due", of(Role::Retry { due_end: 1 }, 9, 0), true),
            ("none is due", of(Role::Retry { due_end: 0 }, 9, 0), false),
        ] {
            assert_eq!(held_counts(&[held.clone(), retry]), counts, "{name}");
        }
        assert!(held_counts(std::slice::from_ref(&held)));
        let due = of(Role::Retry { due_end: 3 }, 9, 1);
        assert_eq!(at_least(&[offsets(0, 9, Some(5)), due, held]), 6, "what is held may wait behind what was not seen");
    }
}
