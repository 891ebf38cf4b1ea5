//! What is left when an object goes.

use kube::api::{DeleteParams, Patch, PatchParams};
use penstock_crds::KafkaTopic;
use penstock_kafka::Record;
use penstock_tests::scene::play;
use serde_json::json;

use super::{described, goes, message, spec, status};

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
