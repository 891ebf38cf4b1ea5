//! One of three brokers is away for a while: topics tell what their replicas lack, suspended ones too, and that it is over.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use penstock_crds::KafkaTopic;
use penstock_tests::{
    cluster::KafkaSize,
    scene::{OwnKafka, Result, Scene, condition, install, play, until},
};
use serde_json::{Value, json};

/// A sweep finds it, it must have lasted for a minute, and what gets better is told after two.
const TOLD_WITHIN: Duration = Duration::from_secs(300);

/// Waits until the object's `Healthy` condition has this reason.
async fn tells(scene: &Scene, name: &str, reason: &str) -> Result<KafkaTopic> {
    until(&format!("{name} tells {reason}"), TOLD_WITHIN, async || {
        let topic = scene.api::<KafkaTopic>().get(name).await?;
        let conditions = topic.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let found = condition(conditions, "Healthy").ok_or("no such condition")?;
        if found.reason == reason { Ok(topic.clone()) } else { Err(format!("{}: {}", found.reason, found.message).into()) }
    })
    .await
}

async fn metrics(client: &Scene) -> Result<String> {
    let system = Scene::at(install::NAMESPACE).await?;
    let own = ListParams::default().labels(install::OPERATOR);
    let pod = system.api::<Pod>().list(&own).await?.items.into_iter().next().ok_or("no operator runs")?;
    let told = system.get(&pod.name_any(), 8080, "/metrics").await?;
    let own = format!("namespace=\"{}\"", client.namespace);
    let lines = told.body.as_str().unwrap_or_default().lines().map(str::to_owned);
    Ok(lines
        .filter(|line| line.contains("unhealthy_partitions{") && (line.contains(&own) || line.contains("cluster=")))
        .collect::<Vec<_>>()
        .join("\n"))
}

#[tokio::test]
async fn topics_tell_what_their_replicas_lack_while_a_broker_is_stopped() {
    play("t-health", async |scene| scene.beside_own_kafka(KafkaSize::Three, &[], while_one_is_stopped).await).await;
}

async fn while_one_is_stopped(own: &OwnKafka) -> Result {
    let scene = &own.scene;
    let cases: [(&str, Value, &str); 4] = [
        ("safe", json!({"replicationFactor": 3, "config": {"min.insync.replicas": "2"}}), "UnderReplicated"),
        ("strict", json!({"replicationFactor": 3, "config": {"min.insync.replicas": "3"}}), "UnderMinIsr"),
        ("single", json!({"replicationFactor": 1}), "OfflinePartitions"),
        ("suspended", json!({"replicationFactor": 1}), "OfflinePartitions"),
    ];
    for (name, spec, _) in &cases {
        let mut spec = spec.clone();
        spec["partitions"] = json!(3);
        spec["clusterRef"] = json!({"name": own.cluster});
        scene.topic(name, spec.clone()).await?;
        if *name == "suspended" {
            spec["suspend"] = json!(true);
            scene.topic(name, spec).await?;
        }
        tells(scene, name, "ReplicasInSync").await?;
    }
    own.leave(2).await?;
    let away = async {
        for (name, _, reason) in &cases {
            let told = tells(scene, name, reason).await?;
            let health = told.status.and_then(|status| status.health).ok_or("no numbers")?;
            assert!(health.under_replicated >= 1, "{name}: {health:?}");
        }
        let told = metrics(scene).await?;
        for line in [
            r#"topic="single",problem="Offline"} 1"#,
            r#"topic="strict",problem="UnderMinIsr"} 3"#,
            &format!(r#"cluster="{}",problem="Offline"}}"#, own.cluster),
        ] {
            assert!(told.contains(line), "{line} is missing in\n{told}");
        }
        Ok(())
    };
    let away: Result = away.await;
    own.leave(3).await?;
    away?;
    for (name, _, _) in &cases {
        let told = tells(scene, name, "ReplicasInSync").await?;
        assert_eq!(told.status.and_then(|status| status.health), None, "{name}");
    }
    Ok(())
}
