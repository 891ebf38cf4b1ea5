//! What a Prometheus is told: the rules of the chart, and how to scrape a test's workers as the chart's PodMonitor says.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams, config::Kubeconfig};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::INTERVAL;
use crate::{
    cluster::Tool,
    scene::{Failure, Result, Scene, install, workers::port_named},
};

/// An object of the chart.
#[derive(Deserialize)]
struct Manifest<S> {
    spec: S,
}

/// What a PodMonitor says that is looked at here.
#[derive(Deserialize)]
struct Monitor {
    selector: Selector,
    #[serde(rename = "podMetricsEndpoints")]
    endpoints: [Endpoint; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    #[serde(rename = "matchExpressions")]
    expressions: [Expression; 1],
}

#[derive(Deserialize)]
struct Expression {
    key: String,
    operator: String,
}

#[derive(Deserialize)]
struct Endpoint {
    port: String,
    path: String,
    #[serde(default)]
    relabelings: Vec<Map<String, Value>>,
}

/// What the chart's PrometheusRule has.
pub async fn rules(scene: &Scene) -> Result<Value> {
    rendered(scene, "prometheusrule.yaml").await
}

/// The scrape configuration. JSON is YAML, too.
///
/// Debian's Prometheus knows no Kubernetes: it is told of each worker that there is now, with the labels that discovery would give it.
/// What becomes of these is the PodMonitor's, beside the two that the Prometheus Operator always makes.
pub async fn config(scene: &Scene, folder: &Path) -> Result<Value> {
    let Monitor { selector: Selector { expressions: [chosen] }, endpoints: [endpoint] } = rendered(scene, "podmonitor.yaml").await?;
    if chosen.operator != "Exists" {
        return Err(format!("a PodMonitor whose operator is {} is not known here", chosen.operator).into());
    }
    let (server, tls) = credentials(&scene.cluster.kubeconfig(), folder)?;
    let mut targets = Vec::new();
    for pod in scene.api::<Pod>().list(&ListParams::default().labels(&chosen.key)).await? {
        let (name, port) = (pod.name_any(), port_named(&pod, &endpoint.port).ok_or("a worker has no port of the PodMonitor's name")?);
        let path = format!("/api/v1/namespaces/{}/pods/{name}:{port}/proxy{}", scene.namespace, endpoint.path);
        let own = json!({"__metrics_path__": path, "__meta_kubernetes_namespace": scene.namespace, "__meta_kubernetes_pod_name": name});
        let of_pod = pod.labels().iter().map(|(label, value)| (discovered(label), Value::from(value.as_str())));
        let labels: Map<String, Value> = own.as_object().cloned().into_iter().flatten().chain(of_pod).collect();
        targets.push(json!({"targets": [server], "labels": labels}));
    }
    let always = [("__meta_kubernetes_namespace", "namespace"), ("__meta_kubernetes_pod_name", "pod")];
    let always = always.map(|(from, to)| json!({"source_labels": [from], "target_label": to}));
    let own = endpoint.relabelings.into_iter().map(|rule| rule.into_iter().map(|(key, value)| (snake_case(&key), value)).collect());
    let relabelings: Vec<Value> = always.into_iter().chain(own).collect();
    Ok(json!({
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "workers", "scheme": "https", "tls_config": tls, "relabel_configs": relabelings, "static_configs": targets},
        ],
    }))
}

/// The spec of an object of the chart, with all that is for monitoring.
async fn rendered<S: DeserializeOwned>(scene: &Scene, template: &str) -> Result<S> {
    let mut helm = scene.cluster.tool(Tool::Helm);
    helm.args(["template", "x"]).arg(scene.cluster.repository().join("helm/penstock"));
    helm.args(["--set", "monitoring.rules.create=true", "--set", "monitoring.podMonitor.create=true"]);
    helm.args(["--show-only", &format!("templates/{template}")]);
    let Manifest { spec } = serde_saphyr::from_str(&install::run(helm).await?)?;
    Ok(spec)
}

/// The name that discovery gives to a pod's label.
fn discovered(label: &str) -> String {
    let name: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("__meta_kubernetes_pod_label_{name}")
}

/// A key of the Prometheus Operator's, as Prometheus itself has it.
fn snake_case(key: &str) -> String {
    key.chars().fold(String::new(), |name, c| {
        if c.is_ascii_uppercase() { format!("{name}_{}", c.to_ascii_lowercase()) } else { name + &c.to_string() }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_prometheus_has() {
        assert_eq!(discovered("penstock.dev/pipeline"), "__meta_kubernetes_pod_label_penstock_dev_pipeline");
        assert_eq!([snake_case("sourceLabels"), snake_case("action")], ["source_labels", "action"]);
    }
}
