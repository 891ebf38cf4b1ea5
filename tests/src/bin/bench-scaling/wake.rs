//! How long it takes from a record to its commit, where no worker runs: a look, a decision, a pod.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use penstock_crds::EventPipeline;
use penstock_kafka::Record;
use penstock_tests::scene::{LIMIT, Result, Scene, until};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// The pause between two questions for what is committed: how far off a time may be.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause between two looks of the operator, as the chart has it.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a pipeline may take to fall asleep.
const ASLEEP: Duration = Duration::from_secs(300);

/// Wakes a pipeline that often, and gives the seconds that each took, in ascending order.
pub async fn times(scene: &Scene, wakes: u32) -> Result<Vec<f64>> {
    eprintln!("==> a pipeline is woken {wakes} times");
    scene.topic("wake", json!({"partitions": 1, "replicationFactor": 1})).await?;
    let spec = json!({
        "source": {"kafka": {"topics": ["wake"]}}, "processor": {"builtin": "log"}, "delivery": "AtLeastOnce",
        "scaling": {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 10},
    });
    scene.apply::<EventPipeline>("wake", spec).await?;
    scene.ready::<EventPipeline>("wake").await?;
    let mut all = Vec::new();
    for number in 1..=wakes {
        until("no worker is left", ASLEEP, async || {
            let declared = scene.api::<Deployment>().get("wake").await?.spec.and_then(|spec| spec.replicas);
            let pods = scene.workers("wake").await?.len();
            if (declared, pods) == (Some(0), 0) { Ok(()) } else { Err(format!("{declared:?}, {pods} pods").into()) }
        })
        .await?;
        // Its pods are gone about as long after a look each time: from there the records are spread over the pause between two.
        sleep(INTERVAL * (number - 1) / wakes).await;
        scene.produce(Record::to(scene.kafka_name("wake")).with_payload(json!({"n": number}).to_string())).await?;
        let took = committed(scene, number.into()).await?;
        eprintln!("    {:.2} s", took.as_secs_f64());
        all.push(took.as_secs_f64());
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

async fn committed(scene: &Scene, next: i64) -> Result<Duration> {
    let (began, group) = (Instant::now(), format!("{}.wake", scene.namespace));
    while began.elapsed() < LIMIT {
        let offsets = scene.admin.group_offsets(&group).await?;
        if offsets.values().flatten().any(|found| found.offset >= next) {
            return Ok(began.elapsed());
        }
        sleep(PAUSE).await;
    }
    Err(format!("offset {next} is not committed within {} s", LIMIT.as_secs()).into())
}
