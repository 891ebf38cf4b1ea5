//! What is left when an object goes.

use kube::api::DeleteParams;
use penstock_crds::KafkaTopic;
use penstock_kafka::Record;
use penstock_tests::scene::play;
use serde_json::json;

use super::{described, goes, spec, status};

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
