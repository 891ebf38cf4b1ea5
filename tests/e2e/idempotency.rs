//! `Idempotency-Key` of an `events-gateway` in pods: what a key stands for is the same on whichever worker it comes to.

use penstock_crds::EventPipeline;
use penstock_tests::{
    local::post,
    scene::{Result, Scene, play},
};
use serde_json::{Value, json};

const PORT: u16 = 3000;

/// As `docs/fronts.md` has it.
fn front() -> Value {
    json!({
        "source": {"http": {"port": PORT}}, "replicas": 2,
        "processor": {"builtin": "events-gateway", "options": {"idempotencyWindow": "24h", "defaultType": "t", "defaultSource": "/e2e"}},
        "sink": {"kafka": {"topic": "events"}}, "table": {"topics": ["keys"]},
    })
}

async fn records(scene: &Scene) -> Result<usize> {
    Ok(scene.records(&scene.kafka_name("events")).await?.len())
}

#[tokio::test]
async fn a_request_that_is_sent_again_to_another_worker_is_written_once() {
    play("idempotency", async |scene| {
        scene.topic("events", json!({"partitions": 3, "replicationFactor": 1})).await?;
        scene.topic("keys", json!({"partitions": 3, "replicationFactor": 1, "config": {"retention.ms": "90000000"}})).await?;
        scene.apply::<EventPipeline>("front", front()).await?;
        scene.ready::<EventPipeline>("front").await?;
        let pods = scene.ready_workers("front", 2).await?;
        let (first, second) = (scene.forward(&pods[0], PORT).await?, scene.forward(&pods[1], PORT).await?);
        let ask = async |port: u16, key: &str, body: &str| -> Result<(u16, String)> {
            let answer = post(port, "/events", &[("content-type", "application/json"), ("idempotency-key", key)], body).await?;
            Ok((answer.status, answer.body))
        };

        let (status, told) = ask(first.port, "\"one\"", r#"{"n": 1}"#).await?;
        assert_eq!((status, records(scene).await?), (202, 1), "{told}");
        for port in [first.port, second.port] {
            assert_eq!(ask(port, "\"one\"", r#"{"n": 1}"#).await?, (202, told.clone()), "the same answer");
        }
        let (status, told) = ask(second.port, "\"one\"", r#"{"n": 2}"#).await?;
        assert_eq!(status, 409, "{told}");
        assert!(told.contains(":idempotency-key-reused"), "{told}");
        assert_eq!(records(scene).await?, 1, "nothing is written a second time");
        assert_eq!(ask(second.port, "\"two\"", r#"{"n": 2}"#).await?.0, 202);
        assert_eq!(records(scene).await?, 2);
        Ok(())
    })
    .await;
}
