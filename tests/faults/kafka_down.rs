//! Kafka is away for a while: nothing is accepted that could be lost, each front says so as its contract has it, no worker goes because
//! nobody knows what waits, and everything works again without a restart.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, ResourceExt, api::ListParams};
use penstock_crds::{EventPipeline, KafkaCluster};
use penstock_kafka::Record;
use penstock_tests::scene::{LIMIT, Reply, Result, Scene, condition, example, install, play_alone, until};
use serde_json::json;

/// The example's gateway waits five seconds for Kafka; the rest is for the way there and back.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

async fn cluster_is_ready(scene: &Scene, wanted: &str) -> Result {
    let clusters: Api<KafkaCluster> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    until(&format!("KafkaCluster default is Ready={wanted}"), LIMIT, async || {
        let status = clusters.get("default").await?.status.unwrap_or_default();
        let ready = condition(&status.conditions, "Ready").ok_or("no condition")?;
        if ready.status == wanted { Ok(()) } else { Err(format!("{} {}", ready.reason, ready.message).into()) }
    })
    .await
}

/// How often the container of each worker and of the operator was started again.
async fn restarts(scene: &Scene) -> Result<BTreeMap<String, i32>> {
    let system: Api<Pod> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    let mut pods = system.list(&ListParams::default().labels(install::OPERATOR)).await?.items;
    // One that the test before has ended may be on its way out still.
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    assert_eq!(pods.len(), 1, "there is one operator");
    for pipeline in [example::GATEWAY, example::PAYMENTS] {
        pods.extend(scene.workers(pipeline).await?);
    }
    let count = |pod: &Pod| pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).sum::<i32>();
    Ok(pods.iter().map(|pod| (pod.name_any(), count(pod))).collect())
}

/// Orders a coffee, of system 2.
async fn order_coffee(scene: &Scene, gateway: &str) -> Result<Reply> {
    scene.post(gateway, 3000, "/order", &json!({"customer_name": "John Doe", "coffee_type": "Latte"})).await
}

async fn while_kafka_is_away(scene: &Scene, gateways: &[String]) -> Result {
    for gateway in gateways {
        let begin = Instant::now();
        let reply = scene.post(gateway, example::GATEWAY_PORT, "/orders", &example::order()).await?;
        assert!((500..600).contains(&reply.status), "{reply:?}");
        assert!(begin.elapsed() < ANSWER_WITHIN, "answered after {:?}", begin.elapsed());
    }
    // Callers reach them through the Service still, and are told.
    assert_eq!(scene.ready_workers(example::GATEWAY, 2).await?, gateways);
    cluster_is_ready(scene, "False").await
}

/// The pipeline whose workers are counted by what waits.
const SCALED: &str = "scaled";

/// Declares it; it sleeps.
async fn scaled(scene: &Scene) -> Result {
    scene.topic(SCALED, json!({"partitions": 1, "replicationFactor": 1})).await?;
    let spec = json!({
        "source": {"kafka": {"topics": [SCALED]}}, "processor": {"builtin": "log"},
        // Not so long that it would still be awake by the time that what waits is said to be unknown.
        "scaling": {"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 15},
    });
    scene.apply::<EventPipeline>(SCALED, spec).await?;
    Ok(())
}

async fn wakes(scene: &Scene) -> Result {
    scene.produce(Record::to(scene.kafka_name(SCALED)).with_payload("{}")).await?;
    scene.ready_workers(SCALED, 1).await.map(drop)
}

/// What others get wrong, number 7 in `operator/src/scaling`: a reading that failed is no reading of nothing.
async fn keeps_its_worker(scene: &Scene) -> Result {
    let told = scene.told::<EventPipeline>(SCALED, "ScalingActive", "False", Some("LagUnknown")).await?;
    let scaling = told.status.and_then(|status| status.scaling).ok_or("no status.scaling")?;
    let declared = scene.api::<Deployment>().get(SCALED).await?.spec.and_then(|spec| spec.replicas);
    assert_eq!((scaling.desired, scaling.lag, declared), (1, None, Some(1)), "{scaling:?}");
    Ok(())
}

#[tokio::test]
async fn orders_are_refused_while_kafka_is_down_and_accepted_again_without_a_restart() {
    play_alone("coffee-down", async |coffee| {
        let scene = example::applied().await?;
        let done = orders_and_coffee(&scene, coffee).await;
        if done.is_err() {
            scene.report().await;
        }
        done
    })
    .await;
}

async fn orders_and_coffee(scene: &Scene, coffee: &Scene) -> Result {
    coffee.apply_example("coffee").await?;
    scaled(coffee).await?;
    coffee.ready::<EventPipeline>("gateway").await?;
    let baristas = coffee.ready_workers("gateway", 2).await?;
    let gateways = scene.ready_workers(example::GATEWAY, 2).await?;
    scene.ready_workers(example::PAYMENTS, 2).await?;
    let before = restarts(scene).await?;
    wakes(coffee).await?;

    let away = async || {
        while_kafka_is_away(scene, &gateways).await?;
        for reply in try_join_all(baristas.iter().map(|gateway| order_coffee(coffee, gateway))).await? {
            assert_eq!((reply.status, &reply.body["events"][0]["acknowledged"]), (500, &json!(false)), "{reply:?}");
        }
        keeps_its_worker(coffee).await
    };
    scene.while_kafka_is_stopped(away).await?;

    cluster_is_ready(scene, "True").await?;
    for gateway in &gateways {
        let order = example::order();
        until(&format!("{gateway} accepts orders again"), LIMIT, async || {
            let reply = scene.post(gateway, example::GATEWAY_PORT, "/orders", &order).await?;
            if reply.status == 202 { Ok(()) } else { Err(format!("{reply:?}").into()) }
        })
        .await?;
        scene.settled(gateway, example::id_of(&order)).await?;
    }
    for gateway in &baristas {
        until(&format!("{gateway} takes orders again"), LIMIT, async || {
            let reply = order_coffee(coffee, gateway).await?;
            if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}").into()) }
        })
        .await?;
    }
    coffee.told::<EventPipeline>(SCALED, "ScalingActive", "True", None).await?;
    assert_eq!(restarts(scene).await?, before, "a worker or the operator was restarted");
    Ok(())
}
