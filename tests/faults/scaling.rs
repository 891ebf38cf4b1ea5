//! What was found out about workers outlives the operator: the next one does not take the step again that did not help.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::ListParams;
use penstock_crds::EventPipeline;
use penstock_kafka::Record;
use penstock_tests::scene::{HANDLER, LIMIT, Result, Scene, install, little, play, until};
use serde_json::json;

/// Waits until `status.scaling` has this reason and number, and the Deployment that number.
async fn decided(scene: &Scene, reason: &str, workers: i32) -> Result<Deployment> {
    until(&format!("{workers} workers, {reason}"), LIMIT, async || {
        let status = scene.api::<EventPipeline>().get("p").await?.status.unwrap_or_default();
        let scaling = status.scaling.ok_or("nothing is decided yet")?;
        let deployment = scene.api::<Deployment>().get("p").await?;
        let declared = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
        let is_so = (scaling.reason.as_str(), scaling.desired, declared) == (reason, workers, workers);
        if is_so { Ok(deployment) } else { Err(format!("{scaling:?}, {declared} declared").into()) }
    })
    .await
}

/// How often an operator has looked at what waits; none: it is not ready.
async fn looks(system: &Scene, operator: &str) -> Option<f64> {
    let told = system.get(operator, 8080, "/metrics").await.ok().filter(|told| told.status == 200)?;
    let line = told.body.as_str()?.lines().find(|line| line.starts_with("penstock_operator_scaling_sweep_duration_seconds_count"))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Three workers do no more than one, since what they call lets in one at a time.
#[tokio::test]
async fn mistake_5_a_step_that_did_not_help_is_not_taken_again_by_the_next_operator() {
    play("restart-scaling", async |scene| {
        let three = json!({"partitions": 3, "replicationFactor": 1, "config": {"retention.ms": "3600000"}});
        scene.topic("in", three).await?;
        let share = json!({"id": "it", "do": [format!("share:{}:1", scene.shared_handler().await?)]}).to_string();
        let spec = json!({
            "source": {"kafka": {"topics": ["in"]}}, "delivery": "AtLeastOnce", "concurrency": 1,
            "processor": {"http": {"image": HANDLER, "port": 8081, "timeout": "5s", "resources": little()}},
            "resources": little(), "scaling": {"maxReplicas": 3},
        });
        scene.apply::<EventPipeline>("p", spec).await?;
        scene.ready::<EventPipeline>("p").await?;
        // What it sees of the workers goes with it.
        let operator = scene.operator().await;
        let topic = scene.kafka_name("in");
        let record = |partition| Record::to(&topic).with_partition(partition).with_payload(share.clone());
        scene.produce_all(std::iter::repeat_n(0, 800).map(record)).await?;
        decided(scene, "HotPartition", 1).await?;
        scene.produce_all([1, 2].into_iter().flat_map(|partition| std::iter::repeat_n(partition, 800)).map(record)).await?;
        let before = decided(scene, "ScaleUpIneffective", 1).await?;

        operator.kill().await?;
        let system = Scene::at(install::NAMESPACE).await?;
        until("the next operator has looked several times", LIMIT, async || {
            let pods = system.api::<Pod>().list(&ListParams::default().labels(install::OPERATOR)).await?.items;
            let names: Vec<_> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(|pod| &pod.metadata.name).collect();
            let [Some(name)] = names.as_slice() else { return Err(format!("{names:?}").into()) };
            let looks = looks(&system, name).await;
            if looks.is_some_and(|looks| looks >= 6.0) { Ok(()) } else { Err(format!("{looks:?}").into()) }
        })
        .await?;
        let after = decided(scene, "ScaleUpIneffective", 1).await?;
        assert_eq!(after.metadata.generation, before.metadata.generation, "no step was taken meanwhile");
        Ok(())
    })
    .await;
}
