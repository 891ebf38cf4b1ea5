//! What other autoscalers get wrong, as far as brokers or Kubernetes have a part in it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use penstock_crds::EventPipeline;
use penstock_kafka::{GroupOffset, GroupProtocol, Record, TopicPartition};
use penstock_tests::scene::{LIMIT, Result, Scene, play, until};
use serde_json::json;

use super::{
    asked, counted, decided, more_sweeps,
    slow::{slow, wait_in},
    steps, sum, topics, until_declared,
};

/// What a ReplicaSet orders its pods by when there shall be fewer.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The offset that follows the last record of each partition of a topic, where the mark of its transaction is before its stable end.
async fn before_marks(scene: &Scene, topic: &str) -> Result<Vec<GroupOffset>> {
    let mut next = BTreeMap::new();
    for record in scene.records(topic).await? {
        next.insert(record.partition, record.offset + 1);
    }
    let partitions: Vec<TopicPartition> = next.keys().map(|partition| TopicPartition::new(topic, *partition)).collect();
    let ranges = scene.admin.stable_ranges(&partitions).await?;
    let mut offsets = vec![];
    for (partition, range) in ranges {
        let next = *next.get(&partition.partition).ok_or("another partition")?;
        assert!(next < range?.end, "there is a mark behind the last record of {partition}");
        offsets.push(GroupOffset::new(topic, partition.partition, next));
    }
    Ok(offsets)
}

/// What transactions wrote is read by a second pipeline, which has nothing to read at the end of each partition but their marks.
#[tokio::test]
async fn mistake_1_marks_of_transactions_wake_nobody() {
    play("scaling-m1", async |scene| {
        topics(scene, 2).await?;
        scene.topic("more", json!({"partitions": 1, "replicationFactor": 1})).await?;
        let mut writer = counted(json!({}), "ExactlyOnce");
        writer.as_object_mut().ok_or("no object")?.remove("scaling");
        scene.apply::<EventPipeline>("writer", writer).await?;
        scene.ready::<EventPipeline>("writer").await?;
        let (source, between, sink) = (scene.kafka_name("in"), scene.kafka_name("out"), scene.kafka_name("more"));
        let record = |n: u32| Record::to(&source).with_key(n.to_string()).with_payload(json!({"n": n}).to_string());
        scene.produce_all((0..200).map(record)).await?;
        lie_on(scene, &between, 200).await?;

        // It has read all of them, as somebody commits who counts records: up to the marks, and not beyond.
        let offsets = before_marks(scene, &between).await?;
        assert_eq!(offsets.len(), 2, "there are records in both partitions");
        scene.admin.commit_for_idle_group(&format!("{}.p", scene.namespace), &offsets).await?;
        let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 10}), "ExactlyOnce");
        spec["source"]["kafka"]["topics"] = json!(["out"]);
        spec["sink"]["kafka"]["topic"] = json!("more");
        spec["processor"]["options"] = json!({"member": "again"});
        scene.apply::<EventPipeline>("p", spec).await?;
        assert_eq!(decided(scene, "p", "Asleep", 0).await?.lag, Some(0));
        more_sweeps(3).await?;
        assert_eq!(decided(scene, "p", "Asleep", 0).await?.lag, Some(0));
        assert_eq!(steps(scene, "p").await?, []);

        scene.produce(record(200)).await?;
        lie_on(scene, &sink, 1).await?;
        until("it wakes and sleeps once, by the one record that was still to read", LIMIT, async || {
            let steps = steps(scene, "p").await?;
            if steps == [(0, 1), (1, 0)] { Ok(()) } else { Err(format!("{steps:?}").into()) }
        })
        .await
    })
    .await;
}

/// Waits until so many events lie on a topic.
async fn lie_on(scene: &Scene, topic: &str, count: usize) -> Result {
    until(&format!("{count} events on {topic}"), LIMIT, async || {
        let found = scene.events(topic, |_| true).await?.len();
        if found == count { Ok(()) } else { Err(format!("{found}").into()) }
    })
    .await
}

#[tokio::test]
async fn mistake_3_what_was_there_before_waits_for_earliest_and_not_for_latest() {
    play("scaling-m3", async |scene| {
        topics(scene, 2).await?;
        let source = scene.kafka_name("in");
        scene.produce_all((0..500).map(|n: u32| Record::to(&source).with_key(n.to_string()).with_payload("{}"))).await?;
        for (name, start_from, reason, lag) in [("latest", "Latest", "Beginning", 0), ("earliest", "Earliest", "Awake", 500)] {
            let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 2, "dryRun": true}), "AtLeastOnce");
            spec["replicas"] = json!(0);
            spec["source"]["kafka"]["startFrom"] = json!(start_from);
            scene.apply::<EventPipeline>(name, spec).await?;
            assert_eq!(decided(scene, name, reason, 1).await?.lag, Some(lag), "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn mistake_3_a_latest_group_that_sleeps_skips_nothing() {
    play("scaling-latest", async |scene| {
        topics(scene, 2).await?;
        scene.produce(Record::to(scene.kafka_name("in")).with_payload(r#"{"n": 0}"#)).await?;
        let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 10}), "ExactlyOnce");
        spec["source"]["kafka"]["startFrom"] = json!("Latest");
        scene.apply::<EventPipeline>("p", spec).await?;
        // A worker commits where the group begins; only then does it sleep.
        until_declared(scene, "a worker", LIMIT, |workers| workers == 1).await?;
        until_declared(scene, "no workers", LIMIT, |workers| workers == 0).await?;
        scene.produce(Record::to(scene.kafka_name("in")).with_payload(r#"{"n": 1}"#)).await?;
        until("its output", LIMIT, async || {
            let out = scene.events(&scene.kafka_name("out"), |_| true).await?;
            let numbers: Vec<_> = out.iter().map(|event| event["n"].as_i64()).collect();
            if numbers == [Some(1)] { Ok(()) } else { Err(format!("{out:?}").into()) }
        })
        .await?;
        Ok(())
    })
    .await;
}

/// The group's members that have partitions, and which.
async fn holders(scene: &Scene, protocol: GroupProtocol) -> Result<BTreeSet<(String, Vec<i32>)>> {
    let members = scene.admin.group_members(&format!("{}.p", scene.namespace), protocol).await?;
    let held = members.into_iter().map(|member| (member.host, member.partitions.iter().map(|p| p.partition).collect::<Vec<_>>()));
    Ok(held.filter(|(_, partitions)| !partitions.is_empty()).collect())
}

/// The names of these pods, by their addresses.
fn by_address(pods: &[Pod]) -> BTreeMap<String, String> {
    pods.iter().filter_map(|pod| Some((pod.status.as_ref()?.pod_ip.clone()?, pod.name_any()))).collect()
}

/// How often a worker was told to give partitions away.
async fn revocations(scene: &Scene, pod: &str) -> Result<f64> {
    let told = scene.get(pod, 8080, "/metrics").await?.body;
    Ok(sum(told.as_str().unwrap_or_default(), "penstock_worker_rebalances_total", r#"kind="Revoked""#))
}

/// Kubernetes would take one of the younger two: the oldest, which it takes last, is the one with nothing to do.
async fn the_idle_one_goes_first(name: &str, protocol: GroupProtocol) {
    play(name, async |scene| {
        topics(scene, 3).await?;
        let spec = |workers: u32| {
            let mut spec = slow(json!({"minReplicas": workers, "maxReplicas": workers}));
            spec["source"]["kafka"]["groupProtocol"] = json!(if protocol == GroupProtocol::Classic { "Classic" } else { "Consumer" });
            spec
        };
        scene.apply::<EventPipeline>("p", spec(1)).await?;
        let oldest = scene.ready_workers("p", 1).await?.remove(0);
        scene.apply::<EventPipeline>("p", spec(3)).await?;
        scene.ready_workers("p", 3).await?;
        let before = until("each of them has a partition", LIMIT, async || {
            let holders = holders(scene, protocol).await?;
            if holders.len() == 3 { Ok(holders) } else { Err(format!("{holders:?}").into()) }
        })
        .await?;
        let pods = by_address(&scene.workers("p").await?);
        let (idle, busy): (Vec<_>, Vec<_>) = before.iter().cloned().partition(|(host, _)| pods.get(host) == Some(&oldest));
        assert_eq!((idle.len(), busy.len()), (1, 2), "{before:?}, {pods:?}");
        // More than is worked off here.
        for (_, partitions) in &busy {
            for partition in partitions {
                wait_in(scene, *partition..partition + 1, 400).await?;
            }
        }
        until("the operator has seen what waits", LIMIT, async || {
            let status = scene.api::<EventPipeline>().get("p").await?.status.and_then(|status| status.scaling).unwrap_or_default();
            if status.lag > Some(400) { Ok(()) } else { Err(format!("{status:?}").into()) }
        })
        .await?;
        let of_busy: Vec<&String> = busy.iter().filter_map(|(host, _)| pods.get(host)).collect();
        let mut revoked = vec![];
        for pod in &of_busy {
            revoked.push(revocations(scene, pod).await?);
        }

        scene.apply::<EventPipeline>("p", spec(2)).await?;
        scene.ready_workers("p", 2).await?;
        let left = scene.workers("p").await?;
        let names: BTreeSet<String> = left.iter().map(ResourceExt::name_any).collect();
        assert_eq!(
            names,
            of_busy.iter().map(|pod| (*pod).clone()).collect(),
            "the one with nothing to do has gone, though it was the oldest"
        );
        let costs: BTreeSet<_> = left.iter().map(|pod| pod.annotations().get(DELETION_COST).cloned().unwrap_or_default()).collect();
        assert_eq!(costs, BTreeSet::from(["1", "2"].map(str::to_owned)), "each that has stayed costs more than the one that has gone");
        until("the two that work have kept their partitions, and one has that of the third", LIMIT, async || {
            let after = holders(scene, protocol).await?;
            let kept = |(host, held): &(String, Vec<i32>)| after.iter().any(|(h, all)| h == host && held.iter().all(|p| all.contains(p)));
            let all: usize = after.iter().map(|(_, partitions)| partitions.len()).sum();
            if busy.iter().all(kept) && all == 3 { Ok(()) } else { Err(format!("{before:?}, {after:?}").into()) }
        })
        .await?;
        for (pod, before) in of_busy.iter().zip(revoked) {
            let after = revocations(scene, pod).await?;
            assert!(after <= before, "nothing is taken from {pod}, which stays: {before}, {after}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn mistake_8_the_worker_with_the_least_to_do_goes_first() {
    the_idle_one_goes_first("scaling-m8", GroupProtocol::Classic).await;
}

#[tokio::test]
async fn mistake_8_the_worker_with_the_least_to_do_goes_first_by_the_new_protocol() {
    the_idle_one_goes_first("scaling-m8-new", GroupProtocol::Consumer).await;
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
