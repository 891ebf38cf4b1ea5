//! Which replicas are throttled while copies are made, and how fast they may be (KIP-73). Pure.
//!
//! The rate is set for all brokers by default: so brokers that another tool gave a rate of their own keep it, and one that is down hinders
//! nothing. What stands there and was not set by us is neither overwritten nor taken away.

use std::collections::{BTreeMap, BTreeSet};

use penstock_crds::topic::ReassignmentThrottle;

use super::{copies::Replication, decide::Assignment};

/// The rate at which leaders send and followers take in what is throttled.
pub const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
/// The topic's keys that say what is throttled while partitions move. Whoever moves them sets these and takes them away again: nobody declares them.
pub const REPLICAS: [&str; 2] = ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];
/// The longest list of replicas; where it would be longer, all of the topic are throttled.
const MAX_LIST: usize = 4096;

/// What is throttled while the assignment is carried out; none: nothing is copied, so that nothing has to be.
#[must_use]
pub fn wanted(assignment: &Assignment, seen: &Replication) -> Option<ReassignmentThrottle> {
    let (mut leaders, mut followers) = (Vec::new(), Vec::new());
    for copies in &seen.partitions {
        let Some(target) = assignment.targets.get(&copies.partition) else { continue };
        let new: Vec<_> = target.iter().filter(|broker| !copies.held.contains(broker)).collect();
        if new.is_empty() {
            continue;
        }
        leaders.extend(copies.held.iter().map(|broker| format!("{}:{broker}", copies.partition)));
        followers.extend(new.into_iter().map(|broker| format!("{}:{broker}", copies.partition)));
    }
    let list = |replicas: Vec<String>| Some(replicas.join(",")).filter(|list| list.len() <= MAX_LIST).unwrap_or_else(|| "*".to_owned());
    let is_needed = !followers.is_empty();
    is_needed.then(|| ReassignmentThrottle { bytes_per_second: None, leader_replicas: list(leaders), follower_replicas: list(followers) })
}

/// The topic's keys with our values.
pub fn lists(ours: &ReassignmentThrottle) -> [(&'static str, &str); 2] {
    let [leader, follower] = REPLICAS;
    [(leader, ours.leader_replicas.as_str()), (follower, ours.follower_replicas.as_str())]
}

/// The key of the topic that another tool has set.
#[must_use]
pub fn foreign_list(config: &BTreeMap<String, String>, ours: Option<&ReassignmentThrottle>) -> Option<&'static str> {
    let ours = ours.map(|ours| lists(ours).map(|(_, value)| value));
    let is_ours = |at: usize, found: &String| ours.is_some_and(|ours| ours.get(at).is_some_and(|value| value == found));
    REPLICAS.into_iter().enumerate().find(|(at, key)| config.get(*key).is_some_and(|found| !is_ours(*at, found))).map(|(_, key)| key)
}

/// Whether what stands there for all brokers was set by another tool. `ours`: the rates that our objects tell of.
#[must_use]
pub fn is_foreign_rate(found: &BTreeMap<String, String>, ours: &BTreeSet<i64>) -> bool {
    found.values().any(|rate| rate.parse().ok().is_none_or(|rate: i64| !ours.contains(&rate)))
}

/// Those keys of the topic that are to be taken away: they have the value that we gave them, or are not seen, since an attempt to set them
/// may have come through that nobody answered.
#[must_use]
pub fn lists_to_lift(config: &BTreeMap<String, String>, ours: &ReassignmentThrottle) -> BTreeSet<String> {
    lists(ours)
        .into_iter()
        .filter(|(key, value)| config.get(*key).is_none_or(|found| found == value))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// Those keys of all brokers that are to be taken away. One that is not seen may be set and not be known to the broker that was asked.
#[must_use]
pub fn rates_to_lift(found: &BTreeMap<String, String>, ours: &BTreeSet<i64>) -> BTreeSet<&'static str> {
    let is_ours = |found: &String| found.parse().is_ok_and(|rate: i64| ours.contains(&rate));
    RATES.into_iter().filter(|key| found.get(*key).is_none_or(is_ours)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::copies::Copies, *};

    fn assignment(partitions: i32, held: &[i32], target: &[i32]) -> (Assignment, Replication) {
        let copies = |partition| Copies { partition, held: held.to_vec(), ..Copies::default() };
        let seen = Replication { partitions: (0..partitions).map(copies).collect(), ..Replication::default() };
        let targets = (0..partitions).map(|partition| (partition, target.to_vec())).collect();
        (Assignment { from: 1, to: 2, targets }, seen)
    }

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn ours() -> ReassignmentThrottle {
        ReassignmentThrottle { bytes_per_second: Some(1000), leader_replicas: "0:1".to_owned(), follower_replicas: "0:2".to_owned() }
    }

    #[test]
    fn what_is_copied_is_throttled() {
        for (partitions, held, target, expected) in [
            (1, &[1][..], &[1, 2, 3][..], Some(("0:1", "0:2,0:3"))),
            (2, &[1, 2], &[1, 2, 3], Some(("0:1,0:2,1:1,1:2", "0:3,1:3"))),
            (1, &[1, 2], &[1], None),
            (900, &[1], &[1, 2], Some(("*", "*"))),
        ] {
            let (assignment, seen) = assignment(partitions, held, target);
            let wanted = wanted(&assignment, &seen);
            let lists = wanted.as_ref().map(|wanted| (wanted.leader_replicas.as_str(), wanted.follower_replicas.as_str()));
            assert_eq!(lists, expected, "{target:?}");
        }
    }

    #[test]
    fn what_others_set_is_left_alone() {
        let [leader, follower] = REPLICAS;
        for (config, foreign, lifted) in [
            (pairs(&[]), None, vec![leader, follower]),
            (pairs(&[(leader, "0:1"), (follower, "0:2")]), None, vec![leader, follower]),
            (pairs(&[(leader, "0:1"), (follower, "*")]), Some(follower), vec![leader]),
            (pairs(&[(leader, "0:2")]), Some(leader), vec![follower]),
            (pairs(&[(leader, "0:2"), (follower, "*")]), Some(leader), vec![]),
        ] {
            assert_eq!(foreign_list(&config, Some(&ours())), foreign, "{config:?}");
            let lifted: BTreeSet<String> = lifted.into_iter().map(str::to_owned).collect();
            assert_eq!(lists_to_lift(&config, &ours()), lifted, "{config:?}");
        }
        assert_eq!(foreign_list(&pairs(&[(leader, "0:1")]), None), Some(leader), "nothing is ours without a record of it");

        let [leader, follower] = RATES;
        for (found, foreign, lifted) in [
            (pairs(&[]), false, vec![leader, follower]),
            (pairs(&[(leader, "1000"), (follower, "1000")]), false, vec![leader, follower]),
            (pairs(&[(leader, "1000"), (follower, "7")]), true, vec![leader]),
            (pairs(&[(leader, "2000"), (follower, "2000")]), false, vec![]),
            (pairs(&[(leader, "fast")]), true, vec![follower]),
        ] {
            assert_eq!(is_foreign_rate(&found, &[1000, 2000].into()), foreign, "{found:?}");
            assert_eq!(rates_to_lift(&found, &[1000].into()), lifted.into_iter().collect(), "{found:?}");
        }
    }
}
