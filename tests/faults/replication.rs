//! Copies are made slowly where that is wanted, though the operator dies meanwhile.

use penstock_crds::{KafkaTopic, topic::TopicReassignment};
use penstock_kafka::{Producer, ProducerSettings, Record};
use penstock_tests::{
    cluster::KafkaSize,
    scene::{LIMIT, OwnKafka, RATES, Result, Scene, play, until},
};
use serde_json::json;

/// More than brokers fetch at once before they look at a rate, in each of two partitions.
async fn fill(scene: &Scene, name: &str) -> Result {
    let producer = Producer::new(&scene.kafka, &ProducerSettings::default())?;
    let mut number = 1_u32;
    for partition in (0..2).flat_map(|partition| std::iter::repeat_n(partition, 8)) {
        let payload = std::iter::repeat_with(|| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 24) as u8
        });
        let payload: Vec<u8> = payload.take(500_000).collect();
        producer.send(Record::to(scene.kafka_name(name)).with_partition(partition).with_payload(payload)).await?;
    }
    Ok(())
}

/// Waits until the change is under way.
async fn moves(scene: &Scene, name: &str) -> Result<TopicReassignment> {
    let topic = scene.told::<KafkaTopic>(name, "Ready", "False", Some("Reassigning")).await?;
    topic.status.and_then(|status| status.reassignment).ok_or_else(|| "it is not told".into())
}

async fn slow_and_cancelled(own: &OwnKafka) -> Result {
    let scene = &own.scene;
    own.declare_copies("slow", 1).await?;
    let before = own.has_copies("slow", 1).await?;
    fill(scene, "slow").await?;
    own.declare(json!({"reassignment": {"throttleBytesPerSecond": 1000}})).await?;
    own.declare_copies("slow", 3).await?;
    let told = moves(scene, "slow").await?;
    assert_eq!((told.from, told.to, told.partitions, told.remaining), (1, 3, 2, 2));
    let throttled = told.throttle.ok_or("no throttle is told")?;
    let found = until("two rates and two lists of replicas", LIMIT, async || {
        let found = own.throttles("slow").await?;
        if found.len() == 4 { Ok(found) } else { Err(format!("{found:?}").into()) }
    })
    .await?;
    assert_eq!(found.get(RATES[0]).map(String::as_str), Some("1000"), "{found:?}");
    assert_eq!(found.get("leader.replication.throttled.replicas"), Some(&throttled.leader_replicas));

    // Whoever comes after an operator that dies goes on with it, and takes everything away in the end.
    scene.kill_operator(scene.doomed_operator().await?).await?;
    own.declare_copies("slow", 1).await?;
    assert_eq!(own.has_copies("slow", 1).await?, before, "they are not where they were before");

    own.declare_copies("slow", 3).await?;
    moves(scene, "slow").await?;
    scene.stop_operator().await?;
    own.apply(json!({"reassignment": {"throttleBytesPerSecond": 100_000_000}})).await?;
    scene.start_operator().await?;
    let after = own.has_copies("slow", 3).await?;
    assert!(after.iter().zip(&before).all(|(after, before)| after.first() == before.first()), "{before:?}, then {after:?}");
    own.declare(json!({})).await
}

#[tokio::test]
async fn copies_that_are_made_slowly_come_and_go_though_the_operator_dies() {
    play("replication", async |scene| scene.beside_own_kafka(KafkaSize::Three, &[], slow_and_cancelled).await).await;
}
