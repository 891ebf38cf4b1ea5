//! Decides which offset of a partition may be committed. Pure.
//!
//! The committed offset never passes a record that was begun and is not finished. Offsets that never come (compaction,
//! transaction markers) hold nothing up.

use std::collections::BTreeMap;

/// The records of one partition, since it was assigned.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Offsets begun and not finished, with how often: an offset comes twice when the log was cut and written anew.
    unfinished: BTreeMap<i64, u32>,
    /// The offset after the record begun last.
    next: Option<i64>,
    /// The offset committed last; at first that of the first record, where the group stands already.
    committed: Option<i64>,
}

impl Ledger {
    /// A record was taken. Offsets rise, unless the log was cut.
    pub fn begin(&mut self, offset: i64) {
        *self.unfinished.entry(offset).or_default() += 1;
        self.next = Some(offset.saturating_add(1));
        self.committed.get_or_insert(offset);
    }

    /// Everything that a record caused is in Kafka.
    pub fn finish(&mut self, offset: i64) {
        if let Some(count) = self.unfinished.get_mut(&offset) {
            *count -= 1;
            if *count == 0 {
                self.unfinished.remove(&offset);
            }
        }
    }

    /// Where the next reader of the partition has to begin; none before the first record.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        let first_unfinished = self.unfinished.keys().next().copied();
        self.next.map(|next| first_unfinished.map_or(next, |first| first.min(next)))
    }

    /// The offset to commit, if that is another one than the last.
    #[must_use]
    pub fn to_commit(&self) -> Option<i64> {
        self.position().filter(|position| self.committed != Some(*position))
    }

    /// Kafka has acknowledged the commit of this offset.
    pub fn committed(&mut self, offset: i64) {
        self.committed = Some(offset);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_position_is_the_end_of_the_finished_prefix() {
        // (begun, finished, position, to commit)
        type Row = (&'static [i64], &'static [i64], Option<i64>, Option<i64>);
        let table: [Row; 9] = [
            (&[], &[], None, None),
            (&[5], &[], Some(5), None),
            (&[5], &[5], Some(6), Some(6)),
            (&[5, 6, 7], &[6, 7], Some(5), None),
            (&[5, 6, 7], &[5, 7], Some(6), Some(6)),
            // Gaps: compaction and transaction markers.
            (&[5, 9, 20], &[5, 9], Some(20), Some(20)),
            (&[5, 9, 20], &[5, 9, 20], Some(21), Some(21)),
            // The log was cut: the position follows it back.
            (&[100, 0, 1], &[0, 1], Some(2), Some(2)),
            (&[3, 0, 3], &[3, 0], Some(3), None),
        ];
        for (begun, finished, position, commit) in table {
            let mut ledger = Ledger::default();
            begun.iter().for_each(|offset| ledger.begin(*offset));
            finished.iter().for_each(|offset| ledger.finish(*offset));
            assert_eq!((ledger.position(), ledger.to_commit()), (position, commit), "{begun:?} {finished:?}");
        }
    }

    #[test]
    fn an_acknowledged_commit_is_not_repeated() {
        let mut ledger = Ledger::default();
        ledger.begin(0);
        ledger.finish(0);
        assert_eq!(ledger.to_commit(), Some(1));
        ledger.committed(1);
        assert_eq!(ledger.to_commit(), None);
        ledger.begin(1);
        assert_eq!(ledger.to_commit(), None);
    }

    proptest! {
        #[test]
        fn a_commit_never_passes_an_unfinished_record_and_reaches_the_end(
            gaps in prop::collection::vec(1_i64..4, 1..60),
            picks in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200),
        ) {
            let mut offsets = gaps.iter().scan(0_i64, |at, gap| { *at += gap; Some(*at) });
            let mut ledger = Ledger::default();
            let (mut open, mut last) = (Vec::new(), 0);
            for (take, pick) in picks {
                if take || open.is_empty() {
                    if let Some(offset) = offsets.next() {
                        ledger.begin(offset);
                        open.push(offset);
                        last = offset;
                    }
                } else {
                    ledger.finish(open.swap_remove(pick.index(open.len())));
                }
                if let Some(commit) = ledger.to_commit() {
                    prop_assert!(open.iter().all(|offset| *offset >= commit), "{commit} passes one of {open:?}");
                    ledger.committed(commit);
                }
            }
            for offset in open {
                ledger.finish(offset);
            }
            prop_assert_eq!(ledger.position(), (last > 0).then_some(last + 1));
        }
    }
}
