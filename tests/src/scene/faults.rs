//! What a test does to the parts: kill a container's process, stop Kafka and start it again.

use std::process::Stdio;

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Pod,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use super::{LIMIT, Result, Scene, install, until, workers::is_ready};
use crate::cluster::Tool;

/// A process that is about to be killed.
#[derive(Debug)]
pub struct Doomed {
    pod: Pod,
    shell: Child,
}

impl Doomed {
    /// Sends it SIGKILL, and waits until that is done.
    ///
    /// # Errors
    /// It was gone already.
    pub async fn kill(mut self) -> Result {
        // Whatever ends the shell's input lets it go on.
        drop(self.shell.stdin.take());
        let ended = self.shell.wait().await?;
        if ended.success() { Ok(()) } else { Err(format!("the process of {} was gone: {ended}", self.pod.name_any()).into()) }
    }
}

impl Scene {
    /// Sends SIGKILL to the process of a worker's container.
    ///
    /// # Errors
    /// The pod does not run, or its node does not answer.
    pub async fn kill_worker(&self, pod: &str) -> Result {
        self.doom(self.api::<Pod>().get(pod).await?).await?.kill().await
    }

    /// Looks for the process of a pod's first container, so that nothing but the signal is left to do.
    async fn doom(&self, pod: Pod) -> Result<Doomed> {
        let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).and_then(|c| c.first());
        let id = status.and_then(|s| s.container_id.as_deref()).and_then(|id| id.split("//").nth(1));
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        let (id, node) = id.zip(node).ok_or_else(|| format!("{} does not run", pod.name_any()))?;
        // A kind node is a container of the same name, and its container runtime knows the process.
        let script =
            "pid=$(crictl inspect --output go-template --template '{{.info.pid}}' \"$0\") && echo ready && read -r _; kill -9 \"$pid\"";
        let mut shell = self.cluster.tool(Tool::Docker);
        shell
            .args(["exec", "--interactive", &node, "sh", "-c", script, id])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut shell = shell.spawn()?;
        let mut said = BufReader::new(shell.stdout.take().ok_or("no output")?).lines();
        match said.next_line().await? {
            Some(line) if line == "ready" => Ok(Doomed { pod, shell }),
            other => Err(format!("the process of {} is not found: {other:?}", pod.name_any()).into()),
        }
    }

    /// Gets ready to kill the operator, once there is one that is ready.
    ///
    /// # Errors
    /// None gets ready.
    pub async fn doomed_operator(&self) -> Result<Doomed> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), install::NAMESPACE);
        let own = ListParams::default().labels(install::OPERATOR);
        // Its Deployment may be about to replace one that was killed a moment ago.
        let pod = until("an operator that is ready", LIMIT, async || {
            let found = pods.list(&own).await?.items;
            let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
            let ready = found.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod));
            ready.ok_or_else(|| format!("none of {names:?} is").into())
        })
        .await?;
        self.doom(pod).await
    }

    /// Kills the operator's process: it handles no signal and finishes nothing. Its pod goes, too, so that the Deployment starts another
    /// at once, and no kubelet waits longer from crash to crash.
    ///
    /// # Errors
    /// It was gone already.
    pub async fn kill_operator(&self, operator: Doomed) -> Result {
        let name = operator.pod.name_any();
        operator.kill().await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), install::NAMESPACE);
        pods.delete(&name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
        Ok(())
    }

    /// Stops the operator, and waits until it is gone.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop_operator(&self) -> Result {
        self.scale_operator(0).await
    }

    /// Starts the operator again, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_operator(&self) -> Result {
        self.scale_operator(1).await
    }

    async fn scale_operator(&self, replicas: i32) -> Result {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), install::NAMESPACE);
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch_scale(install::RELEASE, &PatchParams::default(), &scale).await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), install::NAMESPACE);
        until(&format!("{replicas} operators"), LIMIT, async || {
            let ready = deployments.get(install::RELEASE).await?.status.and_then(|status| status.ready_replicas).unwrap_or(0);
            let exist = pods.list(&ListParams::default().labels(install::OPERATOR)).await?.items.len();
            let done = ready == replicas && i32::try_from(exist) == Ok(replicas);
            if done { Ok(()) } else { Err(format!("{ready} ready of {exist}").into()) }
        })
        .await
    }

    /// Stops every broker, and waits until none is left. Their data stays.
    ///
    /// # Errors
    /// They do not stop.
    pub async fn stop_kafka(&self) -> Result {
        scale_kafka(&self.client, 0).await
    }

    /// Starts the brokers again, and waits until they are ready.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start_kafka(&self) -> Result {
        scale_kafka(&self.client, 1).await
    }
}

async fn scale_kafka(client: &Client, replicas: i32) -> Result {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), "kafka");
    sets.patch_scale("kafka", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kafka");
    until(&format!("{replicas} Kafka brokers"), LIMIT, async || {
        let status = sets.get("kafka").await?.status.unwrap_or_default();
        let ready = status.ready_replicas.unwrap_or(0);
        let exist = pods.list(&ListParams::default().labels("app.kubernetes.io/name=kafka")).await?.items.len();
        let done = ready == replicas && i32::try_from(exist) == Ok(replicas);
        if done { Ok(()) } else { Err(format!("{ready} ready of {exist}").into()) }
    })
    .await
}
