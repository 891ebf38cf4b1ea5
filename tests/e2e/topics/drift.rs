//! What is done about a topic that somebody else changes, deletes or makes anew.

use kube::api::{Patch, PatchParams};
use penstock_crds::KafkaTopic;
use penstock_kafka::NewTopic;
use penstock_tests::scene::{LIMIT, play, until};
use serde_json::json;

use super::{DAY, HOUR, described, event, goes, is_absent, make, map, meddle, message, overrides, spec, status};

#[tokio::test]
async fn drift_is_reverted_and_told() {
    play("t-drift", async |scene| {
        let name = scene.kafka_name("t");
        scene.topic("t", spec(scene, json!({"partitions": 1, "config": {"retention.ms": DAY}}))).await?;
        meddle(scene, &name, &[("retention.ms", "1000")]).await?;
        until("the drift is reverted", LIMIT, async || {
            let seen = overrides(scene, &name).await?;
            if seen == map(&[("retention.ms", DAY)]) { Ok(()) } else { Err(format!("{seen:?}").into()) }
        })
        .await?;
        event(scene, "t", "DriftReverted: somebody changed the topic's configuration; set back: retention.ms").await?;
        let told = status(scene.told::<KafkaTopic>("t", "Drifted", "False", Some("DriftReverted")).await?)?;
        let drift = told.drift.ok_or("the drift is not told")?;
        assert_eq!(
            (drift.reverted, drift.changes[0].what.as_str(), drift.changes[0].from.as_deref()),
            (1, "config.retention.ms", Some("1000"))
        );

        let id = described(scene, &name).await?.id;
        scene.admin.delete(&[(&name, id)]).await?.remove(&name).ok_or("no answer")??;
        until("the topic is lost", LIMIT, async || match described(scene, &name).await {
            Ok(seen) if seen.id == id => Err("it is there".into()),
            _ => Ok(()),
        })
        .await?;
        // Any change of the object makes the operator look before it would by itself.
        let label = Patch::Merge(json!({"metadata": {"labels": {"look": "now"}}}));
        scene.api::<KafkaTopic>().patch("t", &PatchParams::default(), &label).await?;
        let told = event(scene, "t", &format!("CreatedAgain: the topic `{name}` was gone from Kafka")).await?;
        assert_eq!(told.type_.as_deref(), Some("Warning"));
        until("the new topic is known", LIMIT, async || {
            let known = status(scene.ready::<KafkaTopic>("t").await?)?.topic_id;
            if known.as_ref() == Some(&described(scene, &name).await?.id.to_string()) { Ok(()) } else { Err(format!("{known:?}").into()) }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn another_topic_of_the_same_name_is_not_taken_for_the_old_one() {
    play("t-recreated", async |scene| {
        let name = scene.kafka_name("t");
        let declared = json!({"partitions": 1, "deletionPolicy": "Delete"});
        let first = status(scene.topic("t", spec(scene, declared.clone())).await?)?;
        let mut suspended = declared.clone();
        // Suspended, so that the operator does not make the topic anew while there is none.
        suspended["suspend"] = json!(true);
        scene.apply::<KafkaTopic>("t", spec(scene, suspended)).await?;
        until("the suspension was seen", LIMIT, async || {
            let topic = scene.api::<KafkaTopic>().get("t").await?;
            let seen = topic.status.as_ref().and_then(|s| s.observed_generation);
            if seen == topic.metadata.generation { Ok(()) } else { Err(format!("generation {seen:?}").into()) }
        })
        .await?;
        let id = described(scene, &name).await?.id;
        assert_eq!(Some(id.to_string()), first.topic_id);
        scene.admin.delete(&[(&name, id)]).await?.remove(&name).ok_or("no answer")??;
        goes(scene, &name).await?;
        let other = make(scene, NewTopic::new(name.clone()).with_partitions(1).with_replication_factor(1), 2).await?;

        scene.apply::<KafkaTopic>("t", spec(scene, declared)).await?;
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("TopicRecreated")).await?;
        assert!(message(&told).contains(&other.id.to_string()), "{}", message(&told));
        scene.delete::<KafkaTopic>("t").await?;
        assert_eq!(described(scene, &name).await?.id, other.id, "somebody else's topic was deleted");
        assert_eq!(scene.records(&name).await?.len(), 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_suspended_object_writes_nothing() {
    play("t-suspend", async |scene| {
        let name = scene.kafka_name("t");
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"suspend": true}))).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("Suspended")).await?;
        assert!(is_absent(scene, &name).await?, "a suspended object made a topic");
        scene.topic("t", spec(scene, json!({"partitions": 1, "config": {"retention.ms": DAY}}))).await?;

        let change = json!({"partitions": 2, "config": {"segment.ms": HOUR}});
        let mut suspended = change.clone();
        suspended["suspend"] = json!(true);
        scene.apply::<KafkaTopic>("t", spec(scene, suspended)).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("Suspended")).await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 1);
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY)]));

        scene.topic("t", spec(scene, change)).await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 2);
        assert_eq!(overrides(scene, &name).await?, map(&[("segment.ms", HOUR)]), "what was un-set meanwhile stays set");

        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 2, "deletionPolicy": "Delete", "suspend": true}))).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("Suspended")).await?;
        scene.delete::<KafkaTopic>("t").await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 2, "a suspended object deleted its topic");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_suspended_object_tells_of_drift_and_leaves_it() {
    play("t-drifting", async |scene| {
        let name = scene.kafka_name("t");
        let mut declared = json!({"partitions": 1, "config": {"retention.ms": DAY}});
        scene.topic("t", spec(scene, declared.clone())).await?;
        declared["suspend"] = json!(true);
        scene.apply::<KafkaTopic>("t", spec(scene, declared)).await?;
        scene.told::<KafkaTopic>("t", "Ready", "True", Some("Suspended")).await?;
        meddle(scene, &name, &[("retention.ms", HOUR)]).await?;
        let told = status(scene.told::<KafkaTopic>("t", "Drifted", "True", Some("DriftFound")).await?)?;
        let drift = told.drift.ok_or("the drift is not told")?;
        assert_eq!((drift.reverted, drift.changes[0].from.as_deref(), drift.changes[0].to.as_deref()), (0, Some(HOUR), Some(DAY)));
        event(scene, "t", "DriftFound: config.retention.ms").await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", HOUR)]), "a suspended object wrote to Kafka");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_set_back_is_told_all_the_same() {
    play("t-grown", async |scene| {
        let name = scene.kafka_name("t");
        scene.topic("t", spec(scene, json!({"partitions": 1}))).await?;
        scene.admin.add_partitions(&[(&name, 3)]).await?.remove(&name).ok_or("no answer")??;
        let told = status(scene.told::<KafkaTopic>("t", "Drifted", "True", Some("DriftFound")).await?)?;
        let change = told.drift.ok_or("the drift is not told")?.changes.remove(0);
        assert_eq!((change.what.as_str(), change.from.as_deref(), change.to.as_deref()), ("partitions", Some("3"), Some("1")));
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("PartitionDecreaseRefused")).await?;
        event(scene, "t", "DriftFound: partitions").await?;

        scene.topic("t", spec(scene, json!({"partitions": 3}))).await?;
        scene.told::<KafkaTopic>("t", "Drifted", "False", None).await.map(drop)
    })
    .await;
}
