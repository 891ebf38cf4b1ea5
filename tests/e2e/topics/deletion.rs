//! What is left when an object goes.

use kube::api::{DeleteParams, Patch, PatchParams};
use penstock_crds::KafkaTopic;
use penstock_kafka::{Consumer, ConsumerSettings, GroupOffset, NewTopic, Record};
use penstock_tests::{cluster::KafkaSize, scene::play};
use serde_json::json;

use super::{described, event, events, goes, is_absent, make, message, spec, status, with_cluster};

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

#[tokio::test]
async fn a_cluster_that_leads_elsewhere_by_now_lets_the_object_go_and_tells_that_the_topic_is_left() {
    play("t-astray", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::One, &[], async |own| {
                let declared = json!({"partitions": 1, "deletionPolicy": "Delete", "clusterRef": {"name": own.cluster}});
                let made = status(scene.topic("t", spec(scene, declared)).await?)?;
                own.apply(json!({"bootstrapServers": [scene.cluster.brokers().await?.internal]})).await?;
                let astray = scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotReady")).await?;
                assert!(message(&astray).contains("ClusterIdChanged") || message(&astray).contains("not checked"), "{}", message(&astray));
                scene.api::<KafkaTopic>().delete("t", &DeleteParams::background()).await?;
                scene.gone::<KafkaTopic>("t").await?;
                event(scene, "t", "Left: ").await?;
                let left = described(&own.scene, &scene.kafka_name("t")).await?;
                assert_eq!(Some(left.id.to_string()), made.topic_id);
                Ok(())
            })
            .await
    })
    .await;
}

#[tokio::test]
async fn whoever_uses_the_topic_of_others_holds_no_object() {
    play("t-others", async |scene| {
        let name = scene.kafka_name("t");
        let declared = json!({"partitions": 1, "deletionPolicy": "Delete", "deletionProtectionSeconds": 3600});
        let made = status(scene.topic("t", spec(scene, declared.clone())).await?)?;
        // Suspended, so that it is not the operator that makes it again.
        let mut suspended = declared.clone();
        suspended["suspend"] = json!(true);
        scene.topic("t", spec(scene, suspended)).await?;
        let id = made.topic_id.ok_or("no id")?.parse()?;
        scene.admin.delete(&[(&name, id)]).await?.remove(&name).ok_or("no answer")??;
        goes(scene, &name).await?;
        let other = make(scene, NewTopic::new(name.clone()).with_partitions(1).with_replication_factor(1), 1).await?.id;
        scene.apply::<KafkaTopic>("t", spec(scene, declared)).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("TopicRecreated")).await?;
        scene.delete::<KafkaTopic>("t").await?;
        event(scene, "t", "Left: ").await?;
        assert_eq!(described(scene, &name).await?.id, other);
        assert_eq!(scene.records(&name).await?.len(), 1);
        Ok(())
    })
    .await;
}
