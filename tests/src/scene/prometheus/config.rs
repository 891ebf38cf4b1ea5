//! What a Prometheus is told: the rules of the chart, and how to scrape a test's workers and the operator as the chart's PodMonitors say.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams, config::Kubeconfig};
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Selector {
    #[serde(rename = "matchLabels")]
    labels: BTreeMap<String, String>,
    #[serde(rename = "matchExpressions")]
    expressions: Vec<Expression>,
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
    #[serde(default, rename = "honorLabels")]
    keeps_labels: bool,
}

impl Selector {
    /// The same, as the apiserver is asked.
    fn text(&self) -> Result<String> {
        let equal = self.labels.iter().map(|(key, value)| Ok(format!("{key}={value}")));
        let there = self.expressions.iter().map(|Expression { key, operator }| match operator.as_str() {
            "Exists" => Ok(key.clone()),
            other => Err(format!("a PodMonitor whose operator is {other} is not known here").into()),
        });
        Ok(equal.chain(there).collect::<Result<Vec<_>>>()?.join(","))
    }
}

/// What the chart's PrometheusRule has.
pub async fn rules(scene: &Scene) -> Result<Value> {
    rendered(scene, "prometheusrule.yaml").await
}

/// The scrape configuration. JSON is YAML, too.
pub async fn config(scene: &Scene, folder: &Path) -> Result<Value> {
    let (server, tls) = credentials(&scene.cluster.kubeconfig(), folder)?;
    let workers = targets(scene, "podmonitor-workers.yaml", &scene.namespace, &server).await?;
    let operator = targets(scene, "podmonitor-operator.yaml", install::NAMESPACE, &server).await?;
    let job = |name: &str, (targets, relabelings, keeps_labels): Scraped| {
        json!({
            "job_name": name, "scheme": "https", "tls_config": tls, "honor_labels": keeps_labels,
            "relabel_configs": relabelings, "static_configs": targets,
        })
    };
    Ok(json!({
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yml"],
        "scrape_configs": [job("workers", workers), job("operator", operator)],
    }))
}

/// What is scraped, how its labels come about, and whether those of a series win over them.
type Scraped = (Vec<Value>, Vec<Value>, bool);

/// What a PodMonitor finds in a namespace.
///
/// Debian's Prometheus knows no Kubernetes: it is told of each pod that there is now, with the labels that discovery would give it.
/// What becomes of these is the PodMonitor's, beside the two that the Prometheus Operator always makes.
async fn targets(scene: &Scene, template: &str, namespace: &str, server: &str) -> Result<Scraped> {
    let Monitor { selector, endpoints: [endpoint] } = rendered(scene, template).await?;
    let pods = Api::<Pod>::namespaced(scene.client.clone(), namespace);
    let mut targets = Vec::new();
    for pod in pods.list(&ListParams::default().labels(&selector.text()?)).await? {
        let (name, port) = (pod.name_any(), port_named(&pod, &endpoint.port).ok_or("a pod has no port of the PodMonitor's name")?);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{}", endpoint.path);
        let own = json!({"__metrics_path__": path, "__meta_kubernetes_namespace": namespace, "__meta_kubernetes_pod_name": name});
        let of_pod = pod.labels().iter().map(|(label, value)| (discovered(label), Value::from(value.as_str())));
        let labels: Map<String, Value> = own.as_object().cloned().into_iter().flatten().chain(of_pod).collect();
        targets.push(json!({"targets": [server], "labels": labels}));
    }
    let always = [("__meta_kubernetes_namespace", "namespace"), ("__meta_kubernetes_pod_name", "pod")];
    let always = always.map(|(from, to)| json!({"source_labels": [from], "target_label": to}));
    let own = endpoint.relabelings.into_iter().map(|rule| rule.into_iter().map(|(key, value)| (snake_case(&key), value)).collect());
    Ok((targets, always.into_iter().chain(own).collect(), endpoint.keeps_labels))
}

/// The spec of an object of the chart, with all that is for monitoring.
async fn rendered<S: DeserializeOwned>(scene: &Scene, template: &str) -> Result<S> {
    let mut helm = scene.cluster.tool(Tool::Helm);
    helm.args(["template", install::RELEASE]).arg(scene.cluster.repository().join("helm/penstock"));
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
