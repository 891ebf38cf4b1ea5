//! Log lines, as JSON or as text.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::settings::{LogFormat, Settings};

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter makes no sense.
    #[error("--log-level: {0}")]
    Filter(#[from] ParseError),
    /// Something logs already.
    #[error("logging was begun twice: {0}")]
    Begun(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Begins to write log lines to standard error.
///
/// # Errors
/// When the filter makes no sense, or when logging was begun before.
pub fn begin(settings: &Settings) -> Result<(), Error> {
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(&settings.log_level)?).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    }
    .map_err(Error::Begun)
}
