//! The programs that are compiled from Go modules once and kept in the cache: kind, kubectl, helm, and where no node image
//! can be pulled everything that a node consists of.

use std::time::Duration;

use tokio::process::Command;

use super::command::{output, quiet_with};
use super::error::{Result, at};
use super::ground::Ground;
use super::layout::{HELM, repository};
use super::lock::Lock;
use super::progress::Step;
use super::site::Site;

/// Compiles what is not there yet. The caller holds the cache's lock.
pub(crate) async fn ensure(site: &Site, _held: &Lock) -> Result<()> {
    let step = Step::start("programs of kind and Kubernetes (from an empty cache about 15 min)");
    let mut tools = kind_script(site);
    tools.arg("tools");
    if site.ground == Ground::Stock {
        tools.args(["kind", "kubectl"]);
    }
    quiet_with(&step, &mut tools, &site.cache.log("tools")).await?;
    step.done();
    helm(site).await
}

/// `kind.sh` with its environment; it works outside of the daemon's namespace, where the registries are.
pub(crate) fn kind_script(site: &Site) -> Command {
    let mut command = Command::new("bash");
    command.arg(repository().join("tests/kind/kind.sh")).env("DIR", site.cache.kind());
    command
}

/// The version of Kubernetes that `kind.sh` makes nodes of.
pub(crate) async fn kubernetes_version(site: &Site) -> Result<String> {
    let version = output(kind_script(site).arg("kubernetes"), Duration::from_secs(10)).await?;
    Ok(version.trim().to_owned())
}

async fn helm(site: &Site) -> Result<()> {
    let home = site.cache.helm();
    if home.join("helm").exists() {
        return Ok(());
    }
    let step = Step::start(&format!("helm {HELM} (about 2 min)"));
    // Compiled aside and moved in, so that an interrupted compilation leaves no half program.
    let aside = site.cache.root().join("helm/aside");
    let mut install = Command::new("go");
    install.arg("install").arg(format!("helm.sh/helm/v4/cmd/helm@{HELM}")).env("GOBIN", &aside).env("CGO_ENABLED", "0");
    quiet_with(&step, &mut install, &site.cache.log("helm")).await?;
    std::fs::create_dir_all(&home).map_err(at("create", &home))?;
    std::fs::rename(aside.join("helm"), home.join("helm")).map_err(at("move", &home))?;
    std::fs::remove_dir(&aside).map_err(at("remove", &aside))?;
    step.done();
    Ok(())
}
