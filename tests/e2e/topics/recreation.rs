//! The operator died, or got no answer, while it made a lost topic again: what stands there then is its own only if it is what it asked for.

use kube::api::{Patch, PatchParams};
use penstock_crds::KafkaTopic;
use penstock_kafka::NewTopic;
use penstock_tests::scene::{LIMIT, Result, Scene, play, until};
use serde_json::{Value, json};

use super::{DAY, described, event, goes, make, spec, status};

/// Leaves an object as a crash between asking for its topic and seeing it would: suspended, with the topic gone and what was asked for noted.
async fn asked_for(scene: &Scene, name: &str, declared: &Value) -> Result {
    let kafka_name = scene.kafka_name("t");
    let lost = status(scene.topic(name, declared.clone()).await?)?.topic_id.ok_or("no id")?;
    let mut suspended = declared.clone();
    suspended["suspend"] = json!(true);
    scene.apply::<KafkaTopic>(name, suspended).await?;
    scene.told::<KafkaTopic>(name, "Ready", "True", Some("Suspended")).await?;
    let id = described(scene, &kafka_name).await?.id;
    scene.admin.delete(&[(&kafka_name, id)]).await?.remove(&kafka_name).ok_or("no answer")??;
    goes(scene, &kafka_name).await?;
    let api = scene.api::<KafkaTopic>();
    until("the loss is told", LIMIT, async || {
        let told = api.get(name).await?.status.unwrap_or_default();
        if told.partitions.is_none() { Ok(()) } else { Err("the topic is told to be there".into()) }
    })
    .await?;
    let recreation = json!({"lostTopicId": lost, "partitions": 1, "replicationFactor": 1, "config": {"retention.ms": DAY}});
    let crashed = Patch::Merge(json!({"status": {"topicId": null, "recreation": recreation}}));
    api.patch_status(name, &PatchParams::default(), &crashed).await?;
    Ok(())
}

async fn there_is(name: &str, partitions: i32, test: impl AsyncFnOnce(&Scene, String) -> Result) {
    play(name, async |scene| {
        let kafka_name = scene.kafka_name("t");
        let declared = spec(scene, json!({"partitions": 1, "config": {"retention.ms": DAY}}));
        asked_for(scene, "t", &declared).await?;
        let found = NewTopic::new(kafka_name).with_partitions(partitions).with_replication_factor(1).with_config("retention.ms", DAY);
        let id = make(scene, found, 1).await?.id.to_string();
        scene.apply::<KafkaTopic>("t", declared).await?;
        test(scene, id).await
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_for_is_our_own() {
    there_is("t-asked", 1, async |scene, id| {
        let told = status(scene.told::<KafkaTopic>("t", "Ready", "True", Some("AsDeclared")).await?)?;
        assert_eq!((told.topic_id, told.recreation), (Some(id), None));
        event(scene, "t", "CreatedAgain").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn what_was_not_asked_for_is_somebody_elses() {
    there_is("t-foreign", 2, async |scene, id| {
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("TopicRecreated")).await?;
        assert!(super::message(&told).contains(&id), "{}", super::message(&told));
        let told = status(told)?;
        assert!(told.topic_id.is_some_and(|lost| lost != id) && told.recreation.is_none());
        assert_eq!(scene.records(&scene.kafka_name("t")).await?.len(), 1);
        Ok(())
    })
    .await;
}
