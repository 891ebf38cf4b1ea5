//! Gathers what a reconcile decides by. All reads are here; but for the ConfigMap of the keys that a pipeline names, and for what its
//! group has noted in Kafka, they are reads of caches.

use std::sync::Arc;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::Resource;
use penstock_crds::{EventPipeline, name, topic};

use super::{
    autoscaler::{Autoscaler, Told},
    child::ChildKind,
    children::Children,
    keys,
    plan::Owned,
    positions::Moves,
    readings::Readings,
    scaled,
    validate::References,
};
use crate::{clusters, context::Context, watch::Guarded};

/// What a reconcile decides by.
pub struct Observed {
    /// What the pipeline refers to.
    pub references: References,
    /// What it controls.
    pub owned: Vec<Owned>,
    /// Its Deployment.
    pub deployment: Option<Deployment>,
    /// The pods of its workers.
    pub pods: Vec<Arc<Guarded<Pod>>>,
    /// What was decided last about the number of its workers.
    pub told: Option<Told>,
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
    (readings, autoscaler): (&Readings, &Autoscaler),
    pipeline: &EventPipeline,
) -> Result<Observed, serde_json::Error> {
    let meta = &pipeline.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let owned = children.owned_by(namespace, meta.uid.as_deref().unwrap_or_default())?;
    let deployment = deployment(&owned, name)?;
    let told = autoscaler.told(meta.uid.as_deref().unwrap_or_default());
    let cluster = topic::cluster_name(pipeline.spec.cluster_ref.as_ref());
    let references = References {
        cluster: clusters::resolve(&context.watches.clusters.store(), &context.settings.namespace, cluster, namespace),
        topics: context.watches.topics.store().state_filter(|t| t.meta().namespace.as_deref() == Some(namespace)),
        keys: keys::look(&context.client, namespace, &pipeline.spec).await,
        decided: scaled::decided(pipeline, told.as_ref(), deployment.as_ref()),
    };
    let pods = children.pods_of(namespace, name);
    let moves = readings.moves(context, pipeline, references.cluster.as_ref().ok()).await;
    Ok(Observed { references, owned, deployment, pods, told, moves })
}

fn deployment(owned: &[Owned], pipeline: &str) -> Result<Option<Deployment>, serde_json::Error> {
    let name = name::owned_name(pipeline);
    let ours = owned.iter().find(|o| o.kind == ChildKind::Deployment && o.metadata.name.as_deref() == Some(name.as_str()));
    ours.map(|o| serde_json::from_value(o.body.clone())).transpose()
}
