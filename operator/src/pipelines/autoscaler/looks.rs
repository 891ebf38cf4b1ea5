//! What stands where groups go on: where to look, and what is known of it already. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use penstock_kafka::{Peek, PerPartition, TopicPartition};

use super::{answers::partitions, subject::Subject, sweep::Answers};
use crate::scaling::lag::standing;

/// What stands where a group goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Where it goes on.
    pub position: i64,
    /// When it was looked at last.
    pub at: Timestamp,
    /// What was seen, in that look and those before.
    pub peek: Peek,
    /// That look has shown nothing: what stands there is larger than what is shown of each partition.
    pub is_vain: bool,
}

impl Look {
    /// Whether there is nothing more to see before the group goes on. A record that was seen stays; where there was none, more may have
    /// come, or not all was shown.
    fn is_done(&self, end: i64) -> bool {
        self.peek.timestamp_ms.is_some() || self.peek.empty_until >= end
    }
}

/// What stands where a group goes on in each partition.
pub type Looks = BTreeMap<TopicPartition, Look>;

/// A look that a group would have at a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<'a> {
    group: &'a str,
    partition: TopicPartition,
    /// Where the group goes on.
    position: i64,
    /// Where to look.
    from: i64,
    /// The look of it that is kept.
    before: Option<Look>,
}

impl Wanted<'_> {
    /// Whether a look at the same place has shown nothing.
    fn is_vain(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.position == self.position && before.is_vain)
    }
}

/// What is known of each group, and which looks are wanted. `before`: what was seen of where a group goes on, by the uid of its pipeline.
pub fn plan<'a>(
    subjects: &'a [(String, Subject)],
    before: impl Fn(&str) -> Looks,
    answers: &Answers,
) -> (BTreeMap<String, Looks>, Vec<Wanted<'a>>) {
    let (mut known, mut wanted) = (BTreeMap::<String, Looks>::new(), Vec::new());
    for (uid, subject) in subjects {
        let mut earlier = before(uid);
        for offsets in partitions(subject, answers).partitions {
            let (position, end) = (standing(&offsets).position, offsets.end);
            let partition = TopicPartition::new(&offsets.key.topic, offsets.key.partition);
            let before = earlier.remove(&partition);
            let still = before.as_ref().filter(|look| look.position == position);
            if let Some(look) = still {
                known.entry(subject.group.clone()).or_default().insert(partition.clone(), look.clone());
            }
            let from = still.map_or(position, |look| look.peek.empty_until);
            if from < end && !still.is_some_and(|look| look.is_done(end)) {
                wanted.push(Wanted { group: &subject.group, partition, position, from, before });
            }
        }
    }
    (known, wanted)
}

/// What is looked at, and for whom. A partition is looked at in one place at a time: of two groups that go on at other offsets of it the
/// one without a look goes first, then the one whose look is the older. Partitions that have shown nothing are the first: of the first
/// one a batch is shown however large it is.
pub fn share_out(mut wanted: Vec<Wanted<'_>>) -> (Vec<(TopicPartition, i64)>, Vec<Wanted<'_>>) {
    wanted.sort_by_key(|wanted| wanted.before.as_ref().map(|look| look.at));
    let mut places: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    wanted.retain(|wanted| *places.entry(wanted.partition.clone()).or_insert(wanted.from) == wanted.from);
    wanted.sort_by_key(|wanted| !wanted.is_vain());
    let questions = wanted.iter().filter_map(|wanted| Some((wanted.partition.clone(), places.remove(&wanted.partition)?)));
    (questions.collect(), wanted)
}

/// Adds what was found to what is known.
pub fn add(known: &mut BTreeMap<String, Looks>, asked: Vec<Wanted<'_>>, found: &PerPartition<Peek>, at: Timestamp) {
    for Wanted { group, partition, position, from, .. } in asked {
        if let Some(Ok(peek)) = found.get(&partition) {
            let is_vain = peek.timestamp_ms.is_none() && peek.empty_until <= from;
            known.entry(group.to_owned()).or_default().insert(partition, Look { position, at, peek: peek.clone(), is_vain });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(position: i64, second: i64, empty_until: i64, timestamp_ms: Option<i64>) -> Look {
        let at = Timestamp::from_second(second).unwrap();
        let peek = Peek { empty_until, timestamp_ms, headers: vec![] };
        Look { position, at, peek, is_vain: empty_until == position && timestamp_ms.is_none() }
    }

    #[test]
    fn it_is_looked_on_until_a_record_or_the_end_is_seen() {
        for (name, look, done) in [
            ("a record", look(50, 0, 52, Some(7)), true),
            ("marks up to the end", look(50, 0, 90, None), true),
            ("and beyond what was the end", look(50, 0, 95, None), true),
            ("marks, and not all of them were shown", look(50, 0, 80, None), false),
            ("nothing was shown", look(50, 0, 50, None), false),
        ] {
            assert_eq!(look.is_done(90), done, "{name}");
        }
    }

    fn wanted(group: &str, partition: i32, from: i64, before: Option<Look>) -> Wanted<'_> {
        Wanted { group, partition: TopicPartition::new("orders", partition), position: from, from, before }
    }

    #[test]
    fn groups_take_turns_at_a_partition() {
        let before = |second| Some(look(1, second, 1, None));
        for (name, all, expected) in [
            ("the first of two that are as good", vec![wanted("a", 0, 5, None), wanted("b", 0, 7, None)], vec!["a"]),
            ("at the same offset", vec![wanted("a", 0, 5, None), wanted("b", 0, 5, before(9))], vec!["a", "b"]),
            ("the one without a look", vec![wanted("a", 0, 5, before(9)), wanted("b", 0, 7, None)], vec!["b"]),
            ("the one whose look is older", vec![wanted("a", 0, 5, before(9)), wanted("b", 0, 7, before(8))], vec!["b"]),
        ] {
            let (questions, asked) = share_out(all);
            assert_eq!(asked.iter().map(|wanted| wanted.group).collect::<Vec<_>>(), expected, "{name}");
            assert_eq!(questions, [(TopicPartition::new("orders", 0), asked[0].from)], "{name}");
        }
    }

    #[test]
    fn what_has_shown_nothing_is_asked_first() {
        let all = vec![
            wanted("a", 0, 5, None),
            wanted("a", 1, 5, Some(look(5, 9, 5, None))),
            wanted("a", 2, 5, Some(look(4, 9, 4, None))),
            wanted("a", 3, 5, Some(look(5, 9, 8, None))),
        ];
        let numbers: Vec<i32> = share_out(all).0.iter().map(|(partition, _)| partition.partition).collect();
        assert_eq!(numbers[0], 1);
        assert_eq!(numbers.len(), 4);
    }

    #[test]
    fn what_was_found_is_kept_and_what_was_not_stays_as_it_was() {
        let (mut known, at) = (BTreeMap::new(), Timestamp::from_second(9).unwrap());
        let asked = vec![wanted("a", 0, 5, None), wanted("a", 1, 5, None), wanted("a", 2, 5, None)];
        let peek = |empty_until| Ok(Peek { empty_until, timestamp_ms: None, headers: vec![] });
        let found = BTreeMap::from([(TopicPartition::new("orders", 0), peek(5)), (TopicPartition::new("orders", 1), peek(6))]);
        add(&mut known, asked, &found, at);
        let vain: Vec<bool> = known["a"].values().map(|look| look.is_vain).collect();
        assert_eq!(vain, [true, false]);
    }
}
