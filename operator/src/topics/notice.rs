//! What is told about changes of a topic, as events. Pure.

use std::collections::{BTreeMap, BTreeSet};

use penstock_kafka::ConfigDelta;

use super::{observe::ObservedTopic, plan::TopicAction, reassignment};
use crate::events::Notice;

/// How many groups or objects are named.
const NAMED: usize = 10;

/// Why an action was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The object asked for it.
    Declared,
    /// Somebody changed the topic behind the object's back.
    Drift,
}

/// The verb of an action.
#[must_use]
pub fn verb(action: &TopicAction) -> &'static str {
    match action {
        TopicAction::Create(_) => "Create",
        TopicAction::AddPartitions { .. } => "AddPartitions",
        TopicAction::SetConfig { .. } => "SetConfig",
        TopicAction::Reassign(_) => "Reassign",
        TopicAction::CancelReassignment { .. } => "CancelReassignment",
    }
}

/// An action was done.
#[must_use]
pub fn done(action: &TopicAction, cause: Cause) -> Notice {
    match (action, cause) {
        (TopicAction::Create(new), Cause::Declared) => Notice::normal("Created", format!("created the topic `{}`", new.name)),
        (TopicAction::Create(new), Cause::Drift) => Notice::warning(
            "CreatedAgain",
            format!("the topic `{}` was gone from Kafka, and its records with it: created it again", new.name),
        ),
        (TopicAction::AddPartitions { from, total }, _) => {
            let message = format!(
                "added partitions: there were {from}, now there are {total}. Keys move: from now on records of a key may lie in another partition than before, so their order does not hold across this"
            );
            Notice::normal("PartitionsAdded", message)
        }
        (TopicAction::SetConfig { delta, found }, Cause::Declared) => Notice::normal("ConfigChanged", changes(delta, found)),
        (TopicAction::SetConfig { delta, found }, Cause::Drift) => {
            Notice::warning("DriftReverted", format!("somebody changed the topic's configuration; set back: {}", changes(delta, found)))
        }
        (TopicAction::Reassign(assignment), _) => reassignment::begun(assignment, cause),
        (TopicAction::CancelReassignment { partitions, from, to }, _) => reassignment::cancelled(partitions.len(), *from, *to),
    }
}

/// That partitions were added, with the groups that have committed something in the topic; none: they could not be asked for.
#[must_use]
pub fn read_by(mut added: Notice, readers: Option<&BTreeSet<String>>) -> Notice {
    added.message.push_str(&match readers {
        Some(readers) if readers.is_empty() => ". No consumer group has committed anything in it".to_owned(),
        Some(readers) => format!(". It is read by the consumer groups {}", some_of(readers)),
        None => ". Which consumer groups read it could not be told".to_owned(),
    });
    added
}

/// Lists names, but not all of many.
#[must_use]
pub fn some_of(names: &BTreeSet<String>) -> String {
    let named: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = names.len().checked_sub(NAMED).filter(|more| *more > 0).map_or_else(String::new, |more| format!(" and {more} more"));
    format!("{}{more}", named.join(", "))
}

/// Groups without members were told where to begin in new partitions.
#[must_use]
pub fn begun(groups: &[String]) -> Notice {
    let message = format!(
        "committed offset 0 in the new partitions for groups that begin at the end otherwise (startFrom: Latest): {}",
        groups.join(", ")
    );
    Notice::normal("OffsetsCommitted", message)
}

/// Whether it only does what the object asks for, as its status tells too: an event for each would be most of what a fleet of topics
/// writes.
#[must_use]
pub fn is_routine(action: &TopicAction, cause: Cause) -> bool {
    cause == Cause::Declared && matches!(action, TopicAction::Create(_) | TopicAction::SetConfig { .. })
}

/// A topic that existed already is ours from now on.
#[must_use]
pub fn adopted(observed: &ObservedTopic) -> Notice {
    Notice::normal("Adopted", format!("adopted the existing topic with id {} and {} partitions", observed.id, observed.partitions))
}

/// Younger objects mean the topic of this one too.
#[must_use]
pub fn contested(topic: &str, rivals: &BTreeSet<String>) -> Notice {
    let message = format!(
        "the topic `{topic}` is declared by younger KafkaTopics too: {}. They change nothing in Kafka; once this object is deleted, the oldest \
         of them has the topic",
        some_of(rivals)
    );
    Notice::warning("Contested", message)
}

/// What would be done to a suspended topic.
#[must_use]
pub fn pending(actions: &[TopicAction]) -> String {
    let words: Vec<_> = actions
        .iter()
        .map(|action| match action {
            TopicAction::Create(_) => "the topic does not exist".to_owned(),
            TopicAction::AddPartitions { from, total } => format!("there are {from} partitions instead of {total}"),
            TopicAction::SetConfig { delta, found } => format!("the configuration differs: {}", changes(delta, found)),
            TopicAction::Reassign(assignment) => reassignment::pending(assignment),
            TopicAction::CancelReassignment { from, to, .. } => reassignment::pending_cancel(*from, *to),
        })
        .collect();
    words.join("; ")
}

fn changes(delta: &ConfigDelta, found: &BTreeMap<String, String>) -> String {
    let was = |key: &String| found.get(key).map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
    let set = delta.set.iter().map(|(key, value)| format!("{key} to `{value}` (was {})", was(key)));
    let unset = delta.unset.iter().map(|key| format!("{key} to the broker's default (was {})", was(key)));
    set.chain(unset).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_key_found_value_and_wanted() {
        let action = TopicAction::SetConfig {
            delta: ConfigDelta {
                topic: "orders".into(),
                set: [("a".to_owned(), "2".to_owned()), ("b".to_owned(), "3".to_owned())].into(),
                unset: ["c".to_owned()].into(),
            },
            found: [("a".to_owned(), "1".to_owned()), ("c".to_owned(), "4".to_owned())].into(),
        };
        let words = "a to `2` (was `1`), b to `3` (was not set), c to the broker's default (was `4`)";
        for (cause, reason) in [(Cause::Declared, "ConfigChanged"), (Cause::Drift, "DriftReverted")] {
            let notice = done(&action, cause);
            assert_eq!(is_routine(&action, cause), cause == Cause::Declared);
            assert_eq!(notice.reason, reason);
            assert!(notice.message.contains(words), "{}", notice.message);
        }
        assert!(
            pending(&[TopicAction::AddPartitions { from: 1, total: 3 }, action])
                .starts_with("there are 1 partitions instead of 3; the configuration differs: a to")
        );
    }

    #[test]
    fn rivals_are_named_but_not_all_of_many() {
        let rivals = |count: usize| (0..count).map(|number| format!("shop/t{number:02}")).collect::<BTreeSet<_>>();
        for (count, words) in [(1, "too: shop/t00. They"), (12, "shop/t09 and 2 more. They")] {
            let told = contested("orders", &rivals(count));
            assert!(told.reason == "Contested" && told.message.contains(words), "{}", told.message);
        }
    }

    #[test]
    fn whoever_reads_a_topic_that_grows_is_named() {
        let groups = |count: usize| (0..count).map(|number| format!("g{number:02}")).collect::<BTreeSet<_>>();
        for (readers, end) in [
            (Some(groups(2)), "their order does not hold across this. It is read by the consumer groups g00, g01"),
            (Some(groups(12)), "g08, g09 and 2 more"),
            (Some(groups(0)), "No consumer group has committed anything in it"),
            (None, "could not be told"),
        ] {
            let added = done(&TopicAction::AddPartitions { from: 1, total: 3 }, Cause::Declared);
            let told = read_by(added, readers.as_ref());
            assert!(told.reason == "PartitionsAdded" && told.message.ends_with(end), "{}", told.message);
        }
    }
}
