//! What one sweep sees of a pipeline.

use std::time::Duration;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// Its topic's name in Kafka.
    pub topic: String,
    /// Its number.
    pub partition: i32,
}

/// What a pipeline reads a partition for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is one of its source's.
    Source,
    /// Its records wait for a retry. Those before this offset are due.
    Retry {
        /// The offset of the first record that is not due yet.
        due_end: i64,
    },
    /// Its records wait behind others of their key, until none of these is retried any more.
    Held,
}

/// Where a worker begins in a partition that the group has committed nothing for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At its oldest record.
    Start,
    /// At its end, as soon as a worker runs.
    End,
}

/// The offsets of a partition. What is committed was read before the end was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// Which one.
    pub key: PartitionKey,
    /// What it is read for.
    pub role: Role,
    /// The offset of its oldest record.
    pub start: i64,
    /// The offset that follows its last record that workers may read: for those that read only what is committed, the last
    /// stable offset.
    pub end: i64,
    /// Where the log ends, records of open transactions included, where it was looked at: only if the group goes on beyond `end`.
    pub log_end: Option<i64>,
    /// Where the group goes on.
    pub committed: Option<i64>,
    /// Where a worker begins without that.
    pub begin: Begin,
    /// No record is between where the group goes on and this offset: only the marks of transactions, or records of aborted ones.
    pub empty_until: Option<i64>,
    /// How old the oldest waiting record is, where its timestamp was read.
    pub age: Option<Duration>,
}

/// The workers of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// How many are declared.
    pub declared: u32,
    /// How many are ready.
    pub ready: u32,
    /// New ones are replacing old ones.
    pub rolling_out: bool,
    /// The group is sharing its partitions out anew.
    pub rebalancing: bool,
}

/// What one sweep saw of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When, counted from wherever the recorder likes.
    pub at: Duration,
    /// Every partition that the pipeline reads. None: they could not all be read.
    pub partitions: Option<Vec<PartitionOffsets>>,
    /// Records that wait at least, where not all partitions could be read.
    pub at_least: u64,
    /// Its workers.
    pub workers: Workers,
}
