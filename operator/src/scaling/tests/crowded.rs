//! Partitions with much to do that a group has shared out to one worker.

use super::*;

#[test]
fn partitions_that_met_at_one_worker_are_taken_apart() {
    type Come = fn(usize) -> i64;
    let two: Come = |partition| if partition < 2 { 400 } else { 0 };
    let uneven: Come = |partition| [340, 200, 200, 50, 50, 50][partition];
    let apart: Come = |partition| if partition % 3 == 0 { 400 } else { 0 };
    for (name, max, come, numbers) in [
        ("two of six", 6, two, vec![2, 3, 6]),
        ("no more than the maximum", 3, two, vec![2, 3]),
        ("one with much, others with less", 6, uneven, vec![3, 6]),
        ("they have not met", 6, apart, vec![2]),
    ] {
        let mut scene = Scene::new(1, max, 1, 6);
        scene.history = with_speed(100.0);
        scene.go_by_range(100, come, 500);
        assert_eq!(scene.numbers(), numbers, "{name}: {:?}", scene.steps);
        if max == 6 {
            let lag = scene.history.lag();
            assert!(lag < 2_000, "{name}: {lag} records wait");
        }
    }
}

#[test]
fn fewer_are_tried_again_later_and_later() {
    let mut scene = Scene::new(1, 6, 1, 6);
    scene.history = with_speed(100.0);
    scene.go_by_range(2_000, |partition| if partition < 2 { 400 } else { 0 }, 500);
    let down: Vec<u64> = scene.steps.iter().filter(|(_, _, reason)| *reason == Reason::FewerEnough).map(|(at, ..)| *at).collect();
    let between: Vec<u64> = down.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(!between.is_empty() && between.iter().zip([1_200, 2_400, 4_800]).all(|(seconds, least)| *seconds > least), "{:?}", scene.steps);
}

#[test]
fn workers_that_share_a_limit_are_no_crowd() {
    let mut scene = Scene::new(1, 6, 2, 6);
    for _ in 0..120 {
        let per_worker = 240 / i64::from(scene.workers.ready);
        scene.go_by_range(1, |_| 60, per_worker);
    }
    assert_eq!(scene.numbers(), [6, 2], "{:?}", scene.steps);
}
