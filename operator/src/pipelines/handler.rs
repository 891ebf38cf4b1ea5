//! Builds the container of a handler, which the worker beside it calls over HTTP. Pure.
//!
//! It is a native sidecar: Kubernetes starts it before the worker, begins to stop it once the worker has ended, and starts it
//! again when it ends by itself. Nothing but its image, port and resources is the tenant's.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Container, ContainerPort, EmptyDirVolumeSource, EnvVar, Probe, TCPSocketAction, Volume, VolumeMount},
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

use super::{
    own_code::Handler,
    pod::{from_pod, locked_down, resources},
};

/// The container that the worker calls.
pub const CONTAINER: &str = "handler";
/// How much longer a pod with a handler may take to end: once the worker has ended, the handler may.
pub const GRACE: Duration = Duration::from_secs(5);
const PORT_NAME: &str = "handler";
const SCRATCH_VOLUME: &str = "handler-tmp";
/// How much a handler may write to `/tmp`; Kubernetes evicts a pod that writes more.
const SCRATCH_SIZE: &str = "1Gi";

/// The container.
#[must_use]
pub fn container(handler: &Handler) -> Container {
    let port = i32::from(handler.port);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(handler.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        // This is what makes it a sidecar.
        restart_policy: Some("Always".to_owned()),
        env: Some(vec![
            EnvVar { name: "PORT".to_owned(), value: Some(port.to_string()), ..EnvVar::default() },
            from_pod("POD_NAME", "metadata.name"),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: port,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources(handler.resources.as_ref())),
        // The worker is started once this one accepts connections. It may be busy for long: no probe ends it later.
        startup_probe: Some(accepts_connections(1, 120)),
        readiness_probe: Some(accepts_connections(2, 2)),
        security_context: Some(locked_down()),
        volume_mounts: Some(vec![VolumeMount { name: SCRATCH_VOLUME.to_owned(), mount_path: "/tmp".to_owned(), ..VolumeMount::default() }]),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// What it may write to.
#[must_use]
pub fn volume() -> Volume {
    Volume {
        name: SCRATCH_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity(SCRATCH_SIZE.to_owned())), ..EmptyDirVolumeSource::default() }),
        ..Volume::default()
    }
}

fn accepts_connections(period: i32, failures: i32) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::String(PORT_NAME.to_owned()), ..TCPSocketAction::default() }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
