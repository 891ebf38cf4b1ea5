//! Decides what a reader of whole topics has to read and when it has caught up. Pure.
//!
//! A topic that came back with another id is read from its beginning again; a partition that is new is read, too. Nothing
//! is caught up before every topic was seen once.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::record::TopicPartition;
use crate::topic::{PerTopic, TopicId};

/// What a look at the topics showed, one step each, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A topic is missing, or cannot be read, since this look.
    Failed(Error),
    /// A topic was deleted and created again: forget these partitions of the old one.
    Recreated { topic: String, forget: Vec<TopicPartition> },
    /// Partitions to be read from their beginning.
    Follow(Vec<TopicPartition>),
}

#[derive(Debug)]
pub(super) struct Progress {
    topics: BTreeMap<String, Topic>,
    announced: bool,
}

#[derive(Debug, Default)]
struct Topic {
    id: Option<TopicId>,
    partitions: usize,
    followed: BTreeMap<i32, Position>,
    failed: bool,
}

/// How far a partition was read since it is followed.
#[derive(Debug)]
struct Position {
    /// Where it has caught up; `None` once it has.
    target: Option<i64>,
    started: bool,
}

impl Progress {
    pub(super) fn new(topics: impl IntoIterator<Item = String>) -> Self {
        let topics = topics.into_iter().map(|name| (name, Topic::default())).collect();
        Self { topics, announced: false }
    }

    pub(super) fn topics(&self) -> Vec<&str> {
        self.topics.keys().map(String::as_str).collect()
    }

    /// True once every topic has been seen and all its partitions are followed.
    pub(super) fn is_complete(&self) -> bool {
        let complete = |topic: &Topic| !topic.failed && topic.partitions > 0 && topic.followed.len() >= topic.partitions;
        self.topics.values().all(complete)
    }

    /// Compares what is there now (the id and the partitions of each topic) with what is followed.
    pub(super) fn look(&mut self, seen: PerTopic<(TopicId, Vec<i32>)>) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut follow = Vec::new();
        for (name, seen) in seen {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let (id, partitions) = match seen {
                Ok(seen) => seen,
                Err(error) => {
                    if !topic.failed {
                        steps.push(Step::Failed(error));
                    }
                    topic.failed = true;
                    self.announced = false;
                    continue;
                }
            };
            topic.failed = false;
            if topic.id.is_some_and(|known| known != id) {
                let old = std::mem::take(&mut topic.followed);
                let forget = old.into_keys().map(|partition| TopicPartition::new(&name, partition));
                steps.push(Step::Recreated { topic: name.clone(), forget: forget.collect() });
                self.announced = false;
            }
            topic.id = Some(id);
            topic.partitions = partitions.len();
            let new = partitions.into_iter().filter(|partition| !topic.followed.contains_key(partition));
            follow.extend(new.map(|partition| TopicPartition::new(&name, partition)));
        }
        if !follow.is_empty() {
            steps.push(Step::Follow(follow));
        }
        steps
    }

    /// The id of a topic that was seen.
    pub(super) fn id(&self, topic: &str) -> Option<TopicId> {
        self.topics.get(topic).and_then(|topic| topic.id)
    }

    /// A partition is being read now; it has caught up at `end`.
    pub(super) fn followed(&mut self, partition: &TopicPartition, end: i64) {
        if let Some(topic) = self.topics.get_mut(&partition.topic) {
            let position = Position { target: Some(end), started: false };
            topic.followed.insert(partition.partition, position);
            self.announced = false;
        }
    }

    /// A partition is not read any more and has to be followed from its beginning again. True if records of it were read.
    pub(super) fn lost(&mut self, partition: &TopicPartition) -> bool {
        self.announced = false;
        let topic = self.topics.get_mut(&partition.topic);
        let position = topic.and_then(|topic| topic.followed.remove(&partition.partition));
        position.is_some_and(|position| position.started)
    }

    /// A record of this offset was read.
    pub(super) fn read(&mut self, topic: &str, partition: i32, offset: i64) {
        if let Some(position) = self.position(topic, partition) {
            position.started = true;
            if position.target.is_some_and(|end| offset.saturating_add(1) >= end) {
                position.target = None;
            }
        }
    }

    /// There was nothing more to read. Also true where the last offsets hold no records (markers, compaction).
    pub(super) fn reached_end(&mut self, partition: &TopicPartition) {
        if let Some(position) = self.position(&partition.topic, partition.partition) {
            position.target = None;
        }
    }

    /// An error was reported: whoever heard of it wants to hear, too, that all is read nevertheless.
    pub(super) fn doubt(&mut self) {
        self.announced = false;
    }

    fn position(&mut self, topic: &str, partition: i32) -> Option<&mut Position> {
        self.topics.get_mut(topic)?.followed.get_mut(&partition)
    }

    /// True exactly once each time that everything has been read.
    pub(super) fn newly_caught_up(&mut self) -> bool {
        let read = |topic: &Topic| topic.followed.values().all(|position| position.target.is_none());
        let now = !self.announced && self.is_complete() && self.topics.values().all(read);
        self.announced |= now;
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> TopicId {
        TopicId::from_halves(0, number)
    }

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn seen(number: i64, partitions: &[i32]) -> PerTopic<(TopicId, Vec<i32>)> {
        BTreeMap::from([("t".to_owned(), Ok((id(number), partitions.to_vec())))])
    }

    fn missing() -> PerTopic<(TopicId, Vec<i32>)> {
        BTreeMap::from([("t".to_owned(), Err(Error::UnknownTopic { topic: "t".to_owned() }))])
    }

    fn following(ends: &[i64]) -> Progress {
        let mut progress = Progress::new(["t".to_owned()]);
        let partitions: Vec<i32> = (0..).zip(ends).map(|(number, _)| number).collect();
        assert_eq!(progress.look(seen(1, &partitions)).len(), 1);
        for (number, end) in (0..).zip(ends) {
            progress.followed(&partition(number), *end);
        }
        progress
    }

    #[test]
    fn it_has_caught_up_at_the_ends_seen_at_the_start() {
        let mut progress = following(&[2, 1]);
        progress.read("t", 0, 0);
        progress.read("t", 1, 0);
        assert!(!progress.newly_caught_up());
        progress.read("t", 0, 1);
        assert!(progress.newly_caught_up());
        assert!(!progress.newly_caught_up());
    }

    #[test]
    fn the_end_of_a_partition_counts_without_a_record() {
        let mut progress = following(&[10]);
        progress.reached_end(&partition(0));
        assert!(progress.newly_caught_up());
    }

    #[test]
    fn nothing_is_caught_up_before_the_topic_was_seen() {
        let mut progress = Progress::new(["t".to_owned()]);
        assert!(!progress.newly_caught_up());
        assert_eq!(progress.look(missing()), [Step::Failed(Error::UnknownTopic { topic: "t".to_owned() })]);
        assert_eq!(progress.look(missing()), [], "a missing topic is reported once");
        assert!(!progress.newly_caught_up());
        assert_eq!(progress.look(seen(1, &[0])), [Step::Follow(vec![partition(0)])]);
    }

    #[test]
    fn after_an_error_it_says_again_that_it_has_caught_up() {
        let mut progress = following(&[0]);
        progress.reached_end(&partition(0));
        assert!(progress.newly_caught_up());
        assert_eq!(progress.look(missing()).len(), 1);
        assert!(!progress.newly_caught_up());
        assert_eq!(progress.look(seen(1, &[0])), []);
        assert!(progress.newly_caught_up());
        progress.doubt();
        assert!(progress.newly_caught_up());
        assert!(!progress.newly_caught_up());
    }

    #[test]
    fn new_partitions_are_followed() {
        let mut progress = following(&[0]);
        progress.reached_end(&partition(0));
        assert!(progress.newly_caught_up());
        assert_eq!(progress.look(seen(1, &[0, 1])), [Step::Follow(vec![partition(1)])]);
        progress.followed(&partition(1), 5);
        assert!(!progress.newly_caught_up());
        progress.reached_end(&partition(1));
        assert!(progress.newly_caught_up());
    }

    #[test]
    fn a_lost_partition_is_followed_again() {
        let mut progress = following(&[0, 0]);
        progress.reached_end(&partition(0));
        progress.reached_end(&partition(1));
        assert!(progress.newly_caught_up());
        assert!(!progress.lost(&partition(1)), "nothing of it was read");
        assert!(!progress.newly_caught_up());
        assert_eq!(progress.look(seen(1, &[0, 1])), [Step::Follow(vec![partition(1)])]);
        progress.followed(&partition(1), 5);
        progress.read("t", 1, 4);
        assert!(progress.newly_caught_up());
        assert!(progress.lost(&partition(1)));
    }

    #[test]
    fn a_recreated_topic_is_read_from_its_beginning() {
        let mut progress = following(&[3]);
        assert_eq!(progress.look(seen(1, &[0])), []);
        assert_eq!(
            progress.look(seen(2, &[0])),
            [Step::Recreated { topic: "t".to_owned(), forget: vec![partition(0)] }, Step::Follow(vec![partition(0)])]
        );
        assert!(!progress.newly_caught_up());
        progress.followed(&partition(0), 0);
        progress.reached_end(&partition(0));
        assert!(progress.newly_caught_up());
    }
}
