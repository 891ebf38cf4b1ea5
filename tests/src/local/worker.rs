//! The released worker as a process of this machine, with a configuration of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use penstock_crds::worker::{CONFIG_FILE, WorkerConfig};

use super::folder::Folder;
use super::{Answer, Process, http};
use crate::cluster::command::wait_until;
use crate::cluster::layout::Cache;
use crate::cluster::{HarnessError, Result, compile, files};

const BINARY: &str = "penstock-worker";

/// Compiles the worker as it goes into its image; where it is then. Takes a second when it is fresh.
///
/// # Errors
/// cargo fails; its log is named.
pub async fn worker_binary() -> Result<PathBuf> {
    let folder = compile::release(&[BINARY], &Cache::from_env()?.log("cargo-build")).await?;
    Ok(folder.join(BINARY))
}

/// Compiles the worker as tests are compiled; where it is then. For what needs no speed.
///
/// # Errors
/// cargo fails; its log is named.
pub async fn debug_worker_binary() -> Result<PathBuf> {
    compile::debug_worker(&Cache::from_env()?.log("cargo-worker")).await
}

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The program; see [`worker_binary`].
    pub binary: PathBuf,
    /// The name that its pod would have.
    pub pod: String,
    /// The core that it runs on; none leaves it all of this program's.
    pub core: Option<usize>,
    /// What it logs, such as `info` or `penstock_workers=debug,info`.
    pub log: String,
}

impl WorkerOptions {
    /// Those of a pod: all cores, logs of level `info`.
    pub fn new(binary: &Path) -> Self {
        Self { binary: binary.to_owned(), pod: "worker-0".to_owned(), core: None, log: "info".to_owned() }
    }
}

/// A worker that runs; dropped, it is killed.
#[derive(Debug)]
pub struct WorkerProcess {
    process: Process,
    admin_port: u16,
    // Last, because it must outlive the process that writes to it.
    _folder: Folder,
}

impl WorkerProcess {
    /// Starts a worker. Does not wait for it; see [`WorkerProcess::wait_ready`].
    ///
    /// # Errors
    /// Its configuration cannot be written or its program not started.
    pub fn start(config: &WorkerConfig, options: &WorkerOptions) -> Result<Self> {
        let folder = Folder::new("worker")?;
        let file = folder.path().join(CONFIG_FILE);
        let json = serde_json::to_string_pretty(config).map_err(|error| HarnessError::Input(format!("the configuration: {error}")))?;
        files::write(&file, &json)?;
        let mut command = Command::new(&options.binary);
        command.arg("--config").arg(&file);
        // What the pod of a worker has; see the operator's `pipelines/pod.rs`.
        command.env("POD_NAME", &options.pod).env("POD_NAMESPACE", &config.pipeline.namespace);
        command.env("PENSTOCK_LOG_FORMAT", "json").env("PENSTOCK_LOG", &options.log);
        let process = Process::start(&options.pod, &command, &folder.path().join("worker.log"), options.core)?;
        Ok(Self { process, admin_port: config.admin_port, _folder: folder })
    }

    /// Its process: to kill, end, pause and resume it, and what it has used.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until `/readyz` says so; not longer than it runs.
    ///
    /// # Errors
    /// It has ended, or is not ready within `limit`; with the end of its log.
    pub async fn wait_ready(&self, limit: Duration) -> Result<()> {
        let ready = async || self.process.ended().is_some() || self.get("/readyz").await.is_ok_and(|answer| answer.status == 200);
        let waited = wait_until("not ready", limit, "", ready).await;
        self.process.must_run()?;
        waited.map_err(|_| self.process.late("is not ready", limit))
    }

    /// Asks its admin port, such as for `/metrics` or `/readyz`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        http::get(self.admin_port, path).await
    }

    /// The sum of a metric over all its labels; none while it has no value.
    ///
    /// # Errors
    /// The worker does not answer.
    pub async fn metric(&self, name: &str) -> Result<Option<f64>> {
        Ok(sum(&self.get("/metrics").await?.body, name))
    }
}

fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = rest.strip_prefix('{').map_or(rest, |labelled| labelled.rsplit_once('}').map_or("", |(_, value)| value));
        value.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or_default() + value))
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "# HELP a_total x\na_total{topic=\"t} 9\"} 2\na_total{topic=\"u\"} 3\na_totals 7\nb 1.5\n# EOF\n";
        for (name, expected) in [("a_total", Some(5.0)), ("b", Some(1.5)), ("a", None), ("c", None)] {
            assert_eq!(sum(text, name), expected, "{name}");
        }
    }
}
