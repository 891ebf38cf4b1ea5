//! Keys of a topic: of its configuration that belong to others, and of its records that must not move.

use penstock_crds::KafkaTopic;
use penstock_tests::scene::{LIMIT, play, until};
use serde_json::json;

use super::{DAY, HOUR, described, map, meddle, message, overrides, spec};

#[tokio::test]
async fn keys_of_other_tools_are_left_to_them() {
    play("t-policy", async |scene| {
        let name = scene.kafka_name("t");
        let declared =
            json!({"config": {"retention.ms": DAY, "segment.ms": HOUR}, "configPolicy": {"*": "Enforce", "retention.*": "Ignore"}});
        scene.topic("t", spec(scene, declared)).await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY), ("segment.ms", HOUR)]), "set when it is created");

        let throttle = ("leader.replication.throttled.replicas", "*");
        meddle(scene, &name, &[("retention.ms", HOUR), ("segment.ms", DAY), throttle]).await?;
        until("what is enforced is set back, and nothing else", LIMIT, async || {
            let found = overrides(scene, &name).await?;
            if found == map(&[("retention.ms", HOUR), ("segment.ms", HOUR), throttle]) { Ok(()) } else { Err(format!("{found:?}").into()) }
        })
        .await?;
        scene.ready::<KafkaTopic>("t").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_compacted_topic_grows_only_where_keys_may_move() {
    play("t-compact", async |scene| {
        let name = scene.kafka_name("t");
        let compacted = json!({"cleanup.policy": "compact"});
        scene.topic("t", spec(scene, json!({"partitions": 1, "config": compacted}))).await?;
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 2, "config": compacted}))).await?;
        let refused = scene.told::<KafkaTopic>("t", "Ready", "False", Some("KeyMovesRefused")).await?;
        assert!(message(&refused).contains("allowKeyMoves"), "{}", message(&refused));
        assert_eq!(described(scene, &name).await?.partition_count(), 1);

        scene.topic("t", spec(scene, json!({"partitions": 2, "config": compacted, "allowKeyMoves": true}))).await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 2);
        Ok(())
    })
    .await;
}
