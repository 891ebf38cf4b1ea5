//! The watches over the objects that pipelines own and over the pods of their workers, and which pipelines a change concerns.
//!
//! Only objects with our labels are watched, so that the caches do not grow with what others have in the cluster.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Pod, Service, ServiceAccount},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Resource,
    runtime::{reflector::ObjectRef, watcher},
};
use penstock_crds::{EventPipeline, KafkaCluster, KafkaTopic, name, topic};
use serde::Serialize;

use super::{
    build::selector,
    child::{ChildKind, is_controlled_by},
    plan::Owned,
    topics, workers,
};
use crate::{
    context::{Context, Watches},
    controller::{self, Triggers},
    watch::{Change, Guarded, Watch, Watched},
};

/// The watches over the objects that pipelines own, and over the pods that run their workers.
#[derive(Clone)]
pub struct Children {
    topics: Watch<KafkaTopic>,
    service_accounts: Watch<ServiceAccount>,
    config_maps: Watch<ConfigMap>,
    services: Watch<Service>,
    budgets: Watch<PodDisruptionBudget>,
    deployments: Watch<Deployment>,
    pods: Watch<Pod>,
}

impl Children {
    /// Starts the watches.
    #[must_use]
    pub fn watch(context: &Context) -> Self {
        let ours =
            || watcher::Config::default().labels(&format!("{}={},{}", name::LABEL_MANAGED_BY, name::MANAGED_BY, name::LABEL_PIPELINE));
        Self {
            topics: context.watches.topics.clone(),
            service_accounts: context.watch(ours()),
            config_maps: context.watch(ours()),
            services: context.watch(ours()),
            budgets: context.watch(ours()),
            deployments: context.watch(ours()),
            pods: context.watch(ours()),
        }
    }

    /// Waits until every cache is complete, those of what pipelines refer to as well: before that, what exists would seem to be missing.
    pub async fn synced(&self, watches: &Watches) {
        watches.clusters.synced().await;
        self.topics.synced().await;
        self.service_accounts.synced().await;
        self.config_maps.synced().await;
        self.services.synced().await;
        self.budgets.synced().await;
        self.deployments.synced().await;
        self.pods.synced().await;
    }

    /// The pods of the workers of that pipeline.
    #[must_use]
    pub fn pods_of(&self, namespace: &str, pipeline: &str) -> Vec<Arc<Guarded<Pod>>> {
        let wanted = selector(pipeline);
        let has = |meta: &ObjectMeta| wanted.iter().all(|(name, value)| meta.labels.as_ref().and_then(|l| l.get(name)) == Some(value));
        self.pods.select(|pod| pod.metadata.namespace.as_deref() == Some(namespace) && has(&pod.metadata))
    }

    /// Whether a worker of that pipeline may still run. Pods that have ended, such as evicted ones, stay until somebody removes them.
    #[must_use]
    pub fn has_workers(&self, namespace: &str, pipeline: &str) -> bool {
        self.pods_of(namespace, pipeline).iter().any(|pod| pod.0.as_ref().map_or(true, |pod| !has_ended(pod)))
    }

    /// The Deployment of the workers of that pipeline.
    #[must_use]
    pub fn deployment_of(&self, namespace: &str, pipeline: &str) -> Option<Deployment> {
        let found = self.deployments.get(namespace, &name::owned_name(pipeline))?;
        found.0.as_ref().ok().cloned()
    }

    /// Everything in this namespace that is controlled by the pipeline with this uid.
    ///
    /// # Errors
    /// When an object cannot be written as JSON.
    pub fn owned_by(&self, namespace: &str, uid: &str) -> Result<Vec<Owned>, serde_json::Error> {
        let mut found = owned(&self.topics, ChildKind::KafkaTopic, namespace, uid)?;
        found.extend(owned(&self.service_accounts, ChildKind::ServiceAccount, namespace, uid)?);
        found.extend(owned(&self.config_maps, ChildKind::ConfigMap, namespace, uid)?);
        found.extend(owned(&self.services, ChildKind::Service, namespace, uid)?);
        found.extend(owned(&self.budgets, ChildKind::PodDisruptionBudget, namespace, uid)?);
        found.extend(owned(&self.deployments, ChildKind::Deployment, namespace, uid)?);
        Ok(found)
    }

    /// What asks for reconciles of pipelines: changes of them, of what they own, and of what they refer to.
    #[must_use]
    pub fn triggers(&self, context: &Context) -> Vec<Triggers<EventPipeline>> {
        let (watches, operator) = (&context.watches, context.settings.namespace.clone());
        let [by_topic, by_cluster, by_pod] = [(); 3].map(|()| watches.pipelines.clone());
        vec![
            controller::own_changes(&watches.pipelines),
            controller::related_changes(&watches.topics, move |change| {
                referring_to_topic(&by_topic, change).into_iter().chain(owner(change)).collect()
            }),
            controller::related_changes(&watches.clusters, move |change| on_cluster(&by_cluster, &operator, change)),
            controller::related_changes(&self.service_accounts, owner),
            controller::related_changes(&self.config_maps, owner),
            controller::related_changes(&self.services, owner),
            controller::related_changes(&self.budgets, |change| if change.concerns_reconciler() { owner(change) } else { Vec::new() }),
            controller::related_changes(&self.deployments, owner),
            controller::related_changes(&self.pods, move |change| running(&by_pod, change)),
        ]
    }
}

fn owned<K: Watched + Serialize>(watch: &Watch<K>, kind: ChildKind, namespace: &str, uid: &str) -> Result<Vec<Owned>, serde_json::Error> {
    let ours = |meta: &ObjectMeta| meta.namespace.as_deref() == Some(namespace) && is_controlled_by(meta, uid);
    let found = watch.select(|object| ours(object.meta()));
    let readable = found.iter().filter_map(|object| object.0.as_ref().ok());
    readable.map(|object| Ok(Owned { kind, metadata: object.meta().clone(), body: serde_json::to_value(object)? })).collect()
}

/// The pipelines that control a changed object, or did before the change.
fn owner<K: Watched>(change: &Change<K>) -> Vec<ObjectRef<Guarded<EventPipeline>>> {
    [&change.before, &change.after].into_iter().flatten().flat_map(|object| controllers(object.meta())).collect()
}

fn controllers(meta: &ObjectMeta) -> Vec<ObjectRef<Guarded<EventPipeline>>> {
    let Some(namespace) = meta.namespace.as_deref() else { return Vec::new() };
    let controllers = meta.owner_references.iter().flatten().filter(|o| o.controller == Some(true) && o.kind == EventPipeline::kind(&()));
    controllers.map(|o| ObjectRef::new(&o.name).within(namespace)).collect()
}

/// The pipelines that name a changed topic, that derive one under the name of its object, or that may derive it as dead letter topic: for
/// those, any topic with the suffix may be the one.
fn referring_to_topic(pipelines: &Watch<EventPipeline>, change: &Change<KafkaTopic>) -> Vec<ObjectRef<Guarded<EventPipeline>>> {
    let Some(topic) = change.latest() else { return Vec::new() };
    let (namespace, object) = (topic.meta().namespace.as_deref(), topic.meta().name.as_deref().unwrap_or_default());
    let is_dead_letter = topic.0.as_ref().is_ok_and(|t| t.kafka_name().ends_with(name::DEAD_LETTER_SUFFIX));
    let derives = |p: &EventPipeline| p.spec.source.kafka.is_some() && p.spec.dead_letter.as_ref().is_none_or(|d| d.topic.is_none());
    let concerned = |p: &EventPipeline| {
        p.metadata.namespace.as_deref() == namespace
            && (topics::named(&p.spec).any(|named| named == object)
                || (is_dead_letter && derives(p))
                || topics::derived(p.metadata.name.as_deref().unwrap_or_default(), &p.spec).iter().any(|derived| derived == object))
    };
    refs(&pipelines.select(concerned))
}

/// The pipelines on a changed cluster. Only those in the operator's namespace have any.
fn on_cluster(pipelines: &Watch<EventPipeline>, operator: &str, change: &Change<KafkaCluster>) -> Vec<ObjectRef<Guarded<EventPipeline>>> {
    let Some(cluster) = change.latest().map(|c| c.meta()).filter(|meta| meta.namespace.as_deref() == Some(operator)) else {
        return Vec::new();
    };
    if !bears_on_pipelines(change) {
        return Vec::new();
    }
    refs(&pipelines.select(|p| Some(topic::cluster_name(p.spec.cluster_ref.as_ref())) == cluster.name.as_deref()))
}

/// Whether more changed of a cluster than the list of its brokers.
fn bears_on_pipelines(change: &Change<KafkaCluster>) -> bool {
    let seen = |c: &Guarded<KafkaCluster>| c.0.as_ref().ok().map(|c| c.status.as_ref().map(|s| s.conditions.clone()));
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => change.concerns_reconciler() || seen(before) != seen(after),
        _ => true,
    }
}

/// The pipelines whose workers a changed pod runs, if that is news.
fn running(pipelines: &Watch<EventPipeline>, change: &Change<Pod>) -> Vec<ObjectRef<Guarded<EventPipeline>>> {
    let Some(pod) = change.latest().filter(|_| ails_otherwise(change)) else { return Vec::new() };
    let (namespace, label) = (pod.meta().namespace.as_deref(), pod.meta().labels.as_ref().and_then(|l| l.get(name::LABEL_PIPELINE)));
    let runs = |p: &EventPipeline| {
        p.metadata.namespace.as_deref() == namespace && p.metadata.name.as_deref().map(name::owned_name).as_ref() == label
    };
    refs(&pipelines.select(runs))
}

/// Whether none of a pod's containers runs, or ever will again.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.is_some_and(|phase| ["Failed", "Succeeded"].contains(&phase))
}

/// Whether something else keeps a pod from running than before. What there is to know of it otherwise, its Deployment tells.
fn ails_otherwise(change: &Change<Pod>) -> bool {
    let ails = |pod: &Option<Arc<Guarded<Pod>>>| workers::failure(pod.as_ref()?.0.as_ref().ok()?);
    ails(&change.before) != ails(&change.after)
}

fn refs(pipelines: &[Arc<Guarded<EventPipeline>>]) -> Vec<ObjectRef<Guarded<EventPipeline>>> {
    pipelines.iter().map(|p| ObjectRef::from_obj(p.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_asks_for_a_reconcile_when_it_begins_or_ceases_to_fail() {
        let pod = |status: Value| Some(Arc::new(serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()));
        let scheduled = |status: &str| pod(json!({"conditions": [{"type": "PodScheduled", "status": status, "message": "no room"}]}));
        let worker = |state: Value| {
            pod(json!({"containerStatuses": [
                {"name": "worker", "image": "w:1", "imageID": "", "ready": false, "restartCount": 0, "state": state},
            ]}))
        };
        let waiting = |reason: &str| worker(json!({"waiting": {"reason": reason}}));
        for (before, after, asks) in [
            (None, scheduled("True"), false),
            (None, scheduled("False"), true),
            (scheduled("False"), scheduled("False"), false),
            (scheduled("False"), scheduled("True"), true),
            (scheduled("True"), waiting("ContainerCreating"), false),
            (waiting("ContainerCreating"), worker(json!({"running": {}})), false),
            (waiting("ContainerCreating"), waiting("ErrImagePull"), true),
            (waiting("ErrImagePull"), waiting("ImagePullBackOff"), false),
            (worker(json!({"running": {}})), worker(json!({"terminated": {"exitCode": 1}})), true),
            (scheduled("False"), None, true),
            (worker(json!({"running": {}})), None, false),
        ] {
            let change = Change { before, after };
            assert_eq!(ails_otherwise(&change), asks, "{change:?}");
        }
    }

    #[test]
    fn a_pod_that_has_ended_is_no_worker() {
        for (status, ended) in [
            (json!({"phase": "Failed", "reason": "Evicted"}), true),
            (json!({"phase": "Succeeded"}), true),
            (json!({"phase": "Running"}), false),
            (json!({"phase": "Pending"}), false),
            (json!({"phase": "Unknown"}), false),
            (json!({}), false),
        ] {
            let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap();
            assert_eq!(has_ended(&pod), ended, "{pod:?}");
        }
    }
}
