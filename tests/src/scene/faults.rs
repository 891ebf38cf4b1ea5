//! What a test does to the parts: kill a container's process, stop the operator or Kafka and start it again.
//!
//! Tests that run side by side take turns with the operator: each kills the one that saw its own change.

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
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Child,
    sync::{Mutex, MutexGuard},
};

use super::{LIMIT, Result, Scene, finally, install, until};
use crate::cluster::Tool;

/// Whose turn it is to do something to the operator.
static OPERATOR: Mutex<()> = Mutex::const_new(());

/// A process that is about to be killed.
#[derive(Debug)]
struct Doomed {
    pod: Pod,
    shell: Child,
}

/// The operator, for one test to kill, stop and start. No other test does so before this is dropped.
pub struct Operator<'a> {
    scene: &'a Scene,
    /// Where it is.
    system: Scene,
    _turn: MutexGuard<'static, ()>,
}

/// An operator's process that is about to be killed.
#[derive(Debug)]
pub struct DoomedOperator {
    process: Doomed,
    pods: Api<Pod>,
}

impl Doomed {
    /// Sends it SIGKILL, and waits until that is done.
    async fn kill(mut self) -> Result {
        // Without a word the shell ends, and kills nobody.
        self.shell.stdin.take().ok_or("no input")?.write_all(b"go\n").await?;
        let ended = self.shell.wait().await?;
        if ended.success() { Ok(()) } else { Err(format!("the process of {} was gone: {ended}", self.pod.name_any()).into()) }
    }
}

impl Operator<'_> {
    /// Its pod, once there is one that is ready, as it says itself: the kubelet asks each few seconds only.
    ///
    /// # Errors
    /// None gets ready.
    pub async fn ready(&self) -> Result<Pod> {
        let (pods, own): (Api<Pod>, _) = (self.system.api(), ListParams::default().labels(install::OPERATOR));
        // Its Deployment may be about to replace one that was killed a moment ago.
        until("an operator that is ready", LIMIT, async || {
            let mut found = pods.list(&own).await?.items;
            found.retain(|pod| pod.metadata.deletion_timestamp.is_none());
            let [pod] = found.as_slice() else { return Err(format!("{} are there", found.len()).into()) };
            container(pod).ok_or("it is not started yet")?;
            let reply = self.system.get(&pod.name_any(), 8080, "/readyz").await?;
            if reply.status == 200 { Ok(pod.clone()) } else { Err(format!("{reply:?}").into()) }
        })
        .await
    }

    /// Gets ready to kill it, once there is one that is ready.
    ///
    /// # Errors
    /// None gets ready.
    pub async fn doom(&self) -> Result<DoomedOperator> {
        Ok(DoomedOperator { process: self.scene.doom(self.ready().await?).await?, pods: self.system.api() })
    }

    /// Kills it, once there is one that is ready.
    ///
    /// # Errors
    /// None gets ready.
    pub async fn kill(&self) -> Result {
        self.doom().await?.kill().await
    }

    /// Stops it, and waits until it is gone.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(&self) -> Result {
        self.scale(0).await
    }

    /// Runs a part of a test while it is stopped, and starts it again, however that ended.
    ///
    /// # Errors
    /// It does not stop or start, or what the part failed with.
    pub async fn while_stopped<T>(&self, part: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
        let part = async {
            self.stop().await?;
            part().await
        };
        finally(part, self.start()).await
    }

    /// Starts it again, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(&self) -> Result {
        self.scale(1).await
    }

    async fn scale(&self, replicas: i32) -> Result {
        let deployments: Api<Deployment> = self.system.api();
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch_scale(install::RELEASE, &PatchParams::default(), &scale).await?;
        until(&format!("{replicas} operators"), LIMIT, async || {
            let ready = deployments.get(install::RELEASE).await?.status.and_then(|status| status.ready_replicas).unwrap_or(0);
            let exist = self.system.api::<Pod>().list(&ListParams::default().labels(install::OPERATOR)).await?.items.len();
            let done = ready == replicas && i32::try_from(exist) == Ok(replicas);
            if done { Ok(()) } else { Err(format!("{ready} ready of {exist}").into()) }
        })
        .await
    }
}

impl DoomedOperator {
    /// Kills the process: it handles no signal and finishes nothing. Its pod goes, too, so that the Deployment starts another at once,
    /// and no kubelet waits longer from crash to crash.
    ///
    /// # Errors
    /// It was gone already.
    pub async fn kill(self) -> Result {
        let name = self.process.pod.name_any();
        self.process.kill().await?;
        self.pods.delete(&name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
        Ok(())
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
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        let (id, node) = container(&pod).zip(node).ok_or_else(|| format!("{} does not run", pod.name_any()))?;
        // A kind node is a container of the same name, and its container runtime knows the process.
        let script =
            "pid=$(crictl inspect --output go-template --template '{{.info.pid}}' \"$0\") && echo ready && read -r _ && kill -9 \"$pid\"";
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

    /// The operator, once no other test is about to do something to it.
    pub async fn operator(&self) -> Operator<'_> {
        Operator { scene: self, system: self.within(install::NAMESPACE), _turn: OPERATOR.lock().await }
    }

    /// Runs a part of a test while no broker is left, and starts them again, however that ended. Their data stays.
    ///
    /// # Errors
    /// They do not stop or start, or what the part failed with.
    pub async fn while_kafka_is_stopped<T>(&self, part: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
        let part = async {
            scale_kafka(&self.client, 0).await?;
            part().await
        };
        finally(part, scale_kafka(&self.client, 1)).await
    }
}

/// The id of the first container, once there is one.
fn container(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()?.container_id.as_deref()?.split("//").nth(1)
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
