use penstock_crds::worker::{KafkaInput, Tier};
use penstock_kafka::TimestampType;

use super::*;
use crate::stream::books::{Books, Emission};

const LIMITS: Limits = Limits { held: Bounds { records: 2, bytes: 1_000 }, waiting_bytes: 1_000 };

fn tiers() -> Arc<Tiers> {
    let text = r#"{"topics": ["a", "b"], "group": "g", "startFrom": "Earliest", "delivery": "ExactlyOnce", "ordering": "Key", "concurrency": 1,
        "retry": {"attempts": 1, "initialBackoff": "1s", "maxBackoff": "1s"}, "deadLetter": {"topic": "d", "format": "Record"}}"#;
    let input: KafkaInput = serde_json::from_str(text).unwrap();
    let beside = |suffix: &str| BTreeMap::from([("a".to_owned(), format!("a.{suffix}"))]);
    let tier = |n| Tier { delay: std::time::Duration::from_secs(1), topics: beside(&format!("retry.{n}")) };
    Arc::new(Tiers::new(&KafkaInput { tiers: vec![tier(1), tier(2)], held: beside("held"), ..input }))
}

fn family(partition: i32) -> Family {
    Family { source: "a".into(), partition }
}

fn partitions(topics: &[&str], partition: i32) -> Vec<TopicPartition> {
    topics.iter().map(|topic| TopicPartition::new(*topic, partition)).collect()
}

fn all(partition: i32) -> Vec<TopicPartition> {
    partitions(&["a", "a.retry.1", "a.retry.2", "a.held"], partition)
}

fn event(key: &'static str) -> Event {
    Event {
        topic: "a".into(),
        partition: 0,
        offset: 0,
        key: Some(key.into()),
        payload: None,
        headers: vec![],
        timestamp_ms: None,
        timestamp_type: TimestampType::default(),
        attempt: 1,
    }
}

fn record(topic: &str, key: Option<&'static str>) -> ConsumedRecord {
    ConsumedRecord {
        topic: topic.into(),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        timestamp_type: TimestampType::default(),
        key: key.map(Bytes::from),
        payload: None,
        headers: vec![],
    }
}

/// Tickets are made by books only.
fn tickets() -> impl FnMut() -> Ticket {
    let mut books = Books::new(Ordering::None, Emission::AtOnce, Bounds { records: 100, bytes: 100_000 });
    books.assign(&partitions(&["a"], 0));
    move || books.take(record("a", None), &Tiers::default()).unwrap()
}

fn holds(ordering: Ordering, waiting: &[(Station, &'static str)]) -> Holds {
    let mut holds = Holds::new(ordering, tiers(), LIMITS);
    let look = holds.assign(&all(0)).pop().unwrap();
    let mut found = BTreeMap::new();
    for (station, key) in waiting {
        Waits::add(ordering, &tiers(), &mut found, &event(key), *station);
    }
    holds.learn(&look, found.remove(&look.family).unwrap_or_default());
    holds
}

fn settled(event: Event, station: Station) -> Waited {
    Waited { event: Arc::new(event), station, bytes: 1 }
}

const TIER: Station = Station::Tier(1);

#[test]
fn a_family_stands_still_until_all_of_it_is_here_and_known() {
    let mut holds = Holds::new(Ordering::Key, tiers(), LIMITS);
    let unknown = Some(Hindrance::Unknown(family(0)));
    assert_eq!(holds.assign(&partitions(&["a", "a.retry.1", "a.held", "b"], 0)), []);
    assert_eq!((holds.hindrance(&record("a", Some("k"))), holds.hindrance(&record("b", Some("k")))), (unknown.clone(), None));
    let look = holds.assign(&partitions(&["a.retry.2"], 0)).pop().unwrap();
    assert_eq!((&look.family, holds.hindrance(&record("a.retry.1", Some("k")))), (&family(0), unknown.clone()));
    let ticket = tickets()();
    assert_eq!(holds.start(&event("k"), Station::Source, ticket), Start::Later);
    let freed = Freed { start: vec![ticket], hindrances: vec![Hindrance::Unknown(family(0))] };
    assert_eq!(holds.learn(&look, Waits::default()), freed);
    assert_eq!((holds.hindrance(&record("a", Some("k"))), holds.start(&event("k"), Station::Source, ticket)), (None, Start::Now));
    // A part of it goes and comes back: what was seen before does not count.
    holds.revoke(&partitions(&["a.retry.1"], 0));
    assert_eq!((holds.hindrance(&record("a", Some("k"))), holds.is_current(&look)), (unknown, false));
    assert_eq!(holds.learn(&look, Waits::default()), Freed::default());
    assert_eq!(holds.assign(&partitions(&["a.retry.1"], 0)).len(), 1);
}

#[test]
fn what_waits_holds_back_its_lane_only() {
    use Station::{Held, Source};
    // (ordering, what waits, the record's station and key) -> start
    for (ordering, waiting, (station, key), expected) in [
        (Ordering::Key, &[][..], (Source, "k"), Start::Now),
        (Ordering::Key, &[(TIER, "k")], (Source, "k"), Start::HoldBack),
        (Ordering::Key, &[(TIER, "k")], (Source, "other"), Start::Now),
        (Ordering::Key, &[(Held, "k")], (Source, "k"), Start::HoldBack),
        (Ordering::Key, &[(Held, "k")], (Held, "k"), Start::Now),
        (Ordering::Key, &[(TIER, "k"), (Held, "k")], (Held, "k"), Start::Later),
        (Ordering::Key, &[(TIER, "k"), (Held, "k")], (TIER, "k"), Start::Now),
        (Ordering::Partition, &[(TIER, "k")], (Source, "other"), Start::HoldBack),
        (Ordering::None, &[(TIER, "k")], (Source, "k"), Start::Now),
    ] {
        let mut holds = holds(ordering, waiting);
        assert_eq!(holds.start(&event(key), station, tickets()()), expected, "{ordering:?} {waiting:?} {station:?} {key}");
    }
}

#[test]
fn a_lane_goes_on_in_its_order() {
    use Station::{Held, Source};
    let (mut holds, mut ticket) = (holds(Ordering::Key, &[]), tickets());
    let (k, behind) = (event("k"), Hindrance::Behind(family(0), Some("k".into())));
    let start = |holds: &mut Holds, station, ticket| holds.start(&k, station, ticket);
    // The first fails; two follow it.
    holds.wait(&k, TIER);
    for _ in 0..2 {
        assert_eq!(start(&mut holds, Source, ticket()), Start::HoldBack);
        holds.wait(&k, Held);
    }
    assert_eq!(holds.hindrance(&record("a.held", Some("k"))), Some(behind.clone()));
    // It fails again, and moves on: nothing is freed before it ends.
    holds.wait(&k, Station::Tier(2));
    assert_eq!(holds.settle(&settled(k.clone(), TIER)), Freed::default());
    assert_eq!(holds.settle(&settled(k.clone(), Station::Tier(2))).hindrances, std::slice::from_ref(&behind));
    // Both are read; the second was taken when the first fails.
    assert_eq!([0, 1].map(|_| holds.hindrance(&record("a.held", Some("k")))), [None, None]);
    assert_eq!(start(&mut holds, Held, ticket()), Start::Now);
    holds.wait(&k, TIER);
    assert_eq!(holds.settle(&settled(k.clone(), Held)), Freed::default());
    let second = ticket();
    assert_eq!(start(&mut holds, Held, second), Start::Later);
    assert_eq!(start(&mut holds, Source, ticket()), Start::HoldBack);
    assert_eq!(holds.settle(&settled(k.clone(), TIER)), Freed { start: vec![second], hindrances: vec![behind] });
    assert_eq!(start(&mut holds, Held, second), Start::Now);
    assert_eq!(holds.settle(&settled(k.clone(), Held)).hindrances, [Hindrance::Crowded(family(0))]);
    assert_eq!(start(&mut holds, Source, ticket()), Start::Now);
}

#[test]
fn a_record_that_nobody_knew_of_ends_for_no_other() {
    let at = |offset| Event { offset, ..event("k") };
    let holds_back = |holds: &mut Holds| holds.start(&at(9), Station::Source, tickets()()) == Start::HoldBack;
    let mut holds = holds(Ordering::Key, &[]);
    holds.wait(&at(2), TIER);
    // The one that has lost the partition was late to write what it knew of an earlier one.
    holds.settle(&settled(at(1), TIER));
    assert!(holds_back(&mut holds));
    // Two copies of one, and one behind it.
    for offset in [3, 3, 4] {
        holds.wait(&at(offset), Station::Held);
    }
    holds.settle(&settled(at(2), TIER));
    for (offset, goes_on) in [(3, false), (3, false), (4, true)] {
        holds.settle(&settled(at(offset), Station::Held));
        assert_eq!(holds_back(&mut holds), !goes_on, "{offset}");
    }
}

#[test]
fn what_does_not_wait_after_all_holds_nothing_back() {
    let mut holds = holds(Ordering::Key, &[]);
    holds.wait(&event("k"), TIER);
    assert_eq!(holds.end(&event("k"), TIER).hindrances, [Hindrance::Behind(family(0), Some("k".into()))]);
    assert_eq!(holds.start(&event("k"), Station::Source, tickets()()), Start::Now);
    // Of a stranger's records nothing is known, and they do no harm.
    let strange = Event { topic: "a.held".into(), ..event("k") };
    assert_eq!(holds.end(&strange, Station::Held), Freed::default());
    assert_eq!(holds.start(&strange, Station::Held, tickets()()), Start::Now);
}

#[test]
fn little_of_what_was_held_back_is_in_memory() {
    let mut holds = holds(Ordering::Key, &[]);
    let held = |key| record("a.held", key);
    assert_eq!([Some("x"), Some("y"), None].map(|key| holds.hindrance(&held(key))), [None, None, Some(Hindrance::Crowded(family(0)))]);
    assert_eq!(holds.settle(&settled(event("x"), Station::Held)).hindrances, []);
    let strange = Event { topic: "a.held".into(), ..event("y") };
    assert_eq!(holds.settle(&settled(strange, Station::Held)).hindrances, [Hindrance::Crowded(family(0))]);
    // However large it is, one has room.
    let large = ConsumedRecord { payload: Some(vec![0; 2_000].into()), ..held(None) };
    assert_eq!([holds.hindrance(&large), holds.hindrance(&held(None))], [None, Some(Hindrance::Crowded(family(0)))]);
}

#[test]
fn no_more_is_taken_from_the_source_than_may_be_noted() {
    let mut holds = holds(Ordering::Key, &[]);
    let (at, full) = (|offset| Event { offset, ..event("k") }, Some(Hindrance::Full(family(0))));
    let taken = |holds: &mut Holds| ["a", "a.retry.1", "a.held"].map(|topic| holds.hindrance(&record(topic, Some("x"))));
    // One lane, and 46 records.
    for offset in 0..46 {
        assert_eq!(holds.hindrance(&record("a", Some("x"))), None, "{offset}");
        holds.wait(&at(offset), Station::Held);
        holds.wait(&at(offset), Station::Held);
    }
    holds.wait(&at(46), Station::Held);
    assert_eq!(taken(&mut holds), [full.clone(), None, None], "what waits is worked off");
    // Not for each that ends.
    let freed: Vec<i64> = (0..47).filter(|offset| !holds.end(&at(*offset), Station::Held).hindrances.is_empty()).collect();
    assert_eq!((freed, taken(&mut holds)[0].clone()), (vec![31], None));
    // The more families, the less of each; whoever was full goes on with what is left.
    (0..46).for_each(|offset| holds.wait(&at(offset), Station::Held));
    holds.assign(&all(1));
    assert_eq!(holds.hindrance(&record("a", None)), full);
    holds.revoke(&all(1));
    assert_eq!(holds.end(&at(0), Station::Held).hindrances, []);
    let freed = (1..46).find(|offset| !holds.end(&at(*offset), Station::Held).hindrances.is_empty());
    assert_eq!(freed, Some(30));
}

#[test]
fn whoever_takes_families_over_has_room_for_what_waits_of_them() {
    let (waiting_bytes, at) = (LIMITS.waiting_bytes, |offset| Event { offset, ..event("k") });
    // One worker for each family fills it.
    for of_all in 1..4 {
        let of_each = (0..of_all).map(|_| {
            let mut holds = holds(Ordering::Key, &[]);
            holds.share_among(of_all);
            let taken = (0..).take_while(|offset| {
                holds.wait(&at(*offset), Station::Held);
                holds.hindrance(&record("a", Some("x"))).is_none()
            });
            LANE_BYTES + 1 + RECORD_BYTES * taken.count()
        });
        assert!(of_each.sum::<usize>() <= waiting_bytes, "{of_all}");
    }
    // There may be more than that, if there were fewer families: it is learned, and what waits is worked off first.
    let mut taking = Holds::new(Ordering::Key, tiers(), LIMITS);
    taking.share_among(2);
    let look = taking.assign(&all(0)).pop().unwrap();
    let mut found = BTreeMap::new();
    (0..40).for_each(|offset| Waits::add(Ordering::Key, &tiers(), &mut found, &at(offset), Station::Held));
    taking.learn(&look, found.remove(&look.family).unwrap());
    let hindrances = ["a", "a.retry.1", "a.held"].map(|topic| taking.hindrance(&record(topic, Some("x"))));
    assert_eq!(hindrances, [Some(Hindrance::Full(family(0))), None, None]);
    let freed = (0..40).find(|offset| !taking.end(&at(*offset), Station::Held).hindrances.is_empty());
    assert!(freed.is_some_and(|offset| offset > 20), "{freed:?}");
}

#[test]
fn what_happens_while_a_family_is_looked_at_counts() {
    let at = |key, offset| Event { offset, ..event(key) };
    let kept = |holds: &mut Holds, key| holds.start(&at(key, 9), Station::Source, tickets()()) == Start::HoldBack;
    // (what is found, what happens meanwhile: whether it begins to wait, key, offset, where; which keys are held back then)
    type Row = (&'static [(Station, &'static str, i64)], &'static [(bool, &'static str, i64, Station)], &'static [&'static str]);
    let table: [Row; 6] = [
        (&[], &[], &[]),
        // It was in process, and ended.
        (&[(TIER, "k", 1)], &[(false, "k", 1, TIER)], &[]),
        // It was in process, and waits: before what was found was written, or since.
        (&[], &[(true, "k", 1, TIER)], &["k"]),
        (&[(TIER, "k", 1)], &[(true, "k", 1, TIER)], &["k"]),
        // It went on to the next.
        (&[(TIER, "k", 1)], &[(true, "k", 1, Station::Tier(2)), (false, "k", 1, TIER)], &["k"]),
        (
            &[(TIER, "k", 1), (TIER, "l", 2)],
            &[(true, "k", 1, Station::Tier(2)), (false, "k", 1, TIER), (false, "k", 1, Station::Tier(2))],
            &["l"],
        ),
    ];
    for (waiting, changes, expected) in table {
        let mut holds = holds(Ordering::Key, &[]);
        // What happened before is none of this.
        holds.revoke(&partitions(&["a"], 0));
        holds.wait(&at("old", 0), TIER);
        let look = holds.assign(&partitions(&["a"], 0)).pop().unwrap();
        for (begins, key, offset, station) in changes {
            if *begins {
                holds.wait(&at(*key, *offset), *station);
            } else {
                assert_eq!(holds.settle(&settled(at(*key, *offset), *station)), Freed::default());
            }
        }
        let mut found = BTreeMap::new();
        for (station, key, offset) in waiting {
            Waits::add(Ordering::Key, &tiers(), &mut found, &at(*key, *offset), *station);
        }
        holds.learn(&look, found.remove(&look.family).unwrap_or_default());
        let held: Vec<_> = ["k", "l", "old"].into_iter().filter(|key| kept(&mut holds, *key)).collect();
        assert_eq!(held, expected, "{waiting:?} {changes:?}");
    }
}
