//! Which Kafka cluster a `KafkaCluster` is: brokers may move and be renamed, the cluster's own id stays. Pure but for reading
//! the cache.
//!
//! Two `KafkaCluster`s of one id are one cluster. One whose id changes has been pointed at another cluster, where none of the
//! topics are that were made through it.

use std::collections::BTreeMap;

use kube::{ResourceExt, runtime::reflector::Store};
use penstock_crds::{KafkaCluster, condition::Reason};
use penstock_kafka::ClusterDescription;

use super::ClusterRefusal;
use crate::watch::Guarded;

/// The id of each Kafka cluster that was seen, by the name of its `KafkaCluster`.
#[derive(Clone, Debug, Default)]
pub struct ClusterIds(BTreeMap<String, String>);

impl ClusterIds {
    /// What the statuses in the operator's own namespace say.
    #[must_use]
    pub fn known(store: &Store<Guarded<KafkaCluster>>, operator_namespace: &str) -> Self {
        let clusters = store.state();
        let own = clusters.iter().filter_map(|object| object.0.as_ref().ok());
        own.filter(|cluster| cluster.namespace().as_deref() == Some(operator_namespace))
            .filter_map(|cluster| Some((cluster.name_any(), cluster.status.as_ref()?.cluster_id.clone()?)))
            .collect()
    }

    /// Whether both names stand for one Kafka cluster, as far as is known.
    #[must_use]
    pub fn are_same(&self, one: &str, other: &str) -> bool {
        one == other || matches!((self.0.get(one), self.0.get(other)), (Some(one), Some(other)) if one == other)
    }

    /// The names that stand for the cluster with this id.
    pub fn names_of(&self, id: &str) -> impl Iterator<Item = &String> {
        self.0.iter().filter(move |(_, known)| *known == id).map(|(name, _)| name)
    }
}

impl FromIterator<(String, String)> for ClusterIds {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(ids: I) -> Self {
        Self(ids.into_iter().collect())
    }
}

/// Checks that the cluster that answers is the one that answered before.
///
/// # Errors
/// `ClusterIdChanged`.
pub fn identify(cluster: &KafkaCluster, seen: &ClusterDescription) -> Result<(), ClusterRefusal> {
    match cluster.status.as_ref().and_then(|status| status.cluster_id.as_ref()) {
        Some(before) if *before != seen.cluster_id => Err(ClusterRefusal::new(
            Reason::ClusterIdChanged,
            format!(
                "spec.bootstrapServers lead to Kafka cluster {}, but this KafkaCluster stood for {before}, and its topics are there: \
                 correct the servers; or, if the other cluster was meant to go, delete this KafkaCluster and apply it again",
                seen.cluster_id
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_its_id() {
        for (before, now, expected) in
            [(None, "A", None), (Some("A"), "A", None), (Some("A"), "B", Some(Reason::ClusterIdChanged)), (None, "", None)]
        {
            let cluster: KafkaCluster = serde_json::from_value(json!({
                "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaCluster", "metadata": {"name": "default"},
                "spec": {"bootstrapServers": ["kafka:9092"]}, "status": {"clusterId": before},
            }))
            .unwrap();
            let seen = ClusterDescription::new(now);
            assert_eq!(identify(&cluster, &seen).err().map(|refusal| refusal.reason), expected, "{before:?} {now}");
        }
    }
}
