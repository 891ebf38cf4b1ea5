//! The storage of a broker, as `kafka-storage.sh format` makes it. Kafka's tool is run once and what it writes is kept in the cache:
//! it is the same for every broker but for its own ids, and the tool costs each of them a start of Java.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::classes;
use crate::cluster::Result;
use crate::cluster::error::at;
use crate::cluster::files;
use crate::cluster::layout::Cache;

/// Which broker of which cluster, and which folder of it: see KIP-858.
const IDENTITY: &str = "meta.properties";
/// What the cluster's metadata begins with: the levels of its features.
const BEGINNING: &str = "bootstrap.checkpoint";

/// What the tool has made of these jars once.
#[derive(Debug)]
pub(super) struct Storage {
    kept: PathBuf,
}

impl Storage {
    /// Looks for it.
    pub fn find(cache: &Cache) -> Result<Self> {
        Ok(Self { kept: cache.kafka().join(format!("storage-{}.checkpoint", classes::version(cache)?)) })
    }

    pub fn is_kept(&self) -> bool {
        self.kept.is_file()
    }

    /// Keeps what the tool has made in a folder, for the next ones.
    pub fn keep(&self, data: &Path) -> Result<()> {
        let partial = self.kept.with_extension(format!("{}.tmp", Uuid::new_v4()));
        files::copy(&data.join(BEGINNING), &partial)?;
        std::fs::rename(&partial, &self.kept).map_err(at("rename", &partial))
    }

    /// Makes the same in another folder, of another broker.
    pub fn format(&self, cluster: &str, broker: usize, data: &Path) -> Result<()> {
        files::copy(&self.kept, &data.join(BEGINNING))?;
        files::write(&data.join(IDENTITY), &identity(cluster, broker, &Uuid::new_v4()))
    }
}

fn identity(cluster: &str, broker: usize, folder: &Uuid) -> String {
    // Kafka takes no name that begins like an option of a command.
    let mut folder = *folder.as_bytes();
    folder[0] &= 0x7f;
    format!("version=1\ncluster.id={cluster}\nnode.id={broker}\ndirectory.id={}\n", URL_SAFE_NO_PAD.encode(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_a_name_that_kafka_takes() {
        let wanted = format!("version=1\ncluster.id=c\nnode.id=2\ndirectory.id=f{}w\n", "_".repeat(20));
        assert_eq!(identity("c", 2, &Uuid::max()), wanted);
    }
}
