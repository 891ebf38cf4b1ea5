//! `approval: Manual`: nothing is changed before somebody approves it.

use kube::api::{Patch, PatchParams};
use penstock_crds::KafkaTopic;
use penstock_kafka::NewTopic;
use penstock_tests::scene::{Result, Scene, play};
use serde_json::{Value, json};

use super::{DAY, HOUR, described, event, is_absent, make, map, message, overrides, spec, status};

async fn approve(scene: &Scene, generation: i64) -> Result {
    let annotation = Patch::Merge(json!({"metadata": {"annotations": {"penstock.dev/approve": generation.to_string()}}}));
    scene.api::<KafkaTopic>().patch("t", &PatchParams::default(), &annotation).await?;
    Ok(())
}

/// What waits to be approved, once something does.
async fn planned(scene: &Scene) -> Result<(i64, Value)> {
    let topic = scene.told::<KafkaTopic>("t", "Ready", "False", Some("AwaitingApproval")).await?;
    Ok((topic.metadata.generation.ok_or("no generation")?, serde_json::to_value(status(topic)?.plan)?))
}

#[tokio::test]
async fn changes_wait_for_the_approval_of_their_generation() {
    play("t-approve", async |scene| {
        let name = scene.kafka_name("t");
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 1, "approval": "Manual"}))).await?;
        let (first, plan) = planned(scene).await?;
        assert_eq!(plan[0], json!({"what": "topic", "to": name}));
        assert!(is_absent(scene, &name).await?, "made before it was approved");
        approve(scene, first).await?;
        scene.ready::<KafkaTopic>("t").await?;

        let changed = json!({"partitions": 2, "approval": "Manual", "config": {"retention.ms": DAY}});
        scene.apply::<KafkaTopic>("t", spec(scene, changed)).await?;
        let (second, plan) = planned(scene).await?;
        assert_eq!(plan, json!([{"what": "partitions", "from": "1", "to": "2"}, {"what": "config.retention.ms", "to": DAY}]));
        assert_eq!(described(scene, &name).await?.partition_count(), 1, "an approval is for one generation");
        approve(scene, second).await?;
        let ready = status(scene.ready::<KafkaTopic>("t").await?)?;
        assert!(ready.plan.is_empty(), "{:?}", ready.plan);
        assert_eq!(described(scene, &name).await?.partition_count(), 2);
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY)]));

        let again = json!({"partitions": 2, "approval": "Manual", "config": {"retention.ms": HOUR}});
        scene.apply::<KafkaTopic>("t", spec(scene, again)).await?;
        let (_, plan) = planned(scene).await?;
        assert_eq!(plan, json!([{"what": "config.retention.ms", "from": DAY, "to": HOUR}]));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_was_never_approved_leaves_the_topic_that_was_there() {
    play("t-looked-at", async |scene| {
        let name = scene.kafka_name("t");
        let id = make(scene, NewTopic::new(name.clone()).with_partitions(2).with_replication_factor(1), 3).await?.id;
        let declared = |partitions| json!({"partitions": partitions, "approval": "Manual", "deletionPolicy": "Delete"});
        scene.apply::<KafkaTopic>("t", spec(scene, declared(3))).await?;
        planned(scene).await?;
        scene.delete::<KafkaTopic>("t").await?;
        event(scene, "t", "Left: this object has only looked at the topic").await?;
        assert_eq!(described(scene, &name).await?.id, id);

        scene.apply::<KafkaTopic>("few", spec(scene, json!({"partitions": 1, "deletionPolicy": "Delete"}))).await?;
        let refused = scene.told::<KafkaTopic>("few", "Ready", "False", Some("PartitionDecreaseRefused")).await?;
        assert!(!status(refused)?.taken_over);
        scene.delete::<KafkaTopic>("few").await?;
        assert_eq!(described(scene, &name).await?.id, id);
        assert_eq!(scene.records(&name).await?.len(), 3);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_is_adopted_once_its_changes_are_approved_or_the_object_is_not_suspended_any_more() {
    play("t-late", async |scene| {
        let name = scene.kafka_name("t");
        let id = make(scene, NewTopic::new(name.clone()).with_partitions(2).with_replication_factor(1), 0).await?.id;
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 3, "suspend": true, "approval": "Manual"}))).await?;
        let seen = scene.told::<KafkaTopic>("t", "Ready", "False", Some("Suspended")).await?;
        assert!(message(&seen).contains("2 partitions instead of 3"), "{}", message(&seen));
        assert!(!status(seen)?.taken_over);
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 3, "approval": "Manual"}))).await?;
        let (generation, _) = planned(scene).await?;
        approve(scene, generation).await?;
        assert!(status(scene.ready::<KafkaTopic>("t").await?)?.taken_over);
        event(scene, "t", &format!("Adopted: adopted the existing topic with id {id} and 3 partitions")).await?;
        Ok(())
    })
    .await;
}
