//! The kind cluster itself: create, delete, and whether it is well.

use std::time::Duration;

use super::command::{logged, output, succeeds};
use super::error::Result;
use super::layout::repository;
use super::site::Site;

const SHORT: Duration = Duration::from_secs(15);

/// Whether the apiserver answers and every node is ready.
pub(crate) async fn is_healthy(site: &Site) -> bool {
    let mut ready = site.command("kubectl");
    ready.args(["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=5s"]);
    site.instance.kubeconfig().exists() && succeeds(&mut ready, SHORT).await
}

/// Creates the cluster, and waits until its node is ready and names resolve in it.
pub(crate) async fn create(site: &Site, node_image: Option<&str>) -> Result<()> {
    let mut command = site.command("kind");
    command.args(["create", "cluster", "--name", site.instance.name(), "--wait", "180s", "--config"]);
    command.arg(repository().join("kind-config.yaml"));
    if let Some(image) = node_image {
        command.args(["--image", image]);
    }
    logged("kind create cluster", command, &site.instance.log("kind-create")).await?;
    // Two by default, each of which asks the one node for a tenth of a core.
    let mut one = site.command("kubectl");
    one.args(["-n", "kube-system", "scale", "deployment/coredns", "--replicas=1"]);
    output(&mut one, SHORT).await?;
    let mut names = site.command("kubectl");
    names.args(["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"]);
    logged("cluster DNS", names, &site.instance.log("coredns")).await
}

/// Deletes the cluster's containers, whatever state they are in. Does nothing where there are none.
pub(crate) async fn delete(site: &Site) -> Result<()> {
    let mut command = site.command("kind");
    command.args(["delete", "cluster", "--name", site.instance.name()]);
    logged("kind delete cluster", command, &site.instance.log("kind-delete")).await
}

/// The names of the cluster's nodes; each is a container.
pub(crate) async fn nodes(site: &Site) -> Result<Vec<String>> {
    let text = output(site.command("kind").args(["get", "nodes", "--name", site.instance.name()]), SHORT).await?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
