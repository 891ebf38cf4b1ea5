use penstock_kafka::{Error, ReplicaHealth, TopicPartition};
use serde_json::{Value, json};

use super::*;
use crate::topics::health::Trouble;

fn id(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

fn now() -> Timestamp {
    "2026-01-01T00:00:10.7Z".parse().unwrap()
}

fn note(byte: u8, initial: i32) -> String {
    Note { topic_id: Some(id(byte).to_string()), initial, moved: None }.encode()
}

type Found = Result<CommittedOffset, Error>;

fn at(offset: i64, metadata: String) -> Found {
    Ok(CommittedOffset { offset, metadata })
}

/// The partitions in which something is committed, of which each is noted as new to a group that began with so many.
fn committed(offsets: Vec<(&str, i32, Found)>) -> Vec<(i32, i64, Note)> {
    let offsets = offsets.into_iter().map(|(topic, partition, found)| (TopicPartition::new(topic, partition), found)).collect();
    let grown = Grown { topic: "orders", id: id(1), from: 2, to: 4 };
    let first = first_offsets(grown, &offsets, now());
    first.iter().map(|o| (o.partition, o.next_offset, Note::decode(o.metadata.as_deref().unwrap()).unwrap())).collect()
}

#[test]
fn a_group_that_has_begun_begins_new_partitions_at_their_start() {
    let unread = || Err(Error::Unreachable { reason: "away".to_owned() });
    for (name, offsets, expected) in [
        ("it has begun", vec![("orders", 0, at(7, note(1, 2)))], vec![(2, 2), (3, 2)]),
        ("it has begun with fewer", vec![("orders", 0, at(7, note(1, 2))), ("orders", 1, at(7, note(1, 1)))], vec![(2, 1), (3, 1)]),
        ("by another tool", vec![("orders", 1, at(7, String::new()))], vec![(2, 0), (3, 0)]),
        ("a member was faster", vec![("orders", 0, at(7, note(1, 2))), ("orders", 2, at(90, note(1, 2)))], vec![(3, 2)]),
        ("it has not begun", vec![], vec![]),
        ("it has begun with another topic", vec![("payments", 0, at(7, note(1, 2)))], vec![]),
        ("it knows a topic that had the name before", vec![("orders", 0, at(7, note(9, 2)))], vec![]),
        ("not all could be read", vec![("orders", 0, at(7, note(1, 2))), ("orders", 3, unread())], vec![]),
    ] {
        let found = committed(offsets);
        assert!(found.iter().all(|(_, offset, _)| *offset == 0), "{name}: {found:?}");
        assert_eq!(found.iter().map(|(partition, _, note)| (*partition, note.initial)).collect::<Vec<_>>(), expected, "{name}");
    }
    let (_, _, note) = committed(vec![("orders", 0, at(7, note(1, 2)))]).remove(0);
    let moved = Moved { reason: MoveReason::PartitionsAdded, from: None, to: 0, at: "2026-01-01T00:00:11Z".parse().unwrap() };
    assert_eq!(note, Note { topic_id: Some(id(1).to_string()), initial: 2, moved: Some(moved) });
}

#[test]
fn groups_that_would_skip_something_are_those_that_begin_at_the_end() {
    let object = |name: &str| -> KafkaTopic {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": name, "namespace": "shop"}, "spec": {},
        }))
        .unwrap()
    };
    let pipeline = |name: &str, namespace: &str, kafka: Value, cluster: &str| -> Arc<Guarded<EventPipeline>> {
        let object = json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": name, "namespace": namespace},
            "spec": {"source": {"kafka": kafka}, "processor": {"builtin": "log"}, "clusterRef": {"name": cluster}},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    };
    let latest = |topic: &str| json!({"topics": [topic], "startFrom": "Latest"});
    let all = [
        pipeline("b", "shop", latest("orders"), "default"),
        pipeline("a", "shop", json!({"topics": ["orders"], "startFrom": "Latest", "group": "named"}), "default"),
        pipeline("earliest", "shop", json!({"topics": ["orders"]}), "default"),
        pipeline("other-topic", "shop", latest("payments"), "default"),
        pipeline("other-namespace", "mall", latest("orders"), "default"),
        pipeline("other-cluster", "shop", latest("orders"), "big"),
    ];
    assert_eq!(groups(&object("orders"), &all), ["named", "shop.b"]);
}

#[test]
fn a_topic_has_grown_once_that_is_seen() {
    let seen = |partitions| ObservedTopic {
        id: id(1),
        partitions,
        replication_factors: [1].into(),
        is_compacted: false,
        config: BTreeMap::new(),
        health: ReplicaHealth::default(),
        lasting: Trouble::None,
    };
    let growth = [TopicAction::AddPartitions { from: 2, total: 4 }];
    let found =
        |done: &[TopicAction], seen: Option<ObservedTopic>| grown(done, "orders", seen.as_ref()).map(|grown| (grown.from, grown.to));
    assert_eq!(found(&growth, Some(seen(4))), Some((2, 4)));
    assert_eq!(found(&growth, None), None);
    assert_eq!(found(&[], Some(seen(4))), None);
}

#[test]
fn who_has_committed_in_a_topic_reads_it() {
    let of = |topics: &[&str]| Ok(topics.iter().map(|topic| (TopicPartition::new(*topic, 0), at(7, String::new()))).collect());
    let committed = [
        ("a", of(&["orders"])),
        ("b", of(&["payments", "orders"])),
        ("c", of(&["payments"])),
        ("d", of(&[])),
        ("e", Err(Error::Authorization { message: "denied".to_owned() })),
    ];
    let committed = committed.into_iter().map(|(group, offsets)| (group.to_owned(), offsets)).collect();
    assert_eq!(Vec::from_iter(readers("orders", committed)), ["a", "b"]);
}
