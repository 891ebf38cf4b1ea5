//! The records of one partition, as a broker keeps them. Pure.
//!
//! A record of a transaction counts once the transaction is committed, and until its end nothing behind it is handed out
//! (KIP-98). The end of a transaction takes an offset that no reader gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use penstock_kafka::ConsumedRecord;

/// Names one transaction.
pub(super) type TransactionNumber = u64;

#[derive(Debug)]
enum Entry {
    Record(Box<ConsumedRecord>, Option<TransactionNumber>),
    EndOfTransaction,
}

/// A partition. The offset of an entry is its place.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
    /// The transactions that are under way here, and where each begins.
    open: BTreeMap<TransactionNumber, i64>,
    aborted: BTreeSet<TransactionNumber>,
}

impl Log {
    /// Adds a record, and gives it its offset.
    pub fn append(&mut self, record: ConsumedRecord, transaction: Option<TransactionNumber>) -> i64 {
        let offset = self.end();
        if let Some(transaction) = transaction {
            self.open.entry(transaction).or_insert(offset);
        }
        self.entries.push(Entry::Record(Box::new(ConsumedRecord { offset, ..record }), transaction));
        offset
    }

    /// Ends a transaction, if it is under way here.
    pub fn end_transaction(&mut self, transaction: TransactionNumber, is_committed: bool) {
        if self.open.remove(&transaction).is_none() {
            return;
        }
        if !is_committed {
            self.aborted.insert(transaction);
        }
        self.entries.push(Entry::EndOfTransaction);
    }

    /// One past the last entry.
    pub fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    /// Where a reader of what is committed has to stop for now.
    pub fn stable_end(&self) -> i64 {
        self.open.values().min().copied().unwrap_or_else(|| self.end())
    }

    /// What such a reader gets in that span.
    pub fn read(&self, span: Range<i64>) -> impl Iterator<Item = &ConsumedRecord> {
        let at = |offset: i64| usize::try_from(offset.min(self.stable_end()).max(0)).unwrap_or(usize::MAX);
        let entries = self.entries.get(at(span.start)..at(span.end)).unwrap_or_default();
        entries.iter().filter_map(|entry| match entry {
            Entry::Record(record, transaction) if !transaction.is_some_and(|number| self.aborted.contains(&number)) => Some(&**record),
            Entry::Record(..) | Entry::EndOfTransaction => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::TimestampType;

    use super::*;

    fn record(key: &'static str) -> ConsumedRecord {
        ConsumedRecord {
            topic: "t".into(),
            partition: 0,
            offset: -1,
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            key: Some(key.into()),
            payload: None,
            headers: vec![],
        }
    }

    fn readable(log: &Log) -> Vec<(i64, &str)> {
        log.read(0..i64::MAX).map(|record| (record.offset, std::str::from_utf8(record.key.as_deref().unwrap()).unwrap())).collect()
    }

    #[test]
    fn a_reader_sees_what_is_committed_and_stops_at_the_first_open_transaction() {
        let mut log = Log::default();
        assert_eq!((log.append(record("a"), None), log.append(record("b"), Some(1)), log.append(record("c"), None)), (0, 1, 2));
        assert_eq!((log.stable_end(), log.end(), readable(&log)), (1, 3, vec![(0, "a")]));
        log.append(record("d"), Some(2));
        log.end_transaction(1, true);
        log.end_transaction(1, true);
        assert_eq!((log.stable_end(), log.end()), (3, 5), "the mark has an offset, and only one");
        log.end_transaction(2, false);
        assert_eq!((log.stable_end(), log.end(), readable(&log)), (6, 6, vec![(0, "a"), (1, "b"), (2, "c")]));
        assert_eq!(log.read(1..2).map(|record| record.offset).collect::<Vec<_>>(), [1]);
        assert_eq!(log.read(9..12).count(), 0);
    }
}
