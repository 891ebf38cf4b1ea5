//! Builds the objects that a pipeline needs. Pure: the same pipeline gives the same bytes.
//!
//! Nothing of a tenant's reaches a pod but what the API names; selectors never change, since Kubernetes would not let them.

use std::collections::{BTreeMap, BTreeSet};

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
    worker::{ADMIN_PORT_NAME, CONFIG_FILE, GroupProtocol, HTTP_PORT_NAME, PipelineId, WorkerConfig, WorkerSource},
};

use super::{
    child::{ChildKind, Manifest},
    pod,
    validate::ValidatedPipeline,
};

/// On a Deployment whose workers hold records back: a hash of the topics in which records wait, as far as these workers know.
const ANNOTATION_WAITING_IN: &str = "penstock.dev/waiting-in";
/// All old workers go before a new one comes.
const RECREATE: &str = "Recreate";
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

/// Every object that runs the workers, in the order in which they are applied. `before`: the Deployment as it is.
///
/// # Errors
/// When an object cannot be written as JSON.
pub fn build(pipeline: &ValidatedPipeline, image: &str, before: Option<&Deployment>) -> Result<Vec<Manifest>, serde_json::Error> {
    let config = config_file(&pipeline.worker)?;
    let deployment = deployment(pipeline, image, &name::fingerprint(config.as_bytes()), before);
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

fn deployment(pipeline: &ValidatedPipeline, image: &str, config_hash: &str, before: Option<&Deployment>) -> Deployment {
    let source = &pipeline.worker.source;
    let spec = DeploymentSpec {
        replicas: Some(pipeline.replicas),
        revision_history_limit: Some(REVISIONS),
        progress_deadline_seconds: Some(PROGRESS_DEADLINE),
        selector: match_labels(pipeline),
        strategy: Some(strategy(source, before)),
        template: pod::template(pipeline, image, config_hash),
        ..DeploymentSpec::default()
    };
    let annotations = waiting_in(source).map(|topics| BTreeMap::from([(ANNOTATION_WAITING_IN.to_owned(), topics)]));
    Deployment { metadata: ObjectMeta { annotations, ..metadata(pipeline) }, spec: Some(spec), ..Deployment::default() }
}

/// Names the topics in which records of workers wait that hold others back behind them; none where they do not.
fn waiting_in(source: &WorkerSource) -> Option<String> {
    let WorkerSource::Kafka(input) = source else { return None };
    let topics = input.tiers.iter().flat_map(|tier| tier.topics.values()).chain(input.held.values());
    let topics: BTreeSet<&str> = topics.map(String::as_str).collect();
    let all = topics.into_iter().collect::<Vec<_>>().join(" ");
    (!input.held.is_empty()).then(|| name::fingerprint(all.as_bytes()))
}

/// Whether there may be workers that do not know all topics in which records wait: the last Deployment named others, or such are
/// being replaced just now.
fn may_not_know(waiting_in: &str, before: &Deployment) -> bool {
    let named = before.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION_WAITING_IN));
    named.is_none_or(|named| named != waiting_in) || is_recreating(before)
}

/// Whether its workers are being replaced all at once.
fn is_recreating(deployment: &Deployment) -> bool {
    let spec = deployment.spec.as_ref();
    let recreates = spec.and_then(|spec| spec.strategy.as_ref()?.type_.as_deref()) == Some(RECREATE);
    let has_ended = deployment.status.as_ref().is_some_and(|status| {
        let (all, updated) = (status.replicas.unwrap_or_default(), status.updated_replicas.unwrap_or_default());
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or_default();
        status.observed_generation >= deployment.metadata.generation && all == updated && updated == wanted
    });
    recreates && !has_ended
}

/// No old worker goes before a new one is ready, so that a configuration or image that does not work never stops a
/// pipeline that did. Workers of a consumer group are replaced in batches, since each step costs the whole group two
/// rebalances; those of an HTTP source one by one, since requests are spread over all of them at any time.
///
/// Workers that hold records back are replaced all at once where they share out the partitions among themselves: in one group
/// there is one way to do so, and they need another than the rest. Elsewhere they are while there may be some that do not know all
/// topics in which records wait: such would handle what has to wait behind a record there.
fn strategy(source: &WorkerSource, before: Option<&Deployment>) -> DeploymentStrategy {
    let is_in_doubt = |topics: String| before.is_some_and(|before| may_not_know(&topics, before));
    let surge = match source {
        WorkerSource::Kafka(input)
            if !input.held.is_empty() && input.group_protocol == GroupProtocol::Classic || waiting_in(source).is_some_and(is_in_doubt) =>
        {
            return DeploymentStrategy { type_: Some(RECREATE.to_owned()), rolling_update: None };
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
