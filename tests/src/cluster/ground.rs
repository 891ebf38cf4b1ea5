//! Decides what a cluster stands on.
//!
//! The rule: an instance that exists keeps its ground; else `PENSTOCK_KIND=stock|local` decides when set; else it is stock
//! where a Docker daemon answers and Kafka's image can be had, and local where either is missing.

use std::env;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::process::Command;

use super::command::{output, succeeds};
use super::error::{HarnessError, Result, at};
use super::kafka_pulled;
use super::layout::Instance;
use super::progress::Step;

/// How long a question to the daemon or a registry may take.
const QUESTION: Duration = Duration::from_secs(20);
/// How long the daemon may take for an image of some hundred megabytes.
const PULL: Duration = Duration::from_secs(600);

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

/// An image that the cluster will need anyway shows whether there is a registry.
async fn images_at_hand() -> bool {
    let ask = |words: &[&str]| {
        let mut command = docker();
        command.args(words);
        command
    };
    // Without a format the client exits with 0 even when no daemon answers.
    let mirrors = output(&mut ask(&["info", "--format", "{{len .RegistryConfig.Mirrors}}"]), QUESTION).await;
    let Ok(mirrors) = mirrors else { return false };
    let (origin, name) = (kafka_pulled::origin(), kafka_pulled::name());
    if succeeds(&mut ask(&["image", "inspect", &name]), QUESTION).await
        || succeeds(&mut ask(&["manifest", "inspect", &origin]), QUESTION).await
    {
        return true;
    }
    if mirrors.trim() == "0" {
        return false;
    }
    // The client has asked the registry itself; a mirror is known to the daemon alone.
    let step = Step::start(&format!("{origin} from the mirror of the Docker daemon"));
    let pulled = succeeds(&mut ask(&["pull", "--quiet", &origin]), PULL).await;
    step.done();
    pulled
}

fn docker() -> Command {
    let mut command = Command::new("docker");
    // Inside `cluster exec` the variable names another instance's daemon.
    if env::var("DOCKER_HOST").is_ok_and(|host| host.starts_with("unix:///run/penstock/")) {
        command.env_remove("DOCKER_HOST");
    }
    command
}
