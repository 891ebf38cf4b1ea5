//! A real Prometheus beside the cluster: it scrapes a test's workers through the apiserver, and evaluates the rules of the chart.

use std::{path::Path, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams, config::Kubeconfig};
use penstock_crds::name::LABEL_PIPELINE;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Failure, LIMIT, Result, Scene, install, until, workers::admin_port};
use crate::{
    cluster::{Tool, prometheus},
    local::{Folder, Process, get, ports},
};

/// How often workers are scraped and rules evaluated.
const INTERVAL: &str = "2s";

/// A server with the rules of the chart.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    _process: Process,
    _folder: Folder,
}

impl Prometheus {
    /// Starts one that scrapes the workers that a test has now, and waits until it answers.
    ///
    /// # Errors
    /// There is no such program, or it does not start.
    pub async fn start(scene: &Scene) -> Result<Self> {
        let program = prometheus::program()?;
        let folder = Folder::new("prometheus")?;
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("rules.yml"), rules(scene).await?.to_string())?;
        std::fs::write(at("prometheus.yml"), config(scene, folder.path()).await?.to_string())?;
        let port = ports::free(1)?.remove(0);
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", at("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", at("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &command, &at("log"), None)?;
        until("Prometheus is ready", LIMIT, async || match get(port, "/-/ready").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}: {}", std::fs::read_to_string(at("log")).unwrap_or_default()).into()),
        })
        .await?;
        Ok(Self { port, _process: process, _folder: folder })
    }

    /// The labels of every alert that fires.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn firing(&self) -> Result<Vec<Value>> {
        let Alerts { alerts } = self.ask("/api/v1/alerts").await?;
        Ok(alerts.into_iter().filter(|alert| alert.state == "firing").map(|alert| alert.labels).collect())
    }

    /// The labels and the value of each series of an expression that is a name, with matchers or without.
    ///
    /// # Errors
    /// It does not answer, or the expression is none.
    pub async fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let Found { result } = self.ask(&format!("/api/v1/query?query={encoded}")).await?;
        Ok(result.into_iter().map(|series| (series.metric, series.value.1.parse().unwrap_or(f64::NAN))).collect())
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = get(self.port, path).await?;
        let body: Body<T> = serde_json::from_str(&answer.body).map_err(|why| format!("{path}: {why}: {}", answer.body))?;
        Ok(body.data)
    }
}

#[derive(Deserialize)]
struct Body<T> {
    data: T,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    state: String,
    labels: Value,
}

#[derive(Deserialize)]
struct Found {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Value,
    /// When, and the number as text.
    value: (f64, String),
}

/// An object of the chart.
#[derive(Deserialize)]
struct Rule {
    spec: Value,
}

/// What the chart's PrometheusRule has.
async fn rules(scene: &Scene) -> Result<Value> {
    let mut helm = scene.cluster.tool(Tool::Helm);
    helm.args(["template", "x"]).arg(scene.cluster.repository().join("helm/penstock"));
    helm.args(["--set", "monitoring.rules.create=true", "--show-only", "templates/prometheusrule.yaml"]);
    let Rule { spec } = serde_saphyr::from_str(&install::run(helm).await?)?;
    Ok(spec)
}

/// The scrape configuration. JSON is YAML, too. Debian's Prometheus knows no Kubernetes: it is told of each worker that there is now.
async fn config(scene: &Scene, folder: &Path) -> Result<Value> {
    let (server, tls) = credentials(&scene.cluster.kubeconfig(), folder)?;
    let mut targets = Vec::new();
    for pod in scene.api::<Pod>().list(&ListParams::default().labels(LABEL_PIPELINE)).await? {
        let (name, port) = (pod.name_any(), admin_port(&pod).ok_or("a worker has no admin port")?);
        let path = format!("/api/v1/namespaces/{}/pods/{name}:{port}/proxy/metrics", scene.namespace);
        let labels = json!({
            "__metrics_path__": path, "namespace": scene.namespace, "pipeline": pod.labels().get(LABEL_PIPELINE), "pod": name,
        });
        targets.push(json!({"targets": [server], "labels": labels}));
    }
    Ok(json!({
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "workers", "scheme": "https", "tls_config": tls, "static_configs": targets}],
    }))
}

/// Where the apiserver is, and what opens it, as files in that folder.
fn credentials(kubeconfig: &Path, folder: &Path) -> Result<(String, Value)> {
    let found = serde_json::to_value(Kubeconfig::read_from(kubeconfig)?)?;
    let text = |pointer: &str| {
        found.pointer(pointer).and_then(Value::as_str).ok_or_else(|| Failure::from(format!("the kubeconfig has no text at {pointer}")))
    };
    let file = |name: &str, pointer: &str| -> Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, BASE64_STANDARD.decode(text(pointer)?)?)?;
        Ok(path.display().to_string())
    };
    let tls = json!({
        "ca_file": file("ca.pem", "/clusters/0/cluster/certificate-authority-data")?,
        "cert_file": file("client.pem", "/users/0/user/client-certificate-data")?,
        "key_file": file("client-key.pem", "/users/0/user/client-key-data")?,
    });
    let server = text("/clusters/0/cluster/server")?.strip_prefix("https://").ok_or("the apiserver is not at https")?;
    Ok((server.to_owned(), tls))
}
