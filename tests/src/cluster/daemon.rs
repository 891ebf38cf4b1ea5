//! The Docker daemon of a local instance: in a network namespace of its own, with its data in the instance's folder.
//!
//! Starting is idempotent. Stopping works from whatever state is found and leaves no process, mount or namespace.

use std::path::Path;
use std::process::{Command as Blocking, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use tokio::process::Command;

use super::command::{output, succeeds, wait_until};
use super::error::{Result, at};
use super::layout::repository;
use super::progress::Step;
use super::site::Site;
use super::{files, sweep};

const SHORT: Duration = Duration::from_secs(10);

/// Whether the daemon answers.
pub(crate) async fn answers(site: &Site) -> bool {
    site.instance.socket().exists() && succeeds(site.docker().arg("version"), SHORT).await
}

/// Starts the daemon unless it answers already.
pub(crate) async fn start(site: &Site) -> Result<()> {
    if answers(site).await {
        return Ok(());
    }
    let step = Step::start(&format!("Docker daemon in network namespace {}", site.instance.netns()));
    // What a killed daemon left would keep the new one from starting.
    stop_processes(site);
    make_namespace(site).await?;
    let run = site.instance.run();
    std::fs::create_dir_all(&run).map_err(at("create", &run))?;
    let log = site.instance.log("dockerd");
    spawn(site, &log)?;
    let advice = format!("Its log is {}", log.display());
    wait_until("the Docker daemon does not answer", Duration::from_secs(60), &advice, async || answers(site).await).await?;
    step.done();
    Ok(())
}

/// Ends the daemon with all its containers and removes its namespace, mounts and files.
pub(crate) async fn stop(site: &Site) -> Result<()> {
    if answers(site).await {
        remove_containers(site).await;
    }
    stop_processes(site);
    sweep::unmount_all(&site.instance)?;
    sweep::remove_cgroups(&site.instance);
    if site.instance.netns_file().exists() {
        output(Command::new("ip").args(["netns", "delete", &site.instance.netns()]), SHORT).await?;
    }
    files::remove(&site.instance.run())?;
    files::remove(&site.instance.docker())
}

/// Asks the daemon to remove the containers, because it does so more neatly than the sweep that follows.
async fn remove_containers(site: &Site) {
    let Ok(ids) = output(site.docker().args(["ps", "-aq"]), SHORT).await else { return };
    if !ids.trim().is_empty() {
        let _ = output(site.docker().args(["rm", "-fv"]).args(ids.split_whitespace()), Duration::from_secs(60)).await;
    }
}

fn stop_processes(site: &Site) {
    // The daemon first: it ends its containerd and shims itself when it can.
    let recorded = std::fs::read_to_string(site.instance.pid_file()).ok().and_then(|t| Pid::from_raw(t.trim().parse().ok()?));
    let ours = sweep::daemon_processes(&site.instance);
    let daemon: Vec<_> = recorded.into_iter().filter(|pid| ours.contains(pid)).collect();
    sweep::end(&daemon, Duration::from_secs(20));
    sweep::end(&sweep::daemon_processes(&site.instance), Duration::from_secs(5));
    sweep::end(&sweep::container_processes(&site.instance), Duration::from_secs(2));
}

async fn make_namespace(site: &Site) -> Result<()> {
    if site.instance.netns_file().exists() {
        return Ok(());
    }
    let name = site.instance.netns();
    output(Command::new("ip").args(["netns", "add", &name]), SHORT).await?;
    output(Command::new("ip").args(["-n", &name, "link", "set", "lo", "up"]), SHORT).await?;
    Ok(())
}

fn spawn(site: &Site, log: &Path) -> Result<()> {
    let (instance, run) = (&site.instance, site.instance.run());
    let file = create(log)?;
    let other = file.try_clone().map_err(at("write", log))?;
    // A session of its own, so that the daemon outlives the terminal that it was started from.
    let mut command = Blocking::new("setsid");
    command.arg("nsenter").arg(format!("--net={}", instance.netns_file().display())).arg("dockerd");
    command.arg(format!("--host=unix://{}", instance.socket().display()));
    command.arg("--data-root").arg(instance.docker()).arg("--exec-root").arg(run.join("exec"));
    command.arg("--pidfile").arg(instance.pid_file());
    if !has_sys_resource() {
        // A copy, because the checkout may move while the daemon runs.
        let wrap = instance.root().join("runc-wrap");
        std::fs::copy(repository().join("tests/kind/runc-wrap"), &wrap).map_err(at("write", &wrap))?;
        command.arg("--add-runtime").arg(format!("wrap={}", wrap.display())).args(["--default-runtime", "wrap"]);
    }
    // Without the cached programs: the daemon must find the containerd and shim that fit it, not the node's newer ones.
    command.env("PATH", site.machine_path()).env_remove("DOCKER_HOST");
    command.stdin(Stdio::null()).stdout(file).stderr(other);
    command.spawn().map(drop).map_err(at("start", Path::new("dockerd")))
}

fn create(log: &Path) -> Result<std::fs::File> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    }
    std::fs::File::create(log).map_err(at("write", log))
}

/// Whether this machine grants `CAP_SYS_RESOURCE` (number 24), which `docker run --privileged` takes for granted.
pub(crate) fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bounding.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set >> 24 & 1 == 1)
}
