//! What the operator asks and uses while it watches: by its own metrics, and by what the kubelet counts for its container.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use penstock_tests::scene::{Result, Scene, install};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The kubelet counts every 10 to 15 s.
const COUNTED_WITHIN: Duration = Duration::from_secs(20);

/// What was seen over a while.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Seconds that a sweep took on average.
    pub sweep_seconds: f64,
    /// Requests to Kafka in each sweep, by what was asked. Each goes to as many brokers as have a part of the answer.
    pub requests: BTreeMap<String, f64>,
    /// Processor seconds each second.
    pub cores: f64,
    /// Resident memory, in bytes.
    pub rss: f64,
}

/// Looks at the operator for that long.
pub async fn watch(scene: &Scene, long: Duration) -> Result<Watched> {
    let system = Scene::at(install::NAMESPACE).await?;
    let pods = system.api::<Pod>().list(&ListParams::default().labels(install::OPERATOR)).await?.items;
    let pod = pods.first().ok_or("there is no operator")?;
    let (name, node) = (pod.name_any(), pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).ok_or("it runs on no node")?);
    // What was made before is settled by then.
    sleep(COUNTED_WITHIN).await;
    let (before, used, began) = (counters(&system, &name).await?, usage(scene, &node, &name).await?, Instant::now());
    sleep(long).await;
    let (after, uses) = (counters(&system, &name).await?, usage(scene, &node, &name).await?);
    let sweeps = after.sweeps - before.sweeps;
    if sweeps < 1.0 {
        return Err(format!("no sweep within {} s", began.elapsed().as_secs()).into());
    }
    let since = |request: &String, count: f64| (count - before.requests.get(request).copied().unwrap_or_default()) / sweeps;
    let requests = after.requests.iter().map(|(request, count)| (request.clone(), since(request, *count)));
    Ok(Watched {
        sweep_seconds: (after.seconds - before.seconds) / sweeps,
        requests: requests.filter(|(_, count)| *count > 0.0).collect(),
        cores: (uses.cpu_seconds - used.cpu_seconds) / (uses.at - used.at),
        rss: uses.rss,
    })
}

#[derive(Debug, Default)]
struct Counters {
    sweeps: f64,
    seconds: f64,
    requests: BTreeMap<String, f64>,
}

async fn counters(system: &Scene, pod: &str) -> Result<Counters> {
    let answer = system.get(pod, 8080, "/metrics").await?.body;
    Ok(read(answer.as_str().ok_or("the operator shows no metrics")?))
}

fn read(metrics: &str) -> Counters {
    let mut counters = Counters::default();
    for (series, value) in metrics.lines().filter_map(|line| line.rsplit_once(' ')) {
        let Ok(value) = value.parse::<f64>() else { continue };
        match series.split('{').next() {
            Some("penstock_operator_scaling_sweep_duration_seconds_count") => counters.sweeps = value,
            Some("penstock_operator_scaling_sweep_duration_seconds_sum") => counters.seconds = value,
            Some("penstock_operator_kafka_requests_total") => {
                let request = series.split_once("request=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
                *counters.requests.entry(request.to_owned()).or_default() += value;
            }
            _ => {}
        }
    }
    counters
}

struct Usage {
    at: f64,
    cpu_seconds: f64,
    rss: f64,
}

/// What the kubelet has counted for a pod, when it did last.
async fn usage(scene: &Scene, node: &str, pod: &str) -> Result<Usage> {
    let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/stats/summary")).body(Vec::new())?;
    let summary: Value = scene.client.request(request).await?;
    let pods = summary["pods"].as_array().ok_or("the kubelet tells of no pods")?;
    let found = pods.iter().find(|found| found["podRef"]["name"] == pod).ok_or("the kubelet does not know the operator")?;
    let container = found["containers"].get(0).ok_or("the operator has no container")?;
    let at: jiff::Timestamp = container["cpu"]["time"].as_str().ok_or("no time of the count")?.parse()?;
    let number = |value: &Value| value.as_f64().ok_or_else(|| format!("the kubelet has not counted yet: {container}"));
    Ok(Usage {
        at: at.as_duration().as_secs_f64(),
        cpu_seconds: number(&container["cpu"]["usageCoreNanoSeconds"])? / 1e9,
        rss: number(&container["memory"]["rssBytes"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_metrics() {
        let counters = read(
            "# HELP penstock_operator_kafka_requests Requests\n\
             penstock_operator_kafka_requests_total{request=\"OffsetFetch\",answer=\"Ok\"} 7\n\
             penstock_operator_kafka_requests_total{request=\"OffsetFetch\",answer=\"Error\"} 1\n\
             penstock_operator_kafka_requests_total{request=\"ListOffsets\",answer=\"Ok\"} 3\n\
             penstock_operator_scaling_sweep_duration_seconds_sum 0.5\n\
             penstock_operator_scaling_sweep_duration_seconds_count 4\n# EOF\n",
        );
        assert_eq!(counters.requests, BTreeMap::from([("OffsetFetch".to_owned(), 8.0), ("ListOffsets".to_owned(), 3.0)]));
        assert!((counters.sweeps - 4.0).abs() < 1e-9 && (counters.seconds - 0.5).abs() < 1e-9);
    }
}
