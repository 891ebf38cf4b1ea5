//! The workers of a pipeline: its pods, and HTTP to each of them through the apiserver's proxy, which needs no route to
//! the pod network.

use http::{Request, header};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{ListParams, LogParams},
};
use penstock_crds::{name::LABEL_PIPELINE, worker::ADMIN_PORT_NAME};
use serde_json::Value;

use super::{LIMIT, Result, Scene, until};

/// The media type of most bodies.
const JSON: &str = "application/json";

/// What a worker answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; a JSON string if it is not JSON.
    pub body: Value,
}

impl Scene {
    /// The pods of a pipeline that run and are not being deleted, oldest first.
    ///
    /// # Errors
    /// The apiserver does not answer.
    pub async fn workers(&self, pipeline: &str) -> Result<Vec<Pod>> {
        let own = ListParams::default().labels(&format!("{LABEL_PIPELINE}={pipeline}"));
        let mut pods = self.api::<Pod>().list(&own).await?.items;
        pods.retain(|p| p.metadata.deletion_timestamp.is_none());
        pods.sort_by_key(|p| (p.creation_timestamp().map(|t| t.0), p.name_any()));
        Ok(pods)
    }

    /// Waits until a pipeline has exactly this many workers, all ready, and gives their names.
    ///
    /// # Errors
    /// It never has.
    pub async fn ready_workers(&self, pipeline: &str, count: usize) -> Result<Vec<String>> {
        until(&format!("{count} ready workers of {pipeline}"), LIMIT, async || {
            let pods = self.workers(pipeline).await?;
            let ready = pods.iter().filter(|p| is_ready(p)).count();
            if (ready, pods.len()) == (count, count) {
                return Ok(pods.iter().map(ResourceExt::name_any).collect());
            }
            Err(format!("{ready} of {} are ready", pods.len()).into())
        })
        .await
    }

    /// `GET path` on one pod.
    ///
    /// # Errors
    /// The apiserver cannot be reached.
    pub async fn get(&self, pod: &str, port: u16, path: &str) -> Result<Reply> {
        self.ask("GET", pod, port, path, JSON, Vec::new()).await
    }

    /// `POST path` on one pod with a JSON body.
    ///
    /// # Errors
    /// The apiserver cannot be reached.
    pub async fn post(&self, pod: &str, port: u16, path: &str, body: &Value) -> Result<Reply> {
        self.post_as(JSON, pod, port, path, serde_json::to_vec(body)?).await
    }

    /// `POST path` on one pod with a body of that media type.
    ///
    /// # Errors
    /// The apiserver cannot be reached.
    pub async fn post_as(&self, media: &str, pod: &str, port: u16, path: &str, body: impl Into<Vec<u8>>) -> Result<Reply> {
        self.ask("POST", pod, port, path, media, body.into()).await
    }

    /// What a pod has logged, line by line, each the JSON object that workers write.
    ///
    /// # Errors
    /// The apiserver cannot be reached, or a line is no JSON.
    pub async fn log(&self, pod: &str) -> Result<Vec<Value>> {
        let text = self.api::<Pod>().logs(pod, &LogParams::default()).await?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|why| format!("{why}: {line}").into())).collect()
    }

    async fn ask(&self, method: &str, pod: &str, port: u16, path: &str, media: &str, body: Vec<u8>) -> Result<Reply> {
        let url = format!("/api/v1/namespaces/{}/pods/{pod}:{port}/proxy{path}", self.namespace);
        let request = Request::builder().method(method).uri(url).header(header::CONTENT_TYPE, media).body(body.into())?;
        let answer = self.client.send(request).await?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect_bytes().await?.to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Reply { status, body })
    }
}

/// The port of a worker's `/metrics`.
pub(super) fn admin_port(pod: &Pod) -> Option<u16> {
    port_named(pod, ADMIN_PORT_NAME)
}

/// The port of that name of a pod.
pub(super) fn port_named(pod: &Pod, name: &str) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// Whether the kubelet says so.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
