//! Everything that can end a worker, by what a person can do about it. Pure.

use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a worker's configuration.
    #[error("{} is not a worker configuration: {source}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file reads well and asks for something that cannot be.
    #[error("the configuration cannot be used: {}", problems.join("; "))]
    Invalid {
        /// What to change, one entry each.
        problems: Vec<String>,
    },
}

impl ConfigError {
    /// One thing that is wrong.
    pub fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid { problems: vec![problem.into()] }
    }
}

/// Why a worker stopped without being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The processor of one's own could not be made of its options.
    #[error("cannot build the processor: {0}")]
    Processor(Box<dyn std::error::Error + Send + Sync>),
    /// A port is taken or may not be used.
    #[error("cannot listen on port {port}: {source}")]
    Listen {
        /// Which port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// A server stopped while it was still needed.
    #[error("the {server} server failed: {source}")]
    Serve {
        /// Which one.
        server: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A Kafka client could not be made at all.
    #[error("cannot start a Kafka client: {0}")]
    Kafka(#[from] penstock_kafka::Error),
    /// The process cannot be set up.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}
