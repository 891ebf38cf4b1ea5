//! Installs the packaged chart, as a user does.

use std::{path::Path, process::Stdio};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use penstock_crds::{KafkaTopic, name};
use serde_json::json;
use tokio::{process::Command, sync::OnceCell};

use super::{FIELD_MANAGER, LIMIT, Result, Scene, until};
use crate::cluster::{Cluster, Tool};

/// Where the operator is installed.
pub const NAMESPACE: &str = "penstock-system";
/// The name of the release, and so of the operator's Deployment.
pub const RELEASE: &str = "penstock";
/// The labels of the operator's pod.
pub const OPERATOR: &str = "app.kubernetes.io/instance=penstock,app.kubernetes.io/component=operator";

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// Installs or upgrades the operator the first time that this process asks.
///
/// # Errors
/// The same as of [`install`].
pub async fn once(cluster: &Cluster) -> Result {
    INSTALLED.get_or_try_init(|| install(cluster, &[])).await.copied()
}

/// Installs or upgrades the operator, with more `--set` values, and waits until it is ready. Its namespace enforces the
/// *restricted* Pod Security Standard.
///
/// # Errors
/// The namespace cannot be made, or Helm says why it could not.
pub async fn install(cluster: &Cluster, values: &[&str]) -> Result {
    install_from(cluster, &cluster.repository().join("helm/penstock"), values).await
}

/// The same with the admission policy for finalizers, and waits until the apiserver asks it.
///
/// # Errors
/// The same as of [`install`], or it is never asked.
pub async fn install_with_policy(scene: &Scene, values: &[&str]) -> Result {
    install(&scene.cluster, &[&["topicFinalizer.admissionPolicy=true"], values].concat()).await?;
    until("the admission policy is asked", LIMIT, async || {
        let would = scene.would_create::<KafkaTopic>("t", json!({"deletionPolicy": "Delete"})).await?;
        let finalizers = would.metadata.finalizers.unwrap_or_default();
        if finalizers == [name::FINALIZER_TOPIC] { Ok(()) } else { Err(format!("{finalizers:?}").into()) }
    })
    .await
}

/// The same from another chart, such as that of an older release.
///
/// # Errors
/// The same as of [`install`].
pub async fn install_from(cluster: &Cluster, chart: &Path, values: &[&str]) -> Result {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}});
    let namespaces = Api::<Namespace>::all(cluster.client().await?);
    namespaces.patch(NAMESPACE, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(namespace)).await?;
    let bootstrap = format!("kafkaCluster.bootstrapServers={{{}}}", cluster.brokers().await?.internal);
    let (operator, worker) = cluster.image_tags()?;
    let (operator, worker) = (format!("image.tag={operator}"), format!("workerImage.tag={worker}"));
    let mut command = cluster.tool(Tool::Helm);
    command.args(["upgrade", "--install", RELEASE]).arg(chart).args(["--namespace", NAMESPACE, "--wait", "--timeout", "120s"]).args([
        "--set-string",
        &operator,
        "--set-string",
        &worker,
        "--set",
        "kafkaCluster.create=true",
        "--set",
        &bootstrap,
    ]);
    for value in values {
        command.args(["--set", value]);
    }
    run(command).await.map(drop)
}

/// `helm ARGUMENTS`, where `CHART` stands for the chart; what it printed.
///
/// # Errors
/// Helm says what it does not like.
pub async fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let chart = cluster.repository().join("helm/penstock");
    let mut command = cluster.tool(Tool::Helm);
    for argument in arguments {
        if *argument == "CHART" {
            command.arg(&chart)
        } else {
            command.arg(argument)
        };
    }
    run(command).await
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// It failed: with all that it printed.
pub async fn run(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().await?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text) } else { Err(format!("{command:?} ended with {}:\n{text}", output.status).into()) }
}
