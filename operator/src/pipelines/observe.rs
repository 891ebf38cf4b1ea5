//! Gathers what a reconcile decides by. All reads are here; but for the pods of workers that do not become ready, for the ConfigMap
//! of the keys that a pipeline names, and for what its group has noted in Kafka, they are reads of caches.

use std::time::Duration;

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, Resource, api::ListParams};
use penstock_crds::{EventPipeline, name, topic};

use super::{
    build::selector_text,
    child::ChildKind,
    children::Children,
    keys,
    plan::Owned,
    positions::Moves,
    readings::Readings,
    status::unready_for,
    validate::{References, replicas},
    workers::{Workers, judge},
};
use crate::{clusters, context::Context};

/// How long workers may take to become ready before their pods are asked for the reason.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many pods are asked for at most.
const PODS: u32 = 50;

/// What a reconcile decides by.
pub struct Observed {
    /// What the pipeline refers to.
    pub references: References,
    /// What it controls.
    pub owned: Vec<Owned>,
    /// Its Deployment.
    pub deployment: Option<Deployment>,
    /// Its pods, where they have not been ready for a while.
    pub pods: Vec<Pod>,
    /// Where its group did not go on where it had stopped; none: that is not known.
    pub moves: Option<Moves>,
}

/// Looks at everything that concerns a pipeline.
///
/// # Errors
/// When a cached object cannot be written as JSON.
pub async fn observe(
    context: &Context,
    children: &Children,
    readings: &Readings,
    pipeline: &EventPipeline,
    now: &Time,
) -> Result<Observed, serde_json::Error> {
    let meta = &pipeline.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let owned = children.owned_by(namespace, meta.uid.as_deref().unwrap_or_default())?;
    let deployment = deployment(&owned, meta.name.as_deref().unwrap_or_default())?;
    let cluster = topic::cluster_name(pipeline.spec.cluster_ref.as_ref());
    let references = References {
        cluster: clusters::resolve(&context.watches.clusters.store(), &context.settings.namespace, cluster, namespace),
        topics: context.watches.topics.store().state_filter(|t| t.meta().namespace.as_deref() == Some(namespace)),
        keys: keys::look(&context.client, namespace, &pipeline.spec).await,
    };
    let pods = match deployment.as_ref().filter(|d| are_overdue(pipeline, d, now)) {
        Some(_) => pods(context, pipeline, namespace).await,
        None => Vec::new(),
    };
    let moves = readings.moves(context, pipeline, references.cluster.as_ref().ok()).await;
    Ok(Observed { references, owned, deployment, pods, moves })
}

fn deployment(owned: &[Owned], pipeline: &str) -> Result<Option<Deployment>, serde_json::Error> {
    let name = name::owned_name(pipeline);
    let ours = owned.iter().find(|o| o.kind == ChildKind::Deployment && o.metadata.name.as_deref() == Some(name.as_str()));
    ours.map(|o| serde_json::from_value(o.body.clone())).transpose()
}

fn are_overdue(pipeline: &EventPipeline, deployment: &Deployment, now: &Time) -> bool {
    let workers = Workers { deployment: Some(deployment), pods: &[], wanted: replicas(&pipeline.spec) };
    !judge(workers).settled && unready_for(pipeline, now).is_some_and(|unready| unready >= PATIENCE)
}

async fn pods(context: &Context, pipeline: &EventPipeline, namespace: &str) -> Vec<Pod> {
    let selector = selector_text(pipeline.metadata.name.as_deref().unwrap_or_default());
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    match api.list(&ListParams::default().labels(&selector).limit(PODS)).await {
        Ok(list) => list.items,
        Err(error) => {
            // The conditions then say how many workers are ready, but not why.
            tracing::warn!(%error, "the pods of a pipeline could not be listed");
            Vec::new()
        }
    }
}
