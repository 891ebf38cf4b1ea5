//! What the operator leaves undone while nothing changes.

use std::{collections::BTreeMap, time::Duration};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use penstock_crds::KafkaTopic;
use penstock_tests::scene::{LIMIT, Result, Scene, install, play, until};
use serde_json::json;

use super::{DAY, goes, meddle, overrides, spec};

#[tokio::test]
async fn a_topic_at_rest_is_not_written_and_drift_of_foreign_keys_is_told() {
    play("t-quiet", async |scene| {
        scene.topic("t", spec(scene, json!({"partitions": 1, "config": {"retention.ms": DAY}}))).await?;
        scene.topic("witness", json!({"partitions": 1, "replicationFactor": 1})).await?;
        let witness = scene.kafka_name("witness");
        let api = scene.api::<KafkaTopic>();
        // What the spec does not name is left alone, but the status tells of it: that is what the sweep is for. Whenever it has
        // told of this one, a sweep has gone over the other.
        let swept = async |bytes: &str| {
            meddle(scene, &witness, &[("max.message.bytes", bytes)]).await?;
            until("the status tells of the foreign key", LIMIT, async || {
                let told = api.get("witness").await?.status.unwrap_or_default().config;
                let told: BTreeMap<_, _> = told.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
                if told == overrides(scene, &witness).await? { Ok(()) } else { Err(format!("{told:?}").into()) }
            })
            .await?;
            Result::Ok(api.get("t").await?)
        };
        let before = swept("2000000").await?;
        let after = swept("3000000").await?;
        assert_eq!(after.resource_version(), before.resource_version(), "written for nothing");
        Ok(())
    })
    .await;
}

/// Attempts follow each other after 1, 2 and 4 seconds, or sooner.
const ATTEMPTS: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_lost_topic_that_kafka_does_not_make_again_is_told_once() {
    play("t-lost-refused", async |scene| {
        let name = scene.kafka_name("t");
        let id = scene.topic("t", spec(scene, json!({"partitions": 1}))).await?.status.and_then(|status| status.topic_id).ok_or("no id")?;
        scene.topic("t", spec(scene, json!({"partitions": 1, "suspend": true}))).await?;
        scene.admin.delete(&[(&name, id.parse()?)]).await?.remove(&name).ok_or("no answer")??;
        goes(scene, &name).await?;
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 1, "config": {"no.such.key": "1"}}))).await?;
        let before = scene.told::<KafkaTopic>("t", "Ready", "False", Some("InvalidConfig")).await?;
        tokio::time::sleep(ATTEMPTS).await;
        let after = scene.api::<KafkaTopic>().get("t").await?;
        assert_eq!(after.resource_version(), before.resource_version(), "written for nothing");
        assert_eq!(after.status.and_then(|status| status.topic_id), Some(id), "what was lost is not known any more");
        scene.topic("t", spec(scene, json!({"partitions": 1}))).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn many_topics_share_their_requests() {
    play("t-many", async |scene| {
        let names: Vec<String> = (0..60).map(|number| format!("t{number}")).collect();
        let before = creations().await?;
        let applied = names.iter().map(|name| {
            let mut spec = json!({"partitions": 1, "replicationFactor": 1});
            scene.own_topic_name(name, &mut spec);
            // One that Kafka refuses, in the middle of the others.
            if name == "t30" {
                spec["config"] = json!({"no.such.key": "1"});
            }
            scene.apply::<KafkaTopic>(name, spec)
        });
        try_join_all(applied).await?;
        for name in &names {
            if name == "t30" {
                scene.told::<KafkaTopic>(name, "Ready", "False", Some("InvalidConfig")).await?;
            } else {
                scene.ready::<KafkaTopic>(name).await?;
            }
        }
        let sent = creations().await? - before;
        assert!(sent < 60.0, "{sent} requests for 60 topics");
        Ok(())
    })
    .await;
}

/// How many CreateTopics requests the operator has sent.
async fn creations() -> Result<f64> {
    let system = Scene::at(install::NAMESPACE).await?;
    let own = ListParams::default().labels(install::OPERATOR);
    let pod = system.api::<Pod>().list(&own).await?.items.into_iter().next().ok_or("no operator runs")?;
    let told = system.get(&pod.name_any(), 8080, "/metrics").await?;
    let counts = told
        .body
        .as_str()
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains("kafka_requests_total") && line.contains("CreateTopics"));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
