//! What the operator uses: CPU and memory as its node tells them, requests as the apiserver and it count them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use penstock_tests::{
    cluster::Tool,
    scene::{Result, Scene, install},
};

use crate::fleet::Fleet;

/// Ticks of a second in `/proc` (`USER_HZ`, 100 on every architecture that kind runs on).
const TICKS: f64 = 100.0;
const PORT: u16 = 8080;

/// What was used up to a moment, or between two.
#[derive(Clone, Debug)]
pub struct Usage {
    /// When the process began, as far as its age tells.
    pub begun: Instant,
    /// CPU seconds.
    pub cpu: f64,
    /// The most memory that it had, in megabytes.
    pub peak_rss: f64,
    /// Requests to the apiserver about objects of Penstock and Events, without watches and without our own.
    pub requests: i64,
    /// Those of them that write.
    pub writes: i64,
    /// Requests to Kafka, by type.
    pub kafka: BTreeMap<String, i64>,
}

impl Usage {
    /// What came since then.
    pub fn since(mut self, before: &Self) -> Self {
        self.cpu -= before.cpu;
        self.requests -= before.requests;
        self.writes -= before.writes;
        for (request, count) in &mut self.kafka {
            *count -= before.kafka.get(request).copied().unwrap_or(0);
        }
        self.kafka.retain(|_, count| *count > 0);
        self
    }
}

/// What was used up to now.
///
/// # Errors
/// The operator does not run, or one of those who count does not answer.
pub async fn usage(system: &Scene, fleet: &Fleet) -> Result<Usage> {
    let own = ListParams::default().labels(install::OPERATOR);
    let pod = system.api::<Pod>().list(&own).await?.items.into_iter().next().ok_or("no operator runs")?;
    // Before its age is told: it is not taken for younger than it is.
    let looked = Instant::now();
    let (cpu, peak_rss, age) = process(system, &pod).await?;
    let (all, writes) = apiserver(system).await?;
    // All of ours write.
    let ours = i64::try_from(fleet.requests())?;
    let told = system.get(&pod.name_any(), PORT, "/metrics").await?;
    let kafka = by_label(told.body.as_str().unwrap_or_default(), "penstock_operator_kafka_requests_total", "request");
    let begun = looked.checked_sub(Duration::from_secs_f64(age)).unwrap_or(looked);
    Ok(Usage { begun, cpu, peak_rss, requests: all - ours, writes: writes - ours, kafka })
}

/// CPU seconds, peak memory in megabytes and age in seconds of the operator's process.
async fn process(system: &Scene, pod: &Pod) -> Result<(f64, f64, f64)> {
    let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).and_then(|c| c.first());
    let id = status.and_then(|s| s.container_id.as_deref()).and_then(|id| id.split("//").nth(1)).ok_or("the operator does not run")?;
    let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).ok_or("the operator is on no node")?;
    let script = "pid=$(crictl inspect --output go-template --template '{{.info.pid}}' \"$0\"); \
                  cat /proc/$pid/stat; grep VmHWM /proc/$pid/status; cat /proc/uptime";
    let mut command = system.cluster.tool(Tool::Docker);
    command.args(["exec", &node, "sh", "-c", script, id]);
    read_process(&install::run(command).await?).ok_or_else(|| "the node does not tell of the operator's process".into())
}

fn read_process(text: &str) -> Option<(f64, f64, f64)> {
    let mut lines = text.lines();
    // The second field is the program's name in brackets, which may hold spaces.
    let fields: Vec<&str> = lines.next()?.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok().map(|ticks| ticks / TICKS);
    let (user, system, started) = (ticks(11)?, ticks(12)?, ticks(19)?);
    let kilobytes: f64 = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let uptime: f64 = lines.next()?.split_whitespace().next()?.parse().ok()?;
    Some((user + system, kilobytes / 1024.0, uptime - started))
}

/// The requests that the apiserver has answered about our kinds and Events: all, and those that write.
async fn apiserver(system: &Scene) -> Result<(i64, i64)> {
    let text = system.client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
    Ok(requests(&text))
}

fn requests(text: &str) -> (i64, i64) {
    let ours = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && [r#"group="penstock.dev""#, r#"group="events.k8s.io""#].iter().any(|g| line.contains(g))
    };
    let (mut all, mut writes) = (0, 0);
    for line in text.lines().filter(ours).filter(|line| !line.contains(r#"verb="WATCH""#)) {
        let count = number(line);
        all += count;
        if ["POST", "PUT", "PATCH", "APPLY", "DELETE"].iter().any(|verb| line.contains(&format!(r#"verb="{verb}""#))) {
            writes += count;
        }
    }
    (all, writes)
}

fn by_label(text: &str, metric: &str, label: &str) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(metric)) {
        let value = line.split_once(&format!("{label}=\"")).and_then(|(_, rest)| rest.split('"').next());
        *counts.entry(value.unwrap_or_default().to_owned()).or_default() += number(line);
    }
    counts
}

#[expect(clippy::cast_possible_truncation, reason = "a count of requests")]
fn number(line: &str) -> i64 {
    line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or_default() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read() {
        let text = r#"
apiserver_request_total{code="200",group="penstock.dev",resource="kafkatopics",verb="PATCH"} 5
apiserver_request_total{code="0",group="penstock.dev",resource="kafkatopics",verb="WATCH"} 7
apiserver_request_total{code="200",group="penstock.dev",resource="kafkatopics",verb="GET"} 2
apiserver_request_total{code="201",group="events.k8s.io",resource="events",verb="POST"} 1
apiserver_request_total{code="200",group="",resource="pods",verb="LIST"} 9
"#;
        assert_eq!(requests(text), (8, 6));
        let told = "a_total{request=\"CreateTopics\",answer=\"Ok\"} 3\na_total{request=\"CreateTopics\",answer=\"Error\"} 1\n";
        assert_eq!(by_label(told, "a_total", "request"), BTreeMap::from([("CreateTopics".to_owned(), 4)]));
        let process = "7 (a b) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20 0 9 0 1000 0\nVmHWM:\t  20480 kB\n110.00 20.0\n";
        assert_eq!(read_process(process), Some((3.0, 20.0, 100.0)));
    }
}
