//! Prometheus, the server itself: the machine's own, or Debian's, unpacked into the cache. Nothing is installed: Debian's package would
//! start a service.

use std::env;
use std::path::PathBuf;

use tokio::process::Command;

use super::command::quiet_with;
use super::error::{HarnessError, Result, at};
use super::files;
use super::layout::Cache;
use super::progress::Step;
use super::{lock, packages};

const PACKAGE: &str = "prometheus";
/// What helps where its package cannot be unpacked.
const INSTEAD: &str = "apt-get install prometheus, or put the program on the PATH";

/// Where the program is.
///
/// # Errors
/// It is nowhere.
pub fn program() -> Result<PathBuf> {
    let cached = unpacked(&Cache::from_env()?);
    let path = env::var_os("PATH").unwrap_or_default();
    let own = env::split_paths(&path).map(|folder| folder.join(PACKAGE));
    [cached]
        .into_iter()
        .chain(own)
        .find(|program| program.is_file())
        .ok_or_else(|| HarnessError::Missing { what: PACKAGE.to_owned(), install: INSTEAD.to_owned() })
}

/// Unpacks Debian's package, unless there is a program already.
///
/// # Errors
/// The package cannot be had.
pub async fn ensure() -> Result<()> {
    let cache = &Cache::from_env()?;
    let _held = lock::acquire(&cache.lock(), "the cache").await?;
    if program().is_ok() {
        return Ok(());
    }
    packages::require(&[("apt-get", INSTEAD), ("dpkg-deb", INSTEAD)])?;
    let step = Step::start("prometheus from its Debian package");
    let aside = cache.root().join("prometheus.aside");
    files::fresh(&aside)?;
    let mut unpack = Command::new("bash");
    let script =
        "apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; dpkg-deb -x prometheus_*.deb .";
    unpack.args(["-ec", script]).current_dir(&aside);
    quiet_with(&step, &mut unpack, &cache.log(PACKAGE)).await?;
    let home = cache.root().join(PACKAGE);
    files::remove(&home)?;
    std::fs::rename(&aside, &home).map_err(at("move", &home))?;
    step.done();
    Ok(())
}

fn unpacked(cache: &Cache) -> PathBuf {
    cache.root().join(PACKAGE).join("usr/bin").join(PACKAGE)
}
