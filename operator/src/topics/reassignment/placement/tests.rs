use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn brokers(racks: &[(i32, &str)]) -> Vec<BrokerInfo> {
    let rack = |rack: &str| (!rack.is_empty()).then(|| rack.to_owned());
    racks.iter().map(|(id, name)| BrokerInfo { id: *id, host: format!("kafka-{id}"), port: 9092, rack: rack(name) }).collect()
}

/// A partition on these brokers, all of them in sync but for those that are named.
fn copies(partition: i32, leader: i32, held: &[i32], behind: &[i32]) -> Copies {
    let in_sync = held.iter().copied().filter(|broker| !behind.contains(broker)).collect();
    Copies { partition, leader: (leader >= 0).then_some(leader), held: held.to_vec(), in_sync, ongoing: None }
}

fn racks_of(brokers: &[BrokerInfo]) -> BTreeMap<i32, String> {
    brokers.iter().filter_map(|broker| Some((broker.id, broker.rack.clone()?))).collect()
}

fn placed(brokers: Vec<BrokerInfo>, partitions: Vec<Copies>, factor: usize) -> Result<Vec<Vec<i32>>, usize> {
    let seen = Replication { partitions, racks: racks_of(&brokers), brokers, seed: 0 };
    place(&seen, factor).map(|targets| targets.into_values().collect()).map_err(|shortage| shortage.most)
}

#[test]
fn where_copies_go_and_which_stay() {
    const NO_RACKS: &[(i32, &str)] = &[(1, ""), (2, ""), (3, "")];
    const TWO_UP: &[(i32, &str)] = &[(1, ""), (2, "")];
    const RACKS: &[(i32, &str)] = &[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")];
    type Row<'a> = (&'a str, &'a [(i32, &'a str)], Vec<Copies>, usize, Result<Vec<Vec<i32>>, usize>);
    let rows: Vec<Row> = vec![
        ("to all", NO_RACKS, vec![copies(0, 2, &[2], &[])], 3, Ok(vec![vec![2, 1, 3]])),
        ("as it is", NO_RACKS, vec![copies(0, 1, &[1, 2], &[])], 2, Ok(vec![])),
        (
            "spread over the brokers",
            NO_RACKS,
            vec![copies(0, 1, &[1], &[]), copies(1, 1, &[1], &[]), copies(2, 2, &[2], &[])],
            2,
            Ok(vec![vec![1, 3], vec![1, 2], vec![2, 3]]),
        ),
        ("not to one that is down", TWO_UP, vec![copies(0, 1, &[1], &[]), copies(1, 2, &[2], &[])], 2, Ok(vec![vec![1, 2], vec![2, 1]])),
        ("one that is down keeps what it holds", TWO_UP, vec![copies(0, 1, &[3, 1], &[3])], 3, Ok(vec![vec![3, 1, 2]])),
        ("too few are up", TWO_UP, vec![copies(0, 1, &[1, 2], &[])], 3, Err(2)),
        ("too few at all", NO_RACKS, vec![copies(0, 1, &[1], &[])], 4, Err(3)),
        ("another rack", RACKS, vec![copies(0, 1, &[1], &[])], 3, Ok(vec![vec![1, 3, 5]])),
        ("each rack once, then the emptiest", RACKS, vec![copies(0, 1, &[1, 3, 5], &[])], 4, Ok(vec![vec![1, 3, 5, 2]])),
        (
            "a rack counts more than the load",
            RACKS,
            vec![copies(0, 5, &[5], &[]), copies(1, 5, &[5], &[]), copies(2, 1, &[1, 3], &[])],
            3,
            Ok(vec![vec![5, 2, 4], vec![5, 2, 3], vec![1, 3, 5]]),
        ),
        ("the leader stays", NO_RACKS, vec![copies(0, 2, &[1, 2, 3], &[])], 1, Ok(vec![vec![2]])),
        ("so does the preferred one", NO_RACKS, vec![copies(0, 3, &[1, 2, 3], &[])], 2, Ok(vec![vec![1, 3]])),
        ("out of sync goes first", NO_RACKS, vec![copies(0, 2, &[1, 2, 3], &[1])], 2, Ok(vec![vec![2, 3]])),
        ("down goes first", TWO_UP, vec![copies(0, 1, &[1, 2, 3], &[2, 3])], 2, Ok(vec![vec![1, 2]])),
        ("without a leader", NO_RACKS, vec![copies(0, -1, &[1, 2], &[1, 2])], 1, Ok(vec![vec![1]])),
        ("one of each rack stays", RACKS, vec![copies(0, 1, &[1, 2, 3], &[])], 2, Ok(vec![vec![1, 3]])),
        ("the fullest broker gives up", NO_RACKS, vec![copies(0, 1, &[1, 2, 3], &[]), copies(1, 2, &[2, 1], &[])], 2, Ok(vec![vec![1, 3]])),
    ];
    for (name, racks, partitions, factor, expected) in rows {
        assert_eq!(placed(brokers(racks), partitions, factor), expected, "{name}");
    }
}

#[test]
fn the_rack_of_a_broker_that_is_down_counts() {
    let all = brokers(&[(1, "a"), (2, "a"), (3, "b"), (4, "b")]);
    for (down, held, factor, expected) in [(1, &[1, 3][..], 3, vec![1, 3, 4]), (3, &[3], 2, vec![3, 1])] {
        let seen = Replication {
            partitions: vec![copies(0, -1, held, &[])],
            brokers: all.iter().filter(|broker| broker.id != down).cloned().collect(),
            racks: racks_of(&all),
            seed: 2,
        };
        let placed = place(&seen, factor).map(|targets| targets.into_values().collect::<Vec<_>>());
        assert_eq!(placed.map_err(|shortage| shortage.most), Ok(vec![expected]), "{down} {held:?}");
    }
}

#[test]
fn topics_do_not_all_begin_with_the_same_broker() {
    let first = |seed| {
        let partitions = vec![copies(0, 1, &[1], &[])];
        let seen = Replication { partitions, brokers: brokers(&[(1, ""), (2, ""), (3, "")]), seed, ..Replication::default() };
        place(&seen, 2).unwrap().into_values().next().unwrap()
    };
    assert_eq!((0..6).map(first).collect::<BTreeSet<_>>(), [vec![1, 2], vec![1, 3]].into());
}

/// Partitions on brokers 0 to 8 of which those with a rack are up.
fn topics() -> impl Strategy<Value = Replication> {
    let partition = (proptest::sample::subsequence((0..8).collect::<Vec<i32>>(), 1..5), any::<u8>());
    (proptest::collection::vec(partition, 1..12), proptest::collection::vec(0..4_u8, 8), any::<usize>()).prop_map(|(held, racks, seed)| {
        let partitions = (0..).zip(held).map(|(index, (held, bits))| {
            let behind: Vec<i32> = held.iter().copied().skip(1).filter(|broker| (bits >> broker) & 1 == 1).collect();
            let leader = held.first().copied().unwrap_or(-1);
            copies(index, leader, &held, &behind)
        });
        let up: Vec<(i32, String)> = (0..).zip(racks).filter(|(_, rack)| *rack > 0).map(|(id, rack)| (id, rack.to_string())).collect();
        let up: Vec<(i32, &str)> = up.iter().map(|(id, rack)| (*id, rack.as_str())).collect();
        let brokers = brokers(&up);
        Replication { partitions: partitions.collect(), racks: racks_of(&brokers), brokers, seed }
    })
}

proptest! {
    #[test]
    fn nothing_moves_that_need_not(seen in topics(), factor in 1..6_usize) {
        let Ok(targets) = place(&seen, factor) else {
            let most = |copies: &Copies| copies.held.len() + seen.brokers.iter().filter(|up| !copies.held.contains(&up.id)).count();
            prop_assert!(seen.partitions.iter().any(|copies| most(copies) < factor), "refused, although there are enough");
            return Ok(());
        };
        for copies in &seen.partitions {
            let Some(target) = targets.get(&copies.partition) else {
                prop_assert_eq!(copies.held.len(), factor);
                continue;
            };
            prop_assert_eq!(target.len(), factor);
            prop_assert_eq!(target.iter().collect::<BTreeSet<_>>().len(), factor, "a broker twice");
            prop_assert_eq!(target.first(), copies.held.first(), "the preferred leader, which leads here");
            let new: Vec<_> = target.iter().filter(|broker| !copies.held.contains(broker)).collect();
            prop_assert_eq!(new.len(), factor.saturating_sub(copies.held.len()), "more moves than need to");
            prop_assert!(new.iter().all(|broker| seen.is_up(**broker)));
            let gone_in_sync = copies.in_sync.iter().any(|broker| !target.contains(broker));
            let kept_behind = target.iter().any(|broker| copies.held.contains(broker) && !copies.in_sync.contains(broker));
            prop_assert!(!(gone_in_sync && kept_behind), "one in sync went, and one that is not stayed");
        }
    }
}
