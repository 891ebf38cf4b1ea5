//! Decides what a cluster stands on.
//!
//! The rule: an instance that exists keeps its ground; else `PENSTOCK_KIND=stock|local` decides when set; else it is stock
//! where a Docker daemon answers and a container registry does too, and local where either is missing.

use std::env;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::process::Command;

use super::command::succeeds;
use super::error::{HarnessError, Result, at};
use super::layout::{Instance, KAFKA};

/// What a cluster stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The machine's own Docker daemon, which pulls images from registries.
    Stock,
    /// A Docker daemon of ours in its own network namespace, and images made from packages.
    Local,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stock => "stock",
            Self::Local => "local",
        })
    }
}

impl FromStr for Ground {
    type Err = HarnessError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "stock" => Ok(Self::Stock),
            "local" => Ok(Self::Local),
            other => Err(HarnessError::Input(format!(
                "PENSTOCK_KIND={other}: use stock (the machine's Docker) or local (a Docker made by the harness)"
            ))),
        }
    }
}

/// The ground that an existing instance was brought up on.
pub(crate) fn recorded(instance: &Instance) -> Result<Option<Ground>> {
    let file = instance.ground_file();
    match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at("read", &file)(e)),
    }
}

/// The ground for an instance that may not exist yet.
pub(crate) async fn choose(instance: &Instance) -> Result<Ground> {
    if let Some(recorded) = recorded(instance)? {
        return Ok(recorded);
    }
    if let Some(given) = env::var("PENSTOCK_KIND").ok().filter(|v| !v.is_empty()) {
        return given.parse();
    }
    Ok(if images_at_hand().await { Ground::Stock } else { Ground::Local })
}

async fn images_at_hand() -> bool {
    let mut info = docker();
    // Without a format the client exits with 0 even when no daemon answers.
    info.args(["info", "--format", "{{.ServerVersion}}"]);
    // An image that the cluster will need anyway shows that there is a registry.
    let mut manifest = docker();
    manifest.args(["manifest", "inspect", &format!("apache/kafka:{KAFKA}")]);
    let limit = Duration::from_secs(20);
    succeeds(&mut info, limit).await && succeeds(&mut manifest, limit).await
}

fn docker() -> Command {
    let mut command = Command::new("docker");
    // Inside `cluster exec` the variable names another instance's daemon.
    if env::var("DOCKER_HOST").is_ok_and(|host| host.starts_with("unix:///run/penstock/")) {
        command.env_remove("DOCKER_HOST");
    }
    command
}
