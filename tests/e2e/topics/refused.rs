//! What Kafka refuses, and what a person reads then.

use penstock_crds::KafkaTopic;
use penstock_tests::scene::{LIMIT, play, until};
use serde_json::json;

use super::{DAY, HOUR, is_absent, map, message, overrides, spec, status};

#[tokio::test]
async fn what_kafka_refuses_is_told_in_its_words_and_heals() {
    play("t-refused", async |scene| {
        let name = scene.kafka_name("t");
        for (config, word) in [(json!({"no.such.key": "1"}), "no.such.key"), (json!({"retention.ms": "long"}), "retention.ms")] {
            scene.apply::<KafkaTopic>("t", spec(scene, json!({"config": config}))).await?;
            let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("InvalidConfig")).await?;
            assert!(message(&told).contains(word), "{}", message(&told));
            assert!(is_absent(scene, &name).await?, "half of what was declared was made");
        }
        scene.topic("t", spec(scene, json!({"config": {"retention.ms": DAY}}))).await?;

        scene.apply::<KafkaTopic>("t", spec(scene, json!({"config": {"retention.ms": DAY, "no.such.key": "1"}}))).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("InvalidConfig")).await?;
        scene.topic("t", spec(scene, json!({"config": {"retention.ms": HOUR}}))).await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", HOUR)]));

        // Brokers have one name for the metrics of both.
        let colliding = json!({"topicName": name.replace('.', "_"), "partitions": 1, "replicationFactor": 1});
        scene.apply::<KafkaTopic>("colliding", colliding).await?;
        let told = scene.told::<KafkaTopic>("colliding", "Ready", "False", Some("InvalidSpec")).await?;
        assert!(message(&told).contains("collides") && message(&told).contains(&name), "{}", message(&told));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn more_replicas_than_brokers_are_told() {
    play("t-replicas", async |scene| {
        let wide = spec(scene, json!({"replicationFactor": 32}));
        scene.apply::<KafkaTopic>("t", wide).await?;
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("NotEnoughBrokers")).await?;
        let said = until("the reason", LIMIT, async || {
            let topic = scene.api::<KafkaTopic>().get("t").await?;
            let said = message(&topic).to_lowercase();
            if said.contains("replication") && said.contains("32") { Ok(said) } else { Err(said.into()) }
        })
        .await?;
        assert!(said.contains("broker"), "{said}");
        assert!(told.status.and_then(|s| s.topic_id).is_none());

        let narrow = status(scene.topic("t", spec(scene, json!({"replicationFactor": 1}))).await?)?;
        assert_eq!(narrow.replication_factor, Some(1));
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"replicationFactor": 2}))).await?;
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("NotEnoughBrokers")).await?;
        assert!(message(&told).contains("partition 0 can have 1"), "{}", message(&told));
        // Nothing has begun.
        assert_eq!(status(told)?.reassignment, None);
        Ok(())
    })
    .await;
}
