//! Builds the pod of a worker. Pure.
//!
//! It fits the *restricted* Pod Security Standard. Its configuration's hash stands on it, so that another configuration
//! rolls the pods and the same one never does.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, Lifecycle,
        LifecycleHandler, LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
        ResourceRequirements, SeccompProfile, SecurityContext, SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use penstock_crds::{
    name,
    pipeline::{Jwks, ResourceAmounts, Resources, SecretRef},
    worker::{ADMIN_PORT_NAME, CONFIG_DIR, CONFIG_FILE, JWKS_DIR, JWKS_FILE, WorkerConfig, WorkerSource},
};

use super::{
    build::{labels, ports, selector},
    handler,
    own_code::OwnCode,
    validate::ValidatedPipeline,
};

/// The container that runs the worker.
pub const CONTAINER: &str = "worker";
const CONFIG_VOLUME: &str = "config";
const JWKS_VOLUME: &str = "jwks";
/// The user of distroless' `nonroot` images.
const USER: i64 = 65532;
/// How much longer Kubernetes waits than the worker itself does, after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How long an HTTP worker goes on as if nothing were, so that the Service has forgotten it before it stops to listen, in seconds.
const FORGET: i64 = 3;

/// The pod of a worker.
pub(super) fn template(pipeline: &ValidatedPipeline, image: &str, config_hash: &str) -> PodTemplateSpec {
    let worker = &pipeline.worker;
    let metadata = ObjectMeta {
        labels: Some(labels(worker)),
        annotations: Some(BTreeMap::from([(name::ANNOTATION_CONFIG_HASH.to_owned(), config_hash.to_owned())])),
        ..ObjectMeta::default()
    };
    let placement = &pipeline.placement;
    let (image, handler) = match &pipeline.own_code {
        OwnCode::None => (image, None),
        OwnCode::Worker(own) => (own.as_str(), None),
        OwnCode::Handler(handler) => (image, Some(handler)),
    };
    let grace = GRACE + handler.map_or(Duration::ZERO, |_| handler::GRACE);
    let owned = name::owned_name(&worker.pipeline.name);
    let spec = PodSpec {
        init_containers: handler.map(|handler| vec![handler::container(handler)]),
        containers: vec![container(pipeline, image)],
        volumes: Some(
            [config_volume(&owned)]
                .into_iter()
                .chain(pipeline.jwks.as_ref().map(jwks_volume))
                .chain(handler.map(|_| handler::volume()))
                .collect(),
        ),
        service_account_name: Some(owned),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(seconds(worker.drain_timeout + grace)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: Some(vec![spread_over_hosts(worker)]),
        node_selector: some_unless_empty(&placement.node_selector, BTreeMap::is_empty),
        tolerations: some_unless_empty(&placement.tolerations, Vec::is_empty),
        affinity: placement.affinity.clone(),
        priority_class_name: placement.priority_class_name.clone(),
        image_pull_secrets: some_unless_empty(&pull_secrets(&placement.image_pull_secrets), Vec::is_empty),
        ..PodSpec::default()
    };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
}

fn pull_secrets(named: &[SecretRef]) -> Vec<LocalObjectReference> {
    named.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }).collect()
}

fn container(pipeline: &ValidatedPipeline, image: &str) -> Container {
    let worker = &pipeline.worker;
    let container_port = |(name, port): (&str, u16)| ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["--config".to_owned(), format!("{CONFIG_DIR}/{CONFIG_FILE}")]),
        env: Some(environment()),
        ports: Some(ports(worker).map(container_port).collect()),
        resources: Some(resources(pipeline.placement.resources.as_ref())),
        // The process answers at once, but may take its time to find Kafka: only readiness waits for that.
        startup_probe: Some(probe("/healthz", 1, 60)),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        lifecycle: lifecycle(&worker.source),
        security_context: Some(locked_down()),
        volume_mounts: Some(
            [read_only(CONFIG_VOLUME, CONFIG_DIR)]
                .into_iter()
                .chain(pipeline.jwks.as_ref().map(|_| read_only(JWKS_VOLUME, JWKS_DIR)))
                .collect(),
        ),
        // What a worker says last is what a person wants to read in the pipeline's conditions.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// What the *restricted* Pod Security Standard wants of a container, and a file system that nobody writes to.
pub(super) fn locked_down() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), read_only: Some(true), ..VolumeMount::default() }
}

/// The one key of the tenant's ConfigMap that was named, and nothing else of it. As a folder: a single file would never change.
fn jwks_volume(jwks: &Jwks) -> Volume {
    let item = KeyToPath { key: jwks.key().to_owned(), path: JWKS_FILE.to_owned(), mode: None };
    let source = ConfigMapVolumeSource { name: jwks.config_map.clone(), items: Some(vec![item]), ..ConfigMapVolumeSource::default() };
    Volume { name: JWKS_VOLUME.to_owned(), config_map: Some(source), ..Volume::default() }
}

fn config_volume(config_map: &str) -> Volume {
    Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: config_map.to_owned(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    }
}

fn environment() -> Vec<EnvVar> {
    let json = EnvVar { name: "PENSTOCK_LOG_FORMAT".to_owned(), value: Some("json".to_owned()), ..EnvVar::default() };
    vec![from_pod("POD_NAME", "metadata.name"), from_pod("POD_NAMESPACE", "metadata.namespace"), json]
}

pub(super) fn from_pod(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: field.to_owned(), api_version: Some("v1".to_owned()) }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn lifecycle(source: &WorkerSource) -> Option<Lifecycle> {
    match source {
        WorkerSource::Kafka(_) => None,
        WorkerSource::Http { .. } => Some(Lifecycle {
            pre_stop: Some(LifecycleHandler { sleep: Some(SleepAction { seconds: FORGET }), ..LifecycleHandler::default() }),
            ..Lifecycle::default()
        }),
    }
}

/// What a container may use: what the spec says, else a little that the scheduler can count on.
pub(super) fn resources(declared: Option<&Resources>) -> ResourceRequirements {
    let amounts = |a: &ResourceAmounts| -> BTreeMap<String, Quantity> {
        [("cpu", &a.cpu), ("memory", &a.memory)].into_iter().filter_map(|(k, v)| v.clone().map(|v| (k.to_owned(), v))).collect()
    };
    match declared {
        Some(declared) => ResourceRequirements {
            requests: declared.requests.as_ref().map(amounts),
            limits: declared.limits.as_ref().map(amounts),
            ..ResourceRequirements::default()
        },
        None => ResourceRequirements {
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), Quantity("50m".to_owned())),
                ("memory".to_owned(), Quantity("32Mi".to_owned())),
            ])),
            ..ResourceRequirements::default()
        },
    }
}

/// Over hosts where that can be, since a host that fails should not take all workers with it.
fn spread_over_hosts(worker: &WorkerConfig) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector { match_labels: Some(selector(&worker.pipeline.name)), ..LabelSelector::default() }),
        ..TopologySpreadConstraint::default()
    }
}

fn some_unless_empty<T: Clone>(value: &T, is_empty: impl Fn(&T) -> bool) -> Option<T> {
    (!is_empty(value)).then(|| value.clone())
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
