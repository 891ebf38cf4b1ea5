//! What other autoscalers get wrong, each by its number in the issue that asked for this one, and what holds here.

use super::*;

#[test]
fn mistake_1_marks_of_transactions_are_no_lag() {
    let mut scene = Scene::new(0, 6, 1, 3);
    for partition in &mut scene.partitions {
        (partition.end, partition.committed, partition.empty_until) = (101, Some(100), Some(101));
    }
    for _ in 0..13 {
        scene.look(true);
    }
    assert_eq!(scene.steps, [(65, 0, Reason::Asleep)]);
    scene.look(true);
    assert_eq!(scene.numbers(), [0], "they wake nobody");
    scene.partitions[0].end = 103;
    assert_eq!(scene.look(true).reason, Reason::Awake);
}

#[test]
fn mistake_2_neither_a_dead_band_nor_a_division_keeps_from_the_right_number() {
    for (partitions, come, max, workers, expected) in
        [(3, 100, 3, 1, 3), (10, 100, 10, 1, 10), (10, 100, 40, 1, 10), (11, 100, 10, 1, 6), (11, 100, 11, 10, 11)]
    {
        let mut scene = Scene::new(1, max, workers, partitions);
        scene.history = with_speed(20.0);
        scene.go(12, |_| come, 100);
        assert_eq!(scene.workers.declared, expected, "{partitions} partitions, from {workers} workers, at most {max}");
    }
}

#[test]
fn mistake_3_a_partition_without_a_commit_is_what_a_worker_makes_of_it() {
    for (name, begin, start, end, lag, first) in [
        ("earliest: what is left of the history", Begin::Start, 900, 1_000, Some(100), Reason::Awake),
        ("earliest, and nothing is left", Begin::Start, 1_000, 1_000, Some(0), Reason::Asleep),
        ("latest: nothing, but a worker must say where that is", Begin::End, 900, 1_000, Some(0), Reason::Beginning),
    ] {
        let mut scene = Scene::new(0, 3, 0, 1);
        let partition = &mut scene.partitions[0];
        (partition.begin, partition.start, partition.end, partition.committed) = (begin, start, end, None);
        let decision = scene.look(true);
        assert_eq!((decision.lag, decision.reason), (lag, first), "{name}");
        // A worker has begun, and committed where.
        scene.partitions[0].committed = Some(end);
        for _ in 0..20 {
            scene.look(true);
        }
        assert_eq!(scene.workers.declared, 0, "{name}: it gets to zero");
    }
}

#[test]
fn mistake_4_a_hot_partition_is_told_and_gets_no_more_workers() {
    let mut scene = Scene::new(1, 6, 1, 6);
    scene.history = with_speed(20.0);
    let decision = scene.go(24, |partition| if partition == 2 { 1_000 } else { 5 }, 100);
    assert!(scene.workers.declared <= 3, "{:?}", scene.steps);
    assert_eq!((decision.reason, decision.limited_by), (Reason::HotPartition, Some(Limit::HotPartition)));
    assert_eq!(decision.hot.iter().map(|hot| hot.partition).collect::<Vec<_>>(), [2]);
}

#[test]
fn mistake_4_all_hot_partitions_are_told_where_they_are_not_the_rule() {
    for (max, hot, reason) in
        [(6, 2, Reason::HotPartition), (3, 2, Reason::HotPartition), (6, 4, Reason::AtPartitions), (3, 4, Reason::AtMaximum)]
    {
        let mut scene = Scene::new(1, max, 1, 6);
        scene.history = with_speed(20.0);
        let decision = scene.go(24, |partition| if partition < hot { 900 } else { 8 }, 100);
        assert_eq!(decision.reason, reason, "{hot} of six, at most {max}");
        let told: Vec<i32> = decision.hot.iter().map(|hot| hot.partition).collect();
        assert_eq!(told, if hot == 2 { vec![0, 1] } else { vec![] }, "{hot} of six, at most {max}");
    }
}

#[test]
fn mistake_5_the_same_lag_takes_more_workers_where_they_are_slow() {
    let woken = |per_worker: f64| {
        let mut scene = Scene::new(0, 6, 0, 6);
        scene.history = with_speed(per_worker);
        scene.partitions.iter_mut().for_each(|partition| partition.end = 5_000);
        scene.look(true);
        scene.workers.declared
    };
    assert_eq!([10.0, 500.0, 10_000.0].map(woken), [6, 3, 1]);
}

#[test]
fn mistake_5_a_step_that_did_not_help_is_taken_back_and_remembered() {
    let mut scene = Scene::new(1, 6, 2, 6);
    for _ in 0..60 {
        // However many there are, they do as much together.
        let per_worker = 240 / i64::from(scene.workers.ready);
        scene.go_by_range(1, |_| 60, per_worker);
    }
    assert_eq!(scene.numbers(), [6, 2], "{:?}", scene.steps);
    let decision = scene.decide();
    assert_eq!((decision.reason, decision.limited_by), (Reason::ScaleUpIneffective, Some(Limit::Effect)));
}

#[test]
fn mistake_5_a_partition_that_keeps_up_saves_no_step_that_did_not_help() {
    let mut scene = Scene::new(1, 6, 2, 6);
    for _ in 0..60 {
        let per_worker = 240 / i64::from(scene.workers.ready);
        scene.go_by_range(1, |partition| if partition == 5 { 5 } else { 60 }, per_worker);
    }
    assert_eq!(scene.numbers(), [6, 2], "{:?}", scene.steps);
    assert_eq!(scene.decide().reason, Reason::ScaleUpIneffective);
}

#[test]
fn mistake_5_what_did_not_help_outlives_the_operator() {
    let woken = |at: u64| {
        let mut scene = Scene::new(0, 3, 0, 6);
        scene.at = at;
        let ceiling = Ceiling { workers: 2, until: Duration::from_secs(600), total: 40.0, failures: 1 };
        scene.history = History::knowing(Known { speed: Some(20.0), ceiling: Some(ceiling) });
        scene.partitions.iter_mut().for_each(|partition| partition.end = 5_000);
        let decision = scene.look(true);
        (decision.reason, decision.desired, decision.limited_by)
    };
    assert_eq!(woken(0), (Reason::Awake, Some(2), Some(Limit::Effect)));
    assert_eq!(woken(600), (Reason::Awake, Some(3), Some(Limit::Maximum)));
}

#[test]
fn mistake_6_no_lag_is_no_reason_for_fewer() {
    let mut scene = Scene::new(0, 6, 1, 6);
    scene.go(400, |_| 30, 100);
    assert_eq!(scene.history.arrival().round(), 36.0);
    assert_eq!(scene.numbers(), [3], "one step, and never back: {:?}", scene.steps);
}

#[test]
fn mistake_7_what_was_not_read_changes_nothing() {
    let mut scene = Scene::new(0, 6, 3, 6);
    scene.go(20, |_| 30, 100);
    for _ in 0..200 {
        let decision = scene.look(false);
        assert_eq!((decision.desired, decision.reason, decision.lag), (None, Reason::LagUnknown, None));
    }
    // The first reading afterwards proves nothing of the time between.
    let workers = scene.workers.declared;
    scene.look(true);
    assert_eq!(scene.workers.declared, workers);
    // A reading that came too long ago is none.
    scene.at += 16;
    assert_eq!(scene.decide().reason, Reason::LagUnknown);
    // Nor is anything done that could make it worse.
    for (reason, workers) in [
        (Reason::RollingOut, Workers { rolling_out: true, ..scene.workers }),
        (Reason::Rebalancing, Workers { rebalancing: true, ..scene.workers }),
    ] {
        scene.workers = workers;
        scene.partitions.iter_mut().for_each(|partition| partition.end += 100_000);
        let decision = scene.look(true);
        assert_eq!((decision.desired, decision.reason), (None, reason));
    }
}

#[test]
fn mistake_7_what_was_read_in_part_wakes_and_does_no_more() {
    let mut scene = Scene::new(0, 6, 0, 6);
    scene.look(true);
    assert_eq!(scene.look_at_some(0).reason, Reason::LagUnknown, "nothing is known to wait");
    scene.look_at_some(9_000);
    assert_eq!(scene.steps, [(15, 1, Reason::Awake)], "whatever waits elsewhere");
    for _ in 0..100 {
        let decision = scene.look_at_some(9_000);
        assert_eq!((decision.desired, decision.reason, decision.lag), (None, Reason::LagUnknown, None));
    }
    let mut scene = Scene::new(0, 6, 0, 6);
    scene.obeys = false;
    scene.look_at_some(9);
    scene.at += 16;
    assert_eq!(scene.decide().desired, None, "that was too long ago");
    assert_eq!(scene.look(false).desired, None, "nothing could be read since");
}

#[test]
fn mistake_8_fewer_only_after_the_whole_window_and_where_it_pays() {
    let mut scene = Scene::new(1, 6, 6, 6);
    scene.history = with_speed(20.0);
    scene.go(20, |_| 80, 100);
    assert_eq!(scene.numbers(), [] as [u32; 0], "96 a second take six workers");
    let quiet_from = scene.at;
    scene.go(40, |_| 5, 100);
    assert_eq!(scene.numbers(), [1], "{:?}", scene.steps);
    let (at, ..) = scene.steps[0];
    assert!(at >= quiet_from + scene.policy.window().as_secs(), "{at}");
}

#[test]
fn mistake_8_neither_an_outage_nor_a_rollout_makes_steps_dear() {
    type Disturb = fn(&mut Scene);
    let outage: Disturb = |scene| drop(scene.look(false));
    let pause: Disturb = |scene| scene.at += 600;
    let rollout: Disturb = |scene| {
        scene.workers.rolling_out = true;
        scene.look(true);
    };
    for (name, disturb) in [("an outage", outage), ("nobody looks", pause), ("a rollout", rollout)] {
        let mut scene = Scene::new(1, 6, 6, 6);
        scene.history = with_speed(20.0);
        scene.go(12, |_| 500, 100);
        (0..120).for_each(|_| disturb(&mut scene));
        scene.workers.rolling_out = false;
        scene.go(100, |_| 5, 100);
        assert_eq!(scene.workers.declared, 1, "{name}: {:?}", scene.steps);
    }
}

#[test]
fn mistake_8_a_step_is_taken_once_it_saves_more_than_it_costs() {
    let mut scene = Scene::new(1, 6, 3, 3);
    scene.history = with_speed(20.0);
    // Whenever it goes on, the group shares its partitions out again, and does nothing meanwhile.
    for _ in 0..20 {
        scene.go(2, |_| 150, 100);
        scene.workers.rebalancing = true;
        scene.go(5, |_| 0, 0);
        scene.workers.rebalancing = false;
    }
    let begun = scene.at;
    let reasons: Vec<Reason> = (0..60).map(|_| scene.go(1, |_| 40, 100).reason).collect();
    assert!(reasons.contains(&Reason::TooCostly), "{reasons:?}");
    assert_eq!(scene.numbers(), [2], "{:?}", scene.steps);
    assert!(scene.steps[0].0 > begun + scene.policy.window().as_secs() + 20, "{:?}", scene.steps);
}

#[test]
fn mistake_9_offsets_of_those_that_sleep_are_renewed() {
    let day = Duration::from_secs(86_400);
    assert!(renewal_is_due(day, Some(7 * day)) && !renewal_is_due(day / 2, Some(7 * day)));
}
