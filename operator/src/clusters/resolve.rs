//! Finds the Kafka cluster that an object in some namespace refers to, if it may use it. Pure but for reading the cache.
//!
//! Only `KafkaCluster`s in the operator's own namespace are ever found, whatever a tenant writes.

use kube::{
    ResourceExt,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};
use penstock_crds::{
    KafkaCluster, KafkaClusterSpec,
    cluster::ClusterAccess,
    condition::{ConditionType, Reason},
};

use super::ClusterRefusal;
use crate::watch::{Change, Guarded};

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

/// The name of the cluster, if the change makes a difference to those who use it: whether it is there, who may use it, how,
/// and whether it answers.
#[must_use]
pub fn change_of_use(change: &Change<KafkaCluster>, operator_namespace: &str) -> Option<String> {
    let latest = change.latest()?;
    if latest.namespace().as_deref() != Some(operator_namespace) || as_used(change.before.as_deref()) == as_used(change.after.as_deref()) {
        return None;
    }
    Some(latest.name_any())
}

fn as_used(object: Option<&Guarded<KafkaCluster>>) -> Option<Option<(&KafkaClusterSpec, Result<(), ClusterRefusal>)>> {
    object.map(|object| object.0.as_ref().ok().map(|cluster| (&cluster.spec, state(cluster))))
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

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector::store::Writer, watcher};
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("shop-*", "shop-a", true),
            ("shop-*", "shop-", true),
            ("shop-*", "shop", false),
            ("*", "anything", true),
            ("*-prod", "shop-prod", true),
            ("*-prod", "prod", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "ace", true),
            ("a*c*e", "aec", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
            ("*a*", "bab", true),
            ("*a*", "bbb", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    fn cluster(namespace: &str, name: &str, access: Option<&[&str]>, ready: Option<&str>) -> Guarded<KafkaCluster> {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaCluster",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"bootstrapServers": ["kafka:9092"], "access": access.map(|n| json!({"namespaces": n}))},
            "status": ready.map(|status| json!({"conditions": [{
                "type": "Ready", "status": status, "reason": "KafkaUnreachable", "message": "nobody answers", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]})),
        }))
        .unwrap()
    }

    #[test]
    fn only_allowed_clusters_of_the_operators_namespace_are_found() {
        let mut writer = Writer::default();
        let broken: Guarded<KafkaCluster> =
            serde_json::from_value(json!({"metadata": {"name": "broken", "namespace": "ops"}, "spec": {"bootstrapServers": 1}})).unwrap();
        for cluster in [
            cluster("ops", "default", None, Some("True")),
            cluster("ops", "down", None, Some("False")),
            cluster("ops", "new", None, None),
            cluster("ops", "closed", Some(&[]), Some("True")),
            cluster("ops", "some", Some(&["shop-*", "bank"]), Some("True")),
            cluster("shop", "mine", None, Some("True")),
            broken,
        ] {
            writer.apply_watcher_event(&watcher::Event::Apply(cluster));
        }
        let store = writer.as_reader();
        for (name, namespace, expected) in [
            ("default", "shop", Ok(true)),
            ("down", "shop", Ok(false)),
            ("new", "shop", Ok(false)),
            ("some", "shop-a", Ok(true)),
            ("some", "bank", Ok(true)),
            ("some", "shop", Err(Reason::ClusterNotAllowed)),
            ("closed", "shop", Err(Reason::ClusterNotAllowed)),
            ("mine", "shop", Err(Reason::ClusterNotFound)),
            ("broken", "shop", Err(Reason::ClusterNotReady)),
        ] {
            let found = resolve(&store, "ops", name, namespace);
            assert_eq!(found.map(|c| c.is_ready()).map_err(|r| r.reason), expected, "{name} for {namespace}");
        }
    }
}
