//! Volumes of the brokers that a test has for itself: folders of the node, made before the brokers ask for them.
//!
//! kind's provisioner starts a pod to make each volume and another one to remove it. It may also stand still for good: it takes a lock
//! for reading that it has already, and where its look at its settings, one each 30 s, comes in between, nothing gets a volume any more
//! (`getPathOnNode` and `isSharedFilesystem` of rancher/local-path-provisioner 0.0.30).

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;

use super::{LIMIT, Result, Scene, install, until};
use crate::cluster::Tool;

/// On the node.
const FOLDERS: &str = "/var/local/penstock";

impl Scene {
    /// Makes empty volumes for so many brokers of a namespace, with which the objects go.
    pub(super) async fn volumes_of_brokers(&self, namespace: &str, brokers: u16) -> Result {
        let node = self.node().await?;
        let owner = Api::<Namespace>::all(self.client.clone()).get(namespace).await?;
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        for broker in 0..brokers {
            let name = format!("{namespace}-{broker}");
            let folder = format!("{FOLDERS}/{name}");
            self.on_node(&node, &["mkdir", "-p", "-m", "0777", &folder]).await?;
            let volume = json!({
                "metadata": {"name": name, "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": owner.metadata.uid},
                ]},
                "spec": {
                    "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
                    "persistentVolumeReclaimPolicy": "Retain", "local": {"path": folder},
                    "claimRef": {"namespace": namespace, "name": format!("data-kafka-{broker}")},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]},
                    ]}},
                },
            });
            volumes.create(&PostParams::default(), &serde_json::from_value(volume)?).await?;
        }
        Ok(())
    }

    /// Removes what the brokers of a namespace keep, who need it no more but may write still.
    pub(super) async fn clear_volumes_of_brokers(&self, namespace: &str, brokers: u16) -> Result {
        let folders: Vec<String> = (0..brokers).map(|broker| format!("{FOLDERS}/{namespace}-{broker}")).collect();
        let remove: Vec<&str> = ["rm", "-rf"].into_iter().chain(folders.iter().map(String::as_str)).collect();
        let node = self.node().await?;
        until("what the brokers kept is gone", LIMIT, async || Ok(self.on_node(&node, &remove).await?)).await
    }

    /// The node of the cluster, which is a container of this name.
    async fn node(&self) -> Result<String> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await?.items;
        Ok(nodes.first().ok_or("the cluster has no node")?.name_any())
    }

    async fn on_node(&self, node: &str, command: &[&str]) -> Result {
        let mut exec = self.cluster.tool(Tool::Docker);
        exec.args(["exec", node]).args(command);
        install::run(exec).await.map(drop)
    }
}
