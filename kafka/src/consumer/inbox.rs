//! What waits to be taken from a consumer, and how far its partitions were taken to their ends.
//!
//! An end is noted when it is taken, in its place behind the records before it: who asks for ends hears of none whose
//! records are not all handed out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rebalance::GroupOffset;
use crate::buffer::Buffer;
use crate::error::{Error, Result};
use crate::record::{ConsumedRecord, TopicPartition};

/// What the polling thread passes on.
pub(super) enum Received {
    Record(ConsumedRecord),
    /// There is nothing more to read; the next record will be at this offset or behind it.
    End(TopicPartition, i64),
    Failed(Error),
}

impl Received {
    /// Only an error is taken alone.
    fn joins(&self) -> bool {
        !matches!(self, Received::Failed(_))
    }

    fn is_of(&self, partitions: &[TopicPartition]) -> bool {
        match self {
            Received::Record(record) => {
                partitions.iter().any(|partition| partition.partition == record.partition && partition.topic == *record.topic)
            }
            Received::End(partition, _) => partitions.contains(partition),
            Received::Failed(_) => false,
        }
    }
}

pub(super) struct Inbox {
    /// Where the polling thread puts what it receives.
    pub(super) buffer: Buffer<Received>,
    ends: Mutex<BTreeMap<TopicPartition, i64>>,
}

impl Inbox {
    pub(super) fn new(records: usize, bytes: usize) -> Self {
        Self { buffer: Buffer::new(records, bytes), ends: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, i64>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next records, at least one and at most `max`. Cancel-safe.
    pub(super) async fn take(&self, max: usize) -> Result<Vec<ConsumedRecord>> {
        loop {
            let taken = self.buffer.pop_many(max, Received::joins).await;
            if taken.is_empty() {
                return Err(Error::Closed);
            }
            let mut records = Vec::with_capacity(taken.len());
            for received in taken {
                match received {
                    Received::Record(record) => records.push(record),
                    Received::End(partition, next) => {
                        self.lock().insert(partition, next);
                    }
                    Received::Failed(error) => return Err(error),
                }
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// Drops what nobody has taken yet of these partitions.
    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        self.buffer.retain(|received| !received.is_of(partitions));
        self.lock().retain(|partition, _| !partitions.contains(partition));
    }

    pub(super) fn ends(&self) -> Vec<GroupOffset> {
        let offset = |(partition, next): (&TopicPartition, &i64)| GroupOffset {
            topic: partition.topic.clone(),
            partition: partition.partition,
            next_offset: *next,
        };
        self.lock().iter().map(offset).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, offset: i64) -> Received {
        let topic = "t".into();
        Received::Record(ConsumedRecord { topic, partition, offset, timestamp_ms: None, key: None, payload: None, headers: Vec::new() })
    }

    fn end(partition: i32, next: i64) -> Received {
        Received::End(TopicPartition::new("t", partition), next)
    }

    fn ends(inbox: &Inbox) -> Vec<(i32, i64)> {
        inbox.ends().iter().map(|end| (end.partition, end.next_offset)).collect()
    }

    #[tokio::test]
    async fn an_end_is_known_once_the_records_before_it_are_taken() {
        let inbox = Inbox::new(100, 100);
        for received in [record(0, 5), record(0, 6), end(0, 8), record(1, 3), end(1, 4), Received::Failed(Error::Closed)] {
            inbox.buffer.push(received, 1);
        }
        assert_eq!(inbox.take(1).await.unwrap().len(), 1);
        assert_eq!(ends(&inbox), []);
        assert_eq!(inbox.take(1).await.unwrap().len(), 1);
        assert_eq!(ends(&inbox), []);
        assert_eq!(inbox.take(10).await.unwrap().len(), 1);
        assert_eq!(ends(&inbox), [(0, 8), (1, 4)]);
        assert_eq!(inbox.take(10).await, Err(Error::Closed));
        inbox.forget(&[TopicPartition::new("t", 0)]);
        assert_eq!(ends(&inbox), [(1, 4)]);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_not_taken() {
        let inbox = Inbox::new(100, 100);
        for received in [record(0, 5), end(0, 6), record(1, 3)] {
            inbox.buffer.push(received, 1);
        }
        inbox.forget(&[TopicPartition::new("t", 0)]);
        let taken = inbox.take(10).await.unwrap();
        assert_eq!(taken.iter().map(|record| record.partition).collect::<Vec<_>>(), [1]);
        assert_eq!(ends(&inbox), []);
    }
}
