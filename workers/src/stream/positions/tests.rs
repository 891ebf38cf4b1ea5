use MoveReason::{OffsetOutOfRange, PartitionsAdded, TopicRecreated};
use StartFrom::{Earliest, Latest};
use proptest::prelude::*;

use super::*;

const EDGES: PartitionEdges = PartitionEdges { start: 100, stable_end: 190, end: 200 };

fn now() -> Timestamp {
    "2026-01-02T03:04:05.6Z".parse().unwrap()
}

fn note(id: &str, initial: i32) -> Note {
    Note { topic_id: (!id.is_empty()).then(|| id.to_owned()), initial, moved: None }
}

fn committed(offset: i64, note: Option<&Note>) -> CommittedOffset {
    CommittedOffset { offset, metadata: note.map(Note::encode).unwrap_or_default() }
}

fn topic(id: &str) -> Topic {
    Topic { id: (!id.is_empty()).then(|| id.to_owned()), partitions: 3, ..Topic::default() }
}

#[test]
fn a_group_goes_on_where_it_stopped_or_says_why_not() {
    // (committed, with the note of a topic, the topic now, where it goes on, why)
    let table: [(i64, &str, &str, i64, Option<MoveReason>); 16] = [
        (150, "a", "a", 150, None),
        (100, "a", "a", 100, None),
        (200, "a", "a", 200, None),
        (195, "a", "a", 195, None),
        (99, "a", "a", 100, Some(OffsetOutOfRange)),
        (0, "a", "a", 100, Some(OffsetOutOfRange)),
        (201, "a", "a", 100, Some(OffsetOutOfRange)),
        // The topic is another one, whatever the offset.
        (150, "a", "b", 100, Some(TopicRecreated)),
        (5000, "a", "b", 100, Some(TopicRecreated)),
        (0, "a", "b", 100, Some(TopicRecreated)),
        // Brokers, or notes, without ids.
        (150, "", "b", 150, None),
        (150, "a", "", 150, None),
        (99, "a", "", 100, Some(OffsetOutOfRange)),
        // Set by others: obeyed, as far as the offset is there.
        (150, "-", "b", 150, None),
        (99, "-", "b", 100, Some(OffsetOutOfRange)),
        (201, "-", "b", 100, Some(OffsetOutOfRange)),
    ];
    for (offset, noted, id, expected, reason) in table {
        let at = match noted {
            "-" => CommittedOffset { offset, metadata: "reset by hand".to_owned() },
            noted => committed(offset, Some(&note(noted, 3))),
        };
        for start_from in [Earliest, Latest] {
            let begin = begin(0, Some(&at), None, &topic(id), EDGES, start_from, now());
            assert_eq!((begin.offset, begin.moved.as_ref().map(|moved| moved.reason)), (expected, reason), "{offset} {noted} {id}");
            assert_eq!(begin.note.topic_id.as_deref().unwrap_or_default(), id);
            assert_eq!(begin.note.moved, begin.moved);
            // What is committed need not be committed again, unless its note is another one.
            assert_eq!(begin.is_committed, reason.is_none() && noted == id, "{offset} {noted} {id}");
        }
    }
}

#[test]
fn a_move_is_noted_to_the_second_and_carried_on() {
    let moved = begin(0, Some(&committed(40, Some(&note("a", 3)))), None, &topic("a"), EDGES, Earliest, now());
    let expected = Moved { reason: OffsetOutOfRange, from: Some(40), to: 100, at: "2026-01-02T03:04:06Z".parse().unwrap() };
    assert_eq!(moved.moved.as_ref(), Some(&expected));
    let later = begin(0, Some(&committed(120, Some(&moved.note))), None, &topic("a"), EDGES, Earliest, now());
    assert_eq!((later.offset, &later.moved, later.is_committed), (120, &None, true));
    assert_eq!(later.note, Note { topic_id: Some("a".to_owned()), initial: 3, moved: Some(expected) });
}

#[test]
fn what_is_read_of_a_log_that_was_cut_comes_again() {
    // (committed, cut at, found by this worker or noted by another, where it goes on, whether that is a move)
    let table: [(i64, i64, i64, bool); 10] = [
        // The log has grown beyond the offset again.
        (150, 120, 120, true),
        (200, 199, 199, true),
        // Nobody knows from where on it is another one.
        (150, 0, 100, true),
        (100, 0, 100, false),
        // What is left is what was read.
        (150, 150, 150, false),
        (120, 150, 120, false),
        // It has not grown so far, or was cut again, or lost its beginning.
        (900, 180, 180, true),
        (900, 800, 100, true),
        (150, 50, 100, true),
        (90, 95, 100, true),
    ];
    for (offset, cut_at, expected, is_moved) in table {
        let before = Moved { reason: OffsetOutOfRange, from: Some(1), to: 2, at: second(now()) };
        let note = Note { moved: Some(before.clone()), ..note("a", 3) };
        let noted = CommittedOffset { offset, metadata: note.encode_cut(cut_at) };
        for (committed, found) in [(noted, None), (committed(offset, Some(&note)), Some(cut_at))] {
            let begin = begin(0, Some(&committed), found, &topic("a"), EDGES, Latest, now());
            let moved = Moved { reason: OffsetOutOfRange, from: Some(offset), to: expected, at: second(now()) };
            assert_eq!((begin.offset, begin.moved.clone()), (expected, is_moved.then(|| moved.clone())), "{offset} {cut_at}");
            assert_eq!(begin.note.moved, Some(if is_moved { moved } else { before.clone() }));
            // The note of the cut has had its effect, and gives way.
            assert_eq!(begin.is_committed, !is_moved && found.is_some(), "{offset} {cut_at}");
        }
    }
    // Another topic is none that was cut.
    let at = CommittedOffset { offset: 150, metadata: note("a", 3).encode_cut(120) };
    let recreated = begin(0, Some(&at), Some(120), &topic("b"), EDGES, Earliest, now());
    assert_eq!((recreated.offset, recreated.moved.map(|moved| moved.reason)), (100, Some(TopicRecreated)));
}

#[test]
fn a_cut_counts_until_the_group_has_begun_anew() {
    let moved = |to| Moved { reason: OffsetOutOfRange, from: Some(1), to, at: second(now()) };
    let at = |moved: Option<Moved>| committed(5, Some(&Note { moved, ..note("a", 3) }));
    for (known, committed, expected) in [
        (None, at(None), true),
        (None, at(Some(moved(1))), false),
        (Some(moved(1)), at(Some(moved(1))), true),
        (Some(moved(1)), at(Some(moved(2))), false),
        // Somebody has set the offset.
        (None, committed(5, None), false),
    ] {
        assert_eq!(Cut { at: 0, moved: known.clone() }.still_counts(&committed), expected, "{known:?} {committed:?}");
    }
}

#[test]
fn where_nothing_is_committed_the_acquaintance_with_the_topic_decides() {
    let remembered = |id: &str, initial| Some(Remembered { topic_id: Some(id.to_owned()), initial });
    let (a3, b0, unknown) = (Some(note("a", 3)), Some(note("b", 0)), None);
    // (partition, what this worker remembers, notes of the group's offsets in the topic "a", latest begins at, why, initial)
    type Row = (i32, Option<Remembered>, Vec<Option<Note>>, i64, Option<MoveReason>, i32);
    let table: [Row; 12] = [
        // The group begins with the topic.
        (0, None, vec![], 190, None, 3),
        (2, None, vec![], 190, None, 3),
        // Another worker has begun with it, this partition was there too.
        (2, None, vec![a3.clone()], 190, None, 3),
        (2, remembered("a", 3), vec![], 190, None, 3),
        (2, remembered("a", 3), vec![a3.clone(), a3.clone()], 190, None, 3),
        // It was added.
        (3, None, vec![a3.clone()], 100, Some(PartitionsAdded), 3),
        (3, remembered("a", 3), vec![], 100, Some(PartitionsAdded), 3),
        // The group knows it from times without notes.
        (0, None, vec![unknown.clone()], 100, Some(PartitionsAdded), 0),
        (4, None, vec![a3.clone(), unknown], 100, Some(PartitionsAdded), 3),
        // It was another topic before.
        (0, remembered("b", 3), vec![], 100, Some(TopicRecreated), 0),
        (0, None, vec![b0.clone()], 100, Some(TopicRecreated), 0),
        (0, remembered("b", 3), vec![a3, b0], 100, Some(TopicRecreated), 3),
    ];
    for (partition, remembered, notes, latest, reason, initial) in table {
        let topic = Topic { remembered, notes, ..topic("a") };
        let from_latest = begin(partition, None, None, &topic, EDGES, Latest, now());
        let expected = reason.map(|reason| Moved { reason, from: None, to: latest, at: second(now()) });
        assert_eq!((from_latest.offset, &from_latest.moved), (latest, &expected), "{partition} {topic:?}");
        assert_eq!(from_latest.note, Note { topic_id: topic.id.clone(), initial, moved: expected }, "{partition} {topic:?}");
        assert!(!from_latest.is_committed, "it is made durable at once");
        let from_earliest = begin(partition, None, None, &topic, EDGES, Earliest, now());
        let told = from_earliest.moved.map(|moved| moved.reason);
        assert_eq!((from_earliest.offset, told), (100, reason.filter(|reason| *reason == TopicRecreated)), "{partition} {topic:?}");
    }
}

#[test]
fn after_a_recreation_all_partitions_begin_at_their_start() {
    let first = begin(0, Some(&committed(500, Some(&note("old", 3)))), None, &topic("new"), EDGES, Latest, now());
    assert_eq!((first.moved.map(|moved| moved.reason), first.note.initial), (Some(TopicRecreated), 0));
    let group = Topic { notes: vec![Some(note("new", first.note.initial))], ..topic("new") };
    let second = begin(1, None, None, &group, EDGES, Latest, now());
    assert_eq!((second.offset, second.moved.map(|moved| moved.reason)), (100, Some(PartitionsAdded)));
}

proptest! {
    #[test]
    fn nothing_that_can_be_read_is_skipped_without_a_word(
        offset in prop::option::of(0_i64..300),
        metadata in prop_oneof![Just(String::new()), ".*", (0..2, 0..5).prop_map(|(id, initial)| note(["a", "b"][usize::try_from(id).unwrap()], initial).encode())],
        partition in 0..6,
        (start, stable, end) in (0_i64..100, 0_i64..100, 0_i64..100),
        latest in any::<bool>(),
    ) {
        let edges = PartitionEdges { start, stable_end: start + stable, end: start + stable + end };
        let committed = offset.map(|offset| CommittedOffset { offset, metadata });
        let start_from = if latest { Latest } else { Earliest };
        let begin = begin(partition, committed.as_ref(), None, &topic("a"), edges, start_from, now());
        prop_assert!(begin.offset >= edges.start && begin.offset <= edges.end);
        match (&committed, &begin.moved) {
            (Some(committed), None) => prop_assert_eq!(begin.offset, committed.offset),
            (_, Some(moved)) => prop_assert_eq!((begin.offset, moved.to), (edges.start, edges.start)),
            (None, None) => prop_assert_eq!(begin.offset, if latest { edges.stable_end } else { edges.start }),
        }
        prop_assert_eq!(Note::decode(&begin.note.encode()), Some(begin.note));
    }
}
