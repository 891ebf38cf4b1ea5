use penstock_kafka::{TimestampType, TopicPartition};
use proptest::prelude::*;

use super::*;
use crate::{
    processor::{Failure, Output},
    stream::retry::Burial,
};

fn record(partition: i32, offset: i64, key: Option<&'static str>) -> ConsumedRecord {
    ConsumedRecord {
        topic: "t".into(),
        partition,
        offset,
        timestamp_ms: None,
        timestamp_type: TimestampType::default(),
        key: key.map(Bytes::from),
        payload: Some("12345".into()),
        headers: vec![],
    }
}

fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
    numbers.iter().map(|number| TopicPartition::new("t", *number)).collect()
}

fn books(ordering: Ordering, emission: Emission) -> Books {
    let mut books = Books::new(ordering, emission, Bounds { records: 4, bytes: 1_000 });
    books.assign(&partitions(&[0, 1]));
    books
}

fn emit() -> Verdict {
    Verdict::Emit(vec![Output::default()])
}

fn letter() -> Letter {
    Letter::new(Failure::new("Bad", "no"), Burial::Rejected, jiff::Timestamp::UNIX_EPOCH)
}

fn offsets(books: &Books) -> Vec<(i32, i64)> {
    books.to_commit(None).into_iter().map(|p| (p.offset.partition, p.offset.next_offset)).collect()
}

fn output(ticket: Ticket) -> Token {
    Token { ticket, is_letter: false, is_alone: false }
}

/// Takes a record and begins it.
fn begun(books: &mut Books, record: ConsumedRecord) -> Ticket {
    let ticket = books.take(record, &Tiers::default()).unwrap();
    books.begin(ticket).unwrap();
    books.hold_lane(ticket);
    ticket
}

#[test]
fn nothing_is_put_beside_before_what_came_earlier_of_its_key_is_acknowledged() {
    let mut books = books(Ordering::Key, Emission::AtOnce).holding_back();
    let emittable = |books: &mut Books| std::iter::from_fn(|| books.next_emittable()).map(|(ticket, _)| ticket).collect::<Vec<_>>();
    let waits = |books: &mut Books, ticket, station| books.decide(ticket, Verdict::Wait { at: station, not_before: None });
    let [paid, failed, other] = [Some("k"), Some("k"), Some("l")].map(|key| books.take(record(0, 0, key), &Tiers::default()).unwrap());
    for ticket in [paid, failed, other] {
        books.begin(ticket).unwrap();
    }
    books.decide(paid, emit());
    waits(&mut books, failed, Station::Tier(1));
    waits(&mut books, other, Station::Tier(1));
    assert_eq!(emittable(&mut books), [paid, other]);
    books.emitted(paid, 1, None);
    books.emitted(other, 1, None);
    assert!(books.acknowledged(output(other)));
    assert_eq!(emittable(&mut books), []);
    assert!(books.acknowledged(output(paid)));
    assert_eq!(emittable(&mut books), [failed]);
    books.emitted(failed, 1, None);
    let behind = begun(&mut books, record(0, 3, Some("k")));
    waits(&mut books, behind, Station::Held);
    assert_eq!((emittable(&mut books), books.is_idle()), (vec![], false));
    // Its topic does not take it: what follows instead is waited for as well.
    assert_eq!(books.bury(failed, letter()), Some(Station::Tier(1)));
    assert_eq!(emittable(&mut books), [failed]);
    books.emitted(failed, 1, Some(letter().into()));
    assert!(books.acknowledged(Token { is_letter: true, ..output(failed) }));
    assert_eq!(emittable(&mut books), [behind]);
    // A letter that rests holds nothing up.
    let last = begun(&mut books, record(0, 4, Some("k")));
    assert_eq!(books.bury(behind, letter()), Some(Station::Held));
    assert_eq!(emittable(&mut books), [behind]);
    waits(&mut books, last, Station::Held);
    assert_eq!(emittable(&mut books), []);
    books.rest(behind);
    assert_eq!(emittable(&mut books), [last]);
    books.emitted(last, 1, None);
    assert!(books.acknowledged(output(last)));
    // A partition that goes takes with it what waited.
    assert!(books.wake(behind, letter()));
    assert_eq!(emittable(&mut books), [behind]);
    let last = begun(&mut books, record(0, 5, Some("k")));
    waits(&mut books, last, Station::Held);
    let gone = books.close(&partitions(&[0]));
    books.forget(&gone);
    assert_eq!((emittable(&mut books), books.is_idle()), (vec![], true));
}

#[test]
fn what_is_settled_behind_a_record_that_is_not_is_bounded() {
    let mut books = books(Ordering::None, Emission::AtOnce);
    let head = begun(&mut books, record(0, 0, None));
    for offset in 1..16 {
        assert!(books.has_room(), "{offset}");
        let ticket = begun(&mut books, record(0, offset, None));
        books.decide(ticket, Verdict::Emit(vec![]));
        books.emitted(ticket, 0, None);
    }
    assert_eq!((books.records(), books.has_room()), (1, false));
    books.decide(head, Verdict::Emit(vec![]));
    books.emitted(head, 0, None);
    assert_eq!((books.records(), books.has_room()), (0, true));
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
        let mut books = books(ordering, Emission::AtOnce);
        let first = begun(&mut books, record(0, 0, Some("a")));
        assert_eq!(books.take(record(partition, 1, key), &Tiers::default()).is_some(), at_once, "{ordering:?} {partition} {key:?}");
        assert_eq!(books.next_startable(), None);
        books.decide(first, emit());
        assert_eq!(books.next_startable().is_some(), !at_once, "{ordering:?} {partition} {key:?}");
    }
}

#[test]
fn a_record_that_is_put_off_or_pauses_keeps_its_lane() {
    let mut books = books(Ordering::Key, Emission::AtOnce);
    let first = books.take(record(0, 0, Some("a")), &Tiers::default()).unwrap();
    books.put_off(first);
    assert_eq!(books.take(record(0, 1, Some("a")), &Tiers::default()), None);
    assert_eq!(books.next_startable(), Some(first));
    assert_eq!(books.begin(first).unwrap().attempt, 1);
    assert!(books.pause(first));
    assert_eq!(books.take(record(0, 2, Some("a")), &Tiers::default()), None);
    assert_eq!((books.next_startable(), books.is_idle()), (None, true));
    assert_eq!(books.begin(first).unwrap().attempt, 2);
    books.decide(first, emit());
    let second = books.next_startable().unwrap();
    books.begin(second).unwrap();
    assert_eq!(books.next_startable(), None, "the third waits for the second");
}

#[test]
fn memory_is_bounded_by_records_and_bytes() {
    let mut books = books(Ordering::None, Emission::AtOnce);
    let mut tickets: Vec<_> = (0..4).map(|offset| begun(&mut books, record(0, offset, None))).collect();
    let settle = |books: &mut Books, ticket| {
        books.decide(ticket, Verdict::Emit(vec![]));
        let (next, _) = books.next_emittable().unwrap();
        books.emitted(next, 0, None);
    };
    assert!(!books.has_room());
    settle(&mut books, tickets.remove(0));
    assert!(books.has_room());
    let big = begun(&mut books, ConsumedRecord { payload: Some(vec![0; 2_000].into()), ..record(0, 4, None) });
    settle(&mut books, tickets.remove(0));
    assert!(!books.has_room());
    settle(&mut books, big);
    assert!(books.has_room());
    assert_eq!(books.records(), 2);
}

#[test]
fn in_order_what_waits_to_be_written_takes_room_too() {
    let large = |bytes: usize| Verdict::Emit(vec![Output { payload: Some(vec![0; bytes].into()), ..Output::default() }]);
    let long = Letter { failure: Failure::new("Bad", "no".repeat(500)), ..letter() };
    let waits = Verdict::Wait { at: Station::Tier(1), not_before: None };
    for (verdict, fits) in [(large(900), true), (large(1_000), false), (Verdict::Bury(Box::new(long)), false), (waits, true)] {
        let mut books = books(Ordering::None, Emission::InOrder);
        let (first, second) = (begun(&mut books, record(0, 0, None)), begun(&mut books, record(0, 1, None)));
        let third = books.take(record(0, 2, None), &Tiers::default()).unwrap();
        books.put_off(third);
        books.decide(second, verdict);
        assert_eq!((books.has_room(), books.next_startable()), (fits, fits.then_some(third)));
        // Nothing that is decided in its partition is written before it.
        let other = books.take(record(1, 0, None), &Tiers::default()).unwrap();
        books.put_off(other);
        assert_eq!(books.next_startable(), Some(other));
        books.decide(first, emit());
        for expected in [first, second] {
            let (next, _) = books.next_emittable().unwrap();
            assert_eq!(next, expected);
            books.emitted(next, 1, None);
        }
        assert_eq!((books.has_room(), books.next_startable()), (true, (!fits).then_some(third)));
    }
}

#[test]
fn what_waited_to_be_written_of_a_partition_that_goes_takes_no_room() {
    let mut books = books(Ordering::None, Emission::InOrder);
    let (_, second) = (begun(&mut books, record(0, 0, None)), begun(&mut books, record(0, 1, None)));
    books.decide(second, Verdict::Emit(vec![Output { payload: Some(vec![0; 2_000].into()), ..Output::default() }]));
    assert!(!books.has_room());
    let gone = books.close(&partitions(&[0]));
    books.forget(&gone);
    assert!(books.has_room());
}

#[test]
fn in_order_nothing_passes_an_undecided_record() {
    let mut books = books(Ordering::None, Emission::InOrder);
    let tickets: Vec<_> = (0..3).map(|offset| begun(&mut books, record(0, offset, None))).collect();
    let other = begun(&mut books, record(1, 7, None));
    books.decide(tickets[2], emit());
    books.decide(other, emit());
    assert_eq!(books.next_emittable().map(|(ticket, _)| ticket), Some(other));
    books.emitted(other, 1, None);
    assert_eq!((books.next_emittable(), offsets(&books)), (None, vec![(1, 8)]));
    books.decide(tickets[1], emit());
    books.decide(tickets[0], Verdict::Bury(letter().into()));
    for (ticket, position) in tickets.iter().zip([1, 2, 3]) {
        let (next, _) = books.next_emittable().unwrap();
        assert_eq!(next, *ticket);
        books.emitted(next, 1, None);
        assert_eq!(offsets(&books), [(0, position), (1, 8)]);
    }
    assert!(books.is_idle());
}

#[test]
fn a_record_is_settled_with_its_last_acknowledgement() {
    let mut books = books(Ordering::None, Emission::AtOnce);
    let ticket = begun(&mut books, record(0, 0, None));
    books.decide(ticket, emit());
    let (next, verdict) = books.next_emittable().unwrap();
    books.put_back(next, verdict);
    books.next_emittable().unwrap();
    books.emitted(ticket, 2, None);
    assert!(!books.acknowledged(output(ticket)));
    assert_eq!((offsets(&books), books.is_idle()), (vec![], false));
    assert!(books.acknowledged(output(ticket)));
    assert!(!books.acknowledged(output(ticket)));
    assert_eq!((offsets(&books), books.is_idle()), (vec![(0, 1)], true));
}

#[test]
fn a_refused_output_becomes_a_letter_and_only_its_acknowledgement_counts() {
    let mut books = books(Ordering::None, Emission::AtOnce);
    let ticket = begun(&mut books, record(0, 0, None));
    books.decide(ticket, emit());
    books.next_emittable().unwrap();
    books.emitted(ticket, 2, None);
    books.bury(ticket, letter());
    assert_eq!(books.next_emittable(), Some((ticket, Verdict::Bury(letter().into()))));
    books.emitted(ticket, 1, Some(letter().into()));
    assert!(!books.is_awaited(output(ticket)) && !books.acknowledged(output(ticket)));
    assert_eq!(books.letter(ticket), Some(letter()));
    // It cannot be written: it rests, and comes again.
    books.rest(ticket);
    assert!(books.is_idle());
    assert!(books.wake(ticket, letter()));
    books.next_emittable().unwrap();
    books.emitted(ticket, 1, Some(letter().into()));
    assert!(books.acknowledged(Token { is_letter: true, ..output(ticket) }));
    assert_eq!(offsets(&books), [(0, 1)]);
}

#[test]
fn a_closed_partition_starts_nothing_and_commits_its_settled_prefix() {
    let mut books = books(Ordering::Key, Emission::AtOnce);
    let first = begun(&mut books, record(0, 10, Some("a")));
    let second = books.take(record(0, 11, Some("b")), &Tiers::default()).unwrap();
    assert!(books.take(record(0, 12, Some("a")), &Tiers::default()).is_none());
    let closed = books.close(&partitions(&[0]));
    assert!(!books.are_idle(&closed));
    assert!(books.begin(second).is_none());
    books.decide(first, emit());
    assert_eq!(books.next_startable(), None);
    books.next_emittable().unwrap();
    books.emitted(first, 1, None);
    books.acknowledged(output(first));
    assert!(books.are_idle(&closed));
    assert_eq!(offsets(&books), [(0, 11)]);
    books.forget(&closed);
    assert_eq!((offsets(&books), books.records()), (vec![], 0));
    assert!(books.take(record(0, 13, None), &Tiers::default()).is_none(), "not assigned");
}

#[test]
fn an_earlier_assignment_counts_for_nothing() {
    for emission in [Emission::AtOnce, Emission::InOrder] {
        let mut books = books(Ordering::Key, emission);
        let (running, decided) = (begun(&mut books, record(0, 10, Some("a"))), begun(&mut books, record(0, 11, Some("b"))));
        let closed = books.close(&partitions(&[0]));
        books.forget(&closed);
        books.assign(&partitions(&[0]));
        let new = begun(&mut books, record(0, 10, Some("a")));
        books.decide(running, emit());
        books.decide(decided, emit());
        books.acknowledged(output(running));
        assert!(!books.pause(running));
        assert_eq!((books.next_emittable(), offsets(&books)), (None, vec![]));
        books.decide(new, Verdict::Emit(vec![]));
        books.next_emittable().unwrap();
        books.emitted(new, 0, None);
        assert_eq!((offsets(&books), books.is_idle(), books.records()), (vec![(0, 11)], true, 0));
    }
}

#[test]
fn the_end_of_a_partition_is_a_position() {
    let mut books = books(Ordering::Key, Emission::InOrder);
    books.reach_end(&TopicPartition::new("t", 1), 40);
    books.reach_end(&TopicPartition::new("t", 7), 40);
    assert_eq!(offsets(&books), [(1, 40)]);
    let positions = books.to_commit(None);
    books.committed(&positions);
    assert_eq!(offsets(&books), []);
}

/// What a test does next with some record.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(i32, usize),
    Retry(prop::sample::Index),
    Decide(prop::sample::Index),
    Write,
    Acknowledge(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2, 0..3usize).prop_map(|(partition, key)| Step::Take(partition, key)),
        1 => any::<prop::sample::Index>().prop_map(Step::Retry),
        3 => any::<prop::sample::Index>().prop_map(Step::Decide),
        2 => Just(Step::Write),
        2 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
    ]
}

proptest! {
    /// Whatever happens in whatever order: of one key the records are written in the order of their offsets, nothing that
    /// is not written is committed, and in the end everything is.
    #[test]
    fn order_holds_and_nothing_is_lost(
        steps in prop::collection::vec(step(), 1..150),
        in_order in any::<bool>(),
        first in any::<prop::sample::Index>(),
    ) {
        const KEYS: [&str; 3] = ["a", "b", "c"];
        let emission = if in_order { Emission::InOrder } else { Emission::AtOnce };
        let mut books = Books::new(Ordering::Key, emission, Bounds { records: 1_000, bytes: 1 << 20 });
        books.assign(&partitions(&[0, 1]));
        let (mut next, mut running, mut unacked) = ([0_i64; 2], Vec::new(), Vec::new());
        let mut written: HashMap<(i32, Bytes), i64> = HashMap::new();
        let mut open: Vec<(i32, i64)> = Vec::new();
        let begin = |books: &mut Books, running: &mut Vec<Ticket>, ticket: Ticket| {
            books.begin(ticket).unwrap();
            books.hold_lane(ticket);
            running.push(ticket);
        };
        let finish = std::iter::repeat_n([Step::Decide(first), Step::Write, Step::Acknowledge(first)], 400).flatten();

        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Take(partition, key) => {
                    let offset = &mut next[usize::try_from(partition).unwrap()];
                    open.push((partition, *offset));
                    if let Some(ticket) = books.take(record(partition, *offset, Some(KEYS[key])), &Tiers::default()) {
                        begin(&mut books, &mut running, ticket);
                    }
                    *offset += 1;
                }
                Step::Retry(index) if !running.is_empty() => {
                    let ticket = running[index.index(running.len())];
                    prop_assert!(books.pause(ticket));
                    books.begin(ticket).unwrap();
                }
                Step::Decide(index) if !running.is_empty() => {
                    let ticket = running.swap_remove(index.index(running.len()));
                    books.decide(ticket, emit());
                }
                Step::Write => while let Some((ticket, _)) = books.next_emittable() {
                    let event = books.event(ticket).unwrap();
                    let last = written.insert((event.partition, event.key.clone().unwrap()), event.offset);
                    prop_assert!(last.is_none_or(|last| last < event.offset), "{last:?} before {}", event.offset);
                    if in_order {
                        open.retain(|record| *record != (event.partition, event.offset));
                    } else {
                        unacked.push((ticket, (event.partition, event.offset)));
                    }
                    books.emitted(ticket, 1, None);
                },
                Step::Acknowledge(index) if !unacked.is_empty() => {
                    let (ticket, done) = unacked.swap_remove(index.index(unacked.len()));
                    prop_assert!(books.acknowledged(output(ticket)));
                    open.retain(|record| *record != done);
                }
                _ => {}
            }
            while let Some(ticket) = books.next_startable() {
                begin(&mut books, &mut running, ticket);
            }
            let positions = books.to_commit(None);
            for Position { offset, .. } in &positions {
                prop_assert!(!open.iter().any(|(partition, open)| *partition == offset.partition && *open < offset.next_offset));
            }
            books.committed(&positions);
        }
        prop_assert_eq!((open.len(), books.records(), books.is_idle()), (0, 0, true));
    }
}
