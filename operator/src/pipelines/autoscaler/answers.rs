//! Turns what Kafka answered into what is seen of a pipeline's partitions. Pure: no I/O, no clock.
//!
//! What is missing of one partition is missing of all: nothing is decided by half of what waits, but that there is something.

use std::time::Duration;

use penstock_crds::{
    position::Note,
    worker::{self, StartFrom},
};
use penstock_kafka::{CommittedOffset, Header, TopicDescription, TopicPartition};

use super::{
    looks::Look,
    subject::Subject,
    sweep::{Answers, partitions_of},
};
use crate::scaling::{Begin, PartitionKey, PartitionOffsets, Role, lag};

/// What is seen of the partitions that a pipeline reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Those that could be read.
    pub partitions: Vec<PartitionOffsets>,
    /// Whether these are all.
    pub whole: bool,
}

impl Seen {
    /// All partitions, or how many records wait at least in those that could be read.
    #[must_use]
    pub fn all_or_at_least(self) -> (Option<Vec<PartitionOffsets>>, u64) {
        if self.whole { (Some(self.partitions), 0) } else { (None, lag::at_least(&self.partitions)) }
    }
}

/// What is seen of the partitions that a pipeline reads.
#[must_use]
pub fn partitions(subject: &Subject, answers: &Answers) -> Seen {
    let source = |_: &TopicPartition| Some(Role::Source);
    let retry = |partition: &TopicPartition| {
        let due_end = answers.due.get(partition)?.as_ref().ok()?.unwrap_or(i64::MAX);
        Some(Role::Retry { due_end })
    };
    let held = |_: &TopicPartition| Some(Role::Held);
    let sources = subject.topics.iter().map(|topic| of_topic(subject, answers, topic, Duration::ZERO, source));
    let retries = subject.tiers.iter().map(|(topic, delay)| of_topic(subject, answers, topic, *delay, retry));
    let held = subject.held.iter().map(|topic| of_topic(subject, answers, topic, Duration::ZERO, held));
    let mut all = Seen { partitions: Vec::new(), whole: true };
    for topic in sources.chain(retries).chain(held) {
        let Some(found) = topic else {
            all.whole = false;
            continue;
        };
        all.whole &= found.iter().all(Option::is_some);
        all.partitions.extend(found.into_iter().flatten());
    }
    all
}

/// What is seen of each partition of a topic; none: it could not be read, or the whole topic could not. `delay`: for how long its records
/// wait before they are late.
fn of_topic(
    subject: &Subject,
    answers: &Answers,
    name: &str,
    delay: Duration,
    role: impl Fn(&TopicPartition) -> Option<Role>,
) -> Option<Vec<Option<PartitionOffsets>>> {
    let topic = answers.topics.get(name)?.as_ref().ok()?;
    let committed = answers.groups.get(&subject.group)?.as_ref().ok()?;
    let notes: Vec<Option<Note>> = committed
        .iter()
        .filter(|(partition, _)| partition.topic == name)
        .filter_map(|(_, found)| Some(Note::decode(&found.as_ref().ok()?.metadata)))
        .collect();
    let looks = answers.looks.get(&subject.group);
    let of_partition = |partition: TopicPartition| {
        let range = answers.ranges.get(&partition)?.as_ref().ok()?;
        let found = match committed.get(&partition) {
            Some(found) => Some(found.as_ref().ok()?),
            None => None,
        };
        let of_other_topic = found.is_some_and(|found| is_of_other(found, topic));
        let role = role(&partition)?;
        let begin = match role {
            Role::Source if !of_other_topic => begin(subject.start_from, topic, &notes, partition.partition),
            // As workers do: what waits for a retry is read from its start.
            Role::Source | Role::Retry { .. } | Role::Held => Begin::Start,
        };
        let offset = found.filter(|_| !of_other_topic).map(|found| found.offset);
        let log_end = match offset.filter(|offset| *offset > range.end) {
            Some(_) => Some(*answers.ends.get(&partition)?.as_ref().ok()?),
            None => None,
        };
        let look = looks.and_then(|looks| looks.get(&partition));
        let mut offsets = PartitionOffsets {
            role,
            start: range.start,
            end: range.end,
            log_end,
            committed: offset,
            begin,
            empty_until: None,
            age: None,
            key: PartitionKey { topic: partition.topic, partition: partition.partition },
        };
        if let Some(look) = look.filter(|look| look.position == lag::standing(&offsets).position) {
            add(look, delay, answers, &mut offsets);
        }
        Some(offsets)
    };
    Some(partitions_of(&answers.topics, name).into_iter().map(of_partition).collect())
}

/// Adds what stands where the group goes on.
fn add(Look { peek, .. }: &Look, delay: Duration, answers: &Answers, offsets: &mut PartitionOffsets) {
    offsets.empty_until = Some(peek.empty_until);
    let not_before = not_before(&peek.headers);
    offsets.age = not_before.map(|at| since(at, answers)).or(peek.timestamp_ms.map(|at| since(at, answers).saturating_sub(delay)));
    if let Role::Retry { due_end } = &mut offsets.role
        && not_before.is_some_and(|at| at > answers.at.as_millisecond())
    {
        // Workers wait for it, and with it for all that are behind it.
        *due_end = peek.empty_until;
    }
}

/// When a record that waits for another attempt may be tried, in milliseconds since 1970; none: it does not say.
fn not_before(headers: &[Header]) -> Option<i64> {
    let is_it = |header: &&Header| header.name.strip_prefix(worker::RETRY_HEADERS) == Some(worker::NOT_BEFORE);
    std::str::from_utf8(headers.iter().rev().find(is_it)?.value.as_ref()?).ok()?.parse().ok()
}

fn since(timestamp_ms: i64, answers: &Answers) -> Duration {
    let age = answers.at.as_millisecond().saturating_sub(timestamp_ms);
    Duration::from_millis(u64::try_from(age).unwrap_or_default())
}

/// Whether an offset is of a topic that had the same name before.
fn is_of_other(found: &CommittedOffset, topic: &TopicDescription) -> bool {
    Note::decode(&found.metadata).and_then(|note| note.topic_id).is_some_and(|id| id != topic.id.to_string())
}

/// Where a worker begins in a partition that the group has committed nothing for.
fn begin(start_from: StartFrom, topic: &TopicDescription, notes: &[Option<Note>], partition: i32) -> Begin {
    let id = topic.id.to_string();
    let mut of_other = notes.iter().flatten().filter_map(|note| note.topic_id.as_ref()).filter(|other| **other != id);
    let same = notes.iter().flatten().filter(|note| note.topic_id.as_ref().is_none_or(|other| *other == id));
    let initial = same.map(|note| note.initial).min();
    match start_from {
        StartFrom::Earliest => Begin::Start,
        StartFrom::Latest if of_other.next().is_some() || initial.is_some_and(|initial| partition >= initial) => Begin::Start,
        // It has committed in this topic, and nobody knows with how many partitions it began.
        StartFrom::Latest if !notes.is_empty() && initial.is_none() => Begin::Start,
        StartFrom::Latest => Begin::End,
    }
}

#[cfg(test)]
mod tests;
