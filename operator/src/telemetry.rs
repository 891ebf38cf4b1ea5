//! Log lines, as JSON or as text.

use std::io::IsTerminal;

use crate::settings::{LogFormat, Settings};

/// Something logs already.
#[derive(Debug, thiserror::Error)]
#[error("logging was begun twice: {0}")]
pub struct Begun(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Begins to write log lines to standard error.
///
/// # Errors
/// When logging was begun before.
pub fn begin(settings: &Settings) -> Result<(), Begun> {
    let lines = tracing_subscriber::fmt().with_env_filter(settings.log_level.clone()).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    }
    .map_err(Begun)
}
