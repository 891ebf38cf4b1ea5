//! Splits a batch into what can be sent and what is refused here already. Pure.
//!
//! librdkafka refuses a whole batch for one bad or repeated entry; here a bad entry only fails itself.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::{ConfigDelta, NewTopic, PerTopic, validate_topic_name};
use crate::error::{Error, Result};

const MAX_PARTITIONS: i32 = 100_000;

/// A batch after the checks: `send` goes to Kafka, `refused` is answered at once.
pub(super) struct Checked<'a, I, T> {
    pub(super) send: BTreeMap<&'a str, I>,
    pub(super) refused: PerTopic<T>,
}

/// Checks every entry by itself. An entry that is there twice is refused: which one was meant cannot be known.
pub(super) fn check<'a, I, T>(entries: impl IntoIterator<Item = (&'a str, I)>, valid: impl Fn(&I) -> Result<()>) -> Checked<'a, I, T> {
    let mut checked = Checked { send: BTreeMap::new(), refused: BTreeMap::new() };
    let mut twice = BTreeSet::new();
    for (name, entry) in entries {
        match validate_topic_name(name).and_then(|()| valid(&entry)) {
            Ok(()) if checked.send.insert(name, entry).is_none() => {}
            Ok(()) => {
                twice.insert(name);
            }
            Err(error) => {
                checked.refused.insert(name.to_owned(), Err(error));
            }
        }
    }
    for name in twice {
        checked.send.remove(name);
        let message = format!("topic {name} is named twice in one call");
        let error = Error::InvalidRequest { code: Code::InvalidArgument as i32, message };
        checked.refused.insert(name.to_owned(), Err(error));
    }
    checked
}

/// Names to be read; naming one twice is harmless.
pub(super) fn check_names<'a, T>(names: &[&'a str]) -> Checked<'a, (), T> {
    let names: BTreeSet<&'a str> = names.iter().copied().collect();
    check(names.into_iter().map(|name| (name, ())), |()| Ok(()))
}

/// Whether a topic could be created at all.
#[cfg(feature = "config")]
pub(crate) fn check_new_topic(topic: &NewTopic) -> Result<()> {
    valid_new_topic(&topic)
}

pub(super) fn valid_new_topic(topic: &&NewTopic) -> Result<()> {
    if let Some(partitions) = topic.partitions {
        valid_partitions(&partitions)?;
    }
    if topic.replication_factor.is_some_and(|factor| factor < 1) {
        return Err(Error::InvalidReplicationFactor { message: "it must be at least 1".to_owned() });
    }
    valid_config(topic.config.iter())
}

pub(super) fn valid_partitions(partitions: &i32) -> Result<()> {
    if (1..=MAX_PARTITIONS).contains(partitions) {
        return Ok(());
    }
    Err(Error::InvalidPartitions { message: format!("{partitions} is not between 1 and {MAX_PARTITIONS}") })
}

pub(super) fn valid_delta(delta: &&ConfigDelta) -> Result<()> {
    if let Some(key) = delta.unset.iter().find(|key| delta.set.contains_key(*key)) {
        return Err(Error::InvalidConfig { message: format!("{key} is both set and removed") });
    }
    let none = String::new();
    valid_config(delta.set.iter().chain(delta.unset.iter().map(|key| (key, &none))))
}

fn valid_config<'a>(entries: impl Iterator<Item = (&'a String, &'a String)>) -> Result<()> {
    for (key, value) in entries {
        if key.is_empty() {
            return Err(Error::InvalidConfig { message: "a key is empty".to_owned() });
        }
        if key.contains('\0') || value.contains('\0') {
            return Err(Error::InvalidConfig { message: format!("{key:?} contains a zero byte") });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_entry_fails_only_itself() {
        let checked: Checked<'_, i32, ()> = check([("a", 1), ("b c", 1), ("d", 0), ("e", 1), ("e", 2)], valid_partitions);
        assert_eq!(checked.send, BTreeMap::from([("a", 1)]));
        let refused: Vec<_> = checked.refused.keys().map(String::as_str).collect();
        assert_eq!(refused, ["b c", "d", "e"]);
    }

    #[test]
    fn names_to_read_may_repeat() {
        let checked: Checked<'_, (), ()> = check_names(&["a", "a", "", "b"]);
        assert_eq!(checked.send.keys().copied().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(checked.refused.len(), 1);
    }

    #[test]
    fn new_topics_are_checked() {
        let table = [
            (NewTopic::new("t"), true),
            (NewTopic::new("t").with_partitions(1).with_replication_factor(1), true),
            (NewTopic::new("t").with_partitions(0), false),
            (NewTopic::new("t").with_partitions(-1), false),
            (NewTopic::new("t").with_partitions(MAX_PARTITIONS + 1), false),
            (NewTopic::new("t").with_replication_factor(0), false),
            (NewTopic::new("t").with_config("retention.ms", "1"), true),
            (NewTopic::new("t").with_config("", "1"), false),
            (NewTopic::new("t").with_config("a", "\0"), false),
        ];
        for (topic, valid) in table {
            assert_eq!(valid_new_topic(&&topic).is_ok(), valid, "{topic:?}");
        }
    }

    #[test]
    fn a_key_is_not_set_and_removed_at_once() {
        let delta = |set: &[&str], unset: &[&str]| ConfigDelta {
            topic: "t".to_owned(),
            set: set.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect(),
            unset: unset.iter().map(|key| (*key).to_owned()).collect(),
        };
        let table = [(delta(&["a"], &["b"]), true), (delta(&["a"], &["a"]), false), (delta(&[], &[""]), false)];
        for (delta, valid) in table {
            assert_eq!(valid_delta(&&delta).is_ok(), valid, "{delta:?}");
        }
    }
}
