use std::collections::{BTreeMap, BTreeSet};

use penstock_kafka::{Error, PartitionInfo, Peek, PerPartition, StableRange, TopicId};

use super::*;
use crate::{
    pipelines::autoscaler::looks::{self, Looks},
    scaling::{Known, Policy},
};

const MINUTE: Duration = Duration::from_secs(60);

fn subject(start_from: StartFrom) -> Subject {
    Subject {
        namespace: "shop".to_owned(),
        name: "payments".to_owned(),
        cluster: "default".to_owned(),
        group: "g".to_owned(),
        topics: vec!["orders".to_owned()],
        tiers: vec![("orders.g.retry.1".to_owned(), MINUTE)],
        held: vec!["orders.g.held".to_owned()],
        start_from,
        policy: Policy { min: 0, max: 3, drain: MINUTE, idle: MINUTE, interval: Duration::from_secs(5), co_partitioned: true },
        dry_run: false,
        refused: false,
        known: Known::default(),
    }
}

fn id(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

fn topic(name: &str, partitions: i32) -> TopicDescription {
    let mut topic = TopicDescription::new(name, id(1));
    topic.partitions = (0..partitions).map(PartitionInfo::new).collect();
    topic
}

fn note(byte: u8, initial: i32) -> String {
    Note { topic_id: Some(id(byte).to_string()), initial, moved: None }.encode()
}

fn all(subject: &Subject, answers: &Answers) -> Option<Vec<PartitionOffsets>> {
    partitions(subject, answers).all_or_at_least().0
}

/// Three partitions of orders, of which the first two have commits; one of each other topic.
fn answers() -> Answers {
    let topics = [topic("orders", 3), topic("orders.g.retry.1", 1), topic("orders.g.held", 1)];
    let all = || topics.iter().flat_map(|t| (0..t.partition_count()).map(|n| TopicPartition::new(&t.name, n)));
    let range = StableRange { start: 5, end: 90 };
    let committed = |partition, offset| (TopicPartition::new("orders", partition), Ok(CommittedOffset { offset, metadata: note(1, 2) }));
    let due: PerPartition<Option<i64>> = BTreeMap::from([(TopicPartition::new("orders.g.retry.1", 0), Ok(Some(40)))]);
    Answers {
        ranges: all().map(|partition| (partition, Ok(range))).collect(),
        topics: topics.iter().map(|t| (t.name.clone(), Ok(t.clone()))).collect(),
        groups: BTreeMap::from([("g".to_owned(), Ok(BTreeMap::from([committed(0, 50), committed(1, 90)])))]),
        due,
        ends: PerPartition::new(),
        rebalancing: BTreeSet::new(),
        looks: BTreeMap::new(),
        at: "2026-01-01T00:00:30Z".parse().unwrap(),
    }
}

#[test]
fn everything_that_is_read_is_seen() {
    let seen = all(&subject(StartFrom::Latest), &answers()).unwrap();
    let roles: Vec<Role> = seen.iter().map(|p| p.role).collect();
    assert_eq!(roles, [Role::Source, Role::Source, Role::Source, Role::Retry { due_end: 40 }, Role::Held]);
    let ends: Vec<_> = seen.iter().map(|p| (p.start, p.end, p.committed)).take(3).collect();
    assert_eq!(ends, [(5, 90, Some(50)), (5, 90, Some(90)), (5, 90, None)], "to the last stable offset");
    assert_eq!(seen[2].begin, Begin::Start, "a partition that was added later is read from its start");
}

#[test]
fn where_a_group_begins() {
    for (name, start_from, notes, begin) in [
        ("earliest", StartFrom::Earliest, vec![], Begin::Start),
        ("latest, and new", StartFrom::Latest, vec![], Begin::End),
        ("latest, and one that it began with", StartFrom::Latest, vec![Some((1, 3))], Begin::End),
        ("latest, and one that was added", StartFrom::Latest, vec![Some((1, 2))], Begin::Start),
        ("latest, and a topic that was made anew", StartFrom::Latest, vec![Some((2, 3))], Begin::Start),
        ("latest, and commits of somebody else", StartFrom::Latest, vec![None], Begin::Start),
    ] {
        let notes: Vec<Option<Note>> =
            notes.into_iter().map(|n| n.and_then(|(byte, initial)| Note::decode(&note(byte, initial)))).collect();
        assert_eq!(super::begin(start_from, &topic("orders", 3), &notes, 2), begin, "{name}");
    }
}

#[test]
fn an_offset_of_a_topic_that_was_deleted_is_none() {
    let mut answers = answers();
    let found = Ok(CommittedOffset { offset: 50, metadata: note(2, 3) });
    let Some(Ok(group)) = answers.groups.get_mut("g") else { panic!() };
    group.insert(TopicPartition::new("orders", 0), found);
    let seen = all(&subject(StartFrom::Latest), &answers).unwrap();
    assert_eq!((seen[0].committed, seen[0].begin), (None, Begin::Start));
}

#[test]
fn a_group_beyond_what_may_be_read_is_where_it_is() {
    let mut answers = answers();
    let Some(Ok(group)) = answers.groups.get_mut("g") else { panic!() };
    group.insert(TopicPartition::new("orders", 0), Ok(CommittedOffset { offset: 97, metadata: note(1, 2) }));
    assert_eq!(all(&subject(StartFrom::Earliest), &answers), None, "nobody knows whether the log goes on to there");
    for (log_end, lag) in [(99, 0), (97, 0), (96, 85)] {
        answers.ends.insert(TopicPartition::new("orders", 0), Ok(log_end));
        let seen = all(&subject(StartFrom::Earliest), &answers).unwrap();
        assert_eq!(lag::standing(&seen[0]).lag, lag, "{log_end}");
    }
}

#[test]
fn a_look_counts_where_the_group_still_is() {
    let mut answers = answers();
    let peek = Peek { empty_until: 52, timestamp_ms: Some(answers.at.as_millisecond() - 3_000), headers: vec![] };
    let look = |position| looked(TopicPartition::new("orders", 0), position, peek.clone());
    answers.looks = look(50);
    let seen = all(&subject(StartFrom::Earliest), &answers).unwrap();
    assert_eq!((seen[0].empty_until, seen[0].age), (Some(52), Some(Duration::from_secs(3))));
    answers.looks = look(49);
    let seen = all(&subject(StartFrom::Earliest), &answers).unwrap();
    assert_eq!((seen[0].empty_until, seen[0].age), (None, None));
}

#[test]
fn a_look_counts_where_the_group_begins() {
    let mut answers = answers();
    let peek = Peek { empty_until: 8, timestamp_ms: None, headers: vec![] };
    // Nothing is committed there, or what follows was deleted: it goes on at the start.
    answers.looks = looked(TopicPartition::new("orders", 2), 5, peek);
    assert_eq!(all(&subject(StartFrom::Earliest), &answers).unwrap()[2].empty_until, Some(8));
    let Some(Ok(group)) = answers.groups.get_mut("g") else { panic!() };
    group.insert(TopicPartition::new("orders", 2), Ok(CommittedOffset { offset: 3, metadata: note(1, 3) }));
    assert_eq!(all(&subject(StartFrom::Earliest), &answers).unwrap()[2].empty_until, Some(8));
}

#[test]
fn it_is_looked_where_the_group_goes_on() {
    let mut answers = answers();
    let subjects = [("uid".to_owned(), subject(StartFrom::Earliest))];
    let places = |answers: &Answers, before: &Looks| {
        let (known, wanted) = looks::plan(&subjects, |_| before.clone(), answers);
        (known, looks::share_out(wanted).0.into_iter().map(|(partition, from)| (partition.to_string(), from)).collect::<Vec<_>>())
    };
    let all = [("orders", 0, 50), ("orders", 2, 5), ("orders.g.retry.1", 0, 5), ("orders.g.held", 0, 5)];
    let all = all.map(|(topic, partition, from)| (TopicPartition::new(topic, partition).to_string(), from));
    assert_eq!(places(&answers, &Looks::new()).1, all, "not where everything is read");
    let peek = Peek { empty_until: 60, timestamp_ms: None, headers: vec![] };
    let before = looked(TopicPartition::new("orders", 0), 50, peek).remove("g").unwrap();
    let (known, wanted) = places(&answers, &before);
    assert!(wanted.contains(&(TopicPartition::new("orders", 0).to_string(), 60)), "from what was seen on: {wanted:?}");
    assert_eq!(known.get("g"), Some(&before));
    answers.groups.insert("g".to_owned(), Err(Error::Closed));
    assert_eq!(places(&answers, &before).1, [], "nobody knows where that is");
}

fn looked(partition: TopicPartition, position: i64, peek: Peek) -> BTreeMap<String, Looks> {
    let look = Look { position, at: "2026-01-01T00:00:25Z".parse().unwrap(), peek, is_vain: false };
    BTreeMap::from([("g".to_owned(), BTreeMap::from([(partition, look)]))])
}

#[test]
fn a_retry_is_old_from_when_it_was_due() {
    let mut answers = answers();
    let retry = TopicPartition::new("orders.g.retry.1", 0);
    let Some(Ok(group)) = answers.groups.get_mut("g") else { panic!() };
    group.insert(retry.clone(), Ok(CommittedOffset { offset: 30, metadata: note(1, 1) }));
    for (waits, age) in [(30, 0), (60, 0), (75, 15)] {
        let peek = Peek { empty_until: 30, timestamp_ms: Some(answers.at.as_millisecond() - waits * 1_000), headers: vec![] };
        answers.looks = looked(retry.clone(), 30, peek);
        let seen = all(&subject(StartFrom::Earliest), &answers).unwrap();
        assert_eq!(seen[3].age, Some(Duration::from_secs(age)), "{waits} s");
    }
}

#[test]
fn a_retry_is_due_when_it_says() {
    let retry = TopicPartition::new("orders.g.retry.1", 0);
    for (name, in_seconds, lag, age) in [
        ("as the others", None, 10, 30),
        ("long ago", Some("-20"), 10, 20),
        ("its handler has asked for more time", Some("250"), 0, 0),
        ("what somebody else wrote there", Some("soon"), 10, 30),
    ] {
        let mut answers = answers();
        let Some(Ok(group)) = answers.groups.get_mut("g") else { panic!() };
        group.insert(retry.clone(), Ok(CommittedOffset { offset: 30, metadata: note(1, 1) }));
        let now = answers.at.as_millisecond();
        let value = in_seconds.map(|text| text.parse::<i64>().map_or(text.to_owned(), |seconds| (now + seconds * 1_000).to_string()));
        let header = value.map(|value| Header { name: "penstock-retry-not-before".to_owned(), value: Some(value.into()) });
        let peek = Peek { empty_until: 30, timestamp_ms: Some(now - 90_000), headers: header.into_iter().collect() };
        answers.looks = looked(retry.clone(), 30, peek);
        let seen = all(&subject(StartFrom::Earliest), &answers).unwrap().remove(3);
        assert_eq!((lag::standing(&seen).lag, seen.age), (lag, Some(Duration::from_secs(age))), "{name}");
    }
}

#[test]
fn what_is_missing_of_one_is_missing_of_all() {
    let unreachable = || Error::Unreachable { reason: "away".to_owned() };
    let orders = |partition| TopicPartition::new("orders", partition);
    type Take = fn(&mut Answers, Error, TopicPartition);
    let without: [(&str, Take, u64); 5] = [
        ("a topic", |answers, error, _| drop(answers.topics.insert("orders".to_owned(), Err(error))), 35),
        ("the group", |answers, error, _| drop(answers.groups.insert("g".to_owned(), Err(error))), 0),
        ("a partition's ends", |answers, error, partition| drop(answers.ranges.insert(partition, Err(error))), 160),
        ("ends that were not told", |answers, _, partition| drop(answers.ranges.remove(&partition)), 160),
        (
            "a commit",
            |answers, error, partition| {
                let Some(Ok(group)) = answers.groups.get_mut("g") else { panic!() };
                group.insert(partition, Err(error));
            },
            160,
        ),
    ];
    for (name, take, at_least) in without {
        let mut answers = answers();
        take(&mut answers, unreachable(), orders(1));
        let seen = partitions(&subject(StartFrom::Earliest), &answers).all_or_at_least();
        assert_eq!(seen, (None, at_least), "{name}");
    }
}
