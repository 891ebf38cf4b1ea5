//! Finds the cluster of an object, and the other objects that mean the same topic.

use kube::ResourceExt;
use penstock_crds::KafkaTopic;

use super::ownership::Claim;
use crate::{
    clusters::{self, ClusterIds, ResolvedCluster},
    context::Context,
    refusal::Refusal,
};

/// The cluster of an object.
pub(super) fn cluster(context: &Context, topic: &KafkaTopic) -> Result<ResolvedCluster, Refusal> {
    let namespace = topic.namespace().unwrap_or_default();
    clusters::resolve(&context.watches.clusters.store(), &context.settings.namespace, topic.cluster_name(), &namespace)
}

/// What the other objects claim that mean the same topic.
pub(super) fn rivals(context: &Context, mine: &Claim) -> Vec<Claim> {
    let ids = ClusterIds::known(&context.watches.clusters.store(), &context.settings.namespace);
    let namesakes = context.watches.topics_by_name.find(&mine.kafka_name);
    let claims = namesakes.iter().map(|object| Claim::of_any(object));
    claims.filter(|claim| !claim.is_same_object(mine) && claim.is_for_same_topic(mine, &ids)).collect()
}

/// Whether the object of a claim may use the cluster that it names.
pub(super) fn may_use_its_cluster(context: &Context, claim: &Claim) -> bool {
    clusters::resolve(&context.watches.clusters.store(), &context.settings.namespace, &claim.cluster, &claim.namespace).is_ok()
}
