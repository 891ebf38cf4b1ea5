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

/// Numbers from 0 to 1 that look random, the same each time.
struct Draws(u64);

impl Draws {
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1_u32 << 24)
    }
}

#[test]
#[allow(clippy::cast_possible_truncation, reason = "records of five seconds")]
fn what_one_worker_for_each_partition_could_do_is_done_whatever_the_load() {
    for number in 0..24 {
        let mut draws = Draws(number);
        (0..9).for_each(|_| {
            draws.draw();
        });
        let partitions = [4, 6, 8, 12][usize::try_from(number % 4).unwrap()];
        // A third of the partitions get nothing, a quarter a little, the others up to 96 records a second of a worker's 100.
        let loads: Vec<f64> = (0..partitions)
            .map(|_| match (draws.draw(), draws.draw()) {
                (kind, _) if kind < 0.35 => 0.0,
                (kind, much) if kind < 0.6 => 20.0 + 80.0 * much,
                (_, much) => 480.0 * much,
            })
            .collect();
        let mut scene = Scene::new(1, 12, 1, partitions);
        scene.history = with_speed(100.0);
        for _ in 0..1_440 {
            let come: Vec<i64> = loads.iter().map(|load| (load * (0.7 + 0.6 * draws.draw())) as i64).collect();
            scene.go_by_range(1, |partition| come[partition], 500);
        }
        let lag = scene.history.lag();
        assert!(lag < 20_000, "{number}: {lag} records wait of {loads:?}: {:?}", scene.steps);
        let later = scene.steps.iter().filter(|(at, ..)| *at > 600).count();
        assert!(later <= 16, "{number}: {later} steps in two hours of {loads:?}: {:?}", scene.steps);
    }
}
