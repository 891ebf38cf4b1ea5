//! Tells where a pipeline's group did not go on where it had stopped, by what its workers have noted beside their offsets.
//! Pure: no I/O; the time is handed in.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use penstock_crds::{
    EventPipeline,
    condition::{ConditionType, Reason, Statement},
    duration,
    position::{MoveReason, Moved},
    worker::{KafkaInput, WorkerSource},
};
use penstock_kafka::TopicPartition;

use super::validate::Verdict;

/// How long a move is told.
const TOLD_FOR: Duration = Duration::from_secs(86_400);
/// How many partitions are told of one by one.
const TOLD_AT_MOST: usize = 5;
const BETWEEN: &str = "; ";
const BEFORE_ADVICE: &str = " -- ";

/// The last move in each partition.
pub type Moves = BTreeMap<TopicPartition, Moved>;

/// What to say about positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telling {
    /// This.
    Say(Statement),
    /// The same as before: it is not known.
    Keep,
    /// Nothing: the pipeline reads no records.
    Nothing,
}

/// What a pipeline reads, where that is decided.
#[must_use]
pub fn input(verdict: &Verdict) -> Option<&KafkaInput> {
    match &verdict.pipeline.as_ref().ok()?.worker.source {
        WorkerSource::Kafka(input) => Some(input),
        WorkerSource::Http { .. } => None,
    }
}

/// Decides what to say. The state of a group that was not read is never guessed.
#[must_use]
pub fn tell(pipeline: &EventPipeline, verdict: &Verdict, moves: Option<&Moves>, now: &Time) -> Telling {
    if pipeline.spec.source.kafka.is_none() {
        return Telling::Nothing;
    }
    let (Some(input), Some(moves)) = (input(verdict), moves) else { return Telling::Keep };
    let beside = input.tiers.iter().flat_map(|tier| tier.topics.values()).chain(input.held.values());
    let topics: Vec<&String> = input.topics.iter().chain(beside).collect();
    let told = |(partition, moved): &(&TopicPartition, &Moved)| topics.contains(&&partition.topic) && is_told(moved, now);
    let mut told: Vec<_> = moves.iter().filter(told).collect();
    told.sort_by_key(|(partition, moved)| (std::cmp::Reverse(moved.at), *partition));
    let statement = |status, reason, message| Telling::Say(Statement::new(ConditionType::PositionsKept, Some(status), reason, message));
    match told.first() {
        None => statement(true, Reason::PositionsKept, "the group goes on where it stopped, in every partition".to_owned()),
        Some((_, last)) => statement(false, reason(last.reason), message(&told)),
    }
}

fn is_told(moved: &Moved, now: &Time) -> bool {
    moved.reason != MoveReason::PartitionsAdded && Duration::try_from(now.0.duration_since(moved.at)).unwrap_or_default() < TOLD_FOR
}

fn reason(reason: MoveReason) -> Reason {
    match reason {
        MoveReason::OffsetOutOfRange => Reason::OffsetOutOfRange,
        MoveReason::TopicRecreated => Reason::TopicRecreated,
        MoveReason::PartitionsAdded => Reason::PositionsKept,
    }
}

fn message(told: &[(&TopicPartition, &Moved)]) -> String {
    let mut items: Vec<String> = told.iter().take(TOLD_AT_MOST).map(|(partition, moved)| item(partition, moved)).collect();
    if let Some(more @ 1..) = told.len().checked_sub(TOLD_AT_MOST) {
        items.push(format!("and {more} more, see the workers' logs"));
    }
    let advice = match told.first().map(|(_, last)| last.reason) {
        Some(MoveReason::TopicRecreated) => "whoever recreates a topic should stop its pipelines first",
        _ => "keep records for longer (retention.ms), or handle them faster: more partitions and workers",
    };
    format!("{}{BEFORE_ADVICE}{advice}. This is told for {}", items.join(BETWEEN), duration::format(TOLD_FOR))
}

fn item(partition: &TopicPartition, moved: &Moved) -> String {
    let Moved { to, at, .. } = moved;
    let lost = match moved.records_lost() {
        0 => String::new(),
        1 => ", 1 record was deleted unread".to_owned(),
        lost => format!(", up to {lost} records were deleted unread"),
    };
    match (moved.reason, moved.from) {
        (MoveReason::TopicRecreated, _) => {
            format!("{partition} was begun anew at {to} ({at}), because the topic was deleted and created again{lost}")
        }
        (_, Some(from)) if from > *to => {
            format!("{partition} went back from {from} to {to} ({at}), because its log ended before, and is read again{lost}")
        }
        (_, from) => format!("{partition} went on at {to} instead of {} ({at}){lost}", from.unwrap_or(*to)),
    }
}

/// Whether everything that a message tells stands in an earlier one.
#[must_use]
pub fn tells_no_more(message: &str, earlier: &str) -> bool {
    let items = message.split(BEFORE_ADVICE).next().unwrap_or(message);
    items.split(BETWEEN).filter(|item| !item.starts_with("and ")).all(|item| earlier.contains(item))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipelines::{
        testing::{at, example_topics, gateway, payments, references},
        validate::validate,
    };

    fn moved(reason: MoveReason, from: Option<i64>, to: i64, at: &str) -> Moved {
        Moved { reason, from, to, at: at.parse().unwrap() }
    }

    fn told(moves: Option<&Moves>) -> Telling {
        let pipeline = payments(json!({}));
        tell(&pipeline, &validate(&pipeline, &references(example_topics())), moves, &at(30))
    }

    fn said(moves: &[(&str, i32, Moved)]) -> (bool, &'static str, String) {
        let moves = moves.iter().map(|(topic, partition, moved)| (TopicPartition::new(*topic, *partition), moved.clone())).collect();
        match told(Some(&moves)) {
            Telling::Say(statement) => (statement.status.unwrap(), statement.reason.as_str(), statement.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_group_noted_is_told_for_a_day() {
        use MoveReason::{OffsetOutOfRange, PartitionsAdded, TopicRecreated};
        let (now, day_ago, before) = ("2026-01-01T00:00:10Z", "2025-12-31T00:00:30Z", "2025-12-31T00:00:31Z");
        let row = |moved, expected: (bool, &'static str, &'static str)| (moved, expected);
        for (moves, (kept, reason, part)) in [
            row(vec![], (true, "PositionsKept", "where it stopped")),
            row(
                vec![("orders", 2, moved(OffsetOutOfRange, Some(500), 800, now))],
                (
                    false,
                    "OffsetOutOfRange",
                    "orders/2 went on at 800 instead of 500 (2026-01-01T00:00:10Z), up to 300 records were deleted unread",
                ),
            ),
            row(
                vec![("orders", 2, moved(OffsetOutOfRange, Some(900), 100, now))],
                (false, "OffsetOutOfRange", "orders/2 went back from 900 to 100"),
            ),
            row(
                vec![("orders", 0, moved(TopicRecreated, Some(500), 0, before))],
                (false, "TopicRecreated", "orders/0 was begun anew at 0"),
            ),
            row(vec![("orders", 0, moved(OffsetOutOfRange, Some(1), 2, day_ago))], (true, "PositionsKept", "")),
            row(vec![("orders", 0, moved(PartitionsAdded, None, 0, now))], (true, "PositionsKept", "")),
            // A topic that the pipeline does not read any more.
            row(vec![("others", 0, moved(OffsetOutOfRange, Some(1), 2, now))], (true, "PositionsKept", "")),
            // The last one gives the reason.
            row(
                vec![("orders", 0, moved(TopicRecreated, Some(5), 0, before)), ("orders", 1, moved(OffsetOutOfRange, Some(1), 2, now))],
                (
                    false,
                    "OffsetOutOfRange",
                    "orders/1 went on at 2 instead of 1 (2026-01-01T00:00:10Z), 1 record was deleted unread; orders/0 was",
                ),
            ),
        ] {
            let (status, told, message) = said(&moves);
            assert_eq!((status, told), (kept, reason), "{message}");
            assert!(message.contains(part), "{message}");
            assert_eq!(said(&moves).2, message, "a message does not change by itself");
        }
    }

    #[test]
    fn a_message_stays_short_and_says_what_is_news() {
        let moves = |count: i32| -> Vec<(&str, i32, Moved)> {
            let lost = |n| ("orders", n, moved(MoveReason::OffsetOutOfRange, Some(1), 2, "2026-01-01T00:00:10Z"));
            (0..count).map(lost).collect()
        };
        let (two, three, many) = (said(&moves(2)).2, said(&moves(3)).2, said(&moves(40)).2);
        assert!(many.contains("and 35 more") && many.len() < 1000, "{many}");
        assert!(tells_no_more(&two, &three) && tells_no_more(&two, &two) && tells_no_more(&many, &many));
        assert!(!tells_no_more(&three, &two));
    }

    #[test]
    fn what_was_not_read_is_not_guessed() {
        assert_eq!(told(None), Telling::Keep);
        let pipeline = payments(json!({}));
        let invalid = validate(&pipeline, &references(vec![]));
        assert_eq!(tell(&pipeline, &invalid, Some(&Moves::new()), &at(1)), Telling::Keep);
        let front = gateway(json!({}));
        let verdict = validate(&front, &references(example_topics()));
        assert_eq!(tell(&front, &verdict, Some(&Moves::new()), &at(1)), Telling::Nothing);
    }
}
