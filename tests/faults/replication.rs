//! Copies are made slowly where that is wanted, though the operator dies meanwhile; and while another tool makes some, nothing is done.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{Patch, PatchParams};
use penstock_crds::{KafkaTopic, topic::TopicReassignment};
use penstock_kafka::{ConfigDelta, Producer, ProducerSettings, Record, TopicPartition};
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
    scene.operator().await.kill().await?;
    own.declare_copies("slow", 1).await?;
    assert_eq!(own.has_copies("slow", 1).await?, before, "they are not where they were before");

    own.declare_copies("slow", 3).await?;
    moves(scene, "slow").await?;
    let operator = scene.operator().await;
    let faster = json!({"reassignment": {"throttleBytesPerSecond": 100_000_000}});
    operator.while_stopped(async || own.apply(faster).await).await?;
    drop(operator);
    let after = own.has_copies("slow", 3).await?;
    assert!(after.iter().zip(&before).all(|(after, before)| after.first() == before.first()), "{before:?}, then {after:?}");
    own.declare(json!({})).await
}

/// Throttles the copies of a topic, as another tool does, or lets them go.
async fn throttled_elsewhere(scene: &Scene, name: &str, rate: Option<&str>) -> Result {
    let lists = ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"].map(str::to_owned);
    let mut delta = ConfigDelta { topic: scene.kafka_name(name), ..ConfigDelta::default() };
    match rate {
        Some(rate) => {
            scene.admin.change_broker_defaults(&RATES.map(|key| (key, rate.to_owned())).into(), &BTreeSet::new()).await?;
            delta.set = lists.map(|key| (key, "*".to_owned())).into();
        }
        None => {
            scene.admin.change_broker_defaults(&BTreeMap::new(), &RATES.into()).await?;
            delta.unset = lists.into();
        }
    }
    scene.admin.alter_configs_incremental(&[delta]).await?.into_values().next().ok_or("no answer")??;
    Ok(())
}

async fn slow_elsewhere(own: &OwnKafka) -> Result {
    let scene = &own.scene;
    own.declare_copies("slow", 1).await?;
    let before = own.has_copies("slow", 1).await?;
    throttled_elsewhere(scene, "slow", Some("1000")).await?;
    let and_another = |held: &Vec<i32>| held.iter().flat_map(|broker| [*broker, (broker + 1) % 3]).collect();
    let partition = |index: i32| TopicPartition::new(scene.kafka_name("slow"), index);
    let targets: BTreeMap<_, Vec<i32>> = (0..).map(partition).zip(before.iter().map(and_another)).collect();
    for begun in scene.admin.reassign(&targets).await?.into_values() {
        begun?;
    }
    let told = scene.told::<KafkaTopic>("slow", "Ready", "False", Some("ReassignmentOfOthers")).await?;
    let told = told.status.and_then(|status| Some(status.conditions.into_iter().find(|c| c.type_ == "Ready")?.message)).unwrap_or_default();
    assert!(told.contains("another tool moves 2 of") && told.contains("will have 2 copies"), "{told}");
    // Whoever comes next, and sees the object changed, leaves it alone as well.
    scene.operator().await.kill().await?;
    let retained = json!({"spec": {"config": {"retention.ms": "86400000"}}});
    scene.api::<KafkaTopic>().patch("slow", &PatchParams::default(), &Patch::Merge(retained)).await?;
    scene.told::<KafkaTopic>("slow", "Ready", "False", Some("ReassignmentOfOthers")).await?;
    let all: Vec<_> = targets.into_keys().collect();
    assert_eq!(scene.admin.reassignments(&all).await?.len(), 2);
    throttled_elsewhere(scene, "slow", None).await?;
    own.has_copies("slow", 1).await.map(drop)
}

#[tokio::test]
async fn copies_that_are_made_slowly_come_and_go_though_the_operator_dies() {
    let test = async |own: &OwnKafka| {
        slow_and_cancelled(own).await?;
        slow_elsewhere(own).await
    };
    play("replication", async |scene| scene.beside_own_kafka(KafkaSize::Three, &[], test).await).await;
}
