//! `scaling`: workers follow what waits in Kafka, and nothing is lost or doubled on the way.
//!
//! What others get wrong has its number, as in the unit tests of `operator/src/scaling`: here is what brokers or Kubernetes have a part in.

mod growth;
mod mistakes;
mod partly;
mod renewal;
mod slow;

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, events::v1::Event};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use penstock_crds::{EventPipeline, KafkaTopic, pipeline::ScalingStatus};
use penstock_kafka::Record;
use penstock_tests::{
    cluster::Tool,
    scene::{LIMIT, Result, Scene, condition, install, play, refusal, until},
};
use serde_json::{Value, json};

/// How long a burst may take to be worked off, on a machine that is busy with other tests.
const BURST: Duration = Duration::from_secs(300);

fn counted(scaling: Value, delivery: &str) -> Value {
    json!({
        "source": {"kafka": {"topics": ["in"]}}, "delivery": delivery,
        "processor": {"builtin": "enrich"}, "sink": {"kafka": {"topic": "out"}},
        "scaling": scaling,
    })
}

async fn topics(scene: &Scene, partitions: i32) -> Result {
    for name in ["in", "out"] {
        scene.topic(name, json!({"partitions": partitions, "replicationFactor": 1, "config": {"retention.ms": "3600000"}})).await?;
    }
    Ok(())
}

async fn declared(scene: &Scene) -> Result<i32> {
    Ok(scene.api::<Deployment>().get("p").await?.spec.and_then(|spec| spec.replicas).unwrap_or_default())
}

async fn until_declared(scene: &Scene, what: &str, limit: Duration, wanted: impl Fn(i32) -> bool) -> Result<i32> {
    until(what, limit, async || {
        let workers = declared(scene).await?;
        if wanted(workers) { Ok(workers) } else { Err(format!("{workers} workers").into()) }
    })
    .await
}

/// From how many workers of a pipeline to how many, each time, and when.
async fn timed_steps(scene: &Scene, pipeline: &str) -> Result<Vec<(Timestamp, u32, u32)>> {
    // `from 0 to 3 workers: …`
    let step = |event: &Event| {
        let (from, rest) = event.note.as_deref()?.strip_prefix("from ")?.split_once(" to ")?;
        Some((event.event_time.as_ref()?.0, from.parse().ok()?, rest.split_once(' ')?.0.parse().ok()?))
    };
    let events = scene.api::<Event>().list(&ListParams::default()).await?.items;
    let of_pipeline = |event: &&Event| event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(pipeline));
    let decided = events.iter().filter(|event| event.reason.as_deref() == Some("ScalingDecided")).filter(of_pipeline);
    // The first number has none before it.
    let decided = decided.filter(|event| event.note.as_deref().is_some_and(|note| note.starts_with("from ")));
    let steps: Result<Vec<_>> = decided.map(|event| step(event).ok_or_else(|| format!("{:?}", event.note).into())).collect();
    steps.map(|mut steps| {
        steps.sort();
        steps
    })
}

/// From how many workers of a pipeline to how many, each time.
async fn steps(scene: &Scene, pipeline: &str) -> Result<Vec<(u32, u32)>> {
    Ok(timed_steps(scene, pipeline).await?.into_iter().map(|(_, from, to)| (from, to)).collect())
}

/// Waits until `status.scaling` of a pipeline has this reason and number.
async fn decided(scene: &Scene, pipeline: &str, reason: &str, workers: i32) -> Result<ScalingStatus> {
    until(&format!("{pipeline}: {workers} workers, {reason}"), LIMIT, async || {
        let status = scene.api::<EventPipeline>().get(pipeline).await?.status.unwrap_or_default();
        let scaling = status.scaling.ok_or("nothing is decided yet")?;
        if (scaling.reason.as_str(), scaling.desired) == (reason, workers) { Ok(scaling) } else { Err(format!("{scaling:?}").into()) }
    })
    .await
}

/// The sum of a counter's series that have this label.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// What the operator's metrics say.
async fn operator_metrics() -> Result<String> {
    let system = Scene::at(install::NAMESPACE).await?;
    let pods = system.api::<Pod>().list(&ListParams::default().labels(install::OPERATOR)).await?.items;
    let name = pods.first().and_then(|pod| pod.metadata.name.as_deref()).ok_or("no operator")?;
    Ok(system.get(name, 8080, "/metrics").await?.body.as_str().unwrap_or_default().to_owned())
}

/// Sweeps, and requests for what groups have committed that the operator sent.
async fn asked() -> Result<(f64, f64)> {
    let metrics = operator_metrics().await?;
    let sweeps = sum(&metrics, "penstock_operator_scaling_sweep_duration_seconds_count", "");
    Ok((sweeps, sum(&metrics, "penstock_operator_kafka_requests_total", r#"request="OffsetFetch""#)))
}

/// Waits until so many looks more are done. Those at a Kafka of another test's own are among them.
async fn more_sweeps(count: u32) -> Result {
    let (before, _) = asked().await?;
    until(&format!("{count} more looks"), LIMIT, async || {
        let (now, _) = asked().await?;
        if now >= before + f64::from(count) { Ok(()) } else { Err(format!("{}", now - before).into()) }
    })
    .await
}

/// Removes these pipelines and all topics, while there is somebody to ask about them.
async fn cleared(scene: &Scene, pipelines: &[&str]) -> Result {
    for pipeline in pipelines {
        scene.delete::<EventPipeline>(pipeline).await?;
    }
    let topics = scene.api::<KafkaTopic>();
    topics.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until("no topics are left", LIMIT, async || {
        let left = topics.list(&ListParams::default()).await?.items.len();
        if left == 0 { Ok(()) } else { Err(format!("{left}").into()) }
    })
    .await
}

/// How many records of `in` a group has committed.
async fn committed_now(scene: &Scene, group: &str) -> Result<i64> {
    let offsets = scene.admin.group_offsets(&format!("{}.{group}", scene.namespace)).await?;
    let of_source = offsets.iter().filter(|(partition, _)| partition.topic == scene.kafka_name("in"));
    Ok(of_source.filter_map(|(_, found)| Some(found.as_ref().ok()?.offset)).sum())
}

/// Waits until a group has committed so many records of `in`.
async fn committed(scene: &Scene, group: &str, records: i64) -> Result {
    until(&format!("{group} has committed {records} records"), LIMIT, async || {
        let all = committed_now(scene, group).await?;
        if all == records { Ok(()) } else { Err(format!("{all}").into()) }
    })
    .await
}

/// How many records wait at least, while a burst goes on.
const BACKLOG: i64 = 50_000;

/// A burst that goes on until more than one worker is wanted, however fast one of them is. Returns how many records it had.
async fn burst(scene: &Scene) -> Result<i64> {
    let topic = scene.kafka_name("in");
    let record = |n: i64| Record::to(&topic).with_key(n.to_string()).with_payload(json!({"n": n}).to_string());
    let mut written = 0;
    until("more than one worker", LIMIT, async || {
        let missing = BACKLOG - (written - committed_now(scene, "p").await?);
        if missing > 0 {
            scene.produce_all((written..written + missing).map(record)).await?;
            written += missing;
        }
        let workers = declared(scene).await?;
        if workers > 1 { Ok(()) } else { Err(format!("{workers} workers for {written} records").into()) }
    })
    .await?;
    Ok(written)
}

async fn burst_from_zero(name: &str, delivery: &str) {
    play(name, async |scene| {
        topics(scene, 6).await?;
        let scaling = json!({"minReplicas": 0, "maxReplicas": 6, "drainSeconds": 5, "idleSeconds": 15});
        let mut spec = counted(scaling, delivery);
        // One of them would need longer than `drainSeconds`.
        spec["resources"] = json!({"requests": {"cpu": "5m"}, "limits": {"cpu": "10m"}});
        scene.apply::<EventPipeline>("p", spec).await?;
        scene.ready::<EventPipeline>("p").await?;
        decided(scene, "p", "Asleep", 0).await?;
        let records = burst(scene).await?;
        until_declared(scene, "no workers again", BURST, |workers| workers == 0).await?;
        let out = scene.events(&scene.kafka_name("out"), |_| true).await?;
        let mut numbers = BTreeSet::new();
        let doubled: Vec<&Value> = out.iter().filter(|event| !event["n"].as_i64().is_some_and(|n| numbers.insert(n))).collect();
        assert!(doubled.is_empty(), "{} are doubled: {:?}", doubled.len(), doubled.iter().take(5).collect::<Vec<_>>());
        assert_eq!(numbers.len(), usize::try_from(records)?, "nothing is lost");
        let status = scene.api::<EventPipeline>().get("p").await?.status.unwrap_or_default();
        let scaling = status.scaling.unwrap_or_default();
        assert_eq!((scaling.desired, scaling.reason.as_str(), scaling.lag), (0, "Asleep", Some(0)));
        let steps = steps(scene, "p").await?;
        let up = steps.iter().filter(|(from, to)| from < to).count();
        assert!(up <= 3 && steps.len() - up <= 3, "{steps:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_burst_is_worked_off_from_zero_and_back_exactly_once() {
    burst_from_zero("scaling-eos", "ExactlyOnce").await;
}

#[tokio::test]
async fn a_burst_is_worked_off_from_zero_and_back_at_least_once() {
    burst_from_zero("scaling-alo", "AtLeastOnce").await;
}

#[tokio::test]
async fn scaling_by_hand_is_refused() {
    play("scaling-hand", async |scene| {
        topics(scene, 1).await?;
        scene.apply::<EventPipeline>("p", counted(json!({"maxReplicas": 3}), "AtLeastOnce")).await?;
        scene.ready::<EventPipeline>("p").await?;
        let api = scene.api::<EventPipeline>();
        // 1 stands there already, by default.
        for replicas in [0, 2, 3] {
            let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
            let by_scale = refusal(api.patch_scale("p", &PatchParams::default(), &patch).await)?;
            let by_spec = refusal(api.patch("p", &PatchParams::default(), &patch).await)?;
            for said in [by_scale, by_spec] {
                assert!(said.contains("replicas and scaling exclude each other"), "{replicas}: {said}");
            }
            let mut kubectl = scene.cluster.tool(Tool::Kubectl);
            kubectl.args(["-n", &scene.namespace, "scale", "eventpipeline/p", &format!("--replicas={replicas}")]);
            let said = install::run(kubectl).await.map_or_else(|why| why.to_string(), |said| format!("it was accepted: {said}"));
            assert!(said.contains("replicas and scaling exclude each other"), "{replicas}: {said}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_maximum_beyond_the_partitions_is_allowed_and_said_at_once() {
    play("scaling-beyond", async |scene| {
        topics(scene, 2).await?;
        scene.apply::<EventPipeline>("p", counted(json!({"minReplicas": 0, "maxReplicas": 5}), "AtLeastOnce")).await?;
        until("the condition says so", LIMIT, async || {
            let status = scene.api::<EventPipeline>().get("p").await?.status.unwrap_or_default();
            let said = condition(&status.conditions, "ScalingActive").map(|c| c.message.clone()).unwrap_or_default();
            if said.contains("maxReplicas is 5, and the source has 2 partitions") { Ok(()) } else { Err(said.into()) }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_only_tells() {
    play("scaling-dry", async |scene| {
        topics(scene, 3).await?;
        let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 3, "idleSeconds": 10, "dryRun": true}), "AtLeastOnce");
        spec["replicas"] = json!(2);
        scene.apply::<EventPipeline>("p", spec).await?;
        scene.ready_workers("p", 2).await?;
        scene.told::<EventPipeline>("p", "ScalingActive", "True", Some("Asleep")).await?;
        let pipeline = scene.api::<EventPipeline>().get("p").await?;
        let status = pipeline.status.unwrap_or_default();
        assert_eq!(status.scaling.map(|scaling| scaling.desired), Some(0));
        let said = condition(&status.conditions, "ScalingActive").map(|c| c.message.clone()).unwrap_or_default();
        assert!(said.starts_with("dry run"), "{said}");
        assert_eq!(declared(scene).await?, 2);
        let own = format!(r#"namespace="{}",pipeline="p""#, scene.namespace);
        let metrics = operator_metrics().await?;
        let told: Vec<&str> = metrics.lines().filter(|line| line.contains(&own) && line.contains("_scaling_")).collect();
        for line in [
            format!("penstock_operator_scaling_desired_workers{{{own}}} 0"),
            format!("penstock_operator_scaling_lag_records{{{own}}} 0"),
            format!(r#"penstock_operator_scaling_decision{{{own},reason="Asleep",limited_by=""}} 1"#),
        ] {
            assert!(told.contains(&line.as_str()), "{line} is missing among {told:#?}");
        }
        Ok(())
    })
    .await;
}
