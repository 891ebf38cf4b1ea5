//! Where the topics of a run are: a namespace for each fleet, with its topics in Kafka, and nothing of them once it is over.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use penstock_crds::topic::DeletionPolicy;
use penstock_operator::{clusters::ClusterConnections, metrics::KafkaRequests};
use penstock_tests::scene::{Result, Scene, until};
use serde_json::json;

use crate::fleet::Fleet;

/// What the names of the namespaces begin with, and so those of the topics in Kafka.
const PREFIX: &str = "bench-topics";
/// Which namespaces are of this benchmark.
const LABEL: &str = "penstock.dev/benchmark=topics";
/// How long it may take until all is gone that a run has left which was ended in the middle.
const CLEARED: Duration = Duration::from_secs(900);

/// A fleet without topics.
///
/// # Errors
/// The apiserver refuses its namespace, or Kafka is not in the cluster.
pub async fn open(system: &Scene, name: &str, policy: DeletionPolicy) -> Result<Fleet> {
    let tail: u32 = rand::random();
    let namespace = format!("{PREFIX}-{name}-{tail:08x}");
    let labels = json!({"penstock.dev/benchmark": "topics"});
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
    namespaces(system).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let brokers: Vec<String> = system.cluster.brokers().await?.external.split(',').map(str::to_owned).collect();
    let kafka = ClusterConnections::new(KafkaRequests::default(), Duration::from_secs(60)).to(PREFIX, &brokers)?;
    Ok(Fleet::new(Api::namespaced(system.client.clone(), &namespace), kafka, namespace, policy))
}

/// Removes the namespace of a fleet, and waits until it is gone: what comes next is measured without it.
///
/// # Errors
/// It stays.
pub async fn close(system: &Scene, fleet: &Fleet) -> Result {
    namespaces(system).delete(&fleet.prefix, &DeleteParams::background()).await?;
    gone(system).await
}

/// Removes what an earlier run has left: namespaces with their objects, and topics in Kafka. The operator must run.
///
/// # Errors
/// Something stays.
pub async fn clear(system: &Scene) -> Result {
    let left = namespaces(system).list(&ListParams::default().labels(LABEL)).await?.items;
    if !left.is_empty() {
        eprintln!("==> removing what a run has left: {} namespaces", left.len());
    }
    for namespace in left {
        namespaces(system).delete(&namespace.name_any(), &DeleteParams::background()).await?;
    }
    gone(system).await?;
    let topics: Vec<String> =
        system.admin.list().await?.into_iter().map(|topic| topic.name).filter(|name| name.starts_with(PREFIX)).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut doomed = Vec::new();
    for (name, described) in system.admin.describe(&names).await? {
        doomed.push((name, described?.id));
    }
    for some in doomed.chunks(500) {
        let some: Vec<_> = some.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        system.admin.delete(&some).await?;
    }
    Ok(())
}

async fn gone(system: &Scene) -> Result {
    until("the namespaces are gone", CLEARED, async || {
        let left = namespaces(system).list(&ListParams::default().labels(LABEL)).await?.items.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} are left").into()) }
    })
    .await
}

fn namespaces(system: &Scene) -> Api<Namespace> {
    Api::all(system.client.clone())
}
