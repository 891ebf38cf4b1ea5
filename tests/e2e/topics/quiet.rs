//! What the operator leaves undone while nothing changes.

use std::{collections::BTreeMap, time::Duration};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use penstock_crds::KafkaTopic;
use penstock_tests::scene::{LIMIT, Result, Scene, install, play, until};
use serde_json::json;

use super::{DAY, meddle, overrides, spec};

/// How long the operator lets pass between two looks at a topic, from the chart's defaults, and a little more.
const SWEEP: Duration = Duration::from_secs(35);

#[tokio::test]
async fn a_topic_at_rest_is_not_written_and_drift_of_foreign_keys_is_told() {
    play("t-quiet", async |scene| {
        let name = scene.kafka_name("t");
        let before = scene.topic("t", spec(scene, json!({"partitions": 1, "config": {"retention.ms": DAY}}))).await?;
        let api = scene.api::<KafkaTopic>();
        let settled = until("the object settles", LIMIT, async || {
            let version = api.get("t").await?.resource_version();
            tokio::time::sleep(Duration::from_secs(2)).await;
            if api.get("t").await?.resource_version() == version { Ok(version) } else { Err("it is still written".into()) }
        })
        .await?;
        tokio::time::sleep(2 * SWEEP).await;
        let after = api.get("t").await?;
        assert_eq!((after.resource_version(), after.metadata.generation), (settled, before.metadata.generation), "written for nothing");

        // What the spec does not name is left alone, but the status tells of it: that is what the sweep is for.
        meddle(scene, &name, &[("max.message.bytes", "2000000")]).await?;
        until("the status tells of the foreign key", LIMIT, async || {
            let told = api.get("t").await?.status.unwrap_or_default().config;
            let told: BTreeMap<_, _> = told.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            if told == overrides(scene, &name).await? { Ok(()) } else { Err(format!("{told:?}").into()) }
        })
        .await
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
