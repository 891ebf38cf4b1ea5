//! `KafkaCluster`s as their topics meet them: unknown, dead, closed, with defaults and limits.

use kube::ResourceExt;
use penstock_crds::{KafkaCluster, KafkaTopic, name};
use penstock_tests::{
    cluster::KafkaSize,
    scene::{Result, Scene, condition, install, play},
};
use serde_json::json;

use super::{goes, message, spec, status, with_cluster};

#[tokio::test]
async fn an_unknown_cluster_and_one_in_a_tenants_namespace_have_no_effect() {
    play("t-tenant", async |scene| {
        scene.apply::<KafkaCluster>("own", json!({"bootstrapServers": ["127.0.0.1:1"]})).await?;
        let cluster = scene.told::<KafkaCluster>("own", "Ready", "False", Some("WrongNamespace")).await?;
        let conditions = cluster.status.map(|s| s.conditions).unwrap_or_default();
        assert!(condition(&conditions, "Ready").is_some_and(|c| c.message.contains(install::NAMESPACE)), "{conditions:?}");
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"clusterRef": {"name": "own"}}))).await?;
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotFound")).await?;
        assert!(message(&told).contains("own") && message(&told).contains(install::NAMESPACE), "{}", message(&told));
        scene.delete::<KafkaTopic>("t").await
    })
    .await;
}

/// Compares what a cluster's status tells with what the brokers say themselves, at their other listeners.
async fn is_described(scene: &Scene, cluster: &KafkaCluster) -> Result {
    let (told, seen) = (cluster.status.clone().ok_or("no status")?, scene.admin.cluster().await?);
    let told_ids: Vec<i32> = told.brokers.iter().map(|b| b.id).collect();
    let ids: Vec<i32> = seen.brokers.iter().map(|b| b.id).collect();
    let version = seen.version.map(|version| version.to_string());
    let is_right = told.cluster_id == Some(seen.cluster_id)
        && told_ids == ids
        && told.broker_count == i32::try_from(ids.len()).ok()
        && told.brokers.iter().all(|b| b.host.contains("kafka") && b.port == 9092)
        && told.controller_id.is_some()
        && told.controller_id == seen.controller
        && version.is_some()
        && told.kafka_version == version;
    if is_right { Ok(()) } else { Err(format!("{told:?}, but the brokers {ids:?} of Kafka {version:?} are there").into()) }
}

#[tokio::test]
async fn a_dead_cluster_is_told_and_so_are_its_topics() {
    play("t-dead", async |scene| {
        with_cluster(scene, json!({"bootstrapServers": ["127.0.0.1:1"]}), async |system, name| {
            let cluster = system.told::<KafkaCluster>(name, "Ready", "False", Some("KafkaUnreachable")).await?;
            let conditions = cluster.status.map(|s| s.conditions).unwrap_or_default();
            if !condition(&conditions, "Ready").is_some_and(|c| c.message.contains("127.0.0.1:1")) {
                return Err(format!("the address is not told: {conditions:?}").into());
            }
            scene.apply::<KafkaTopic>("t", spec(scene, json!({"clusterRef": {"name": name}}))).await?;
            let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotReady")).await?;
            if message(&told).contains(name) { scene.delete::<KafkaTopic>("t").await } else { Err(message(&told).into()) }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_cluster_says_who_may_use_it() {
    play("t-access", async |scene| {
        with_cluster(scene, json!({"access": {"namespaces": ["somebody-else"]}}), async |system, name| {
            system.ready::<KafkaCluster>(name).await?;
            let declared = spec(scene, json!({"clusterRef": {"name": name}, "deletionPolicy": "Delete"}));
            scene.apply::<KafkaTopic>("t", declared).await?;
            scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotAllowed")).await?;
            let brokers = scene.cluster.brokers().await?.internal;
            let open = |namespaces: &[&str]| json!({"bootstrapServers": [brokers], "access": {"namespaces": namespaces}});
            system.apply::<KafkaCluster>(name, open(&["somebody-else", "t-access-*"])).await?;
            scene.ready::<KafkaTopic>("t").await?;

            // What it has made stays its own.
            system.apply::<KafkaCluster>(name, open(&["somebody-else"])).await?;
            let refused = scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotAllowed")).await?;
            assert_eq!(refused.finalizers(), [name::FINALIZER_TOPIC]);
            system.apply::<KafkaCluster>(name, open(&["t-access-*"])).await?;
            scene.ready::<KafkaTopic>("t").await?;
            scene.delete::<KafkaTopic>("t").await?;
            goes(scene, &scene.kafka_name("t")).await
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_cluster_has_defaults_and_limits() {
    play("t-limits", async |scene| {
        let settings = json!({"topicDefaults": {"partitions": 2, "replicationFactor": 1}, "topicLimits": {"maxPartitions": 3}});
        with_cluster(scene, settings, async |system, name| {
            is_described(scene, &system.ready::<KafkaCluster>(name).await?).await?;
            let mut declared = json!({"topicName": scene.kafka_name("t"), "clusterRef": {"name": name}});
            scene.apply::<KafkaTopic>("t", declared.clone()).await?;
            let told = status(scene.ready::<KafkaTopic>("t").await?)?;
            if (told.partitions, told.replication_factor) != (Some(2), Some(1)) {
                return Err(format!("not the cluster's defaults: {told:?}").into());
            }
            declared["partitions"] = json!(4);
            scene.apply::<KafkaTopic>("t", declared).await?;
            let refused = scene.told::<KafkaTopic>("t", "Ready", "False", Some("LimitExceeded")).await?;
            if message(&refused).contains('3') { Ok(()) } else { Err(message(&refused).into()) }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_limit_counts_for_what_brokers_make_by_default_too() {
    play("t-unnamed", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::One, &[("num.partitions", "4")], async |own| {
                own.declare(json!({"topicLimits": {"maxPartitions": 3}})).await?;
                let mut declared = spec(scene, json!({"clusterRef": {"name": own.cluster}}));
                scene.apply::<KafkaTopic>("t", declared.clone()).await?;
                let refused = scene.told::<KafkaTopic>("t", "Ready", "False", Some("LimitExceeded")).await?;
                assert!(message(&refused).contains("name spec.partitions"), "{}", message(&refused));
                declared["partitions"] = json!(3);
                assert_eq!(status(scene.topic("t", declared).await?)?.partitions, Some(3));

                own.declare(json!({"topicLimits": {"maxPartitions": 4}})).await?;
                let unnamed = json!({"topicName": scene.kafka_name("u"), "clusterRef": {"name": own.cluster}});
                assert_eq!(status(scene.topic("u", unnamed).await?)?.partitions, Some(4));
                Ok(())
            })
            .await
    })
    .await;
}
