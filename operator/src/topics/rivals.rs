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

/// What the other objects claim that mean the same topic, and may use the cluster that they name.
pub(super) fn rivals(context: &Context, mine: &Claim) -> Vec<Claim> {
    of_namesakes(context, mine, |_| false)
}

/// The same with all that owned the topic: whoever lost its access to the cluster, or its cluster, has not lost its data.
pub(super) fn claimants(context: &Context, mine: &Claim) -> Vec<Claim> {
    of_namesakes(context, mine, |claim| claim.owned_the_same(mine))
}

fn of_namesakes(context: &Context, mine: &Claim, counts_anyway: impl Fn(&Claim) -> bool) -> Vec<Claim> {
    let ids = ClusterIds::known(&context.watches.clusters.store(), &context.settings.namespace);
    let namesakes = context.watches.topics_by_name.find(&mine.kafka_name);
    let others = namesakes.iter().map(|object| Claim::of_any(object)).filter(|claim| !claim.is_same_object(mine));
    let is_rival = |claim: &Claim| claim.is_for_same_topic(mine, &ids) && may_use_its_cluster(context, claim);
    others.filter(|claim| counts_anyway(claim) || is_rival(claim)).collect()
}

/// Whether the object of a claim may use the cluster that it names.
fn may_use_its_cluster(context: &Context, claim: &Claim) -> bool {
    clusters::resolve(&context.watches.clusters.store(), &context.settings.namespace, &claim.cluster, &claim.namespace).is_ok()
}
