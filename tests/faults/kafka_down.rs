//! Kafka is away for a while: nothing is accepted that could be lost, each front says so as its contract has it, and everything works
//! again without a restart.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use penstock_crds::{EventPipeline, KafkaCluster};
use penstock_tests::scene::{LIMIT, Reply, Result, Scene, condition, example, install, play, until};
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
    cluster_is_ready(scene, "False").await
}

#[tokio::test]
async fn orders_are_refused_while_kafka_is_down_and_accepted_again_without_a_restart() {
    let scene = example::applied().await.unwrap_or_else(|e| panic!("{e}"));
    let run = async |coffee: &Scene| -> Result {
        coffee.apply_example("coffee").await?;
        coffee.ready::<EventPipeline>("gateway").await?;
        let baristas = coffee.ready_workers("gateway", 2).await?;
        let gateways = scene.ready_workers(example::GATEWAY, 2).await?;
        scene.ready_workers(example::PAYMENTS, 2).await?;
        let before = restarts(&scene).await?;

        scene.stop_kafka().await?;
        let away = while_kafka_is_away(&scene, &gateways).await;
        let coffees = try_join_all(baristas.iter().map(|gateway| order_coffee(coffee, gateway))).await;
        scene.start_kafka().await?;
        away?;
        for reply in coffees? {
            assert_eq!((reply.status, &reply.body["events"][0]["acknowledged"]), (500, &json!(false)), "{reply:?}");
        }

        cluster_is_ready(&scene, "True").await?;
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
        assert_eq!(restarts(&scene).await?, before, "a worker or the operator was restarted");
        Ok(())
    };
    play("coffee-down", async |coffee| {
        let done = run(coffee).await;
        if done.is_err() {
            scene.report().await;
        }
        done
    })
    .await;
}
