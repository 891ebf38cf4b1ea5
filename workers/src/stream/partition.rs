//! The records of one partition that were taken and are not settled, in the order of their offsets. Pure.
//!
//! The committed position never passes a record that was begun and is not settled. Offsets that never come (compaction,
//! transaction markers) hold nothing up.

use std::{collections::VecDeque, sync::Arc};

use penstock_kafka::TopicPartition;

use super::{
    tiers::Station,
    verdict::{Letter, Verdict},
};
use crate::processor::Event;

/// How far a record has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It waits behind another of its lane, or for a place in process.
    Waiting,
    /// The processor has it.
    Running,
    /// It pauses before another attempt.
    Pausing,
    /// What follows is decided, and waits for the records before it.
    Decided(Verdict),
    /// What follows is decided, and is to be written next.
    Emitting,
    /// What was written waits for Kafka's acknowledgement.
    Unacknowledged {
        /// How many records of it.
        left: u32,
        /// The dead letter, if it is one.
        letter: Option<Box<Letter>>,
    },
    /// Kafka has everything that it caused.
    Settled,
}

/// A record that was taken.
#[derive(Debug)]
pub(crate) struct Slot {
    pub offset: i64,
    /// When it was written.
    pub timestamp_ms: Option<i64>,
    pub bytes: usize,
    /// The size of what follows, from when it is decided until the record is settled.
    pub decided: usize,
    /// Where it was read.
    pub station: Station,
    /// Where it waits next, once that is decided.
    pub waits: Option<Station>,
    /// Whether what is put beside the source topic later waits until this is settled.
    pub precedes: bool,
    /// None once it is settled.
    pub event: Option<Arc<Event>>,
    pub stage: Stage,
}

/// What a record was until it was settled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub precedes: bool,
    pub event: Option<Arc<Event>>,
    pub station: Station,
    pub bytes: usize,
    pub decided: usize,
}

/// A position that Kafka has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub partition: TopicPartition,
    /// The offset after the record handled last.
    pub position: i64,
    /// When that record was written, in milliseconds since the Unix epoch.
    pub event_ms: Option<i64>,
}

/// One assignment of a partition to this worker.
#[derive(Debug)]
pub(crate) struct Partition {
    pub name: TopicPartition,
    /// Nothing more of it starts.
    pub closing: bool,
    /// How many records have effects that a revocation must wait for.
    pub busy: usize,
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    /// The offset after the record taken last, or after the end that was seen last.
    next: Option<i64>,
    /// The offset committed last; where nobody has said where it begins, at first that of the first record.
    committed: Option<i64>,
    is_begun: bool,
    /// What stands beside its committed offset.
    note: Option<Arc<str>>,
    /// When the record was written that was settled last of those at the head.
    settled_ms: Option<i64>,
    /// Whether an offset was committed, or found, that nobody was told of.
    has_progressed: bool,
}

impl Partition {
    pub fn new(name: TopicPartition) -> Self {
        Self {
            name,
            closing: false,
            busy: 0,
            slots: VecDeque::new(),
            first: 0,
            next: None,
            committed: None,
            is_begun: false,
            note: None,
            settled_ms: None,
            has_progressed: false,
        }
    }

    /// The group begins there, with that beside each offset. Unless it has committed just that, it does at once.
    pub fn begin(&mut self, offset: i64, note: Arc<str>, is_committed: bool) {
        self.next = Some(offset);
        self.committed = is_committed.then_some(offset);
        (self.is_begun, self.note, self.has_progressed) = (true, Some(note), is_committed);
    }

    /// From now on that stands beside each offset; it is committed also where the offset is.
    pub fn renote(&mut self, note: Arc<str>) {
        (self.committed, self.note) = (None, Some(note));
    }

    /// What stands beside its committed offset.
    pub fn note(&self) -> Option<Arc<str>> {
        self.note.clone()
    }

    /// Takes a record; gives back its number. Offsets rise, unless the log was cut.
    pub fn push(&mut self, slot: Slot) -> u64 {
        self.next = Some(slot.offset.saturating_add(1));
        if !self.is_begun {
            self.committed.get_or_insert(slot.offset);
        }
        self.slots.push_back(slot);
        self.first + self.slots.len() as u64 - 1
    }

    /// The reader has come to the end of the partition: whatever lies before this offset is no record for us.
    pub fn reach_end(&mut self, offset: i64) {
        self.next = Some(self.next.map_or(offset, |next| next.max(offset)));
    }

    /// The record of that number, unless it was settled and all before it.
    pub fn slot(&self, number: u64) -> Option<&Slot> {
        self.slots.get(self.index(number)?)
    }

    /// The same, to be changed.
    pub fn slot_mut(&mut self, number: u64) -> Option<&mut Slot> {
        let index = self.index(number)?;
        self.slots.get_mut(index)
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// The first record that is not settled, with its number.
    pub fn head(&mut self) -> Option<(u64, &mut Slot)> {
        let first = self.first;
        self.slots.front_mut().map(|slot| (first, slot))
    }

    /// Whether that is the number of the first record that is not settled.
    pub fn is_first(&self, number: u64) -> bool {
        self.first == number
    }

    /// Marks a record as settled, and forgets the settled ones at the head. None: it was settled before.
    pub fn settle(&mut self, number: u64) -> Option<Settled> {
        let slot = self.slot_mut(number).filter(|slot| !matches!(slot.stage, Stage::Settled))?;
        slot.stage = Stage::Settled;
        let Slot { precedes, station, bytes, decided, .. } = *slot;
        let settled = Settled { precedes, event: slot.event.take(), station, bytes, decided };
        while self.slots.front().is_some_and(|slot| matches!(slot.stage, Stage::Settled)) {
            let slot = self.slots.pop_front();
            self.settled_ms = slot.and_then(|slot| slot.timestamp_ms).or(self.settled_ms);
            self.first += 1;
        }
        Some(settled)
    }

    /// Where the next reader of the partition has to begin; none before anything was read.
    pub fn position(&self) -> Option<i64> {
        // After the log was cut, offsets begin anew: the lowest unsettled one counts.
        let unsettled = self.slots.iter().filter(|slot| !matches!(slot.stage, Stage::Settled));
        let first = if self.is_monotonic() { unsettled.map(|slot| slot.offset).next() } else { unsettled.map(|slot| slot.offset).min() };
        self.next.map(|next| first.map_or(next, |first| first.min(next)))
    }

    fn is_monotonic(&self) -> bool {
        match (self.slots.front(), self.slots.back()) {
            (Some(front), Some(back)) => front.offset <= back.offset,
            _ => true,
        }
    }

    /// The offset to commit, if that is another one than the last.
    pub fn to_commit(&self) -> Option<i64> {
        self.position().filter(|position| self.committed != Some(*position))
    }

    /// Kafka has acknowledged the commit of this offset, with that beside it.
    pub fn committed(&mut self, offset: i64, note: Option<&Arc<str>>) {
        self.committed = (note == self.note.as_ref()).then_some(offset);
        self.has_progressed = true;
    }

    /// The position that Kafka has, if it is another one than when this was asked last.
    pub fn take_progress(&mut self) -> Option<Reached> {
        let position = self.committed.filter(|_| std::mem::take(&mut self.has_progressed))?;
        Some(Reached { partition: self.name.clone(), position, event_ms: self.settled_ms.take() })
    }

    /// Whether something that follows from a record is with the client.
    pub fn is_writing(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.stage, Stage::Unacknowledged { .. }))
    }

    /// How many records are known: those that are not settled, and those behind them that are.
    pub fn known(&self) -> usize {
        self.slots.len()
    }

    /// The offsets of what is settled behind something that is not.
    pub fn settled_ahead(&self) -> impl Iterator<Item = i64> {
        self.slots.iter().filter(|slot| matches!(slot.stage, Stage::Settled)).map(|slot| slot.offset)
    }

    /// The records that are to wait somewhere, which Kafka may not have yet.
    pub fn leaving(&self) -> impl Iterator<Item = (&Event, Station)> {
        self.unsettled().filter_map(|slot| Some((slot.event.as_deref()?, slot.waits?)))
    }

    /// What is in memory.
    pub fn unsettled(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !matches!(slot.stage, Stage::Settled))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition() -> Partition {
        Partition::new(TopicPartition::new("t", 0))
    }

    fn slot(offset: i64) -> Slot {
        Slot {
            offset,
            timestamp_ms: Some(offset * 10),
            bytes: 1,
            decided: 0,
            station: Station::Source,
            waits: None,
            precedes: false,
            event: None,
            stage: Stage::Waiting,
        }
    }

    #[test]
    fn the_position_is_the_end_of_the_settled_prefix() {
        // (taken, settled by index, end seen, position, to commit)
        type Row = (&'static [i64], &'static [u64], Option<i64>, Option<i64>, Option<i64>);
        let table: [Row; 12] = [
            (&[], &[], None, None, None),
            (&[], &[], Some(7), Some(7), Some(7)),
            (&[5], &[], None, Some(5), None),
            (&[5], &[0], None, Some(6), Some(6)),
            (&[5], &[0], Some(8), Some(8), Some(8)),
            (&[5], &[], Some(8), Some(5), None),
            (&[5, 6, 7], &[1, 2], None, Some(5), None),
            (&[5, 6, 7], &[2, 0], None, Some(6), Some(6)),
            // Gaps: compaction and transaction markers.
            (&[5, 9, 20], &[0, 1], None, Some(20), Some(20)),
            (&[5, 9, 20], &[0, 1, 2], None, Some(21), Some(21)),
            // The log was cut: the position follows it back.
            (&[100, 0, 1], &[1, 2], None, Some(2), Some(2)),
            (&[3, 0, 3], &[0, 1], None, Some(3), None),
        ];
        for (taken, settled, end, position, commit) in table {
            let mut partition = partition();
            let numbers: Vec<u64> = taken.iter().map(|offset| partition.push(slot(*offset))).collect();
            settled.iter().for_each(|index| assert!(partition.settle(numbers[usize::try_from(*index).unwrap()]).is_some()));
            end.into_iter().for_each(|end| partition.reach_end(end));
            assert_eq!((partition.position(), partition.to_commit()), (position, commit), "{taken:?} {settled:?} {end:?}");
        }
    }

    #[test]
    fn where_a_group_begins_is_committed_at_once_unless_it_is() {
        for (is_committed, expected) in [(true, None), (false, Some(7))] {
            let mut partition = partition();
            partition.begin(7, "note".into(), is_committed);
            assert_eq!((partition.position(), partition.to_commit(), partition.note().as_deref()), (Some(7), expected, Some("note")));
            partition.push(slot(7));
            assert_eq!(partition.to_commit(), expected);
            partition.committed(7, Some(&"note".into()));
            assert_eq!(partition.to_commit(), None);
            partition.settle(0);
            assert_eq!(partition.to_commit(), Some(8));
        }
    }

    #[test]
    fn what_is_settled_ahead_need_not_be_read_again() {
        let mut partition = partition();
        let numbers: Vec<u64> = [5, 6, 8, 9].map(|offset| partition.push(slot(offset))).into();
        partition.settle(numbers[1]);
        partition.settle(numbers[3]);
        let left = |partition: &Partition| (partition.position(), partition.settled_ahead().collect::<Vec<_>>());
        assert_eq!(left(&partition), (Some(5), vec![6, 9]));
        partition.settle(numbers[0]);
        assert_eq!(left(&partition), (Some(8), vec![9]));
    }

    #[test]
    fn another_note_is_committed_with_the_same_offset() {
        let mut partition = partition();
        let [old, new]: [Arc<str>; 2] = ["old".into(), "new".into()];
        partition.begin(7, Arc::clone(&old), true);
        partition.renote(Arc::clone(&new));
        assert_eq!((partition.to_commit(), partition.note()), (Some(7), Some(Arc::clone(&new))));
        // That was on its way before.
        partition.committed(7, Some(&old));
        assert_eq!(partition.to_commit(), Some(7));
        partition.committed(7, Some(&new));
        assert_eq!(partition.to_commit(), None);
    }

    #[test]
    fn an_acknowledged_commit_is_not_repeated_and_nothing_settles_twice() {
        let mut partition = partition();
        let number = partition.push(slot(0));
        assert_eq!((partition.settle(number).map(|settled| settled.bytes), partition.settle(number)), (Some(1), None));
        assert_eq!(partition.to_commit(), Some(1));
        partition.committed(1, None);
        assert_eq!(partition.to_commit(), None);
        partition.push(slot(1));
        assert_eq!((partition.to_commit(), partition.unsettled().count()), (None, 1));
    }

    #[test]
    fn progress_is_told_once_with_the_time_of_the_last_record() {
        let mut partition = partition();
        let reached = |position, event_ms| Some(Reached { partition: TopicPartition::new("t", 0), position, event_ms });
        let note: Arc<str> = "note".into();
        partition.begin(5, Arc::clone(&note), true);
        assert_eq!((partition.take_progress(), partition.take_progress()), (reached(5, None), None));
        let numbers: Vec<u64> = [5, 6, 7].map(|offset| partition.push(slot(offset))).into();
        partition.settle(numbers[1]);
        partition.settle(numbers[0]);
        assert_eq!(partition.take_progress(), None, "nothing is committed yet");
        partition.committed(7, Some(&note));
        assert_eq!(partition.take_progress(), reached(7, Some(60)));
        partition.committed(8, Some(&note));
        assert_eq!(partition.take_progress(), reached(8, None), "only the end came nearer");
    }

    proptest! {
        #[test]
        fn a_commit_never_passes_an_unsettled_record_and_reaches_the_end(
            gaps in prop::collection::vec(1_i64..4, 1..60),
            picks in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200),
        ) {
            let mut offsets = gaps.iter().scan(0_i64, |at, gap| { *at += gap; Some(*at) });
            let mut partition = partition();
            let (mut open, mut last) = (Vec::new(), 0);
            for (take, pick) in picks {
                if take || open.is_empty() {
                    if let Some(offset) = offsets.next() {
                        open.push((partition.push(slot(offset)), offset));
                        last = offset;
                    }
                } else {
                    partition.settle(open.swap_remove(pick.index(open.len())).0);
                }
                if let Some(commit) = partition.to_commit() {
                    prop_assert!(open.iter().all(|(_, offset)| *offset >= commit), "{commit} passes one of {open:?}");
                    partition.committed(commit, None);
                }
            }
            for (number, _) in open {
                partition.settle(number);
            }
            prop_assert_eq!(partition.position(), (last > 0).then_some(last + 1));
            prop_assert_eq!(partition.unsettled().count(), 0);
        }
    }
}
