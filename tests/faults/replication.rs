//! Replication factors change on three brokers: slowly where that is wanted, though the operator dies, with a broker down, and beside other
//! tools.

use std::collections::BTreeMap;

use kube::ResourceExt;
use penstock_crds::{KafkaTopic, KafkaTopicStatus, topic::TopicReassignment};
use penstock_kafka::{Producer, ProducerSettings, Record, TopicDescription, TopicPartition};
use penstock_tests::{
    cluster::KafkaSize,
    scene::{LIMIT, OwnKafka, Result, Scene, condition, play, until},
};
use serde_json::json;

const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];

/// Topic `name` with so many copies of each of two partitions.
async fn declare(scene: &Scene, own: &OwnKafka, name: &str, copies: i16) -> Result {
    let spec = json!({
        "topicName": scene.kafka_name(name), "partitions": 2, "replicationFactor": copies, "clusterRef": {"name": own.cluster},
    });
    scene.apply::<KafkaTopic>(name, spec).await?;
    Ok(())
}

fn status(topic: &KafkaTopic) -> Result<&KafkaTopicStatus> {
    topic.status.as_ref().ok_or_else(|| "no status".into())
}

fn message(topic: &KafkaTopic) -> &str {
    let conditions = topic.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition(conditions, "Ready").map(|ready| ready.message.as_str()).unwrap_or_default()
}

async fn described(scene: &Scene, name: &str) -> Result<TopicDescription> {
    let name = scene.kafka_name(name);
    Ok(scene.admin.describe(&[&name]).await?.remove(&name).ok_or("no answer")??)
}

/// Waits until it is ready, and says where its copies are: so many of each partition, all in sync, with nothing left of how they came there.
/// Each broker answers from what it has heard of the controller, and may be behind the one that the operator has asked.
async fn has(scene: &Scene, name: &str, copies: usize) -> Result<Vec<Vec<i32>>> {
    let ready = scene.ready::<KafkaTopic>(name).await?;
    assert_eq!((status(&ready)?.reassignment.as_ref(), ready.finalizers().len()), (None, 0));
    until(&format!("{copies} copies in sync, and no throttle"), LIMIT, async || {
        let (seen, throttles) = (described(scene, name).await?, throttles(scene, name).await?);
        let whole = seen.partitions.iter().all(|partition| partition.replicas.len() == copies && partition.isr.len() == copies);
        if !whole || !throttles.is_empty() {
            return Err(format!("{seen:?}, {throttles:?}").into());
        }
        Ok(seen.partitions.into_iter().map(|partition| partition.replicas).collect())
    })
    .await
}

/// What throttles the topic in Kafka: on it, and on all brokers.
async fn throttles(scene: &Scene, name: &str) -> Result<BTreeMap<String, String>> {
    let name = scene.kafka_name(name);
    let mut found = scene.admin.describe_configs(&[&name]).await?.remove(&name).ok_or("no answer")??.overrides();
    found.retain(|key, _| key.ends_with("throttled.replicas"));
    found.extend(scene.admin.broker_defaults(&RATES).await?);
    Ok(found)
}

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

/// Moves partitions as another tool does.
async fn elsewhere(scene: &Scene, name: &str, brokers: &[&[i32]]) -> Result {
    let name = scene.kafka_name(name);
    let targets = (0..).zip(brokers).map(|(partition, brokers)| (TopicPartition::new(&name, partition), brokers.to_vec()));
    let targets: BTreeMap<_, _> = targets.collect();
    for (_, begun) in scene.admin.reassign(&targets).await? {
        begun?;
    }
    let all: Vec<_> = targets.into_keys().collect();
    until("they have moved", LIMIT, async || {
        let left = scene.admin.reassignments(&all).await?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}").into()) }
    })
    .await
}

/// Waits until the change is under way.
async fn moves(scene: &Scene, name: &str) -> Result<TopicReassignment> {
    let topic = scene.told::<KafkaTopic>(name, "Ready", "False", Some("Reassigning")).await?;
    status(&topic)?.reassignment.clone().ok_or_else(|| "it is not told".into())
}

async fn slow_and_cancelled(scene: &Scene, own: &OwnKafka) -> Result {
    declare(scene, own, "slow", 1).await?;
    let before = has(scene, "slow", 1).await?;
    fill(scene, "slow").await?;
    own.declare(json!({"reassignment": {"throttleBytesPerSecond": 1000}})).await?;
    declare(scene, own, "slow", 3).await?;
    let told = moves(scene, "slow").await?;
    assert_eq!((told.from, told.to, told.partitions, told.remaining), (1, 3, 2, 2));
    let throttled = told.throttle.ok_or("no throttle is told")?;
    let found = until("two rates and two lists of replicas", LIMIT, async || {
        let found = throttles(scene, "slow").await?;
        if found.len() == 4 { Ok(found) } else { Err(format!("{found:?}").into()) }
    })
    .await?;
    assert_eq!(found.get(RATES[0]).map(String::as_str), Some("1000"), "{found:?}");
    assert_eq!(found.get("leader.replication.throttled.replicas"), Some(&throttled.leader_replicas));

    // Whoever comes after an operator that dies goes on with it, and takes everything away in the end.
    scene.kill_operator(scene.doomed_operator().await?).await?;
    declare(scene, own, "slow", 1).await?;
    assert_eq!(has(scene, "slow", 1).await?, before, "they are not where they were before");

    declare(scene, own, "slow", 3).await?;
    moves(scene, "slow").await?;
    scene.stop_operator().await?;
    own.apply(json!({"reassignment": {"throttleBytesPerSecond": 100_000_000}})).await?;
    scene.start_operator().await?;
    let after = has(scene, "slow", 3).await?;
    assert!(after.iter().zip(&before).all(|(after, before)| after.first() == before.first()), "{before:?}, then {after:?}");
    own.declare(json!({})).await
}

async fn with_a_broker_down(scene: &Scene, own: &OwnKafka) -> Result {
    declare(scene, own, "wide", 1).await?;
    has(scene, "wide", 1).await?;
    // What lies alone on the broker that goes down cannot be copied. To move it elsewhere is nothing that is declared otherwise.
    elsewhere(scene, "wide", &[&[0], &[1]]).await?;
    own.leave(2).await?;
    declare(scene, own, "wide", 2).await?;
    has(scene, "wide", 2).await?;
    declare(scene, own, "wide", 3).await?;
    let told = scene.told::<KafkaTopic>("wide", "Ready", "False", Some("NotEnoughBrokers")).await?;
    assert!(message(&told).contains("2 brokers are up (0, 1)"), "{}", message(&told));
    own.leave(3).await?;
    has(scene, "wide", 3).await.map(drop)
}

async fn beside_other_tools(scene: &Scene, own: &OwnKafka) -> Result {
    declare(scene, own, "shared", 3).await?;
    has(scene, "shared", 3).await?;
    elsewhere(scene, "shared", &[&[1]]).await?;
    let reverted = scene.told::<KafkaTopic>("shared", "Drifted", "False", Some("DriftReverted")).await?;
    let drift = status(&reverted)?.drift.clone().ok_or("it is not told")?;
    assert_eq!((drift.reverted, drift.changes[0].what.as_str(), drift.changes[0].from.as_deref()), (1, "replicationFactor", Some("1")));
    has(scene, "shared", 3).await.map(drop)
}

#[tokio::test]
async fn copies_come_and_go_on_three_brokers() {
    play("replication", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::Three, &[], async |own| {
                slow_and_cancelled(&own.scene, own).await?;
                with_a_broker_down(&own.scene, own).await?;
                beside_other_tools(&own.scene, own).await
            })
            .await
    })
    .await;
}
