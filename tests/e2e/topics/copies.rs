//! Replication factors change across racks, with a broker down, and beside other tools.

use std::collections::BTreeMap;

use penstock_crds::KafkaTopic;
use penstock_kafka::TopicPartition;
use penstock_tests::{
    cluster::KafkaSize,
    scene::{LIMIT, OwnKafka, Result, Scene, play, until},
};

use super::{message, status};

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

/// The second broker is in a rack of its own; a line of the shell that starts each.
const RACKS: (&str, &str) = ("broker.rack", "rack-$((id % 2))");

async fn across_racks(own: &OwnKafka) -> Result {
    own.declare_copies("spread", 1).await?;
    own.has_copies("spread", 1).await?;
    elsewhere(&own.scene, "spread", &[&[0], &[2]]).await?;
    own.declare_copies("spread", 2).await?;
    // The second partition would go to the first broker, which holds no more than the second.
    assert_eq!(own.has_copies("spread", 2).await?, [[0, 1], [2, 1]]);
    Ok(())
}

async fn with_a_broker_down(own: &OwnKafka) -> Result {
    let scene = &own.scene;
    own.declare_copies("wide", 1).await?;
    own.has_copies("wide", 1).await?;
    // What lies alone on the broker that goes down cannot be copied. To move it elsewhere is nothing that is declared otherwise.
    elsewhere(scene, "wide", &[&[0], &[1]]).await?;
    own.leave(2).await?;
    own.declare_copies("wide", 2).await?;
    own.has_copies("wide", 2).await?;
    own.declare_copies("wide", 3).await?;
    let told = scene.told::<KafkaTopic>("wide", "Ready", "False", Some("NotEnoughBrokers")).await?;
    assert!(message(&told).contains("2 brokers are up (0, 1)"), "{}", message(&told));
    own.leave(3).await?;
    own.has_copies("wide", 3).await.map(drop)
}

async fn beside_other_tools(own: &OwnKafka) -> Result {
    let scene = &own.scene;
    own.declare_copies("shared", 3).await?;
    own.has_copies("shared", 3).await?;
    elsewhere(scene, "shared", &[&[1]]).await?;
    let reverted = scene.told::<KafkaTopic>("shared", "Drifted", "False", Some("DriftReverted")).await?;
    let drift = status(reverted)?.drift.ok_or("it is not told")?;
    assert_eq!((drift.reverted, drift.changes[0].what.as_str(), drift.changes[0].from.as_deref()), (1, "replicationFactor", Some("1")));
    own.has_copies("shared", 3).await.map(drop)
}

#[tokio::test]
async fn copies_come_across_racks_with_a_broker_down_and_come_back_where_other_tools_took_them() {
    let test = async |own: &OwnKafka| {
        across_racks(own).await?;
        with_a_broker_down(own).await?;
        beside_other_tools(own).await
    };
    play("t-copies", async |scene| scene.beside_own_kafka(KafkaSize::Three, &[RACKS], test).await).await;
}
