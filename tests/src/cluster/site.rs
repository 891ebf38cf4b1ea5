//! One cluster's place on this machine: cache, instance and ground together, and the commands that reach it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::command::forget_cargo;
use super::error::{HarnessError, Result};
use super::ground::{self, Ground};
use super::layout::{Cache, Instance};

/// The name of a cluster when none is given.
pub(crate) const DEFAULT_NAME: &str = "penstock";

/// Where one cluster lives, whether it is up or not.
#[derive(Debug, Clone)]
pub struct Site {
    pub(crate) cache: Cache,
    pub(crate) instance: Instance,
    pub(crate) ground: Ground,
}

impl Site {
    /// The place of the cluster `name`, by default the environment's `PENSTOCK_CLUSTER`.
    ///
    /// # Errors
    /// A name that cannot be one, or an environment that names no usable folders.
    pub async fn find(name: Option<&str>) -> Result<Self> {
        let cache = Cache::from_env()?;
        let from_env = env::var("PENSTOCK_CLUSTER").ok().filter(|v| !v.is_empty());
        let name = name.or(from_env.as_deref()).unwrap_or(DEFAULT_NAME);
        let instance = Instance::new(name, &cache)?;
        let ground = ground::choose(&instance).await?;
        Ok(Self { cache, instance, ground })
    }

    /// Says how to bring the cluster up when there is none.
    ///
    /// # Errors
    /// [`HarnessError::Down`].
    pub fn require_up(&self) -> Result<()> {
        let network = self.ground == Ground::Stock || self.instance.netns_file().exists();
        if network && ground::recorded(&self.instance)?.is_some() && self.instance.kubeconfig().exists() {
            return Ok(());
        }
        Err(HarnessError::Down { name: self.instance.name().to_owned() })
    }

    /// A command beside the cluster: inside its network, with kind, kubectl, helm and docker of this cluster.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = match self.ground {
            Ground::Stock => Command::new(program),
            Ground::Local => {
                // Not `ip netns exec`, which remounts /sys and so hides the cgroups.
                let mut enter = Command::new("nsenter");
                enter.arg(net_argument(&self.instance.netns_file())).arg(program);
                enter
            }
        };
        forget_cargo(&mut command);
        command.envs(self.environment());
        command
    }

    /// A command of this cluster's Docker daemon.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.envs(self.environment());
        command
    }

    /// What distinguishes the environment of this cluster's commands.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("PENSTOCK_CLUSTER", self.instance.name().into()),
            ("PENSTOCK_CACHE", self.cache.root().into()),
            ("KUBECONFIG", self.instance.kubeconfig().into()),
            ("PATH", self.path()),
        ];
        if self.ground == Ground::Local {
            variables.push(("DOCKER_HOST", format!("unix://{}", self.instance.socket().display()).into()));
            // The daemon's namespace has no way out, so that cargo would wait for name servers that never answer.
            variables.push(("CARGO_NET_OFFLINE", "true".into()));
        }
        variables
    }

    /// `PATH` with the cached programs first.
    fn path(&self) -> OsString {
        let ours = [self.cache.programs(), self.cache.helm()];
        join(ours.into_iter().chain(self.other_path()))
    }

    /// `PATH` without the cached programs: the machine's own.
    pub(crate) fn machine_path(&self) -> OsString {
        join(self.other_path())
    }

    fn other_path(&self) -> impl Iterator<Item = PathBuf> {
        let ours = [self.cache.programs(), self.cache.helm()];
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).filter(|p| !ours.contains(p)).collect::<Vec<_>>().into_iter()
    }
}

fn net_argument(file: &Path) -> OsString {
    let mut argument = OsString::from("--net=");
    argument.push(file);
    argument
}

/// Folders that came out of a `PATH` hold no separator, so that joining them again cannot fail; ours could if a user put a
/// colon into the cache's name, and then only the machine's own programs are found.
fn join(folders: impl Iterator<Item = PathBuf>) -> OsString {
    env::join_paths(folders).unwrap_or_else(|_| env::var_os("PATH").unwrap_or_default())
}
