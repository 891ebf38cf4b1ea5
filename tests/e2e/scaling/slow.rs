//! What it takes slow workers to see: they handle four records a second each, or share what handles two and a half, as their handler is told by
//! every record.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use penstock_crds::EventPipeline;
use penstock_kafka::Record;
use penstock_tests::scene::{HANDLER, LIMIT, Result, Scene, condition, little, play, until};
use serde_json::{Value, json};

use super::{committed, counted, decided, declared, more_sweeps, steps, timed_steps, topics, until_declared};
use crate::handlers::http;

/// Longer than the window, which is no shorter than a minute, and two looks.
const BEYOND_THE_WINDOW: SignedDuration = SignedDuration::from_secs(70);

pub fn slow(scaling: Value) -> Value {
    json!({
        "source": {"kafka": {"topics": ["in"]}}, "delivery": "AtLeastOnce", "concurrency": 1,
        "processor": {"http": http(HANDLER, "5s")}, "resources": little(), "scaling": scaling,
    })
}

/// Puts so many records into each of these partitions.
pub async fn wait_in(scene: &Scene, partitions: Range<i32>, each: usize) -> Result {
    told_in(scene, partitions, each, "slow:0.25").await
}

/// The same, each with what its handler is told.
async fn told_in(scene: &Scene, partitions: Range<i32>, each: usize, what: &str) -> Result {
    let topic = scene.kafka_name("in");
    let payload = json!({"id": "it", "do": [what]}).to_string();
    let record = |partition| Record::to(&topic).with_partition(partition).with_payload(payload.clone());
    scene.produce_all(partitions.flat_map(|partition| std::iter::repeat_n(partition, each)).map(record)).await
}

/// The same records wait for both pipelines, for one of them where workers are slow. They are too many to be worked off here.
#[tokio::test]
async fn mistakes_2_4_and_5_slow_workers_get_one_for_each_partition_with_work_and_fast_ones_none() {
    play("scaling-slow", async |scene| {
        topics(scene, 3).await?;
        let scaling = json!({"minReplicas": 0, "maxReplicas": 5});
        scene.apply::<EventPipeline>("slow", slow(scaling.clone())).await?;
        scene.apply::<EventPipeline>("fast", counted(scaling, "AtLeastOnce")).await?;
        for pipeline in ["slow", "fast"] {
            decided(scene, pipeline, "Asleep", 0).await?;
        }

        wait_in(scene, 0..1, 400).await?;
        let hot = decided(scene, "slow", "HotPartition", 1).await?;
        assert_eq!(hot.limited_by.as_deref(), Some("HotPartition"), "{hot:?}");
        let status = scene.api::<EventPipeline>().get("slow").await?.status.unwrap_or_default();
        let said = condition(&status.conditions, "ScalingActive").map(|c| c.message.clone()).unwrap_or_default();
        assert!(said.contains(&format!("{}/0 gets more than one worker can handle", scene.kafka_name("in"))), "{said}");
        assert_eq!(steps(scene, "slow").await?, [(0, 1)], "no worker beside it could help");

        wait_in(scene, 1..3, 400).await?;
        let many = decided(scene, "slow", "AtPartitions", 3).await?;
        assert_eq!(many.limited_by.as_deref(), Some("Partitions"), "{many:?}");
        scene.ready_workers("slow", 3).await?;
        committed(scene, "fast", 1200).await?;
        let (slow, fast) = (steps(scene, "slow").await?, steps(scene, "fast").await?);
        assert!(slow.iter().all(|(from, to)| from < to && *to <= 3), "up to the partitions, and never beyond: {slow:?}");
        assert_eq!(fast, [(0, 1)], "what was as much for it takes one");
        Ok(())
    })
    .await;
}

/// Three workers do no more than one, since what they call lets in one at a time.
#[tokio::test]
async fn mistake_5_workers_that_did_not_help_are_taken_back() {
    play("scaling-m5", async |scene| {
        topics(scene, 3).await?;
        // Long beside all else that a worker does for a record, which three of them do at the same time.
        let share = format!("share:{}:1", scene.shared_handler().await?);
        scene.apply::<EventPipeline>("p", slow(json!({"maxReplicas": 3}))).await?;
        scene.ready::<EventPipeline>("p").await?;
        told_in(scene, 0..1, 800, &share).await?;
        decided(scene, "p", "HotPartition", 1).await?;
        told_in(scene, 1..3, 800, &share).await?;
        let more = until_declared(scene, "more workers", LIMIT, |workers| workers > 1).await?;
        decided(scene, "p", "ScaleUpIneffective", 1).await?;
        until_declared(scene, "one worker again", LIMIT, |workers| workers == 1).await?;
        let more = u32::try_from(more)?;
        // What is done is told after it.
        until("both steps are told, and no others", LIMIT, async || {
            let steps = steps(scene, "p").await?;
            if steps == [(1, more), (more, 1)] { Ok(()) } else { Err(format!("{steps:?}").into()) }
        })
        .await
    })
    .await;
}

/// Where nothing waits is nothing to step down for: as much came within the window, and may again.
#[tokio::test]
async fn mistake_6_what_comes_and_goes_within_the_window_moves_nobody() {
    play("scaling-m6", async |scene| {
        topics(scene, 2).await?;
        scene.apply::<EventPipeline>("p", slow(json!({"maxReplicas": 2}))).await?;
        scene.ready::<EventPipeline>("p").await?;
        decided(scene, "p", "AsNeeded", 1).await?;
        wait_in(scene, 0..2, 100).await?;
        until_declared(scene, "a worker for each partition", LIMIT, |workers| workers == 2).await?;
        committed(scene, "p", 200).await?;
        assert_eq!(steps(scene, "p").await?, [(1, 2)]);

        wait_in(scene, 0..2, 100).await?;
        committed(scene, "p", 400).await?;
        until("it is seen that nothing waits", LIMIT, async || {
            let lag = scene.api::<EventPipeline>().get("p").await?.status.and_then(|status| status.scaling).and_then(|scaling| scaling.lag);
            if lag == Some(0) { Ok(()) } else { Err(format!("{lag:?}").into()) }
        })
        .await?;
        until("the window since the step is over", LIMIT, async || {
            let steps = timed_steps(scene, "p").await?;
            let since = steps.first().map(|(at, ..)| Timestamp::now().duration_since(*at)).ok_or("no step")?;
            if since > BEYOND_THE_WINDOW { Ok(()) } else { Err(format!("{since:?}").into()) }
        })
        .await?;
        more_sweeps(3).await?;
        assert_eq!((steps(scene, "p").await?, declared(scene).await?), (vec![(1, 2)], 2));
        Ok(())
    })
    .await;
}
