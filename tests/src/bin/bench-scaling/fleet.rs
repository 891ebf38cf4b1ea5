//! The pipelines that are watched: in dry run, without workers.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use penstock_crds::EventPipeline;
use penstock_tests::scene::{Result, Scene, condition, until};
use serde_json::json;

/// How many objects are made at once.
const AT_ONCE: usize = 8;
/// How long it may take until the operator has looked at all of them.
const LIMIT: Duration = Duration::from_secs(600);

fn name(number: u32) -> String {
    format!("p-{number}")
}

/// Makes more pipelines, with a topic for two of them, and waits until what waits for each of them was looked at.
pub async fn grow(scene: &Scene, from: u32, to: u32) -> Result {
    eprintln!("==> {to} pipelines in dry run");
    stream::iter((from..to).map(Ok)).try_for_each_concurrent(AT_ONCE, |number| make(scene, number)).await?;
    until("every pipeline was looked at", LIMIT, async || {
        let pipelines = scene.api::<EventPipeline>().list(&Default::default()).await?.items;
        let is_watched = |pipeline: &&EventPipeline| {
            let conditions = pipeline.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            condition(conditions, "ScalingActive").is_some_and(|condition| condition.status == "True")
        };
        let watched = pipelines.iter().filter(is_watched).count();
        if u32::try_from(watched).is_ok_and(|watched| watched >= to) { Ok(()) } else { Err(format!("{watched} of {to}").into()) }
    })
    .await
}

async fn make(scene: &Scene, number: u32) -> Result {
    let topic = format!("in-{}", number / 2);
    if number.is_multiple_of(2) {
        scene.topic(&topic, json!({"partitions": 3, "replicationFactor": 1})).await?;
    }
    let spec = json!({
        "source": {"kafka": {"topics": [topic]}}, "processor": {"builtin": "log"}, "delivery": "AtLeastOnce",
        "replicas": 0, "scaling": {"minReplicas": 0, "maxReplicas": 3, "dryRun": true},
    });
    scene.apply::<EventPipeline>(&name(number), spec).await?;
    Ok(())
}

/// Removes them, so that the operator has nothing else to do when a pipeline is woken.
pub async fn remove(scene: &Scene, count: u32) -> Result {
    let gone = |number| async move { scene.delete::<EventPipeline>(&name(number)).await };
    stream::iter(0..count).map(gone).buffer_unordered(AT_ONCE).try_collect().await
}
