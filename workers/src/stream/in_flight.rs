//! Every record that was taken and is not settled yet, by the partition that it came from. Pure.
//!
//! A partition has an epoch: what belongs to an earlier assignment of it can neither emit, nor commit, nor hold up what
//! belongs to a later one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use penstock_crds::worker::Ordering;
use penstock_kafka::{ConsumedRecord, GroupOffset, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::{lanes::Lanes, ledger::Ledger};
use crate::processor::Event;

/// One assignment of one partition.
pub(crate) type Epoch = u64;

/// How much may be in memory at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub records: usize,
    pub bytes: usize,
}

/// What a record waits behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lane {
    epoch: Epoch,
    /// None: the whole partition.
    key: Option<Bytes>,
}

/// A record that was taken: its place in the books.
#[derive(Debug)]
pub(crate) struct Ticket {
    epoch: Epoch,
    offset: i64,
    bytes: usize,
    lane: Option<Lane>,
    /// It is being processed, or its outputs are under way: a revoked partition waits for it.
    running: bool,
}

/// A record whose turn it is.
#[derive(Debug)]
pub(crate) struct Turn {
    pub event: Event,
    pub ticket: Ticket,
    /// Cancelled when the partition goes away: whoever is not running gives up then.
    pub closing: CancellationToken,
}

#[derive(Debug)]
struct Partition {
    name: TopicPartition,
    ledger: Ledger,
    running: usize,
    closing: CancellationToken,
}

/// The books.
#[derive(Debug)]
pub(crate) struct InFlight {
    ordering: Ordering,
    bounds: Bounds,
    index: HashMap<(Arc<str>, i32), Epoch>,
    partitions: BTreeMap<Epoch, Partition>,
    lanes: Lanes<Lane, (Event, Ticket)>,
    last_epoch: Epoch,
    records: usize,
    bytes: usize,
}

impl InFlight {
    pub fn new(ordering: Ordering, bounds: Bounds) -> Self {
        Self {
            ordering,
            bounds,
            index: HashMap::new(),
            partitions: BTreeMap::new(),
            lanes: Lanes::default(),
            last_epoch: 0,
            records: 0,
            bytes: 0,
        }
    }

    /// Whether one more record may be taken.
    pub fn has_room(&self) -> bool {
        self.records < self.bounds.records && self.bytes < self.bounds.bytes
    }

    /// How many records are in memory.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Partitions came.
    pub fn assign(&mut self, partitions: &[TopicPartition]) {
        for name in partitions {
            self.last_epoch += 1;
            self.index.insert((Arc::from(name.topic.as_str()), name.partition), self.last_epoch);
            let partition = Partition { name: name.clone(), ledger: Ledger::default(), running: 0, closing: CancellationToken::new() };
            self.partitions.insert(self.last_epoch, partition);
        }
    }

    /// Books a record; gives it back if its turn is now. A record of a partition that is not assigned is dropped: whoever
    /// has the partition reads it again.
    pub fn take(&mut self, record: ConsumedRecord) -> Option<Turn> {
        let epoch = *self.index.get(&(Arc::clone(&record.topic), record.partition))?;
        let partition = self.partitions.get_mut(&epoch)?;
        partition.ledger.begin(record.offset);
        let bytes = record.size();
        self.records += 1;
        self.bytes += bytes;
        let lane = match self.ordering {
            Ordering::Key => record.key.clone().map(|key| Lane { epoch, key: Some(key) }),
            Ordering::Partition => Some(Lane { epoch, key: None }),
            Ordering::None => None,
        };
        let ticket = Ticket { epoch, offset: record.offset, bytes, lane: lane.clone(), running: false };
        let item = (Event::from(record), ticket);
        let started = match lane {
            Some(lane) => self.lanes.push(lane, item),
            None => Some(item),
        };
        started.and_then(|item| self.turn(item))
    }

    /// The record starts to have effects. False: it must not any more, because its partition goes away.
    pub fn enter(&mut self, ticket: &mut Ticket) -> bool {
        match self.partitions.get_mut(&ticket.epoch) {
            Some(partition) if !partition.closing.is_cancelled() => {
                partition.running += usize::from(!ticket.running);
                ticket.running = true;
                true
            }
            _ => false,
        }
    }

    /// The record has no effects for now: it pauses before another attempt.
    pub fn leave(&mut self, ticket: &mut Ticket) {
        if let Some(partition) = self.partitions.get_mut(&ticket.epoch) {
            partition.running = partition.running.saturating_sub(usize::from(ticket.running));
        }
        ticket.running = false;
    }

    /// Whether the record's partition is still with this worker, so that it may emit.
    pub fn holds(&self, ticket: &Ticket) -> bool {
        self.partitions.contains_key(&ticket.epoch)
    }

    /// Lets the next record of the lane pass; gives it back to be started.
    pub fn release_lane(&mut self, ticket: &mut Ticket) -> Option<Turn> {
        let lane = ticket.lane.take()?;
        let next = self.lanes.release(&lane)?;
        self.turn(next)
    }

    /// Kafka has everything that the record caused.
    pub fn settle(&mut self, ticket: &mut Ticket) {
        if let Some(partition) = self.partitions.get_mut(&ticket.epoch) {
            partition.ledger.finish(ticket.offset);
        }
        self.give_up(ticket);
    }

    /// The record leaves the memory. Unless it is settled, its offset stays where it is. True if that leaves a gap in a
    /// partition that goes on.
    pub fn give_up(&mut self, ticket: &mut Ticket) -> bool {
        self.leave(ticket);
        self.unbook(ticket);
        self.partitions.get(&ticket.epoch).is_some_and(|partition| !partition.closing.is_cancelled())
    }

    /// Partitions go away: nothing more of them starts. Gives back their epochs.
    pub fn close(&mut self, partitions: &[TopicPartition]) -> Vec<Epoch> {
        let keys = partitions.iter().map(|p| (Arc::from(p.topic.as_str()), p.partition));
        let epochs: Vec<Epoch> = keys.filter_map(|key| self.index.remove(&key)).collect();
        self.stop(&epochs);
        epochs
    }

    /// All partitions go away, because the worker ends.
    pub fn close_all(&mut self) {
        let epochs: Vec<Epoch> = self.partitions.keys().copied().collect();
        self.stop(&epochs);
    }

    fn stop(&mut self, epochs: &[Epoch]) {
        for partition in epochs.iter().filter_map(|epoch| self.partitions.get(epoch)) {
            partition.closing.cancel();
        }
        for (_, ticket) in self.lanes.remove(|lane| epochs.contains(&lane.epoch)) {
            self.unbook(&ticket);
        }
    }

    /// How many records of these epochs still have effects.
    pub fn running(&self, epochs: &[Epoch]) -> usize {
        epochs.iter().filter_map(|epoch| self.partitions.get(epoch)).map(|partition| partition.running).sum()
    }

    /// How many records have effects.
    pub fn running_in_all(&self) -> usize {
        self.partitions.values().map(|partition| partition.running).sum()
    }

    /// Partitions are gone: what still runs of them counts for nothing.
    pub fn forget(&mut self, epochs: &[Epoch]) {
        for epoch in epochs {
            self.partitions.remove(epoch);
        }
    }

    /// The offsets to commit, of these epochs or of all.
    pub fn to_commit(&self, only: Option<&[Epoch]>) -> Vec<(Epoch, GroupOffset)> {
        let wanted = self.partitions.iter().filter(|(epoch, _)| only.is_none_or(|only| only.contains(epoch)));
        let offset = |(epoch, partition): (&Epoch, &Partition)| {
            let TopicPartition { topic, partition: number } = partition.name.clone();
            Some((*epoch, GroupOffset { topic, partition: number, next_offset: partition.ledger.to_commit()? }))
        };
        wanted.filter_map(offset).collect()
    }

    /// Kafka has acknowledged these commits.
    pub fn committed(&mut self, offsets: &[(Epoch, GroupOffset)]) {
        for (epoch, offset) in offsets {
            if let Some(partition) = self.partitions.get_mut(epoch) {
                partition.ledger.committed(offset.next_offset);
            }
        }
    }

    fn turn(&self, (event, ticket): (Event, Ticket)) -> Option<Turn> {
        let closing = self.partitions.get(&ticket.epoch)?.closing.clone();
        Some(Turn { event, ticket, closing })
    }

    fn unbook(&mut self, ticket: &Ticket) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(ticket.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, offset: i64, key: Option<&'static str>) -> ConsumedRecord {
        ConsumedRecord {
            topic: "t".into(),
            partition,
            offset,
            timestamp_ms: None,
            key: key.map(Bytes::from),
            payload: Some("12345".into()),
            headers: vec![],
        }
    }

    fn books(ordering: Ordering) -> InFlight {
        let mut books = InFlight::new(ordering, Bounds { records: 4, bytes: 1_000 });
        books.assign(&[TopicPartition::new("t", 0), TopicPartition::new("t", 1)]);
        books
    }

    fn offsets(books: &InFlight) -> Vec<(i32, i64)> {
        books.to_commit(None).into_iter().map(|(_, o)| (o.partition, o.next_offset)).collect()
    }

    #[test]
    fn who_waits_for_whom() {
        // (ordering, the second record: partition, key) -> starts at once
        for (ordering, partition, key, at_once) in [
            (Ordering::Key, 0, Some("a"), false),
            (Ordering::Key, 0, Some("b"), true),
            (Ordering::Key, 1, Some("a"), true),
            (Ordering::Key, 0, None, true),
            (Ordering::Partition, 0, Some("b"), false),
            (Ordering::Partition, 1, Some("a"), true),
            (Ordering::None, 0, Some("a"), true),
        ] {
            let mut books = books(ordering);
            let mut first = books.take(record(0, 0, Some("a"))).unwrap();
            assert_eq!(books.take(record(partition, 1, key)).is_some(), at_once, "{ordering:?} {partition} {key:?}");
            assert_eq!(books.release_lane(&mut first.ticket).is_some(), !at_once, "{ordering:?} {partition} {key:?}");
        }
    }

    #[test]
    fn memory_is_bounded_by_records_and_bytes() {
        let mut books = books(Ordering::None);
        let mut turns: Vec<Turn> = (0..4).filter_map(|offset| books.take(record(0, offset, None))).collect();
        assert!(!books.has_room());
        books.settle(&mut turns[0].ticket);
        assert!(books.has_room());
        let big = ConsumedRecord { payload: Some(vec![0; 2_000].into()), ..record(0, 4, None) };
        let mut big = books.take(big).unwrap();
        books.settle(&mut turns[1].ticket);
        assert!(!books.has_room());
        books.settle(&mut big.ticket);
        assert!(books.has_room());
    }

    #[test]
    fn a_closed_partition_starts_nothing_and_commits_its_finished_prefix() {
        let mut books = books(Ordering::Key);
        let mut first = books.take(record(0, 10, Some("a"))).unwrap();
        let mut second = books.take(record(0, 11, Some("b"))).unwrap();
        assert!(books.take(record(0, 12, Some("a"))).is_none());
        assert!(books.enter(&mut first.ticket));
        let epochs = books.close(&[TopicPartition::new("t", 0)]);
        assert_eq!((books.running(&epochs), books.records()), (1, 2), "the one that waited is gone");
        assert!(second.closing.is_cancelled());
        assert!(!books.enter(&mut second.ticket));
        assert!(!books.give_up(&mut second.ticket), "no gap: the partition does not go on");
        assert!(books.release_lane(&mut first.ticket).is_none());
        books.settle(&mut first.ticket);
        assert_eq!((books.running(&epochs), books.records()), (0, 0));
        assert_eq!(offsets(&books), [(0, 11)]);
        books.forget(&epochs);
        assert_eq!(offsets(&books), []);
        assert!(books.take(record(0, 13, None)).is_none(), "not assigned");
    }

    #[test]
    fn an_earlier_assignment_counts_for_nothing() {
        let mut books = books(Ordering::Key);
        let mut old = books.take(record(0, 10, Some("a"))).unwrap();
        assert!(books.enter(&mut old.ticket));
        let partition = [TopicPartition::new("t", 0)];
        let epochs = books.close(&partition);
        books.forget(&epochs);
        books.assign(&partition);
        assert!(!books.holds(&old.ticket));
        let mut new = books.take(record(0, 10, Some("a"))).expect("does not wait for the old one");
        assert!(books.enter(&mut new.ticket));
        books.settle(&mut old.ticket);
        assert_eq!(offsets(&books), []);
        assert_eq!(books.running_in_all(), 1);
        books.settle(&mut new.ticket);
        assert_eq!(offsets(&books), [(0, 11)]);
    }

    #[test]
    fn a_record_given_up_in_a_partition_that_goes_on_is_a_gap() {
        let mut books = books(Ordering::None);
        let mut turn = books.take(record(0, 0, None)).unwrap();
        assert!(books.give_up(&mut turn.ticket));
        assert_eq!(offsets(&books), []);
    }
}
