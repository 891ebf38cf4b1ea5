//! The programs that the machine itself must have. Missing Debian packages are installed where that is possible, otherwise
//! named with the command to type.

use std::env;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::command::logged;
use super::error::{HarnessError, Result};
use super::ground::Ground;
use super::layout::Cache;
use super::site::Site;

/// What shows that a Debian package is there, and the package.
pub(crate) type Need = (&'static str, &'static str);

/// What compiling needs: rdkafka's C code, its vendored OpenSSL, and `kind.sh tools`.
const BUILD: &[Need] =
    &[("gcc", "gcc"), ("g++", "g++"), ("make", "make"), ("perl", "perl"), ("/usr/include/stdio.h", "libc6-dev"), ("jq", "jq")];

/// What the daemon and the node image need besides.
const LOCAL: &[Need] = &[
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("runc", "runc"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("umount", "mount"),
    ("python3", "python3"),
    // Images from scratch get them.
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
];

/// What the project asks of every machine and never installs.
const GIVEN: &[Need] = &[
    ("cargo", "Rust from https://rustup.rs"),
    ("go", "Go 1.26 or newer from https://go.dev/dl"),
    ("mvn", "apt-get install maven"),
    ("jlink", "apt-get install openjdk-17-jdk-headless"),
];

/// Makes sure that everything is there that this ground needs.
pub(crate) async fn ensure(site: &Site) -> Result<()> {
    require(GIVEN)?;
    let packages = match site.ground {
        Ground::Stock => missing(BUILD.iter()),
        Ground::Local => missing(BUILD.iter().chain(LOCAL)),
    };
    install(&site.cache, &packages).await?;
    if site.ground == Ground::Local && !rustix::process::geteuid().is_root() {
        return Err(HarnessError::Input("no Docker daemon answers, and making one needs root. Start Docker, or run this as root".into()));
    }
    Ok(())
}

/// Makes sure that these are there, besides what every cluster needs.
pub(crate) async fn provide(site: &Site, needs: &[Need]) -> Result<()> {
    install(&site.cache, &missing(needs.iter())).await
}

/// Refuses when a program is missing that is never installed from here; the second part of a need says how to get it.
pub(crate) fn require(needs: &[Need]) -> Result<()> {
    let given = missing(needs.iter());
    if given.is_empty() {
        return Ok(());
    }
    let programs: Vec<_> = needs.iter().filter(|(_, how)| given.contains(how)).map(|(program, _)| *program).collect();
    Err(HarnessError::Missing { what: programs.join(", "), install: given.join("; ") })
}

/// Installs these, or says how to.
pub(crate) async fn install(cache: &Cache, packages: &[&'static str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !rustix::process::geteuid().is_root() || !is_there("apt-get") {
        return Err(HarnessError::Missing {
            what: list.clone(),
            install: format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}"),
        });
    }
    let mut update = Command::new("apt-get");
    logged(
        "apt-get update",
        {
            update.args(["update", "-qq"]);
            update
        },
        &cache.log("apt-update"),
    )
    .await?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    logged(&format!("apt-get install {list}"), install, &cache.log("apt-install")).await
}

fn missing<'a>(needs: impl Iterator<Item = &'a Need>) -> Vec<&'static str> {
    let mut packages: Vec<_> = needs.filter(|(sign, _)| !is_there(sign)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// A path must exist; a bare name must be a program on the `PATH` or in the places that root's `PATH` may lack.
fn is_there(sign: &str) -> bool {
    if sign.starts_with('/') {
        return Path::new(sign).exists();
    }
    program(sign).is_some()
}

/// Where a program on the `PATH` is.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
