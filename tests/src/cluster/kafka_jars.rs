//! Kafka's jars, copied once from Maven's repositories into the cache.

use tokio::process::Command;

use super::command::quiet_with;
use super::error::{Result, at};
use super::files;
use super::layout::{Cache, KAFKA, repository};
use super::lock::Lock;
use super::progress::Step;

/// Whether the cache has all jars that the `pom.xml` asks for.
///
/// # Errors
/// The `pom.xml` cannot be read.
pub(crate) fn are_there(cache: &Cache) -> Result<bool> {
    let wanted = wanted()?;
    Ok(cache.jars().is_dir() && std::fs::read(cache.kafka().join("pom.xml")).is_ok_and(|text| text == wanted))
}

/// Copies the jars into the cache, unless it has them.
///
/// # Errors
/// Maven is missing or fails; its log is named.
pub(crate) async fn ensure(cache: &Cache, _held: &Lock) -> Result<()> {
    if are_there(cache)? {
        return Ok(());
    }
    let (noted, wanted) = (cache.kafka().join("pom.xml"), wanted()?);
    let step = Step::start(&format!("jars of Kafka {KAFKA}"));
    // Who asks without the lock must not take a folder for complete that is only being filled.
    if noted.exists() {
        std::fs::remove_file(&noted).map_err(at("remove", &noted))?;
    }
    files::fresh(&cache.jars())?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(repository().join("tests/kafka/pom.xml")).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", cache.jars().display()));
    quiet_with(&step, &mut maven, &cache.log("maven")).await?;
    std::fs::write(&noted, wanted).map_err(at("write", &noted))?;
    step.done();
    Ok(())
}

fn wanted() -> Result<Vec<u8>> {
    let ours = repository().join("tests/kafka/pom.xml");
    std::fs::read(&ours).map_err(at("read", &ours))
}
