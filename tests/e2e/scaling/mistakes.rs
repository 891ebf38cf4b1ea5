//! What other autoscalers get wrong, as far as brokers or Kubernetes have a part in it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use penstock_crds::EventPipeline;
use penstock_kafka::{GroupProtocol, Record};
use penstock_tests::scene::{LIMIT, Result, Scene, install, play, until};
use serde_json::json;

use super::{
    counted, decided,
    slow::{slow, wait_in},
    topics, until_declared,
};

/// What transactions wrote is read by a second pipeline, which has nothing to read at the end of each partition but their marks.
#[tokio::test]
async fn mistake_1_marks_of_transactions_keep_nobody_awake() {
    play("scaling-m1", async |scene| {
        topics(scene, 2).await?;
        scene.topic("more", json!({"partitions": 1, "replicationFactor": 1})).await?;
        let mut writer = counted(json!({}), "ExactlyOnce");
        writer.as_object_mut().ok_or("no object")?.remove("scaling");
        scene.apply::<EventPipeline>("writer", writer).await?;
        let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 10}), "ExactlyOnce");
        spec["source"]["kafka"]["topics"] = json!(["out"]);
        spec["sink"]["kafka"]["topic"] = json!("more");
        spec["processor"]["options"] = json!({"member": "again"});
        scene.apply::<EventPipeline>("p", spec).await?;
        scene.ready::<EventPipeline>("writer").await?;
        let topic = scene.kafka_name("in");
        scene.produce_all((0..200).map(|n| Record::to(&topic).with_key(n.to_string()).with_payload(json!({"n": n}).to_string()))).await?;
        until("all of them twice over", LIMIT, async || {
            let found = scene.events(&scene.kafka_name("more"), |_| true).await?.len();
            if found == 200 { Ok(()) } else { Err(format!("{found}").into()) }
        })
        .await?;
        let asleep = decided(scene, "p", "Asleep", 0).await?;
        assert_eq!(asleep.lag, Some(0));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn mistake_3_a_latest_group_that_sleeps_skips_nothing() {
    play("scaling-latest", async |scene| {
        topics(scene, 2).await?;
        let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 10}), "ExactlyOnce");
        spec["source"]["kafka"]["startFrom"] = json!("Latest");
        scene.apply::<EventPipeline>("p", spec).await?;
        // A worker commits where the group begins; only then does it sleep.
        until_declared(scene, "a worker", LIMIT, |workers| workers == 1).await?;
        until_declared(scene, "no workers", LIMIT, |workers| workers == 0).await?;
        scene.produce(Record::to(scene.kafka_name("in")).with_payload(r#"{"n": 1}"#)).await?;
        until("its output", LIMIT, async || {
            let out = scene.events(&scene.kafka_name("out"), |event| event["n"] == 1).await?;
            if out.len() == 1 { Ok(()) } else { Err(format!("{out:?}").into()) }
        })
        .await?;
        Ok(())
    })
    .await;
}

/// The group's members that have partitions, and which.
async fn holders(scene: &Scene) -> Result<BTreeSet<(String, Vec<i32>)>> {
    let members = scene.admin.group_members(&format!("{}.p", scene.namespace), GroupProtocol::Classic).await?;
    let held = members.into_iter().map(|member| (member.host, member.partitions.iter().map(|p| p.partition).collect::<Vec<_>>()));
    Ok(held.filter(|(_, partitions)| !partitions.is_empty()).collect())
}

#[tokio::test]
async fn mistake_8_the_worker_with_the_least_to_do_goes_first() {
    play("scaling-m8", async |scene| {
        topics(scene, 3).await?;
        scene.apply::<EventPipeline>("p", slow(json!({"minReplicas": 3, "maxReplicas": 3}))).await?;
        scene.ready_workers("p", 3).await?;
        let before = until("each of them has a partition", LIMIT, async || {
            let holders = holders(scene).await?;
            if holders.len() == 3 { Ok(holders) } else { Err(format!("{holders:?}").into()) }
        })
        .await?;
        // More than is worked off here.
        wait_in(scene, 0..2, 400).await?;
        until("the operator has seen what waits", LIMIT, async || {
            let status = scene.api::<EventPipeline>().get("p").await?.status.and_then(|status| status.scaling).unwrap_or_default();
            if status.lag > Some(400) { Ok(()) } else { Err(format!("{status:?}").into()) }
        })
        .await?;
        scene.apply::<EventPipeline>("p", slow(json!({"minReplicas": 2, "maxReplicas": 2}))).await?;
        let left = scene.ready_workers("p", 2).await?;
        let pods = scene.api::<Pod>().list(&ListParams::default()).await?.items;
        let of_left = pods.iter().filter(|pod| pod.metadata.name.as_ref().is_some_and(|name| left.contains(name)));
        let addresses: BTreeSet<String> = of_left.filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).collect();
        let busy: BTreeSet<_> = before.iter().filter(|(_, partitions)| partitions != &[2]).cloned().collect();
        assert_eq!(addresses, busy.iter().map(|(host, _)| host.clone()).collect(), "the one with nothing to do has gone");
        until("the two that work have kept their partitions, and one has that of the third", LIMIT, async || {
            let after = holders(scene).await?;
            let kept = |(host, held): &(String, Vec<i32>)| after.iter().any(|(h, all)| h == host && held.iter().all(|p| all.contains(p)));
            let all: usize = after.iter().map(|(_, partitions)| partitions.len()).sum();
            if busy.iter().all(kept) && all == 3 { Ok(()) } else { Err(format!("{before:?}, {after:?}").into()) }
        })
        .await?;
        Ok(())
    })
    .await;
}

/// The sum of a counter's series that have this label.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Sweeps, and requests for what groups have committed that the operator sent.
async fn asked() -> Result<(f64, f64)> {
    let system = Scene::at(install::NAMESPACE).await?;
    let pods = system.api::<Pod>().list(&ListParams::default().labels(install::OPERATOR)).await?.items;
    let name = pods.first().and_then(|pod| pod.metadata.name.as_deref()).ok_or("no operator")?;
    let metrics = system.get(name, 8080, "/metrics").await?.body;
    let text = metrics.as_str().unwrap_or_default();
    let sweeps = sum(text, "penstock_operator_scaling_sweep_duration_seconds_count", "");
    Ok((sweeps, sum(text, "penstock_operator_kafka_requests_total", r#"request="OffsetFetch""#)))
}

/// Enough that a question for each of them would stand out.
const PIPELINES: u32 = 20;

#[tokio::test]
async fn mistake_10_many_pipelines_take_no_more_questions_than_one() {
    play("scaling-m10", async |scene| {
        topics(scene, 1).await?;
        for n in 0..PIPELINES {
            let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 1, "dryRun": true}), "AtLeastOnce");
            spec["replicas"] = json!(0);
            scene.apply::<EventPipeline>(&format!("p-{n}"), spec).await?;
        }
        for n in 0..PIPELINES {
            scene.told::<EventPipeline>(&format!("p-{n}"), "ScalingActive", "True", None).await?;
        }
        let before = asked().await?;
        let (sweeps, questions) = until("five more looks", LIMIT, async || {
            let now = asked().await?;
            let more = (now.0 - before.0, now.1 - before.1);
            if more.0 >= 5.0 { Ok(more) } else { Err(format!("{more:?}").into()) }
        })
        .await?;
        // One in each look, and what the pipelines and topics of other tests cause meanwhile: offsets are renewed, partitions grow.
        assert!(questions <= sweeps * f64::from(PIPELINES) / 4.0, "{questions} in {sweeps} looks at {PIPELINES} pipelines");
        Ok(())
    })
    .await;
}
