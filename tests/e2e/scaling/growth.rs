//! Topics grow safely: what comes into new partitions is not skipped, also with `startFrom: Latest`.

use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::api::ListParams;
use penstock_crds::{EventPipeline, KafkaTopic};
use penstock_kafka::{Record, TopicPartition};
use penstock_tests::scene::{LIMIT, Result, Scene, play, until};
use serde_json::{Value, json};

use super::{counted, topics, until_declared};

fn from_now_on(scaling: Value) -> Value {
    let mut spec = counted(scaling, "ExactlyOnce");
    spec["source"]["kafka"]["startFrom"] = json!("Latest");
    spec
}

async fn grow(scene: &Scene, partitions: i32) -> Result {
    let spec = json!({"partitions": partitions, "replicationFactor": 1, "config": {"retention.ms": "3600000"}});
    scene.topic("in", spec).await?;
    until("the partitions are there", LIMIT, async || {
        let seen = scene.api::<KafkaTopic>().get("in").await?.status.and_then(|status| status.partitions);
        if seen == Some(partitions) { Ok(()) } else { Err(format!("{seen:?}").into()) }
    })
    .await
}

async fn told(scene: &Scene, reason: &str) -> Result<Vec<String>> {
    let events = scene.api::<Event>().list(&ListParams::default()).await?.items;
    Ok(events.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).filter_map(|event| event.note).collect())
}

async fn handled(scene: &Scene, number: i64) -> Result {
    until(&format!("the output of record {number}"), LIMIT, async || {
        let out = scene.events(&scene.kafka_name("out"), |event| event["n"] == number).await?;
        if out.len() == 1 { Ok(()) } else { Err(format!("{out:?}").into()) }
    })
    .await
}

/// Writes a record into each new partition before anybody can know of them but the operator.
async fn produce_into(scene: &Scene, partitions: std::ops::Range<i32>) -> Result {
    for partition in partitions {
        let payload = json!({"n": partition}).to_string();
        scene.produce(Record::to(scene.kafka_name("in")).with_partition(partition).with_payload(payload)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_sleeping_group_begins_new_partitions_at_their_start() {
    play("scaling-grow", async |scene| {
        topics(scene, 2).await?;
        scene.apply::<EventPipeline>("p", from_now_on(json!({"minReplicas": 0, "maxReplicas": 4, "idleSeconds": 10}))).await?;
        until_declared(scene, "a worker that commits where the group begins", LIMIT, |workers| workers == 1).await?;
        until_declared(scene, "no workers", LIMIT, |workers| workers == 0).await?;
        scene.ready::<EventPipeline>("p").await?;
        // While one still leaves, the group has a member, from which alone brokers would take offsets.
        until("the worker has gone", LIMIT, async || match scene.api::<Pod>().list(&ListParams::default()).await?.items.len() {
            0 => Ok(()),
            left => Err(format!("{left} pods are left").into()),
        })
        .await?;

        grow(scene, 4).await?;
        let group = format!("{}.p", scene.namespace);
        let keys = told(scene, "PartitionsAdded").await?;
        assert!(keys.iter().any(|note| note.contains("Keys move") && note.ends_with(&group)), "{keys:?}");
        until("the group's offsets in the new partitions", LIMIT, async || {
            let offsets = scene.admin.group_offsets(&group).await?;
            let at =
                |n| offsets.get(&TopicPartition::new(scene.kafka_name("in"), n)).and_then(|found| found.as_ref().ok()).map(|c| c.offset);
            if (at(2), at(3)) == (Some(0), Some(0)) { Ok(()) } else { Err(format!("{offsets:?}").into()) }
        })
        .await?;
        let begun = told(scene, "OffsetsCommitted").await?;
        assert!(begun.iter().any(|note| note.contains(&group)), "{begun:?}");

        produce_into(scene, 2..4).await?;
        for number in 2..4 {
            handled(scene, number).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn members_begin_new_partitions_at_their_start() {
    play("scaling-grow-live", async |scene| {
        topics(scene, 2).await?;
        scene.apply::<EventPipeline>("p", from_now_on(json!({"maxReplicas": 4}))).await?;
        scene.ready::<EventPipeline>("p").await?;
        scene.produce(Record::to(scene.kafka_name("in")).with_partition(0).with_payload(r#"{"n": 0}"#)).await?;
        handled(scene, 0).await?;
        let before = scene.ready_workers("p", 1).await?;

        grow(scene, 4).await?;
        produce_into(scene, 2..4).await?;
        for number in 2..4 {
            handled(scene, number).await?;
        }
        let after: Vec<String> = scene.workers("p").await?.iter().map(kube::ResourceExt::name_any).collect();
        assert!(after.contains(before.first().ok_or("no worker")?), "no member was disturbed: {before:?}, {after:?}");
        Ok(())
    })
    .await;
}
