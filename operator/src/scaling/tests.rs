//! What other autoscalers get wrong, each by its number in the issue that asked for this one, and what holds here.

use std::time::Duration;

use super::*;

const INTERVAL: u64 = 5;

/// A pipeline that is looked at every five seconds. Its workers do what `carry` says, and its decisions are carried out at once.
struct Scene {
    policy: Policy,
    history: History,
    at: u64,
    workers: Workers,
    partitions: Vec<PartitionOffsets>,
    /// Whether decisions are carried out.
    obeys: bool,
    steps: Vec<(u64, u32, Reason)>,
}

impl Scene {
    fn new(min: u32, max: u32, workers: u32, partitions: i32) -> Self {
        let key = |partition| PartitionKey { topic: "orders".to_owned(), partition };
        let partition = |number| PartitionOffsets {
            key: key(number),
            role: Role::Source,
            start: 0,
            end: 0,
            committed: Some(0),
            begin: Begin::Start,
            empty_until: None,
            age: None,
        };
        let second = Duration::from_secs;
        Self {
            policy: Policy { min, max, drain: second(30), idle: second(60), interval: second(INTERVAL), co_partitioned: false },
            history: History::default(),
            at: 0,
            workers: Workers { declared: workers, ready: workers, ..Workers::default() },
            partitions: (0..partitions).map(partition).collect(),
            obeys: true,
            steps: vec![],
        }
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.at)
    }

    fn decide(&self) -> Decision {
        decide(&self.history, &self.policy, self.now())
    }

    /// Records that come in each partition, and what each worker handles, for so many looks.
    fn go(&mut self, looks: usize, come: impl Fn(usize) -> i64, per_worker: i64) -> Decision {
        for _ in 0..looks {
            let total = per_worker * i64::from(self.workers.ready);
            let mut left = total;
            for (index, partition) in self.partitions.iter_mut().enumerate() {
                // One worker at a time has a partition.
                let done = (partition.end - partition.committed.unwrap_or_default()).min(left).min(per_worker);
                partition.committed = partition.committed.map(|committed| committed + done);
                left -= done;
                partition.end += come(index);
            }
            self.look(true);
        }
        self.decide()
    }

    fn look(&mut self, can_read: bool) -> Decision {
        self.at += INTERVAL;
        let partitions = can_read.then(|| self.partitions.clone());
        self.history.record(Observation { at: self.now(), partitions, workers: self.workers }, &self.policy);
        let decision = self.decide();
        if let Some(desired) = decision.desired.filter(|_| self.obeys) {
            self.steps.push((self.at, desired, decision.reason));
            (self.workers.declared, self.workers.ready) = (desired, desired);
        }
        decision
    }

    fn numbers(&self) -> Vec<u32> {
        self.steps.iter().map(|(_, workers, _)| *workers).collect()
    }
}

fn with_speed(per_worker: f64) -> History {
    History::knowing(Known { speed: Some(per_worker), ..Known::default() })
}

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
    for (partitions, come, max, expected) in [(3, 100, 3, 3), (10, 100, 10, 10), (10, 100, 40, 10), (11, 100, 10, 6)] {
        let mut scene = Scene::new(1, max, 1, partitions);
        scene.history = with_speed(20.0);
        scene.go(12, |_| come, 100);
        assert_eq!(scene.workers.declared, expected, "{partitions} partitions, at most {max}");
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
    assert_eq!(decision.hot.map(|hot| hot.partition), Some(2));
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
        scene.go(1, |_| 60, per_worker);
    }
    assert_eq!(scene.numbers(), [6, 2], "{:?}", scene.steps);
    let decision = scene.decide();
    assert_eq!((decision.reason, decision.limited_by), (Reason::ScaleUpIneffective, Some(Limit::Effect)));
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
fn mistake_8_a_step_that_costs_more_than_it_saves_is_not_taken() {
    let mut scene = Scene::new(1, 6, 3, 3);
    scene.history = with_speed(20.0);
    // Whenever it goes on, the group shares its partitions out again, and does nothing meanwhile.
    for _ in 0..20 {
        scene.go(2, |_| 150, 100);
        scene.workers.rebalancing = true;
        scene.go(5, |_| 0, 0);
        scene.workers.rebalancing = false;
    }
    let decision = scene.go(200, |_| 40, 100);
    assert_eq!((decision.desired, decision.reason), (None, Reason::TooCostly));
    assert_eq!(scene.numbers(), [] as [u32; 0], "{:?}", scene.steps);
}

#[test]
fn mistake_9_offsets_of_those_that_sleep_are_renewed() {
    let day = Duration::from_secs(86_400);
    assert!(renewal_is_due(day, Some(7 * day)) && !renewal_is_due(day / 2, Some(7 * day)));
}

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
            let told = (decision.reason == Reason::HotPartition, decision.hot.is_some());
            assert_eq!(told.0, told.1, "{name}: {decision:?}");
        }
        assert_eq!(scene.decide().hot.map(|hot| hot.partition), hot, "{name}");
    }
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
        assert_eq!(decision.hot.as_ref().map(|hot| hot.partition), hot, "{name}: {decision:?}");
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
