use serde_json::json;

use super::*;

fn at(second: i64) -> Time {
    Time(jiff::Timestamp::from_second(second).unwrap())
}

/// Under-replicated, under the minimum, offline.
type Counts = [i32; 3];

fn observed([under_replicated, under_min_isr, offline]: Counts, lasting: Trouble) -> ObservedTopic {
    ObservedTopic {
        id: "AAAAAAAAAAAAAAAAAAAAAQ".parse().unwrap(),
        partitions: 6,
        replication_factors: [3].into(),
        is_compacted: false,
        config: std::collections::BTreeMap::new(),
        health: ReplicaHealth { under_replicated, under_min_isr, offline, lagging: (1..=12).collect() },
        lasting,
    }
}

fn topic(status: &KafkaTopicStatus) -> KafkaTopic {
    serde_json::from_value(json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": "orders", "generation": 2}, "spec": {},
        "status": status,
    }))
    .unwrap()
}

/// The status after a look, from what was told before.
fn look(before: &KafkaTopicStatus, counts: Counts, lasting: Trouble, second: i64) -> KafkaTopicStatus {
    seen(KafkaTopicStatus::default(), &topic(before), &observed(counts, lasting), &at(second))
}

fn reason(status: &KafkaTopicStatus) -> Option<(&str, &str)> {
    status.conditions.first().map(|told| (told.status.as_str(), told.reason.as_str()))
}

#[test]
fn what_gets_worse_is_told_and_what_else_changes_waits() {
    use Trouble::{None as Well, Offline, UnderMinIsr, UnderReplicated};
    let in_sync = ("True", "ReplicasInSync");
    let lagging = ("False", "UnderReplicated");
    let few = ("False", "UnderMinIsr");
    let offline = ("False", "OfflinePartitions");
    let mut told = KafkaTopicStatus::default();
    for (second, counts, lasting, expected, underreplicated) in [
        (0, [0, 0, 0], Well, Some(in_sync), None),
        (10, [2, 0, 0], Well, Some(in_sync), None),
        (70, [2, 0, 0], UnderReplicated, Some(lagging), Some(2)),
        // Other numbers wait until two minutes are over.
        (100, [3, 0, 0], UnderReplicated, Some(lagging), Some(2)),
        (190, [3, 0, 0], UnderReplicated, Some(lagging), Some(3)),
        // Worse than any look before has shown: the next one decides.
        (200, [3, 1, 0], UnderReplicated, Some(lagging), Some(3)),
        (201, [3, 1, 0], UnderMinIsr, Some(few), Some(3)),
        (202, [3, 1, 1], Offline, Some(offline), Some(3)),
        (300, [3, 1, 0], UnderMinIsr, Some(offline), Some(3)),
        (322, [1, 0, 0], UnderReplicated, Some(lagging), Some(1)),
        (441, [0, 0, 0], Well, Some(lagging), Some(1)),
        (442, [0, 0, 0], Well, Some(in_sync), None),
    ] {
        told = look(&told, counts, lasting, second);
        assert_eq!(reason(&told), expected, "{second}");
        assert_eq!(told.health.as_ref().map(|told| told.under_replicated), underreplicated, "{second}");
    }
}

#[test]
fn replicas_that_come_and_go_are_written_seldom() {
    let (mut told, mut writes) = (look(&KafkaTopicStatus::default(), [0, 0, 0], Trouble::None, 0), 0);
    // Other numbers at each of the 120 looks of an hour, and well at every other one.
    for turn in 1..=120 {
        let counts = if turn % 2 == 0 { [0, 0, 0] } else { [turn % 5 + 1, 1, 0] };
        let after = look(&told, counts, Trouble::of(&observed(counts, Trouble::None).health), i64::from(turn) * 30);
        writes += usize::from(after != told);
        told = after;
    }
    assert!((2..=60).contains(&writes), "{writes} writes");
}

#[test]
fn a_look_says_why_something_is_to_be_told() {
    let well = look(&KafkaTopicStatus::default(), [0, 0, 0], Trouble::None, 0);
    let bad = look(&well, [2, 1, 0], Trouble::UnderMinIsr, 0);
    let worse = |trouble| Some(News::Worse(Reverse(trouble)));
    let lost = unseen(KafkaTopicStatus::default(), &topic(&bad), Reason::KafkaUnreachable, &at(0));
    for (before, counts, lasting, second, news_expected) in [
        (&KafkaTopicStatus::default(), [0, 0, 0], Trouble::None, 0, Some(News::First)),
        (&KafkaTopicStatus::default(), [1, 0, 0], Trouble::None, 0, None),
        (&KafkaTopicStatus::default(), [1, 1, 1], Trouble::Offline, 0, worse(Trouble::Offline)),
        (&lost, [0, 0, 0], Trouble::None, 1, Some(News::First)),
        (&lost, [2, 0, 0], Trouble::None, 1, None),
        (&lost, [2, 0, 0], Trouble::UnderReplicated, 61, worse(Trouble::UnderReplicated)),
        (&well, [0, 0, 0], Trouble::None, 999, None),
        (&bad, [2, 1, 0], Trouble::UnderMinIsr, 999, None),
        (&bad, [2, 1, 1], Trouble::Offline, 1, worse(Trouble::Offline)),
        (&bad, [3, 1, 0], Trouble::UnderMinIsr, 119, None),
        (&bad, [3, 1, 0], Trouble::UnderMinIsr, 120, Some(News::Other)),
        (&bad, [2, 0, 0], Trouble::UnderReplicated, 120, Some(News::Better)),
    ] {
        assert_eq!(news(&topic(before), &observed(counts, lasting), &at(second)), news_expected, "{counts:?} {second}");
    }
}

#[test]
fn of_many_topics_the_most_urgent_have_their_turn() {
    let worse = |trouble| News::Worse(Reverse(trouble));
    let mut all = vec![
        ((0, News::First), 99),
        ((0, News::Other), 100),
        ((0, News::Better), 101),
        ((0, worse(Trouble::UnderReplicated)), 102),
        ((0, worse(Trouble::Offline)), 103),
        ((1, worse(Trouble::Offline)), 104),
    ];
    assert_eq!(in_turn(all.clone()), [103, 102, 101, 100, 99, 104]);
    all.extend((0..30).map(|number| ((0, News::Better), number)));
    let told = in_turn(all);
    assert_eq!((told.len(), &told[..3]), (TOLD_AT_ONCE, &[103, 102, 101][..]));
}

#[test]
fn objects_that_cannot_tell_leave_others_their_turn() {
    let mut asked = [0; 3 * TOLD_AT_ONCE];
    for _ in 0..3 {
        let all = asked.iter().enumerate().map(|(object, asked)| ((*asked, News::Better), object)).collect();
        in_turn(all).into_iter().for_each(|object| asked[object] += 1);
    }
    assert_eq!(asked, [1; 3 * TOLD_AT_ONCE]);
}

#[test]
fn the_message_tells_what_it_means_and_which_brokers() {
    let words = |counts| {
        let status = look(&KafkaTopicStatus::default(), counts, Trouble::Offline, 0);
        status.conditions[0].message.clone()
    };
    for (counts, part) in [
        ([0, 0, 0], "every partition has a leader"),
        ([2, 0, 0], "2 of 6 partitions have replicas that are not in sync; see whether these brokers run and keep up: 1, 2"),
        ([2, 1, 0], "1 of 6 partitions have fewer replicas in sync than min.insync.replicas"),
        ([2, 1, 1], "1 of 6 partitions have no leader"),
    ] {
        let words = words(counts);
        assert!(words.contains(part), "{words}");
        assert!(counts == [0, 0, 0] || words.ends_with("9, 10 and others"), "{words}");
    }
}

#[test]
fn what_cannot_be_asked_is_unknown_and_what_was_not_asked_stays() {
    let bad = look(&KafkaTopicStatus::default(), [2, 1, 0], Trouble::UnderMinIsr, 0);
    let after = |why| unseen(KafkaTopicStatus::default(), &topic(&bad), why, &at(9));
    let stays = after(Reason::RefusedByKafka);
    assert_eq!((reason(&stays), &stays.health), (Some(("False", "UnderMinIsr")), &bad.health));
    let lost = after(Reason::KafkaUnreachable);
    assert_eq!((reason(&lost), &lost.health), (Some(("Unknown", "KafkaUnreachable")), &None));
    // The first look after that tells what it sees, as on the first day.
    assert_eq!(reason(&look(&lost, [0, 0, 0], Trouble::None, 10)), Some(("True", "ReplicasInSync")));
    let lagging = look(&lost, [1, 1, 1], Trouble::None, 10);
    assert_eq!(reason(&lagging), Some(("Unknown", "KafkaUnreachable")), "before a second look nothing is known");
    assert_eq!(reason(&look(&lagging, [0, 0, 0], Trouble::None, 40)), Some(("True", "ReplicasInSync")));
    assert_eq!(unseen(KafkaTopicStatus::default(), &topic(&KafkaTopicStatus::default()), Reason::KafkaUnreachable, &at(9)).conditions, []);
}
