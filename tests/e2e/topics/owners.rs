//! Several objects for one topic: who owns it, and who comes after.

use penstock_crds::{KafkaCluster, KafkaTopic};
use penstock_kafka::Record;
use penstock_tests::scene::play;
use serde_json::json;

use super::{HOUR, apply_younger, described, event, goes, map, message, overrides, spec, status, with_cluster};

#[tokio::test]
async fn of_two_objects_for_one_topic_the_older_owns_it() {
    play("t-conflict", async |scene| {
        let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
        let older = scene.topic("older", spec(scene, json!({"partitions": 1, "deletionPolicy": "Delete"}))).await?;
        let id = status(older.clone())?.topic_id;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;

        let rival = spec(scene, json!({"partitions": 3, "deletionPolicy": "Delete", "config": {"retention.ms": HOUR}}));
        apply_younger(&neighbour, &older, &rival).await?;
        let told = neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;
        assert!(message(&told).contains(&format!("{}/older", scene.namespace)), "{}", message(&told));
        let contested = format!("Contested: the topic `{name}` is declared by younger KafkaTopics too: {}/younger", neighbour.namespace);
        event(scene, "older", &contested).await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 1, "the younger changed the older's topic");
        assert_eq!(overrides(scene, &name).await?, map(&[]));

        neighbour.delete::<KafkaTopic>("younger").await?;
        assert_eq!(Some(described(scene, &name).await?.id.to_string()), id);
        assert_eq!(scene.records(&name).await?.len(), 1);
        scene.ready::<KafkaTopic>("older").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_is_handed_over_when_its_owner_is_deleted() {
    play("t-handover", async |scene| {
        let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
        let declared = spec(scene, json!({"partitions": 1, "deletionPolicy": "Delete"}));
        let older = scene.topic("older", declared.clone()).await?;
        let id = status(older.clone())?.topic_id;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        apply_younger(&neighbour, &older, &declared).await?;
        neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;

        scene.delete::<KafkaTopic>("older").await?;
        let heir = status(neighbour.ready::<KafkaTopic>("younger").await?)?;
        assert_eq!(heir.topic_id, id, "the topic was made again");
        event(scene, "older", &format!("HandedOver: the topic now belongs to KafkaTopic {}/younger", neighbour.namespace)).await?;
        assert_eq!(scene.records(&name).await?.len(), 1);
        neighbour.delete::<KafkaTopic>("younger").await?;
        goes(scene, &name).await
    })
    .await;
}

#[tokio::test]
async fn who_retains_a_topic_hands_it_over_untouched() {
    play("t-retained", async |scene| {
        let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
        let declared = |policy| spec(scene, json!({"partitions": 1, "deletionPolicy": policy}));
        let older = scene.topic("older", declared("Delete")).await?;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        apply_younger(&neighbour, &older, &declared("Delete")).await?;
        neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;
        scene.topic("older", declared("Retain")).await?;
        scene.delete::<KafkaTopic>("older").await?;
        let heir = status(neighbour.ready::<KafkaTopic>("younger").await?)?;
        assert_eq!(heir.topic_id, status(older)?.topic_id, "the topic was made again");
        assert_eq!(scene.records(&name).await?.len(), 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn two_names_of_one_kafka_cluster_are_one_cluster() {
    play("t-alias", async |scene| {
        with_cluster(scene, json!({}), async |system, alias| {
            system.ready::<KafkaCluster>(alias).await?;
            let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
            let older = scene.topic("older", spec(scene, json!({"partitions": 1}))).await?;
            let rival = spec(scene, json!({"partitions": 2, "deletionPolicy": "Delete", "clusterRef": {"name": alias}}));
            apply_younger(&neighbour, &older, &rival).await?;
            neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;
            neighbour.delete::<KafkaTopic>("younger").await?;
            assert_eq!(Some(described(scene, &name).await?.id.to_string()), status(older)?.topic_id);
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn whoever_loses_access_does_not_lose_the_topic() {
    play("t-lost", async |scene| {
        with_cluster(scene, json!({}), async |system, cluster| {
            let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
            let declared = |policy| spec(scene, json!({"partitions": 1, "deletionPolicy": policy, "clusterRef": {"name": cluster}}));
            let older = scene.topic("older", declared("Retain")).await?;
            scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
            apply_younger(&neighbour, &older, &declared("Delete")).await?;
            neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;
            let closed =
                json!({"bootstrapServers": [scene.cluster.brokers().await?.internal], "access": {"namespaces": [neighbour.namespace]}});
            system.apply::<KafkaCluster>(cluster, closed).await?;
            scene.told::<KafkaTopic>("older", "Ready", "False", Some("ClusterNotAllowed")).await?;
            neighbour.ready::<KafkaTopic>("younger").await?;

            neighbour.delete::<KafkaTopic>("younger").await?;
            assert_eq!(Some(described(scene, &name).await?.id.to_string()), status(older)?.topic_id);
            assert_eq!(scene.records(&name).await?.len(), 1);
            Ok(())
        })
        .await
    })
    .await;
}
