//! Finds the Kafka cluster that an object in some namespace refers to, if it may use it. Pure but for reading the cache.
//!
//! Only `KafkaCluster`s in the operator's own namespace are ever found, whatever a tenant writes.

use kube::{
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};
use penstock_crds::{
    KafkaCluster, KafkaClusterSpec,
    cluster::ClusterAccess,
    condition::{ConditionType, Reason},
};

use crate::watch::Guarded;

/// A Kafka cluster that the asking namespace may use.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedCluster {
    /// The `KafkaCluster`'s name.
    pub name: String,
    /// What it declares.
    pub spec: KafkaClusterSpec,
    /// Whether it answered when it was last asked; if not, why.
    pub state: Result<(), ClusterRefusal>,
}

impl ResolvedCluster {
    /// Whether it answered when it was last asked.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.is_ok()
    }
}

/// Why a Kafka cluster cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClusterRefusal {
    /// The reason, as it stands in a condition.
    pub reason: Reason,
    /// What to change.
    pub message: String,
}

/// Finds the cluster `cluster_name` for an object in `for_namespace`.
///
/// # Errors
/// `ClusterNotFound`, `ClusterNotAllowed`, or `ClusterNotReady` where the object cannot be read.
pub fn resolve(
    store: &Store<Guarded<KafkaCluster>>,
    operator_namespace: &str,
    cluster_name: &str,
    for_namespace: &str,
) -> Result<ResolvedCluster, ClusterRefusal> {
    let key = ObjectRef::new(cluster_name).within(operator_namespace);
    let found = store.get(&key);
    let cluster = match found.as_deref() {
        None => {
            return Err(ClusterRefusal {
                reason: Reason::ClusterNotFound,
                message: format!(
                    "there is no KafkaCluster `{cluster_name}` in namespace `{operator_namespace}`: ask the platform team for one, or name another in spec.clusterRef"
                ),
            });
        }
        Some(DeserializeGuard(Err(broken))) => {
            return Err(ClusterRefusal {
                reason: Reason::ClusterNotReady,
                message: format!("the KafkaCluster `{cluster_name}` cannot be read: {broken}"),
            });
        }
        Some(DeserializeGuard(Ok(cluster))) => cluster,
    };
    if !allows(cluster.spec.access.as_ref(), for_namespace) {
        return Err(ClusterRefusal {
            reason: Reason::ClusterNotAllowed,
            message: format!(
                "the KafkaCluster `{cluster_name}` does not allow namespace `{for_namespace}`: its spec.access.namespaces must name it"
            ),
        });
    }
    Ok(ResolvedCluster { name: cluster_name.to_owned(), spec: cluster.spec.clone(), state: state(cluster) })
}

fn state(cluster: &KafkaCluster) -> Result<(), ClusterRefusal> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let ready = cluster.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str()));
    match ready {
        Some(ready) if ready.status == "True" => Ok(()),
        Some(ready) => Err(ClusterRefusal {
            reason: Reason::ClusterNotReady,
            message: format!("the KafkaCluster `{name}` is not ready: {}: {}", ready.reason, ready.message),
        }),
        None => Err(ClusterRefusal { reason: Reason::ClusterNotReady, message: format!("the KafkaCluster `{name}` was not checked yet") }),
    }
}

fn allows(access: Option<&ClusterAccess>, namespace: &str) -> bool {
    access.is_none_or(|access| access.namespaces.iter().any(|pattern| matches(pattern, namespace)))
}

/// Whether the name fits the pattern, in which `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    let middle = parts.try_fold(rest, |rest, part| rest.find(part).and_then(|at| rest.get(at + part.len()..)));
    middle.is_some_and(|rest| rest.ends_with(last))
}
