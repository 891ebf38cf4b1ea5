//! The kind cluster itself: create, delete, and whether it is well.

use std::time::{Duration, Instant};

use super::command::{logged, output, succeeds};
use super::error::Result;
use super::layout::repository;
use super::site::Site;

const SHORT: Duration = Duration::from_secs(15);
/// For how long a cluster that is there may seem unwell.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the apiserver answers and every node is ready.
pub(crate) async fn is_healthy(site: &Site) -> bool {
    let mut ready = site.command("kubectl");
    ready.args(["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=5s"]);
    site.instance.kubeconfig().exists() && succeeds(&mut ready, SHORT).await
}

/// Whether it is well, or becomes so while its node is there: a busy machine may be slow to answer, a cluster that is replaced is lost.
pub(crate) async fn becomes_healthy(site: &Site) -> bool {
    let began = Instant::now();
    loop {
        if is_healthy(site).await {
            return true;
        }
        if began.elapsed() > PATIENCE || !nodes(site).await.is_ok_and(|nodes| !nodes.is_empty()) {
            return false;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
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

/// Whether the daemon has containers of a cluster of this name, whoever made it.
pub(crate) async fn is_in(site: &Site) -> bool {
    let label = format!("label=io.x-k8s.kind.cluster={}", site.instance.name());
    output(site.docker().args(["ps", "--all", "--quiet", "--filter", &label]), SHORT).await.is_ok_and(|found| !found.trim().is_empty())
}

/// The names of the cluster's nodes; each is a container.
pub(crate) async fn nodes(site: &Site) -> Result<Vec<String>> {
    let text = output(site.command("kind").args(["get", "nodes", "--name", site.instance.name()]), SHORT).await?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
