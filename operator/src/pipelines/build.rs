//! Builds the objects that a pipeline needs. Pure: the same pipeline gives the same bytes.
//!
//! Nothing of a tenant's reaches a pod but what the API names; selectors never change, since Kubernetes would not let them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{ConfigMap, Service, ServiceAccount, ServicePort, ServiceSpec},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};
use penstock_crds::{
    KafkaTopic, KafkaTopicSpec, name,
    worker::{ADMIN_PORT_NAME, CONFIG_FILE, HTTP_PORT_NAME, PipelineId, WorkerConfig, WorkerSource},
};

use super::{
    child::{ChildKind, Manifest},
    pod,
    validate::ValidatedPipeline,
};

/// How many old ReplicaSets are kept, to look at and roll back to.
const REVISIONS: i32 = 3;
/// How long a rollout may make no progress before Kubernetes says so, in seconds.
const PROGRESS_DEADLINE: i32 = 120;

/// The labels by which the workers of a pipeline are found.
#[must_use]
pub fn selector(pipeline: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (name::LABEL_COMPONENT.to_owned(), name::COMPONENT_WORKER.to_owned()),
        (name::LABEL_PIPELINE.to_owned(), name::owned_name(pipeline)),
    ])
}

/// The same labels, as `kubectl get pods -l` and the scale subresource want them.
#[must_use]
pub fn selector_text(pipeline: &str) -> String {
    selector(pipeline).iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

/// Every object that runs the workers, in the order in which they are applied.
///
/// # Errors
/// When an object cannot be written as JSON.
pub fn build(pipeline: &ValidatedPipeline, image: &str) -> Result<Vec<Manifest>, serde_json::Error> {
    let config = config_file(&pipeline.worker)?;
    let deployment = deployment(pipeline, image, &name::fingerprint(config.as_bytes()));
    Ok(vec![
        Manifest::new(ChildKind::ServiceAccount, &service_account(pipeline))?,
        Manifest::new(ChildKind::ConfigMap, &config_map(pipeline, config))?,
        Manifest::new(ChildKind::Service, &service(pipeline))?,
        Manifest::new(ChildKind::PodDisruptionBudget, &disruption_budget(pipeline))?,
        Manifest::new(ChildKind::Deployment, &deployment)?,
    ])
}

/// The object of a derived dead letter topic or retry topic.
///
/// # Errors
/// When the object cannot be written as JSON.
pub fn derived_topic(
    owner: &OwnerReference,
    pipeline: &PipelineId,
    object: &str,
    spec: KafkaTopicSpec,
) -> Result<Manifest, serde_json::Error> {
    let mut topic = KafkaTopic::new(object, spec);
    let labels = BTreeMap::from([(name::LABEL_PIPELINE.to_owned(), name::owned_name(&pipeline.name))]);
    topic.metadata.namespace = Some(pipeline.namespace.clone());
    topic.metadata.labels = Some(with_common(labels));
    topic.metadata.owner_references = Some(vec![owner.clone()]);
    Manifest::new(ChildKind::KafkaTopic, &topic)
}

pub(super) fn labels(worker: &WorkerConfig) -> BTreeMap<String, String> {
    let mut labels = selector(&worker.pipeline.name);
    labels.insert(name::LABEL_NAME.to_owned(), worker.processor.name().to_owned());
    with_common(labels)
}

fn with_common(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.insert(name::LABEL_MANAGED_BY.to_owned(), name::MANAGED_BY.to_owned());
    labels.insert(name::LABEL_PART_OF.to_owned(), name::PART_OF.to_owned());
    labels
}

fn metadata(pipeline: &ValidatedPipeline) -> ObjectMeta {
    let id = &pipeline.worker.pipeline;
    ObjectMeta {
        name: Some(name::owned_name(&id.name)),
        namespace: Some(id.namespace.clone()),
        labels: Some(labels(&pipeline.worker)),
        owner_references: Some(vec![pipeline.owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn config_file(worker: &WorkerConfig) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(worker).map(|json| json + "\n")
}

fn service_account(pipeline: &ValidatedPipeline) -> ServiceAccount {
    // Workers never talk to Kubernetes.
    ServiceAccount { metadata: metadata(pipeline), automount_service_account_token: Some(false), ..ServiceAccount::default() }
}

fn config_map(pipeline: &ValidatedPipeline, file: String) -> ConfigMap {
    ConfigMap { metadata: metadata(pipeline), data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), file)])), ..ConfigMap::default() }
}

fn service(pipeline: &ValidatedPipeline) -> Service {
    let port = |name: &str, number: u16| ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some("http".to_owned()),
        ..ServicePort::default()
    };
    let ports = ports(&pipeline.worker).map(|(name, number)| port(name, number)).collect();
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        selector: Some(selector(&pipeline.worker.pipeline.name)),
        ports: Some(ports),
        ..ServiceSpec::default()
    };
    Service { metadata: metadata(pipeline), spec: Some(spec), ..Service::default() }
}

/// The ports of a worker: that of its HTTP source, if it has one, and that for health and metrics.
pub(super) fn ports(worker: &WorkerConfig) -> impl Iterator<Item = (&'static str, u16)> {
    let http = match worker.source {
        WorkerSource::Http { port, .. } => Some((HTTP_PORT_NAME, port)),
        WorkerSource::Kafka(_) => None,
    };
    http.into_iter().chain([(ADMIN_PORT_NAME, worker.admin_port)])
}

fn disruption_budget(pipeline: &ValidatedPipeline) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(match_labels(pipeline)),
        // A worker that is not ready anyway never holds up the drain of a node.
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget { metadata: metadata(pipeline), spec: Some(spec), ..PodDisruptionBudget::default() }
}

fn match_labels(pipeline: &ValidatedPipeline) -> LabelSelector {
    LabelSelector { match_labels: Some(selector(&pipeline.worker.pipeline.name)), ..LabelSelector::default() }
}

fn deployment(pipeline: &ValidatedPipeline, image: &str, config_hash: &str) -> Deployment {
    let spec = DeploymentSpec {
        replicas: Some(pipeline.replicas),
        revision_history_limit: Some(REVISIONS),
        progress_deadline_seconds: Some(PROGRESS_DEADLINE),
        selector: match_labels(pipeline),
        strategy: Some(strategy(&pipeline.worker.source)),
        template: pod::template(pipeline, image, config_hash),
        ..DeploymentSpec::default()
    };
    Deployment { metadata: metadata(pipeline), spec: Some(spec), ..Deployment::default() }
}

/// No old worker goes before a new one is ready, so that a configuration or image that does not work never stops a
/// pipeline that did. Workers of a consumer group are replaced in batches, since each step costs the whole group two
/// rebalances; those of an HTTP source one by one, since requests are spread over all of them at any time.
///
/// Workers that hold records back are replaced all at once. Which topics a family has may change with the pipeline, and an old worker
/// knows nothing of those that came: it would handle what should wait behind a record there. Where the workers share out the
/// partitions among themselves there is moreover one way to do so in a group, and they need another than the rest.
fn strategy(source: &WorkerSource) -> DeploymentStrategy {
    let surge = match source {
        WorkerSource::Kafka(input) if !input.held.is_empty() => {
            return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
        }
        WorkerSource::Kafka(_) => IntOrString::String("25%".to_owned()),
        WorkerSource::Http { .. } => IntOrString::Int(1),
    };
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment { max_unavailable: Some(IntOrString::Int(0)), max_surge: Some(surge) }),
    }
}

#[cfg(test)]
mod tests;
