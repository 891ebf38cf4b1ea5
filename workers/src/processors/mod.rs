//! The built-in processors, by name.

use std::sync::Arc;

use penstock_crds::worker::WorkerConfig;

use crate::{error::ConfigError, front::Front, processor::DynProcessor};

/// A processor that is ready to run.
pub enum BuiltProcessor {
    /// It handles records of topics.
    Record(Arc<dyn DynProcessor>),
    /// It answers requests.
    Front(Box<dyn Front>),
}

/// Builds the processor that the configuration names, with its options.
///
/// # Errors
/// There is none of that name, or it does not take these options.
pub fn build(config: &WorkerConfig) -> Result<BuiltProcessor, ConfigError> {
    Err(ConfigError::invalid(format!("there is no processor {}", config.processor.builtin)))
}
