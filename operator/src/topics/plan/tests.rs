use penstock_crds::topic::ConfigPolicy;
use penstock_kafka::ReplicaHealth;

use super::*;
use crate::topics::health::Trouble;

const ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const OTHER_ID: &str = "ASNFZ4mrze8AESIzRFVmdw";

fn id(text: &str) -> TopicId {
    text.parse().unwrap()
}

fn pairs(config: &[(&str, &str)]) -> BTreeMap<String, String> {
    config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn keys(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|k| (*k).to_owned()).collect()
}

fn desired(partitions: Option<i32>, factor: Option<i16>, config: &[(&str, &str)]) -> ValidatedTopic {
    ValidatedTopic {
        name: "orders".into(),
        partitions,
        replication_factor: factor,
        initial_partitions: partitions.or(Some(6)),
        initial_replication_factor: factor,
        config: pairs(config),
        config_policy: BTreeMap::new(),
        allow_key_moves: false,
    }
}

fn observed(partitions: i32, factors: &[i16], config: &[(&str, &str)]) -> ObservedTopic {
    ObservedTopic {
        id: id(ID),
        partitions,
        replication_factors: factors.iter().copied().collect(),
        is_compacted: false,
        config: pairs(config),
        health: ReplicaHealth::default(),
        lasting: Trouble::None,
    }
}

fn history(topic_id: Option<&str>, managed: &[&str]) -> History {
    History { topic_id: topic_id.map(id), is_taken_over: topic_id.is_some(), managed_config: keys(managed), recreation: None }
}

fn delta(set: &[(&str, &str)], unset: &[&str], found: &[(&str, &str)]) -> TopicAction {
    TopicAction::SetConfig { delta: ConfigDelta { topic: "orders".into(), set: pairs(set), unset: keys(unset) }, found: pairs(found) }
}

#[test]
fn what_is_done_and_what_is_refused() {
    let grow = TopicAction::AddPartitions { from: 3, total: 6 };
    let none = history(None, &[]);
    type Row = (&'static str, ValidatedTopic, History, ObservedTopic, Vec<TopicAction>, Option<Reason>);
    let rows: Vec<Row> = vec![
        ("as declared", desired(Some(3), Some(1), &[("a", "1")]), none.clone(), observed(3, &[1], &[("a", "1")]), vec![], None),
        ("nothing declared", desired(None, None, &[]), none.clone(), observed(9, &[2], &[("a", "1")]), vec![], None),
        ("grow", desired(Some(6), None, &[]), none.clone(), observed(3, &[1], &[]), vec![grow.clone()], None),
        ("decrease", desired(Some(3), None, &[]), none.clone(), observed(6, &[1], &[]), vec![], Some(Reason::PartitionDecreaseRefused)),
        (
            "set",
            desired(None, None, &[("a", "2")]),
            none.clone(),
            observed(3, &[1], &[("a", "1")]),
            vec![delta(&[("a", "2")], &[], &[("a", "1")])],
            None,
        ),
        ("a new key", desired(None, None, &[("a", "2")]), none.clone(), observed(3, &[1], &[]), vec![delta(&[("a", "2")], &[], &[])], None),
        ("adopt, keep foreign keys", desired(None, None, &[]), none.clone(), observed(3, &[1], &[("a", "1")]), vec![], None),
        (
            "un-set ours",
            desired(None, None, &[]),
            history(Some(ID), &["a"]),
            observed(3, &[1], &[("a", "1"), ("b", "2")]),
            vec![delta(&[], &["a"], &[("a", "1")])],
            None,
        ),
        ("ours is gone already", desired(None, None, &[]), history(Some(ID), &["a"]), observed(3, &[1], &[]), vec![], None),
        (
            "grow, set and un-set",
            desired(Some(6), None, &[("a", "1")]),
            history(Some(ID), &["a", "b"]),
            observed(3, &[1], &[("b", "2")]),
            vec![grow, delta(&[("a", "1")], &["b"], &[("b", "2")])],
            None,
        ),
        (
            "recreated",
            desired(Some(6), None, &[("a", "1")]),
            history(Some(OTHER_ID), &["a"]),
            observed(3, &[1], &[]),
            vec![],
            Some(Reason::TopicRecreated),
        ),
    ];
    for (name, desired, history, observed, actions, refused) in rows {
        let plan = plan(&desired, &history, Some(&observed));
        assert_eq!(plan.actions, actions, "{name}");
        let blocked = (refused == Some(Reason::PartitionDecreaseRefused)).then(|| approval::partitions(6, 3));
        assert_eq!(plan.differences(), approval::changes(&actions).into_iter().chain(blocked).collect::<Vec<_>>(), "{name}");
        assert_eq!(plan.refusal.map(|r| r.reason), refused, "{name}");
    }
}

#[test]
fn copies_are_changed_after_all_else_and_beside_a_refusal() {
    let assignment = Assignment { from: 1, to: 2, targets: [(0, vec![1, 2])].into() };
    let cancel = TopicAction::CancelReassignment { partitions: vec![0], from: 2, to: 1 };
    let waits = || Refusal::new(Reason::Reassigning, "one is left");
    let rows = [
        (Step::Rest, None, None),
        (Step::Begin(assignment.clone()), Some(TopicAction::Reassign(assignment)), None),
        (Step::Cancel { partitions: vec![0], from: 2, to: 1 }, Some(cancel), None),
        (Step::Wait { remaining: 1, refusal: waits() }, None, Some(Reason::Reassigning)),
        (Step::Refuse(waits()), None, Some(Reason::Reassigning)),
    ];
    for (step, action, reason) in rows {
        let differs = || Some(approval::replication_factor(1, 2));
        let grown = plan(&desired(Some(6), None, &[]), &history(None, &[]), Some(&observed(3, &[1], &[]))).with(&step, differs());
        assert_eq!((grown.actions.len(), grown.actions.get(1)), (1 + usize::from(action.is_some()), action.as_ref()), "{step:?}");
        let told = matches!(step, Step::Begin(_) | Step::Refuse(_)).then(|| approval::replication_factor(1, 2));
        let all = [approval::partitions(3, 6)].into_iter().chain(told);
        assert_eq!(grown.differences(), all.collect::<Vec<_>>(), "{step:?}");
        assert_eq!(grown.refusal.map(|refusal| refusal.reason), reason, "{step:?}");
        let refused = plan(&desired(Some(3), None, &[]), &history(None, &[]), Some(&observed(6, &[1], &[]))).with(&step, None);
        assert_eq!(
            (refused.actions.first(), refused.refusal.unwrap().reason),
            (action.as_ref(), Reason::PartitionDecreaseRefused),
            "{step:?}"
        );
    }
}

#[test]
fn a_compacted_topic_grows_only_where_keys_may_move() {
    for (from, total, is_compacted, declared, ignored, allowed, grows) in [
        (3, 6, false, None, false, false, true),
        (3, 6, true, None, false, false, false),
        (3, 6, true, None, false, true, true),
        (6, 6, true, None, false, false, false),
        // It becomes one, was one until now, or is left to others.
        (3, 6, false, Some("delete, compact"), false, false, false),
        (3, 6, true, Some("delete"), false, false, false),
        (3, 6, false, Some("compact"), true, false, true),
        (3, 6, false, Some("delete"), false, false, true),
    ] {
        let row = format!("{from} {total} {is_compacted} {declared:?} {ignored} {allowed}");
        let mut desired = ValidatedTopic { allow_key_moves: allowed, ..desired(Some(total), None, &[]) };
        desired.config.extend(declared.map(|policy| ("cleanup.policy".to_owned(), policy.to_owned())));
        desired.config_policy.extend(ignored.then(|| ("cleanup.*".to_owned(), ConfigPolicy::Ignore)));
        let observed = ObservedTopic { is_compacted, ..observed(from, &[1], &[]) };
        let plan = plan(&desired, &history(None, &[]), Some(&observed));
        assert_eq!(plan.actions.iter().any(|action| matches!(action, TopicAction::AddPartitions { .. })), grows, "{row}");
        let differs = (from < total).then(|| approval::partitions(from, total));
        assert_eq!(plan.differences().into_iter().find(|change| change.what == "partitions"), differs, "{row}");
        let refused = plan.refusal.map(|refusal| refusal.reason);
        assert_eq!(refused, (from < total && !grows).then_some(Reason::KeyMovesRefused), "{row}");
    }
}

#[test]
fn keys_of_others_are_left_to_them() {
    let throttle = "leader.replication.throttled.replicas";
    let policy = |rows: &[(&str, ConfigPolicy)]| rows.iter().map(|(pattern, policy)| ((*pattern).to_owned(), *policy)).collect();
    for (name, policies, declared, managed, there, action) in [
        ("enforced", policy(&[]), &[("a.b", "1")][..], &[][..], &[("a.b", "2")][..], Some(delta(&[("a.b", "1")], &[], &[("a.b", "2")]))),
        ("ignored", policy(&[("a.*", ConfigPolicy::Ignore)]), &[("a.b", "1")], &[], &[("a.b", "2")], None),
        ("ignored and removed", policy(&[("a.*", ConfigPolicy::Ignore)]), &[], &["a.b"], &[("a.b", "2")], None),
        (
            "the most specific that fits",
            policy(&[("a.*", ConfigPolicy::Ignore), ("a.b", ConfigPolicy::Enforce)]),
            &[("a.b", "1")],
            &[],
            &[("a.b", "2")],
            Some(delta(&[("a.b", "1")], &[], &[("a.b", "2")])),
        ),
        ("of a reassignment", policy(&[("*", ConfigPolicy::Enforce)]), &[(throttle, "*")], &[throttle], &[], None),
    ] {
        let desired = ValidatedTopic { config_policy: policies, ..desired(None, None, declared) };
        let plan = plan(&desired, &history(Some(ID), managed), Some(&observed(3, &[1], there)));
        assert_eq!(plan.actions, action.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_key_that_is_left_to_others_is_not_ours() {
    let ignoring = |declared: &[(&str, &str)]| ValidatedTopic {
        config_policy: [("a.*".to_owned(), ConfigPolicy::Ignore)].into(),
        ..desired(None, None, declared)
    };
    for (name, declared, managed, ours) in
        [("declared", &[("a.b", "1"), ("c", "1")][..], &[][..], &["c"][..]), ("managed before", &[], &["a.b", "c"], &["c"])]
    {
        let (desired, history) = (ignoring(declared), history(Some(ID), managed));
        assert_eq!(managed_before(&desired, &history), keys(ours), "{name}");
        assert_eq!(managed_after(&desired, &history, &observed(3, &[1], &[("a.b", "1"), ("c", "1")])), keys(ours), "{name}");
    }
}

#[test]
fn what_stands_in_place_of_a_lost_topic_is_ours_only_if_it_is_what_was_asked_for() {
    let asked = || NewTopic::new("orders").with_partitions(6).with_replication_factor(2).with_config("a", "1");
    let defaults = NewTopic { partitions: None, replication_factor: None, ..asked() };
    let lost = |asked| History { recreation: Some(Recreation { lost: id(OTHER_ID), asked }), ..history(None, &["a"]) };
    for (name, asked, found, is_ours) in [
        ("as asked for", asked(), observed(6, &[2], &[("a", "1")]), true),
        ("in Kafka's spelling", asked().with_config("a", "01"), observed(6, &[2], &[("a", "1")]), true),
        ("the broker's defaults", defaults.clone(), observed(9, &[3], &[("a", "1")]), true),
        ("other partitions", asked(), observed(5, &[2], &[("a", "1")]), false),
        ("other copies", asked(), observed(6, &[1], &[("a", "1")]), false),
        ("another value", asked(), observed(6, &[2], &[("a", "2")]), false),
        ("a key less", asked(), observed(6, &[2], &[]), false),
        ("a key more", defaults, observed(9, &[3], &[("a", "1"), ("b", "1")]), false),
        ("the lost one after all", asked(), ObservedTopic { id: id(OTHER_ID), ..observed(5, &[1], &[]) }, true),
    ] {
        let history = lost(asked);
        assert_eq!(Recreation::read("orders", &history.recreation.as_ref().unwrap().told()), history.recreation, "{name}");
        // Whatever the object asks for by now.
        let plan = plan(&desired(Some(6), None, &[("a", "7")]), &history, Some(&found));
        assert_eq!(plan.is_of_another_topic(), !is_ours, "{name}");
        assert_eq!(plan.actions.is_empty(), !is_ours, "{name}: {plan:?}");
    }
}

#[test]
fn what_was_made_is_ours_before_that_is_written_down() {
    let asked = NewTopic::new("orders");
    let lost = History { recreation: Some(Recreation { lost: id(OTHER_ID), asked }), ..history(None, &[]) };
    let looked_at = History { is_taken_over: false, ..history(Some(ID), &[]) };
    for (name, history, made, owned, adopts) in [
        ("only looked at", looked_at.clone(), None, None, true),
        ("only looked at, gone, and made", looked_at, Some(ID), Some(ID), false),
        ("written down", history(Some(ID), &[]), None, Some(ID), false),
        ("made", history(None, &[]), Some(ID), Some(ID), false),
        ("made by others", history(None, &[]), None, None, true),
        ("made once, and another by now", history(None, &[]), Some(OTHER_ID), Some(OTHER_ID), true),
        ("made again", lost.clone(), Some(ID), Some(ID), false),
        ("made, and lost since", lost, Some(OTHER_ID), None, false),
    ] {
        let made = made.map(id);
        assert_eq!(history.owned(made), owned.map(id), "{name}");
        assert_eq!(history.adopts(id(ID), made), adopts, "{name}");
    }
}

#[test]
fn a_missing_topic_is_created_with_everything_declared() {
    let new = NewTopic::new("orders").with_partitions(6).with_replication_factor(2).with_config("a", "1");
    let plan = plan(&desired(None, Some(2), &[("a", "1")]), &history(Some(ID), &[]), None);
    assert_eq!(plan, Plan { actions: vec![TopicAction::Create(new)], ..Plan::default() });
}

#[test]
fn a_decrease_says_what_to_set() {
    let plan = plan(&desired(Some(3), None, &[]), &history(None, &[]), Some(&observed(6, &[1], &[])));
    assert!(plan.refusal.unwrap().message.contains("set spec.partitions to 6"));
}

#[test]
fn kafkas_spelling_of_a_value_is_no_drift() {
    for (declared, found, same) in [
        ("604800000", "604800000", true),
        (" 5 ", "5", true),
        ("TRUE", "true", true),
        ("true", "false", false),
        ("compact, delete", "compact,delete", true),
        ("compact,delete", "delete,compact", false),
        ("0.50", "0.5", true),
        ("05", "5", true),
        ("0.5d", "0.5", true),
        ("d", "", false),
        ("9007199254740993", "9007199254740992", false),
        ("snappy", "SNAPPY", false),
        ("", "", true),
        ("1", "", false),
    ] {
        assert_eq!(same_value(declared, found), same, "{declared:?} {found:?}");
    }
}

#[test]
fn no_crash_point_leaves_a_key_that_nobody_unsets() {
    let (with_a, without_a) = (desired(None, None, &[("a", "1")]), desired(None, None, &[]));
    let unset_a = vec![delta(&[], &["a"], &[("a", "1")])];
    // Set after it was remembered; crashed before the status was written; the key left the spec meanwhile.
    let remembered = History { managed_config: managed_before(&with_a, &history(Some(ID), &[])), ..history(Some(ID), &[]) };
    let seen = observed(3, &[1], &[("a", "1")]);
    assert_eq!(plan(&without_a, &remembered, Some(&seen)).actions, unset_a);
    // Un-setting failed or is not seen yet: still remembered.
    let kept = History { managed_config: managed_after(&without_a, &remembered, &seen), ..history(Some(ID), &[]) };
    assert_eq!(plan(&without_a, &kept, Some(&seen)).actions, unset_a);
    // Seen to be gone: forgotten, so that a key that somebody else sets later stays.
    assert_eq!(managed_after(&without_a, &kept, &observed(3, &[1], &[])), keys(&[]));
    // Remembered, but crashed before it was set: nothing to do.
    assert_eq!(plan(&without_a, &remembered, Some(&observed(3, &[1], &[]))).actions, vec![]);
}

proptest::proptest! {
    /// Carrying out a plan leads to a topic for which nothing is left to plan, and touches no foreign key.
    #[test]
    fn a_plan_converges(
        declared in proptest::option::of(1..9i32),
        has in 1..9i32,
        wanted in proptest::collection::btree_map("[a-e]", "[0-3]", 0..4),
        there in proptest::collection::btree_map("[a-e]", "[0-3]", 0..5),
        managed in proptest::collection::btree_set("[a-e]", 0..4),
    ) {
        let mut desired = desired(declared, None, &[]);
        desired.config = wanted;
        let history = History { managed_config: managed, ..history(Some(ID), &[]) };
        let mut topic = observed(has, &[1], &[]);
        topic.config = there.clone();
        for action in plan(&desired, &history, Some(&topic)).actions {
            match action {
                TopicAction::Create(_) | TopicAction::Reassign(_) | TopicAction::CancelReassignment { .. } => proptest::prop_assert!(false),
                TopicAction::AddPartitions { from, total } => {
                    proptest::prop_assert!(from < total);
                    topic.partitions = total;
                }
                TopicAction::SetConfig { delta, .. } => {
                    topic.config.retain(|key, _| !delta.unset.contains(key));
                    topic.config.extend(delta.set);
                }
            }
        }
        proptest::prop_assert_eq!(plan(&desired, &history, Some(&topic)).actions, vec![]);
        for (key, value) in &there {
            if !history.managed_config.contains(key) && !desired.config.contains_key(key) {
                proptest::prop_assert_eq!(topic.config.get(key), Some(value));
            }
        }
    }
}
