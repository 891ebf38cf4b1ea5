//! The handle by which a test reaches a cluster that is up.

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::process::Command;

use super::error::{HarnessError, Result};
use super::ground::Ground;
use super::images;
use super::kafka::{BROKERS, FIRST_NODE_PORT, NAMESPACE};
use super::site::Site;
use super::sweep::namespace_id;

/// A cluster that is up, seen from a process beside it (`cluster exec -- CMD`).
#[derive(Debug, Clone)]
pub struct Cluster {
    site: Site,
}

/// The programs that tests use to act like a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `kubectl`, of the cluster's version.
    Kubectl,
    /// `helm`.
    Helm,
    /// `kind`.
    Kind,
    /// The machine's `docker` client, for the cluster's daemon.
    Docker,
}

/// The addresses at which Kafka is reached, each as a bootstrap list `host:port,…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brokers {
    /// For pods.
    pub internal: String,
    /// For processes beside the cluster.
    pub external: String,
}

impl Cluster {
    /// The cluster that this process was started beside, named by `PENSTOCK_CLUSTER`.
    ///
    /// # Errors
    /// [`HarnessError::Down`] when it is not up, [`HarnessError::Outside`] when this process cannot reach it.
    pub async fn current() -> Result<Self> {
        let cluster = Self { site: Site::find(None).await? };
        cluster.site.require_up()?;
        if !cluster.is_inside() {
            return Err(HarnessError::Outside { name: cluster.name().to_owned() });
        }
        Ok(cluster)
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.site.instance.name()
    }

    /// The kubeconfig of the cluster's administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.site.instance.kubeconfig()
    }

    /// The network namespace that the cluster lives in; none where it is the machine's own.
    #[must_use]
    pub fn network_namespace(&self) -> Option<PathBuf> {
        (self.site.ground == Ground::Local).then(|| self.site.instance.netns_file())
    }

    /// The repository that this library was compiled from.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        super::layout::repository()
    }

    /// A Kubernetes client with all rights.
    ///
    /// # Errors
    /// A kubeconfig that cannot be read.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // Through the apiserver's proxy a worker's own 503 would be asked again for as long as it says `Retry-After`.
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// A command of one of the tools, pointed at this cluster.
    #[must_use]
    pub fn tool(&self, tool: Tool) -> Command {
        let name = match tool {
            Tool::Kubectl => "kubectl",
            Tool::Helm => "helm",
            Tool::Kind => "kind",
            Tool::Docker => "docker",
        };
        self.command(name)
    }

    /// Any command beside the cluster.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.site.command(program)
    }

    /// The tags of the operator's and the worker's image that the cluster got last. Another build has other tags.
    ///
    /// # Errors
    /// They were not built.
    pub fn image_tags(&self) -> Result<(String, String)> {
        let mut tags = images::tags(&self.site)?.into_iter();
        Ok((tags.next().unwrap_or_default(), tags.next().unwrap_or_default()))
    }

    /// Where Kafka is. The addresses stay the same when brokers restart.
    ///
    /// # Errors
    /// Kafka is not in the cluster, or the apiserver does not answer.
    pub async fn brokers(&self) -> Result<Brokers> {
        let client = self.client().await?;
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let address = nodes.items.iter().find_map(internal_address).unwrap_or_default();
        let set = Api::<StatefulSet>::namespaced(client, NAMESPACE).get("kafka").await?;
        let count = set.metadata.annotations.and_then(|a| a.get(BROKERS)?.parse().ok()).unwrap_or(1);
        let external: Vec<_> = (FIRST_NODE_PORT..).take(count).map(|port| format!("{address}:{port}")).collect();
        Ok(Brokers { internal: "kafka.kafka.svc.cluster.local:9092".into(), external: external.join(",") })
    }

    /// The image that the brokers run, and the address at which processes beside the cluster reach the ports of its nodes.
    ///
    /// # Errors
    /// Kafka is not in the cluster, or the apiserver does not answer.
    pub(crate) async fn kafka_ground(&self) -> Result<(String, String)> {
        let client = self.client().await?;
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let address = nodes.items.iter().find_map(internal_address).unwrap_or_default();
        let set = Api::<StatefulSet>::namespaced(client, NAMESPACE).get("kafka").await?;
        let pod = set.spec.and_then(|spec| spec.template.spec).map(|pod| pod.containers).unwrap_or_default();
        Ok((pod.into_iter().find_map(|container| container.image).unwrap_or_default(), address))
    }

    fn is_inside(&self) -> bool {
        self.network_namespace().is_none_or(|file| {
            let own = namespace_id(std::path::Path::new("/proc/self/ns/net"));
            own.is_some() && own == namespace_id(&file)
        })
    }
}

fn internal_address(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|a| a.type_ == "InternalIP").map(|a| a.address.clone())
}
