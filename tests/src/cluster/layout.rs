//! Where everything lies. Pure but for reading the environment once.
//!
//! The cache is shared and costly to make; an instance is what one cluster owns and `down` removes as a whole.

use std::env;
use std::path::{Path, PathBuf};

use super::error::{HarnessError, Result};

/// The version of helm that tests and demo use.
pub(crate) const HELM: &str = "v4.3.1";
/// The version of Kafka whose brokers run in the cluster.
pub(crate) const KAFKA: &str = "4.3.1";

/// The checkout that this harness was compiled from.
pub(crate) fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// What all instances share: `$PENSTOCK_CACHE`, by default `~/.cache/penstock`.
#[derive(Debug, Clone)]
pub(crate) struct Cache(PathBuf);

impl Cache {
    pub(crate) fn from_env() -> Result<Self> {
        if let Some(given) = env::var_os("PENSTOCK_CACHE").filter(|v| !v.is_empty()) {
            return absolute("PENSTOCK_CACHE", given.into()).map(Self);
        }
        let home = env::home_dir().ok_or_else(|| HarnessError::Input("no home directory: set PENSTOCK_CACHE to a folder".into()))?;
        Ok(Self(home.join(".cache/penstock")))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Working folder of `kind.sh`.
    pub(crate) fn kind(&self) -> PathBuf {
        self.0.join("kind")
    }

    /// kind, kubectl and the node's programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.0.join("kind/bin")
    }

    pub(crate) fn helm(&self) -> PathBuf {
        self.0.join("helm").join(HELM)
    }

    pub(crate) fn kafka(&self) -> PathBuf {
        self.0.join("kafka")
    }

    /// Kafka's jars, as Maven copies them.
    pub(crate) fn jars(&self) -> PathBuf {
        self.0.join("kafka/lib")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join("log").join(format!("{name}.log"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
}

/// What belongs to one cluster: `$PENSTOCK_STATE/NAME`, by default `<cache>/instances/NAME`.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    name: String,
    root: PathBuf,
}

impl Instance {
    pub(crate) fn new(name: &str, cache: &Cache) -> Result<Self> {
        if !is_valid_name(name) {
            return Err(HarnessError::Input(format!(
                "cluster name {name:?}: use 1 to 30 lowercase letters, digits and dashes, beginning and ending with a letter or digit"
            )));
        }
        let all = match env::var_os("PENSTOCK_STATE").filter(|v| !v.is_empty()) {
            Some(given) => absolute("PENSTOCK_STATE", given.into())?,
            None => cache.root().join("instances"),
        };
        Ok(Self { name: name.to_owned(), root: all.join(name) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Says on which ground the instance stands; written before anything is started.
    pub(crate) fn ground_file(&self) -> PathBuf {
        self.root.join("ground")
    }

    /// The tags of the images that the cluster has.
    pub(crate) fn tags(&self) -> PathBuf {
        self.root.join("tags")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    /// Beside the instance's folder, so that it outlives it.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.with_extension("lock")
    }

    /// dockerd's data root.
    pub(crate) fn docker(&self) -> PathBuf {
        self.root.join("docker")
    }

    /// dockerd's sockets and run-time files. Short, because a socket's path is limited to 107 bytes.
    pub(crate) fn run(&self) -> PathBuf {
        Path::new("/run/penstock").join(&self.name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run().join("docker.sock")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.run().join("dockerd.pid")
    }

    /// The name that `ip netns` knows the namespace by.
    pub(crate) fn netns(&self) -> String {
        format!("kind-{}", self.name)
    }

    pub(crate) fn netns_file(&self) -> PathBuf {
        Path::new("/run/netns").join(self.netns())
    }
}

/// The name becomes part of node names, file names and a network namespace.
fn is_valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=30).contains(&name.len()) && name.chars().all(|c| plain(c) || c == '-') && name.starts_with(plain) && name.ends_with(plain)
}

fn absolute(variable: &str, path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).map_err(|e| HarnessError::Input(format!("{variable}={}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::is_valid_name;

    #[test]
    fn names_are_safe_in_paths_and_node_names() {
        for (name, valid) in [
            ("penstock", true),
            ("a", true),
            ("ci-2", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a/b", false),
            ("a.b", false),
            ("..", false),
            ("abcdefghijklmnopqrstuvwxyz12345", false),
        ] {
            assert_eq!(is_valid_name(name), valid, "{name:?}");
        }
    }
}
