//! What a topic becomes in Kafka, and what it says about it.

use penstock_crds::KafkaTopic;
use penstock_kafka::{NewTopic, Record};
use penstock_tests::scene::{play, refusal};
use serde_json::json;

use super::{DAY, HOUR, described, event, goes, make, map, meddle, message, overrides, spec, status};

#[tokio::test]
async fn a_topic_is_created_as_declared_and_says_so() {
    play("t-create", async |scene| {
        let name = scene.kafka_name("t");
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 2, "config": {"retention.ms": DAY}}))).await?;
        let ready = scene.told::<KafkaTopic>("t", "Ready", "True", Some("AsDeclared")).await?;
        let (seen, told) = (described(scene, &name).await?, status(ready)?);
        assert_eq!((seen.partition_count(), seen.replication_factor()), (2, Some(1)));
        assert_eq!(told.topic_id, Some(seen.id.to_string()));
        assert_eq!((told.partitions, told.replication_factor), (Some(2), Some(1)));
        assert_eq!(told.topic_name.as_ref(), Some(&name));
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY)]));
        event(scene, "t", &format!("Created: created the topic `{name}`")).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_says_nothing_has_its_objects_name_and_the_brokers_defaults() {
    play("t-bare", async |scene| {
        // Its name in Kafka has no prefix of the test's, so it must be one that nobody else has.
        let name = format!("{}-bare", scene.namespace);
        scene.apply::<KafkaTopic>(&name, json!({"deletionPolicy": "Delete"})).await?;
        let told = status(scene.ready::<KafkaTopic>(&name).await?)?;
        let seen = described(scene, &name).await?;
        assert_eq!((told.topic_name.as_deref(), told.partitions), (Some(name.as_str()), Some(seen.partition_count())));
        assert_eq!(told.replication_factor, seen.replication_factor());
        scene.delete::<KafkaTopic>(&name).await?;
        goes(scene, &name).await
    })
    .await;
}

#[tokio::test]
async fn partitions_grow_and_never_shrink() {
    play("t-grow", async |scene| {
        let name = scene.kafka_name("t");
        let first = status(scene.topic("t", spec(scene, json!({"partitions": 1}))).await?)?;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        let grown = status(scene.topic("t", spec(scene, json!({"partitions": 4}))).await?)?;
        assert_eq!((grown.partitions, &grown.topic_id), (Some(4), &first.topic_id));
        assert_eq!(described(scene, &name).await?.partition_count(), 4);
        assert_eq!(scene.records(&name).await?.len(), 1);
        event(scene, "t", "PartitionsAdded: added partitions: there were 1, now there are 4").await?;

        let said = refusal(scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 3}))).await)?;
        assert!(said.contains("partitions may only grow"), "{said}");
        assert_eq!(described(scene, &name).await?.partition_count(), 4);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn config_is_set_and_unset_and_foreign_keys_stay() {
    play("t-config", async |scene| {
        let name = scene.kafka_name("t");
        scene.topic("t", spec(scene, json!({"config": {"retention.ms": DAY, "segment.ms": HOUR}}))).await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY), ("segment.ms", HOUR)]));
        meddle(scene, &name, &[("max.message.bytes", "2000000")]).await?;

        scene.topic("t", spec(scene, json!({"config": {"retention.ms": HOUR}}))).await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", HOUR), ("max.message.bytes", "2000000")]));
        event(
            scene,
            "t",
            &format!("ConfigChanged: retention.ms to `{HOUR}` (was `{DAY}`), segment.ms to the broker's default (was `{HOUR}`)"),
        )
        .await?;
        let told = status(scene.topic("t", spec(scene, json!({}))).await?)?;
        assert_eq!(overrides(scene, &name).await?, map(&[("max.message.bytes", "2000000")]));
        assert_eq!(told.managed_config, []);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_existing_topic_is_adopted_without_loss() {
    play("t-adopt", async |scene| {
        let name = scene.kafka_name("t");
        let existing = NewTopic::new(name.clone()).with_partitions(3).with_replication_factor(1).with_config("retention.ms", HOUR);
        let id = make(scene, existing, 5).await?.id;

        scene.apply::<KafkaTopic>("few", spec(scene, json!({"partitions": 2}))).await?;
        let refused = scene.told::<KafkaTopic>("few", "Ready", "False", Some("PartitionDecreaseRefused")).await?;
        assert!(message(&refused).contains("spec.partitions to 3"), "{}", message(&refused));
        scene.delete::<KafkaTopic>("few").await?;

        let told = status(scene.topic("t", spec(scene, json!({"partitions": 3, "config": {"segment.ms": DAY}}))).await?)?;
        assert_eq!(told.topic_id, Some(id.to_string()));
        let seen = described(scene, &name).await?;
        assert_eq!((seen.id, seen.partition_count()), (id, 3));
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", HOUR), ("segment.ms", DAY)]));
        assert_eq!(scene.records(&name).await?.len(), 5);
        event(scene, "t", &format!("Adopted: adopted the existing topic with id {id} and 3 partitions")).await?;
        Ok(())
    })
    .await;
}
