//! The node image of a local cluster. Built once per recipe, kept in the cache as an archive, and only loaded after that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::command::{quiet_with, succeeds};
use super::daemon::has_sys_resource;
use super::error::{Result, at};
use super::layout::repository;
use super::lock::Lock;
use super::progress::Step;
use super::site::Site;
use super::tools::{kind_script, kubernetes_version};

/// Makes sure that the instance's daemon has the node image, and returns its name. The caller holds the cache's lock.
pub(crate) async fn ensure(site: &Site, _held: &Lock) -> Result<String> {
    let recipe = recipe()?;
    let image = format!("kindest/node:v{}-{recipe}", kubernetes_version(site).await?);
    if succeeds(site.docker().args(["image", "inspect", &image]), Duration::from_secs(10)).await {
        return Ok(image);
    }
    let archive = site.cache.kind().join(format!("node-{recipe}.tar"));
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
    for old in archives(&site.cache.kind())? {
        std::fs::remove_file(&old).map_err(at("remove", &old))?;
    }
    // Written aside, so that an interruption leaves no half archive.
    let aside = archive.with_extension("new");
    quiet_with(&step, site.docker().args(["save", image, "-o"]).arg(&aside), &site.instance.log("node-image")).await?;
    std::fs::rename(&aside, archive).map_err(at("move", &aside))?;
    step.done();
    Ok(())
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(at("read", folder))?;
    let is_archive = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("node-") && (name.ends_with(".tar") || name.ends_with(".new"))
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_archive).collect())
}

/// A short hash of everything that decides what the image is.
fn recipe() -> Result<String> {
    let mut hash = Sha256::new();
    for file in ["kind.sh", "image.py", "kindnetd.go"] {
        let path = repository().join("tests/kind").join(file);
        hash.update(std::fs::read(&path).map_err(at("read", &path))?);
    }
    hash.update([u8::from(has_sys_resource())]);
    Ok(short_hex(&hash.finalize()))
}

/// The first 12 hexadecimal digits of a hash: enough to tell recipes apart, short enough for a tag.
pub(crate) fn short_hex(hash: &[u8]) -> String {
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
