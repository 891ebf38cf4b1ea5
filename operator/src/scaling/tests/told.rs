//! What is told, and what keeps a number.

use super::*;

#[test]
fn bounds_hold_whatever_is_known() {
    for (min, max, workers, can_read, expected) in [
        (2, 6, 1, false, Some((2, Limit::Minimum))),
        (1, 3, 6, false, Some((3, Limit::Maximum))),
        (0, 3, 6, true, Some((3, Limit::Maximum))),
        (1, 3, 0, true, Some((1, Limit::Minimum))),
        (0, 3, 1, true, None),
        // More than there are partitions: the minimum is the pipeline's word.
        (9, 20, 9, true, None),
    ] {
        let mut scene = Scene::new(min, max, workers, 6);
        let decision = scene.look(can_read);
        let seen = decision.desired.zip(decision.limited_by).filter(|_| decision.reason == Reason::OutOfBounds);
        assert_eq!(seen, expected, "{min} to {max}, {workers}");
    }
}

#[test]
fn limits_are_told() {
    for (max, workers, reason, limit) in [
        (3, 3, Reason::AtMaximum, Limit::Maximum),
        // More than three of them would need six.
        (5, 3, Reason::AtMaximum, Limit::Maximum),
        (6, 6, Reason::AtPartitions, Limit::Partitions),
        (9, 6, Reason::AtPartitions, Limit::Partitions),
    ] {
        let mut scene = Scene::new(1, max, 1, 6);
        scene.history = with_speed(20.0);
        let decision = scene.go(40, |_| 900, 100);
        assert_eq!((decision.reason, decision.limited_by), (reason, Some(limit)), "at most {max}");
        assert_eq!(scene.workers.declared, workers, "at most {max}");
    }
}

#[test]
fn the_minimum_is_a_limit_only_where_fewer_would_do() {
    for (min, come, limit) in [(3, 5, Some(Limit::Minimum)), (3, 50, None), (1, 5, None), (0, 5, None)] {
        let mut scene = Scene::new(min, 6, 3, 6);
        scene.history = with_speed(20.0);
        let decision = scene.go(40, |_| come, 100);
        assert_eq!((decision.reason, decision.limited_by), (Reason::AsNeeded, limit), "{min}, {come}");
    }
}

#[test]
fn a_partition_that_is_done_in_time_is_not_hot() {
    for (name, drain, waits, come, hot) in [
        ("in good time", 300, 26_000, 0, None),
        ("all its time would be used up", 300, 40_000, 0, Some(0)),
        ("more comes than one can handle", 30, 0, 900, Some(0)),
    ] {
        let mut scene = Scene::new(1, 6, 1, 6);
        scene.history = with_speed(100.0);
        scene.policy.drain = Duration::from_secs(drain);
        scene.go(1, |_| 0, 500);
        scene.partitions[0].end += waits;
        for _ in 0..12 {
            let decision = scene.go(1, |partition| if partition == 0 { come } else { 0 }, 500);
            let told = (decision.reason == Reason::HotPartition, !decision.hot.is_empty());
            assert_eq!(told.0, told.1, "{name}: {decision:?}");
        }
        assert_eq!(scene.decide().hot.first().map(|hot| hot.partition), hot, "{name}");
    }
}

#[test]
fn a_step_is_judged_before_the_next_one() {
    let mut scene = Scene::new(1, 6, 1, 6);
    scene.history = with_speed(20.0);
    scene.policy.drain = Duration::from_secs(300);
    scene.partitions.iter_mut().for_each(|partition| partition.end = 1_300);
    scene.obeys = false;
    scene.go(2, |_| 0, 100);
    scene.obeys = true;
    scene.go(1, |_| 0, 100);
    assert_eq!(scene.numbers(), [2]);
    scene.partitions.iter_mut().for_each(|partition| partition.end += 5_000);
    let reasons: Vec<Reason> = (0..4).map(|_| scene.go(1, |_| 0, 100).reason).collect();
    assert_eq!(reasons[..3], [Reason::OnTrial; 3], "{reasons:?}");
    assert_eq!(scene.numbers(), [2, 6]);
}

#[test]
fn workers_that_do_nothing_get_no_others_beside_them() {
    let mut scene = Scene::new(1, 6, 1, 6);
    scene.history = with_speed(20.0);
    let decision = scene.go(12, |_| 100, 0);
    assert_eq!((decision.desired, decision.reason), (None, Reason::Behind), "not yet for a minute");
    let decision = scene.go(28, |_| 100, 0);
    assert_eq!((decision.desired, decision.reason), (None, Reason::NoProgress));
    assert_eq!(scene.workers.declared, 1);
}

#[test]
fn a_standstill_is_told_whatever_else_there_is_to_say() {
    type Come = fn(usize) -> i64;
    let (all, one): (Come, Come) = (|_| 100, |partition| if partition == 2 { 1_000 } else { 0 });
    for (name, max, workers, speed, come) in [
        ("at the maximum", 3, 3, Some(20.0), all),
        ("one for each partition", 9, 6, Some(20.0), all),
        ("one partition", 6, 1, Some(20.0), one),
        ("nobody knows how fast they are", 6, 3, None, all),
    ] {
        let mut scene = Scene::new(1, max, workers, 6);
        scene.history = speed.map_or_else(History::default, with_speed);
        let decision = scene.go(14, come, 0);
        assert_eq!((decision.desired, decision.reason, decision.limited_by), (None, Reason::NoProgress, None), "{name}");
        scene.go(1, come, 10);
        assert_ne!(scene.decide().reason, Reason::NoProgress, "{name}: they do something again");
    }
}

#[test]
fn an_outage_of_kafka_is_no_standstill() {
    let mut scene = Scene::new(1, 6, 1, 6);
    scene.history = with_speed(20.0);
    scene.go(3, |_| 100, 100);
    for _ in 0..60 {
        scene.look(false);
    }
    let reasons: Vec<Reason> = (0..12).map(|_| scene.go(1, |_| 100, 0).reason).collect();
    assert!(!reasons.contains(&Reason::NoProgress), "{reasons:?}");
    assert_eq!(scene.go(2, |_| 100, 0).reason, Reason::NoProgress);
}

#[test]
fn retries_that_wait_for_longer_are_neither_slow_workers_nor_a_standstill() {
    let mut scene = Scene::new(1, 6, 1, 7);
    scene.history = with_speed(20.0);
    // Somebody has asked for them not to be sent before a while.
    let retries = &mut scene.partitions[6];
    (retries.key.topic, retries.role, retries.end) = ("orders.retry".to_owned(), Role::Retry { due_end: 5 }, 5);
    for _ in 0..60 {
        scene.workers.ready = 1;
        for partition in &mut scene.partitions[..6] {
            partition.committed = Some(partition.end);
            partition.end += 5;
        }
        let decision = scene.look(true);
        assert_ne!(decision.reason, Reason::NoProgress);
    }
    assert_eq!(scene.history.speed(), Some(20.0), "not how fast records come");
    assert_eq!(scene.numbers(), [] as [u32; 0], "{:?}", scene.steps);
}

#[test]
fn more_may_be_declared_while_others_start() {
    let mut scene = Scene::new(1, 6, 1, 6);
    scene.history = with_speed(20.0);
    // It has done something: else more would do as much.
    scene.go(2, |_| 10, 100);
    scene.obeys = false;
    let mut declared = vec![];
    for come in [40, 40, 40, 10_000, 10_000] {
        let decision = scene.go(1, |_| come, 100);
        scene.workers.declared = decision.desired.unwrap_or(scene.workers.declared);
        declared.push((scene.workers.declared, decision.reason));
    }
    assert_eq!(declared.last(), Some(&(6, Reason::Starting)), "{declared:?}");
    assert!(declared.iter().filter(|(_, reason)| *reason == Reason::Behind).count() >= 2, "more than once: {declared:?}");
    // Those that start are none that stand still.
    let mut scene = Scene::new(0, 6, 0, 6);
    scene.history = with_speed(20.0);
    scene.obeys = false;
    scene.go(1, |_| 10, 0);
    scene.workers.declared = 1;
    for _ in 0..20 {
        let decision = scene.go(1, |_| 500, 0);
        assert_eq!((decision.desired, decision.reason), (None, Reason::Starting));
    }
}

#[test]
fn what_retention_deletes_is_neither_speed_nor_progress() {
    let mut scene = Scene::new(1, 6, 1, 2);
    scene.history = with_speed(20.0);
    let mut reasons = vec![];
    for _ in 0..30 {
        for partition in &mut scene.partitions {
            (partition.start, partition.end) = (partition.start + 10_000, partition.end + 10_000);
        }
        reasons.push(scene.go(1, |_| 1_000, 0).reason);
    }
    assert_eq!(reasons.last(), Some(&Reason::NoProgress), "{reasons:?}");
    assert_eq!(scene.history.speed(), Some(20.0));
    assert_eq!(scene.numbers(), [] as [u32; 0], "{:?}", scene.steps);
}

#[test]
fn slow_workers_are_no_standstill() {
    let mut scene = Scene::new(1, 3, 1, 3);
    scene.partitions.iter_mut().for_each(|partition| partition.end = 100);
    let mut reasons = vec![];
    for look in 1..=48 {
        // A record takes each of them four looks.
        reasons.push(scene.go(1, |_| 0, i64::from(look % 4 == 0)).reason);
    }
    assert!(!reasons.contains(&Reason::NoProgress), "{reasons:?}");
    assert_eq!(reasons[5], Reason::Measuring);
    assert_eq!(scene.steps, [(65, 3, Reason::Behind)]);
    let speed = scene.history.speed().unwrap();
    assert!((0.04..0.07).contains(&speed), "{speed}");
}

#[test]
fn partitions_of_one_number_go_to_one_worker_where_records_are_held_back() {
    for (name, co_partitioned, come, workers, hot) in [
        ("by themselves", false, [60, 60, 60], 9, None),
        ("together", true, [60, 60, 60], 3, None),
        ("one number is too much, whatever each topic brings", true, [5, 80, 5], 2, Some(1)),
    ] {
        let mut scene = Scene::new(1, 9, 1, 9);
        scene.policy.co_partitioned = co_partitioned;
        scene.history = with_speed(20.0);
        for (index, partition) in scene.partitions.iter_mut().enumerate() {
            let topic = ["orders", "payments", "retries"][index / 3];
            partition.key = PartitionKey { topic: topic.to_owned(), partition: i32::try_from(index % 3).unwrap() };
        }
        let decision = scene.go(12, |index| come[index % 3], 100);
        assert_eq!(scene.workers.declared, workers, "{name}: {:?}", scene.steps);
        assert_eq!(decision.hot.first().map(|hot| hot.partition), hot, "{name}: {decision:?}");
        assert_eq!(decision.partitions, Some(if co_partitioned { 3 } else { 9 }), "{name}");
    }
}

#[test]
fn workers_that_have_always_kept_up_are_tried_with_fewer() {
    let mut scene = Scene::new(1, 12, 10, 3);
    scene.go(100, |_| 5, 100);
    assert_eq!(scene.numbers(), [3, 2, 1], "{:?}", scene.steps);
}

#[test]
fn what_is_not_obeyed_is_said_again() {
    let mut scene = Scene::new(0, 6, 0, 6);
    scene.obeys = false;
    scene.partitions[0].end = 10;
    assert_eq!((scene.look(true).desired, scene.look(true).desired), (Some(1), Some(1)));
}

#[test]
fn what_did_not_help_says_nothing_below_the_minimum() {
    for (name, min, come, reason, workers) in [
        ("it holds", 2, 5, Reason::ScaleUpIneffective, 2),
        ("and keeps from more", 2, 120, Reason::ScaleUpIneffective, 2),
        ("below the minimum", 4, 5, Reason::AsNeeded, 4),
        ("which is not enough", 4, 120, Reason::Behind, 6),
    ] {
        let mut scene = Scene::new(min, 6, 4, 6);
        let ceiling = Ceiling { workers: 2, until: Duration::from_secs(600), total: 400.0, failures: 1 };
        scene.history = History::knowing(Known { speed: Some(20.0), ceiling: Some(ceiling) });
        let mut reasons = vec![];
        for _ in 0..6 {
            reasons.push(scene.go(1, |_| come, 100).reason);
        }
        assert!(reasons.contains(&reason), "{name}: {reasons:?}");
        assert_eq!(scene.workers.declared, workers, "{name}: {reasons:?}");
    }
}
