//! What can go wrong while a cluster is brought up, reached or taken down. Every message says what to do next.

use std::path::{Path, PathBuf};

/// The result of the harness's fallible functions.
pub type Result<T> = std::result::Result<T, HarnessError>;

/// A failure of the harness.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A file or folder could not be read, written or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A program is not installed, and only the person at the keyboard can install it.
    #[error("missing: {what}. To install: {install}")]
    Missing {
        /// The programs or packages.
        what: String,
        /// The command to type.
        install: String,
    },
    /// A command failed.
    #[error("`{command}` failed ({status}){}{tail}", log.as_deref().map(|l| format!("; its log is {}", l.display())).unwrap_or_default())]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// Where its whole output is.
        log: Option<PathBuf>,
        /// The last lines of its output, each on a line of its own.
        tail: String,
    },
    /// Something did not come about in time.
    #[error("{what} after {seconds} s. {advice}")]
    Late {
        /// What is still not so.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What to look at.
        advice: String,
    },
    /// There is no cluster of this name.
    #[error("cluster {name} is not up. Run: cargo run -p penstock-tests --bin cluster -- --name {name} up")]
    Down {
        /// The cluster's name.
        name: String,
    },
    /// The caller cannot reach the cluster, because it runs outside of the cluster's network namespace.
    #[error(
        "this process is outside of the network of cluster {name}. Start it with: cargo run -p penstock-tests --bin cluster -- --name {name} exec -- CMD"
    )]
    Outside {
        /// The cluster's name.
        name: String,
    },
    /// A value given by the caller cannot be used.
    #[error("{0}")]
    Input(String),
    /// The Kubernetes client could not be made or used.
    #[error("Kubernetes: {0}")]
    Kubernetes(#[from] Box<kube::Error>),
    /// The kubeconfig could not be read.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
}

impl From<kube::Error> for HarnessError {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Names the file and the action in an I/O error: `read(path).map_err(at("read", path))`.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> HarnessError {
    let path = path.to_owned();
    move |source| HarnessError::File { action, path, source }
}
