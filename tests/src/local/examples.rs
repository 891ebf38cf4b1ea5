//! The examples of the kafka crate as programs.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::layout::Cache;
use crate::cluster::{HarnessError, Result, compile, error::at};
use crate::scene::LIMIT;

/// They are compiled, and look for Kafka at these brokers.
#[derive(Clone, Debug)]
pub struct Examples {
    folder: PathBuf,
    bootstrap: String,
}

impl Examples {
    /// Compiles them. `bootstrap` lists brokers with commas between.
    ///
    /// # Errors
    /// cargo fails; its log is named.
    pub async fn compiled(bootstrap: impl Into<String>) -> Result<Self> {
        let folder = compile::examples(&Cache::from_env()?.log("cargo-examples")).await?;
        Ok(Self { folder, bootstrap: bootstrap.into() })
    }

    /// Where they look for Kafka.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The file of that program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs one to its end with nothing to read; what it has printed. `arguments` begin with its name, with one space between each.
    ///
    /// # Errors
    /// It fails, or does not end.
    pub async fn run(&self, arguments: &str) -> Result<String> {
        self.run_with(arguments, "").await
    }

    /// The same with something to read.
    ///
    /// # Errors
    /// The same.
    pub async fn run_with(&self, arguments: &str, input: &str) -> Result<String> {
        let mut words = arguments.split(' ');
        let program = self.program(words.next().unwrap_or_default());
        let mut command = Command::new(&program);
        command.args(words).env("KAFKA_BOOTSTRAP", &self.bootstrap).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(at("run", &program))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing may have ended: what it printed tells.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let ended = timeout(LIMIT, child.wait_with_output()).await;
        let ended = ended.map_err(|_| HarnessError::Input(format!("{arguments}: it does not end")))?.map_err(at("run", &program))?;
        let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
        if ended.status.success() {
            return Ok(printed);
        }
        let complaint = String::from_utf8_lossy(&ended.stderr);
        Err(HarnessError::Input(format!("{arguments}: {}\n{printed}{complaint}", ended.status)))
    }
}
