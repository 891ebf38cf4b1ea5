//! What is left when an object goes.

use kube::api::{DeleteParams, Patch, PatchParams};
use penstock_crds::KafkaTopic;
use penstock_kafka::{Consumer, ConsumerSettings, GroupOffset, Record};
use penstock_tests::{cluster::KafkaSize, scene::play};
use serde_json::json;

use super::{described, event, events, goes, is_absent, message, spec, status, with_cluster};

#[tokio::test]
async fn a_deleted_object_leaves_its_topic_or_takes_it_along() {
    play("t-delete", async |scene| {
        let name = scene.kafka_name("t");
        let made = status(scene.topic("t", spec(scene, json!({"deletionPolicy": "Retain"}))).await?)?;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        scene.api::<KafkaTopic>().delete("t", &DeleteParams::default()).await?;
        let left = scene.api::<KafkaTopic>().get_opt("t").await?;
        assert!(left.is_none(), "nothing is to be waited for: {left:?}");
        assert_eq!(Some(described(scene, &name).await?.id.to_string()), made.topic_id);
        assert_eq!(scene.records(&name).await?.len(), 1);

        let adopted = status(scene.topic("t", spec(scene, json!({"deletionPolicy": "Delete"}))).await?)?;
        assert_eq!(adopted.topic_id, made.topic_id);
        scene.delete::<KafkaTopic>("t").await?;
        goes(scene, &name).await
    })
    .await;
}

#[tokio::test]
async fn a_topic_in_use_is_held_until_somebody_insists() {
    play("t-held", async |scene| {
        let name = scene.kafka_name("t");
        let declared = json!({"partitions": 1, "deletionPolicy": "Delete", "deletionProtectionSeconds": 3600});
        scene.topic("t", spec(scene, declared)).await?;
        scene.produce(Record::to(name.clone()).with_payload("fresh")).await?;
        scene.api::<KafkaTopic>().delete("t", &DeleteParams::background()).await?;
        let held = scene.told::<KafkaTopic>("t", "Ready", "False", Some("DeletionHeld")).await?;
        assert!(message(&held).contains("records of the last 3600 s"), "{}", message(&held));
        assert_eq!(scene.records(&name).await?.len(), 1);

        let anyway = Patch::Merge(json!({"metadata": {"annotations": {"penstock.dev/delete-anyway": "true"}}}));
        scene.api::<KafkaTopic>().patch("t", &PatchParams::default(), &anyway).await?;
        scene.gone::<KafkaTopic>("t").await?;
        goes(scene, &name).await
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_nobody_uses_is_not_held() {
    play("t-unheld", async |scene| {
        let name = scene.kafka_name("t");
        scene.topic("t", spec(scene, json!({"partitions": 1, "deletionPolicy": "Delete", "deletionProtectionSeconds": 3600}))).await?;
        scene.delete::<KafkaTopic>("t").await?;
        goes(scene, &name).await
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_is_read_is_held_and_its_readers_are_named() {
    play("t-read", async |scene| {
        with_cluster(scene, json!({"topicDefaults": {"deletionProtectionSeconds": 1}}), async |_, cluster| {
            let (name, group) = (scene.kafka_name("t"), scene.kafka_name("readers"));
            let declared = json!({"partitions": 1, "deletionPolicy": "Delete", "clusterRef": {"name": cluster}});
            scene.topic("t", spec(scene, declared)).await?;
            scene.produce(Record::to(name.clone()).with_payload("read")).await?;
            let reader = Consumer::subscribe(&scene.kafka, &ConsumerSettings::new(&group), &[&name], ())?;
            reader.commit(&[GroupOffset::after(&reader.recv().await?)]).await?;

            scene.api::<KafkaTopic>().delete("t", &DeleteParams::background()).await?;
            let held = scene.told::<KafkaTopic>("t", "Ready", "False", Some("DeletionHeld")).await?;
            assert!(message(&held).contains(&format!("it is read by the consumer groups {group}")), "{}", message(&held));
            assert!(!is_absent(scene, &name).await?);
            reader.close().await;
            scene.gone::<KafkaTopic>("t").await?;
            goes(scene, &name).await
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn an_object_that_goes_while_its_topic_is_made_leaves_none() {
    play("t-hasty", async |scene| {
        let names: Vec<String> = (0..12).map(|number| format!("t{number}")).collect();
        for name in &names {
            let declared =
                json!({"topicName": scene.kafka_name(name), "partitions": 1, "replicationFactor": 1, "deletionPolicy": "Delete"});
            scene.apply::<KafkaTopic>(name, declared).await?;
            // The version that the operator has begun with is outdated before it can tell what it has made.
            let label = Patch::Merge(json!({"metadata": {"labels": {"look": "now"}}}));
            scene.api::<KafkaTopic>().patch(name, &PatchParams::default(), &label).await?;
            scene.api::<KafkaTopic>().delete(name, &DeleteParams::background()).await?;
        }
        for name in &names {
            scene.gone::<KafkaTopic>(name).await?;
            goes(scene, &scene.kafka_name(name)).await?;
            let told: Vec<String> = events(scene, name).await?.into_iter().filter_map(|event| event.reason).collect();
            assert!(!told.iter().any(|reason| reason == "Adopted" || reason == "Left"), "{name}: {told:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_kafka_that_refuses_or_does_not_answer_keeps_no_object_for_ever() {
    play("t-stubborn", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::One, &[("delete.topic.enable", "false")], async |own| {
                let declared = json!({"partitions": 1, "deletionPolicy": "Delete", "clusterRef": {"name": own.cluster}});
                scene.topic("t", spec(scene, declared)).await?;
                scene.api::<KafkaTopic>().delete("t", &DeleteParams::background()).await?;
                let refused = scene.told::<KafkaTopic>("t", "Ready", "False", Some("DeletionDisabled")).await?;
                assert!(message(&refused).contains("delete.topic.enable"), "{}", message(&refused));
                own.leave(0).await?;
                scene.gone::<KafkaTopic>("t").await?;
                event(scene, "t", "could not be deleted").await.map(drop)
            })
            .await
    })
    .await;
}
