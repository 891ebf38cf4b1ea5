//! Marks the workers that shall go first, before a pipeline gets fewer of them.
//!
//! Best effort: without it Kubernetes chooses, and every worker hands its partitions over in order all the same.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use penstock_crds::{EventPipeline, name, pipeline::GroupProtocol};
use penstock_kafka::{Error, GroupMember, GroupProtocol as Protocol};
use serde_json::json;

use super::{
    autoscaler::Autoscaler,
    deletion_cost::{ANNOTATION, costs},
    observe::Observed,
    positions,
    validate::Verdict,
};
use crate::context::Context;

/// How long the group's coordinator may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Marks them, where the operator sets the number of workers and some stay.
pub async fn mark(context: &Context, autoscaler: &Autoscaler, pipeline: &EventPipeline, verdict: &Verdict, seen: &Observed) {
    let scaled = pipeline.spec.scaling.as_ref().is_some_and(|scaling| !scaling.dry_run);
    let has = seen.deployment.as_ref().and_then(|deployment| deployment.spec.as_ref()?.replicas).unwrap_or_default();
    if !scaled || !(1..has).contains(&verdict.replicas) {
        return;
    }
    let (Some(namespace), Some(uid)) = (pipeline.metadata.namespace.as_deref(), pipeline.metadata.uid.as_deref()) else { return };
    let members = match members(context, verdict, seen).await {
        Ok(members) => members,
        Err(error) => return tracing::debug!(%error, namespace, "who has the least to do is not known"),
    };
    let pods: Vec<&Pod> = seen.pods.iter().filter_map(|pod| pod.0.as_ref().ok()).collect();
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let params = PatchParams { field_manager: Some(name::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let (api, params) = (&api, &params);
    let marked = costs(&pods, &members, &autoscaler.loads(uid)).into_iter().map(|(pod, cost)| async move {
        let patch = json!({"metadata": {"annotations": {ANNOTATION: cost.to_string()}}});
        api.patch_metadata(pod, params, &Patch::Merge(patch)).await
    });
    for error in join_all(marked).await.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, namespace, "a worker was not marked");
    }
}

async fn members(context: &Context, verdict: &Verdict, seen: &Observed) -> Result<Vec<GroupMember>, Error> {
    let (Some(input), Ok(cluster)) = (positions::input(verdict), &seen.references.cluster) else { return Ok(Vec::new()) };
    let protocol = match input.group_protocol {
        GroupProtocol::Classic => Protocol::Classic,
        GroupProtocol::Consumer => Protocol::Consumer,
    };
    let connection = context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers)?.with_timeout(LIMIT);
    connection.look("DescribeGroups", connection.admin.group_members(&input.group, protocol)).await
}
