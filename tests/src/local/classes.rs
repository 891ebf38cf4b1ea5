//! Kafka's classes as Java has loaded them once, in an archive of the cache: with it a broker starts in half of the CPU time.
//! See JEP 310 and JEP 350.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Process;
use crate::cluster::command::output;
use crate::cluster::error::at;
use crate::cluster::layout::Cache;
use crate::cluster::recipe::short_hex;
use crate::cluster::{Result, packages};

/// How long a broker may take to write its classes.
const LIMIT: Duration = Duration::from_secs(60);

/// What names these jars and this Java: with others, what was kept of them does not hold.
pub(super) fn version(cache: &Cache) -> Result<String> {
    let java = packages::program("java").and_then(|java| std::fs::canonicalize(java).ok()).unwrap_or_else(|| "java".into());
    let mut hash = Sha256::new();
    for file in [java, cache.kafka().join("pom.xml")] {
        let found = std::fs::metadata(&file).map_err(at("look at", &file))?;
        hash.update(format!("{}:{}:{:?};", file.display(), found.len(), found.modified().ok()));
    }
    Ok(short_hex(&hash.finalize()))
}

/// The archive of these jars and this Java.
#[derive(Debug)]
pub(super) struct Classes {
    archive: PathBuf,
    is_there: bool,
}

impl Classes {
    /// Looks for it.
    pub fn find(cache: &Cache) -> Result<Self> {
        let archive = cache.kafka().join(format!("classes-{}.jsa", version(cache)?));
        Ok(Self { is_there: archive.is_file(), archive })
    }

    /// What makes Java use it, or note what is to be in it.
    pub fn flag(&self) -> String {
        if self.is_there { format!("-XX:SharedArchiveFile={}", self.archive.display()) } else { "-XX:+RecordDynamicDumpInfo".to_owned() }
    }

    /// Lets a broker that has started write it, where there is none. The next start is slower where it cannot.
    pub async fn keep(&self, broker: &Process) {
        if self.is_there || self.archive.exists() {
            return;
        }
        let written = self.archive.with_extension(format!("{}.tmp", broker.id()));
        let mut dump = Command::new("jcmd");
        dump.args([&broker.id().to_string(), "VM.cds", "dynamic_dump"]).arg(&written);
        let said = output(&mut dump.into(), LIMIT).await;
        if said.is_err() || std::fs::rename(&written, &self.archive).is_err() {
            eprintln!("    Kafka's classes are not kept, brokers start slowly: {said:?}");
        }
    }
}
