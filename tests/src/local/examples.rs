//! The examples of the kafka crate as programs.

use std::path::PathBuf;

use crate::cluster::layout::Cache;
use crate::cluster::{Result, compile};

/// Compiles them; the folder that they are in then.
///
/// # Errors
/// cargo fails; its log is named.
pub async fn examples() -> Result<PathBuf> {
    compile::examples(&Cache::from_env()?.log("cargo-examples")).await
}
