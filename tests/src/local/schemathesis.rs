//! Schemathesis, which reads the OpenAPI document of a service and looks for requests that break what it says. Installed once from
//! PyPI into the cache, every package in a version of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::command::{quiet_with, succeeds};
use crate::cluster::layout::{Cache, repository};
use crate::cluster::progress::Step;
use crate::cluster::{HarnessError, Result, error::at, files, lock, packages};

/// The packages and their versions.
const PACKAGES: &str = "tests/local/schemathesis.txt";
/// The most characters of what it says of faults: it repeats requests as a whole.
const MOST: usize = 20_000;
const SHORT: Duration = Duration::from_secs(20);

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// How many requests were sent.
    pub cases: u64,
    /// The report, where it found something.
    pub faults: Option<String>,
}

/// Schemathesis, installed.
#[derive(Clone, Debug)]
pub struct Schemathesis(PathBuf);

impl Schemathesis {
    /// Installs it unless the cache has it.
    ///
    /// # Errors
    /// Python is missing, or pip fails; its log is named.
    pub async fn ensure() -> Result<Self> {
        let cache = Cache::from_env()?;
        let home = cache.root().join("schemathesis");
        let (noted, wanted) = (home.join("packages.txt"), repository().join(PACKAGES));
        let packages = std::fs::read(&wanted).map_err(at("read", &wanted))?;
        let program = home.join("bin/st");
        let is_there = || std::fs::read(&noted).is_ok_and(|text| text == packages) && program.exists();
        if is_there() {
            return Ok(Self(program));
        }
        let _held = lock::acquire(&cache.lock(), "the cache").await?;
        if !is_there() {
            install(&cache, &home, &wanted).await?;
            std::fs::write(&noted, &packages).map_err(at("write", &noted))?;
        }
        Ok(Self(program))
    }

    /// Tries the service at `http://127.0.0.1:<port>` with all checks, the same cases every time. `folder` is for its report.
    ///
    /// # Errors
    /// It cannot read the document, or does not end within `limit`.
    pub async fn run(&self, port: u16, folder: &Path, arguments: &[&str], limit: Duration) -> Result<Findings> {
        let report = folder.join(format!("{port}.json"));
        let mut run = Command::new(&self.0);
        run.args(["run", &format!("http://127.0.0.1:{port}/openapi.json"), "--no-color", "--checks", "all"]);
        run.args(["--seed", "1", "--generation-deterministic", "--report-json-path"]).arg(&report);
        run.args(arguments).current_dir(folder);
        let ended = timeout(limit, run.stdin(Stdio::null()).kill_on_drop(true).output()).await;
        let ended = ended.map_err(|_| HarnessError::Input(format!("Schemathesis does not end within {} s", limit.as_secs())))?;
        let ended = ended.map_err(at("run", &self.0))?;
        let said = || format!("{}\n{}{}", ended.status, String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        let text = std::fs::read(&report).map_err(|_| HarnessError::Input(format!("Schemathesis has not begun: {}", said())))?;
        let cases = cases(&text).ok_or_else(|| HarnessError::Input(format!("{}: no count of cases", report.display())))?;
        Ok(Findings { cases, faults: (!ended.status.success()).then(|| said().chars().take(MOST).collect()) })
    }
}

async fn install(cache: &Cache, home: &Path, wanted: &Path) -> Result<()> {
    packages::require(&[("python3", "apt-get install python3")])?;
    if !succeeds(Command::new("python3").args(["-c", "import ensurepip"]), SHORT).await {
        packages::install(cache, &["python3-venv"]).await?;
    }
    let step = Step::start("Schemathesis from PyPI (about 30 s)");
    files::remove(home)?;
    let log = cache.log("schemathesis");
    quiet_with(&step, Command::new("python3").args(["-m", "venv"]).arg(home), &log).await?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(wanted);
    quiet_with(&step, &mut pip, &log).await?;
    step.done();
    Ok(())
}

fn cases(report: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(report).ok()?.pointer("/test_cases/generated")?.as_u64()
}
