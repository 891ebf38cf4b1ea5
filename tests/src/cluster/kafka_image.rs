//! Kafka's image where none can be pulled: Maven's jars, a runtime that `jlink` cuts from the JDK, and a shell, with
//! everything at the places where `apache/kafka` has it. Made once per recipe and kept in the cache as an archive.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::command::{output, quiet_with};
use super::error::{Result, at};
use super::image::RECIPE;
use super::layout::{KAFKA, repository};
use super::lock::Lock;
use super::progress::Step;
use super::recipe::{self, short_hex};
use super::site::Site;
use super::{files, kafka_jars, rootfs};

/// The Java modules that a broker and its tools load.
const MODULES: &str = "java.base,java.compiler,java.desktop,java.logging,java.management,java.management.rmi,java.naming,java.net.http,\
                       java.rmi,java.scripting,java.security.jgss,java.security.sasl,java.sql,java.xml,jdk.crypto.ec,jdk.management,\
                       jdk.management.agent,jdk.net,jdk.security.auth,jdk.unsupported,jdk.zipfs";

/// The tools that `apache/kafka` has in `/opt/kafka/bin`, by script and class.
const TOOLS: &[(&str, &str)] = &[
    ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-configs.sh", "kafka.admin.ConfigCommand"),
    ("kafka-consumer-groups.sh", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-console-producer.sh", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-get-offsets.sh", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-broker-api-versions.sh", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
];

/// Loads Kafka's classes once.
const KEEP_CLASSES: &str = "tests/kafka/keep-classes.sh";

/// The user that `apache/kafka` runs as.
const USER: u32 = 1000;

/// A finished image.
pub(crate) struct KafkaImage {
    pub(crate) name: String,
    pub(crate) recipe: String,
    pub(crate) archive: PathBuf,
}

/// Makes the image's archive unless the cache has it. The caller holds the cache's lock.
pub(crate) async fn ensure(site: &Site, held: &Lock) -> Result<KafkaImage> {
    let name = format!("penstock/kafka:{KAFKA}");
    let recipe = ingredients().await?;
    let archive = recipe::archive(&site.cache.kafka(), "image", &recipe);
    if !archive.exists() {
        kafka_jars::ensure(&site.cache, held).await?;
        assemble(site, &name, &recipe, &archive).await?;
    }
    Ok(KafkaImage { name, recipe, archive })
}

async fn assemble(site: &Site, name: &str, recipe: &str, archive: &Path) -> Result<()> {
    let step = Step::start(&format!("image {name}"));
    let work = site.cache.kafka().join("work");
    files::fresh(&work)?;
    let [system, java, kafka, classes] = ["system", "java", "kafka", "classes"].map(|layer| work.join(layer));
    let runtime = java.join("opt/java/openjdk");
    make_runtime(site, &step, &runtime).await?;
    system_layer(&system, &runtime).await?;
    for jar in files::below(&site.cache.jars())? {
        let copy = kafka.join("opt/kafka/libs").join(jar.file_name().unwrap_or_default());
        files::copy(&jar, &copy)?;
        // As image.py has it: Java does not take classes from files of another age.
        File::open(&copy).and_then(|copy| copy.set_modified(UNIX_EPOCH)).map_err(at("date", &copy))?;
    }
    for (script, class) in TOOLS {
        tool(&kafka.join("opt/kafka/bin").join(script), class)?;
    }
    keep_classes(site, &step, &[&system, &java, &kafka], &classes).await?;
    let (list, aside) = (work.join("images.json"), recipe::aside(archive));
    let image = json!([{ "name": name, "layers": [system, java, kafka, classes], "config": config(recipe) }]);
    files::write(&list, &image.to_string())?;
    let mut pack = Command::new("python3");
    pack.arg(repository().join("tests/kind/image.py")).arg(&aside).arg(&list);
    quiet_with(&step, &mut pack, &site.cache.log("kafka-image")).await?;
    recipe::keep(archive, "image")?;
    files::remove(&work)?;
    step.done();
    Ok(())
}

async fn make_runtime(site: &Site, step: &Step, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to.parent().unwrap_or(to)).map_err(at("create", to))?;
    let mut jlink = Command::new("jlink");
    jlink.args(["--add-modules", MODULES, "--strip-debug", "--no-man-pages", "--no-header-files", "--generate-cds-archive"]);
    jlink.arg("--output").arg(to);
    quiet_with(step, &mut jlink, &site.cache.log("jlink")).await
}

/// Starts Kafka once in what these layers hold together, and makes a layer of the classes that Java has loaded for it.
async fn keep_classes(site: &Site, step: &Step, layers: &[&PathBuf], to: &Path) -> Result<()> {
    let root = to.with_extension("root");
    for layer in layers {
        let mut link = Command::new("cp");
        link.args(["--archive", "--link"]).arg(layer.join(".")).arg(&root);
        quiet_with(step, &mut link, &site.cache.log("kafka-classes")).await?;
    }
    let mut start = Command::new("unshare");
    start.args(["--mount", "--net", "--uts", "--pid", "--fork", "--kill-child"]).arg(repository().join(KEEP_CLASSES)).arg(&root);
    quiet_with(step, &mut start, &site.cache.log("kafka-classes")).await?;
    for archive in files::below(&root.join("opt/kafka/classes"))? {
        files::copy(&archive, &to.join("opt/kafka/classes").join(archive.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// The C library that the runtime needs, a shell for the start script, and the user.
async fn system_layer(system: &Path, runtime: &Path) -> Result<()> {
    let mut programs: Vec<_> =
        files::below(&runtime.join("lib"))?.into_iter().filter(|f| f.extension().is_some_and(|e| e == "so")).collect();
    programs.push(runtime.join("bin/java"));
    programs.push("/bin/dash".into());
    rootfs::libraries(&programs, system, Some(runtime)).await?;
    files::copy(Path::new("/bin/dash"), &system.join("bin/sh"))?;
    rootfs::identity(system, "appuser", USER)
}

fn tool(script: &Path, class: &str) -> Result<()> {
    files::write(script, &format!("#!/bin/sh\nexec java -Xmx256m -cp '/opt/kafka/libs/*' {class} \"$@\"\n"))?;
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).map_err(at("write", script))
}

fn config(recipe: &str) -> serde_json::Value {
    json!({
        "User": format!("{USER}:{USER}"),
        "Env": ["PATH=/opt/java/openjdk/bin:/opt/kafka/bin:/bin", "JAVA_HOME=/opt/java/openjdk"],
        "WorkingDir": "/opt/kafka",
        "Labels": { RECIPE: recipe },
    })
}

/// A short hash of what decides the image: the jars' list, the runtime, and how they are put together.
async fn ingredients() -> Result<String> {
    let mut hash = Sha256::new();
    for file in ["tests/kafka/pom.xml", KEEP_CLASSES, "tests/kind/image.py"] {
        let path = repository().join(file);
        hash.update(std::fs::read(&path).map_err(at("read", &path))?);
    }
    hash.update(output(Command::new("jlink").arg("--version"), Duration::from_secs(20)).await?);
    hash.update(include_str!("kafka_image.rs"));
    Ok(short_hex(&hash.finalize()))
}
