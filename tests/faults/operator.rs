//! The operator itself: what it tells about what it does, and how it ends when it is asked to.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use penstock_tests::scene::{LIMIT, Result, Scene, install, play_alone, until};
use serde_json::json;

/// How long an operator with nothing under way may take to end: less than its own `--shutdown-timeout`.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// The sum of a metric over all its series that have these labels.
fn sum(text: &str, metric: &str, labels: &[&str]) -> f64 {
    let series =
        text.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric) && labels.iter().all(|label| line.contains(label)));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Asks a pod to end, as Kubernetes does, and gives how it ended and after how long.
async fn ask_to_end(system: &Scene, name: &str) -> Result<(ContainerStateTerminated, Duration)> {
    let pods: Api<Pod> = system.api();
    // Held, so that it can be seen how it ended.
    let held = |finalizers: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    pods.patch(name, &PatchParams::default(), &held(json!(["penstock.dev/test"]))).await?;
    let asked = Instant::now();
    let deleted = pods.delete(name, &DeleteParams { grace_period_seconds: Some(30), ..DeleteParams::default() }).await;
    let ended = until("the operator has ended", LIMIT, async || {
        let status = pods.get(name).await?.status.unwrap_or_default();
        let state = status.container_statuses.into_iter().flatten().next().and_then(|container| container.state);
        state.and_then(|state| state.terminated).ok_or_else(|| "it runs".into())
    })
    .await;
    let took = asked.elapsed();
    pods.patch(name, &PatchParams::default(), &held(json!(null))).await?;
    deleted?;
    Ok((ended?, took))
}

#[tokio::test]
async fn the_operator_counts_and_logs_what_it_does_and_ends_when_it_is_asked_to() {
    play_alone("operator", async |scene| {
        let system = Scene::at(install::NAMESPACE).await?;
        scene.topic("t", json!({"partitions": 1, "replicationFactor": 1})).await?;
        let name = scene.operator().await.ready().await?.name_any();

        let metrics = system.get(&name, 8080, "/metrics").await?;
        let text = metrics.body.as_str().unwrap_or_default();
        assert!(metrics.status == 200 && text.ends_with("# EOF\n"), "{metrics:?}");
        for (metric, labels) in [
            ("penstock_operator_objects", &["kind=\"KafkaTopic\"", "ready=\"True\""][..]),
            ("penstock_operator_reconciles_total", &["kind=\"KafkaTopic\"", "outcome=\"Done\""]),
            ("penstock_operator_reconcile_duration_seconds_count", &["kind=\"KafkaTopic\""]),
            ("penstock_operator_kafka_requests_total", &["answer=\"Ok\""]),
        ] {
            assert!(sum(text, metric, labels) >= 1.0, "{metric} {labels:?}: {text}");
        }

        let log = system.log(&name).await?;
        let started = log.iter().find(|line| line["message"] == "started").ok_or("it does not say that it started")?;
        assert_eq!((&started["level"], &started["namespace"]), (&json!("INFO"), &json!(install::NAMESPACE)), "{started}");
        assert!(started["timestamp"].as_str().is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok()), "{started}");

        let (ended, took) = ask_to_end(&system, &name).await?;
        assert_eq!(ended.exit_code, 0, "{ended:?}");
        assert!(took < ENDS_WITHIN, "ended after {took:?}");
        assert_ne!(scene.operator().await.ready().await?.name_any(), name);
        scene.topic("later", json!({"partitions": 1, "replicationFactor": 1})).await?;
        Ok(())
    })
    .await;
}
