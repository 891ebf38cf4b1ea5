//! The node image of a local cluster: built once per recipe, kept in the cache as an archive, and only loaded after that. That of a
//! stock cluster is kind's own, unless another is given.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::command::{quiet_with, succeeds};
use super::daemon::has_sys_resource;
use super::error::{HarnessError, Result, at};
use super::layout::repository;
use super::lock::Lock;
use super::progress::Step;
use super::recipe::{self, short_hex};
use super::site::Site;
use super::tools::{kind_script, kubernetes_version};

/// The variable that names the node image of a stock cluster.
const GIVEN: &str = "PENSTOCK_NODE_IMAGE";

/// The node image that a stock cluster is given, such as one of another version of Kubernetes; none leaves it to kind.
pub(crate) fn given() -> Option<String> {
    std::env::var(GIVEN).ok().filter(|image| !image.is_empty())
}

/// Refuses a node image that would have no effect.
pub(crate) fn refuse_given() -> Result<()> {
    match given() {
        None => Ok(()),
        Some(image) => Err(HarnessError::Input(format!("{GIVEN}={image}: unset it. A local cluster has the node image that is made here"))),
    }
}

/// Makes sure that the instance's daemon has the node image, and returns its name. The caller holds the cache's lock.
pub(crate) async fn ensure(site: &Site, _held: &Lock) -> Result<String> {
    let recipe = ingredients()?;
    let image = format!("kindest/node:v{}-{recipe}", kubernetes_version(site).await?);
    if succeeds(site.docker().args(["image", "inspect", &image]), Duration::from_secs(10)).await {
        return Ok(image);
    }
    let archive = recipe::archive(&site.cache.kind(), "node", &recipe);
    if archive.exists() {
        let step = Step::start("node image from the cache");
        quiet_with(&step, site.docker().args(["load", "-q", "-i"]).arg(&archive), &site.instance.log("node-image")).await?;
        step.done();
    } else {
        build(site, &image).await?;
        keep(site, &image, &archive).await?;
    }
    Ok(image)
}

async fn build(site: &Site, image: &str) -> Result<()> {
    let step = Step::start("node image from Debian packages and the compiled programs (about 80 s)");
    let mut script = kind_script(site);
    script.args(["image", image]).env("DOCKER_HOST", format!("unix://{}", site.instance.socket().display()));
    quiet_with(&step, &mut script, &site.cache.log("node-image")).await?;
    step.done();
    Ok(())
}

async fn keep(site: &Site, image: &str, archive: &Path) -> Result<()> {
    let step = Step::start("keeping the node image in the cache");
    let aside = recipe::aside(archive);
    quiet_with(&step, site.docker().args(["save", image, "-o"]).arg(&aside), &site.instance.log("node-image")).await?;
    recipe::keep(archive, "node")?;
    step.done();
    Ok(())
}

/// A short hash of everything that decides what the image is.
fn ingredients() -> Result<String> {
    let mut hash = Sha256::new();
    for file in ["kind.sh", "image.py", "kindnetd.go"] {
        let path = repository().join("tests/kind").join(file);
        hash.update(std::fs::read(&path).map_err(at("read", &path))?);
    }
    hash.update([u8::from(has_sys_resource())]);
    Ok(short_hex(&hash.finalize()))
}
