//! A partition that nobody leads keeps no one asleep: what waits in the others wakes a worker.

use penstock_crds::EventPipeline;
use penstock_kafka::Record;
use penstock_tests::{
    cluster::KafkaSize,
    scene::{LIMIT, OwnKafka, Result, play, until},
};
use serde_json::json;

use super::{cleared, counted, decided, until_declared};

async fn without_a_leader(own: &OwnKafka) -> Result {
    let scene = &own.scene;
    for (name, replicas) in [("in", 1), ("out", 3)] {
        scene.topic(name, json!({"partitions": 3, "replicationFactor": replicas, "clusterRef": {"name": own.cluster}})).await?;
    }
    let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 3, "idleSeconds": 10}), "AtLeastOnce");
    spec["clusterRef"] = json!({"name": own.cluster});
    scene.apply::<EventPipeline>("p", spec).await?;
    decided(scene, "p", "Asleep", 0).await?;
    let source = scene.kafka_name("in");
    let described = scene.admin.describe(&[&source]).await?.remove(&source).ok_or("no answer")??;
    // The broker that is stopped is the last one.
    let led = described.partitions.iter().find(|partition| partition.leader.is_some_and(|leader| leader != 2));
    let led = led.ok_or("the last broker leads all partitions")?.id;
    assert!(described.partitions.iter().any(|partition| partition.leader == Some(2)), "{described:?}");

    own.leave(2).await?;
    let away = async {
        decided(scene, "p", "LagUnknown", 0).await?;
        scene.produce(Record::to(&source).with_partition(led).with_payload(r#"{"n": 1}"#)).await?;
        until_declared(scene, "a worker", LIMIT, |workers| workers == 1).await
    };
    let away = away.await;
    own.leave(3).await?;
    away?;
    until("its output", LIMIT, async || {
        let out = scene.events(&scene.kafka_name("out"), |event| event["n"] == 1).await?;
        if out.is_empty() { Err("none".into()) } else { Ok(()) }
    })
    .await
}

#[tokio::test]
async fn mistake_7_what_waits_wakes_a_worker_though_one_partition_cannot_be_read() {
    play("scaling-partly", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::Three, &[], async |own| {
                without_a_leader(own).await?;
                cleared(&own.scene, &["p"]).await
            })
            .await
    })
    .await;
}
