//! Finds the Kafka cluster that an object in some namespace refers to, if it may use it. Pure but for reading the cache.
//!
//! Only `KafkaCluster`s in the operator's own namespace are ever found, whatever a tenant writes.

use std::collections::BTreeSet;

use kube::{
    ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use penstock_crds::{
    KafkaCluster, KafkaClusterSpec,
    cluster::ClusterAccess,
    condition::{ConditionType, Reason},
};

use super::{ClusterIds, ClusterRefusal};
use crate::watch::{Change, Guarded};

/// A Kafka cluster, as its `KafkaCluster` tells of it.
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

    /// How many bytes of copies each broker may send and take in a second, where the `KafkaCluster` says so.
    #[must_use]
    pub fn throttle(&self) -> Option<i64> {
        self.spec.reassignment.as_ref()?.throttle_bytes_per_second
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
    let cluster = find(store, operator_namespace, cluster_name)?;
    if !allows(cluster.spec.access.as_ref(), for_namespace) {
        return Err(ClusterRefusal {
            reason: Reason::ClusterNotAllowed,
            message: format!(
                "the KafkaCluster `{cluster_name}` does not allow namespace `{for_namespace}`: its spec.access.namespaces must name it"
            ),
        });
    }
    Ok(cluster)
}

/// Finds the cluster whoever asks: only to take back what the operator itself has set there.
///
/// # Errors
/// `ClusterNotFound`, or `ClusterNotReady` where the object cannot be read.
pub fn find(store: &Store<Guarded<KafkaCluster>>, operator_namespace: &str, cluster_name: &str) -> Result<ResolvedCluster, ClusterRefusal> {
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
        Some(Guarded(Err(broken))) => {
            return Err(ClusterRefusal {
                reason: Reason::ClusterNotReady,
                message: format!("the KafkaCluster `{cluster_name}` cannot be read: {broken}"),
            });
        }
        Some(Guarded(Ok(cluster))) => cluster,
    };
    Ok(ResolvedCluster { name: cluster_name.to_owned(), spec: cluster.spec.clone(), state: state(cluster) })
}

/// The names of the cluster, if the change makes a difference to those who use it: whether it is there, who may use it, how,
/// whether it answers, and which Kafka cluster it is. Where two `KafkaCluster`s are one, a change of either concerns both.
#[must_use]
pub fn changed_uses(
    change: &Change<KafkaCluster>,
    store: &Store<Guarded<KafkaCluster>>,
    operator_namespace: &str,
) -> Option<BTreeSet<String>> {
    let latest = change.latest()?;
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    if latest.namespace().as_deref() != Some(operator_namespace) || as_used(before) == as_used(after) {
        return None;
    }
    let ids = ClusterIds::known(store, operator_namespace);
    let mut names: BTreeSet<_> = [before, after].into_iter().flatten().filter_map(id).flat_map(|id| ids.names_of(id)).cloned().collect();
    names.insert(latest.name_any());
    Some(names)
}

/// What users of a cluster see of it: its spec, its id and its state.
type AsUsed<'a> = (&'a KafkaClusterSpec, Option<&'a str>, Result<(), ClusterRefusal>);

fn as_used(object: Option<&Guarded<KafkaCluster>>) -> Option<Option<AsUsed<'_>>> {
    object.map(|object| object.0.as_ref().ok().map(|cluster| (&cluster.spec, id(object), state(cluster))))
}

fn id(object: &Guarded<KafkaCluster>) -> Option<&str> {
    object.0.as_ref().ok()?.status.as_ref()?.cluster_id.as_deref()
}

/// Only what was seen at the servers that the spec names now counts.
pub(super) fn state(cluster: &KafkaCluster) -> Result<(), ClusterRefusal> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let refuse = |message| Err(ClusterRefusal { reason: Reason::ClusterNotReady, message });
    let status = cluster.status.as_ref();
    match status.and_then(|s| s.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str())) {
        Some(ready) if ready.status != "True" => {
            refuse(format!("the KafkaCluster `{name}` is not ready: {}: {}", ready.reason, ready.message))
        }
        Some(_) if status.is_some_and(|s| s.bootstrap_servers == cluster.spec.bootstrap_servers) => Ok(()),
        _ => refuse(format!("the KafkaCluster `{name}` was not checked yet")),
    }
}

fn allows(access: Option<&ClusterAccess>, namespace: &str) -> bool {
    access.is_none_or(|access| access.namespaces.iter().any(|pattern| matches(pattern, namespace)))
}

/// Whether the name fits the pattern, in which `*` stands for any run of characters.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    let middle = parts.try_fold(rest, |rest, part| rest.find(part).and_then(|at| rest.get(at + part.len()..)));
    middle.is_some_and(|rest| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
            "status": ready.map(|status| json!({"bootstrapServers": ["kafka:9092"], "conditions": [{
                "type": "Ready", "status": status, "reason": "KafkaUnreachable", "message": "nobody answers", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]})),
        }))
        .unwrap()
    }

    #[test]
    fn what_was_seen_elsewhere_does_not_count() {
        let mut moved = cluster("ops", "default", None, Some("True"));
        if let Ok(moved) = &mut moved.0 {
            moved.spec.bootstrap_servers = vec!["elsewhere:9092".into()];
            assert_eq!(state(moved).map_err(|refusal| refusal.reason), Err(Reason::ClusterNotReady));
        }
        assert!(moved.0.is_ok());
    }

    #[test]
    fn a_change_concerns_all_names_of_a_cluster() {
        let with_id = |name: &str, id: Option<&str>| {
            let mut cluster = cluster("ops", name, None, Some("True"));
            if let Ok(cluster) = &mut cluster.0 {
                cluster.status.as_mut().unwrap().cluster_id = id.map(str::to_owned);
            }
            cluster
        };
        let mut writer = Writer::default();
        for (name, id) in [("a", Some("A")), ("alias", Some("A")), ("other", Some("B")), ("new", None)] {
            writer.apply_watcher_event(&watcher::Event::Apply(with_id(name, id)));
        }
        let store = writer.as_reader();
        for (before, after, expected) in [
            (Some(with_id("a", Some("A"))), Some(with_id("a", Some("A"))), None),
            (Some(with_id("a", None)), Some(with_id("a", Some("A"))), Some(&["a", "alias"][..])),
            (Some(with_id("gone", Some("A"))), None, Some(&["a", "alias", "gone"])),
            (None, Some(with_id("new", None)), Some(&["new"])),
        ] {
            let change = Change { before: before.map(Arc::new), after: after.map(Arc::new) };
            let names = changed_uses(&change, &store, "ops").map(|names| names.into_iter().collect::<Vec<_>>());
            assert_eq!(names, expected.map(|names| names.iter().map(|n| (*n).to_owned()).collect()));
        }
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
