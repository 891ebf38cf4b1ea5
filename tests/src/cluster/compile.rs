//! Compiles the project's own programs as they go into the images.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::command::{forget_cargo, logged, output};
use super::error::{HarnessError, Result};
use super::layout::repository;

/// What goes into images. All of it is named also where only one program is wanted: cargo compiles what they share for the
/// packages that are named, so that naming others would compile it anew.
const PACKAGES: [&str; 3] = ["penstock-operator", "penstock-workers", "order-screening"];

/// Compiles these programs; the folder that they are in then.
///
/// # Errors
/// cargo fails; its log is named.
pub(crate) async fn release(binaries: &[&str], log: &Path) -> Result<PathBuf> {
    let target = target().await?;
    let mut build = Command::new("cargo");
    forget_cargo(&mut build);
    build.args(["build", "--release"]).current_dir(repository());
    for package in PACKAGES {
        build.args(["-p", package]);
    }
    for binary in binaries {
        build.args(["--bin", binary]);
    }
    logged("cargo build --release (the first time several minutes)", build, log).await?;
    Ok(target.join("release"))
}

/// Compiles the worker as tests are compiled, which takes less than as it goes into its image; where it is then.
///
/// # Errors
/// cargo fails; its log is named.
pub(crate) async fn debug_worker(log: &Path) -> Result<PathBuf> {
    let target = target().await?;
    let mut build = Command::new("cargo");
    forget_cargo(&mut build);
    // All crates, so that it shares what their tests were compiled with.
    build.args(["build", "--workspace", "--bin", "penstock-worker"]).current_dir(repository());
    logged("cargo build --bin penstock-worker", build, log).await?;
    Ok(target.join("debug").join("penstock-worker"))
}

/// Compiles the examples of all crates; the folder that they are in then.
///
/// # Errors
/// cargo fails; its log is named.
pub(crate) async fn examples(log: &Path) -> Result<PathBuf> {
    let target = target().await?;
    let mut build = Command::new("cargo");
    forget_cargo(&mut build);
    // All crates, so that the examples share what their tests were compiled with.
    build.args(["build", "--workspace", "--examples"]).current_dir(repository());
    logged("cargo build --examples (the first time some minutes)", build, log).await?;
    Ok(target.join("debug").join("examples"))
}

async fn target() -> Result<PathBuf> {
    let mut metadata = Command::new("cargo");
    metadata.args(["metadata", "--format-version=1", "--no-deps"]).current_dir(repository());
    let text = output(&mut metadata, Duration::from_secs(60)).await?;
    let metadata: serde_json::Value = serde_json::from_str(&text).map_err(|e| HarnessError::Input(format!("cargo metadata: {e}")))?;
    Ok(metadata.get("target_directory").and_then(serde_json::Value::as_str).unwrap_or("target").into())
}
