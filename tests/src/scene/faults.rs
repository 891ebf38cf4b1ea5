//! What a test does to the parts: kill a container's process, stop Kafka and start it again.

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Pod,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{LIMIT, Result, Scene, install, until};
use crate::cluster::Tool;

impl Scene {
    /// Sends SIGKILL to the process of a worker's container.
    ///
    /// # Errors
    /// The pod does not run, or its node does not answer.
    pub async fn kill_worker(&self, pod: &str) -> Result {
        let pod = self.api::<Pod>().get(pod).await?;
        let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).and_then(|c| c.first());
        let id = status.and_then(|s| s.container_id.as_deref()).and_then(|id| id.split("//").nth(1));
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        let (id, node) = id.zip(node).ok_or_else(|| format!("{} does not run", pod.name_any()))?;
        // A kind node is a container of the same name, and its container runtime knows the process.
        let script = "kill -9 $(crictl inspect --output go-template --template '{{.info.pid}}' \"$0\")";
        let mut kill = self.cluster.tool(Tool::Docker);
        kill.args(["exec", &node, "sh", "-c", script, id]);
        install::run(kill).await.map(drop)
    }

    /// Ends the operator at once, without its SIGTERM handling; its Deployment starts another.
    ///
    /// # Errors
    /// The apiserver does not answer.
    pub async fn kill_operator(&self) -> Result {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), install::NAMESPACE);
        let own = ListParams::default().labels(install::OPERATOR);
        // Its Deployment may be about to replace one that was ended a moment ago.
        let found = until("an operator's pod", LIMIT, async || {
            let found = pods.list(&own).await?.items;
            if found.is_empty() { Err("none is found by its label".into()) } else { Ok(found) }
        })
        .await?;
        for pod in found {
            pods.delete(&pod.name_any(), &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
        }
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
