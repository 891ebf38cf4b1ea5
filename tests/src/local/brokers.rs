//! Kafka's brokers as processes of this machine.
//!
//! A started broker has answered a request; the data of one that was killed or stopped is there again after its restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use penstock_kafka::{ClusterDescription, ConnectionSettings, TopicAdmin};

use super::classes::Classes;
use super::folder::Folder;
use super::properties::{self, Ports};
use super::storage::Storage;
use super::{Process, ports};
use crate::cluster::command::{output, wait_until};
use crate::cluster::layout::Cache;
use crate::cluster::packages::{self, Need};
use crate::cluster::progress::Step;
use crate::cluster::{HarnessError, Result, files, kafka_jars, lock};

const CLUSTER_ID: &str = "cGVuc3RvY2sta2Fma2EtMQ";
/// How long brokers may take to start; a busy machine takes some 30 s for three.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long one question to a broker that starts may take.
const QUESTION: Duration = Duration::from_secs(2);
const NEEDS: &[Need] =
    &[("java", "apt-get install openjdk-17-jdk-headless"), ("mvn", "apt-get install maven"), ("setpriv", "apt-get install util-linux")];

/// How brokers are started.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// The core that all of them run on; none leaves them all of this program's.
    pub core: Option<usize>,
    /// The Java heap of each, in megabytes.
    pub heap_megabytes: u32,
    /// Whether they are to be fast in the long run. Otherwise Java spends no time on compiling well what runs for a minute.
    pub is_measured: bool,
    /// What each tells clients to connect to, in the order of the brokers: where a proxy listens. Empty: their own listeners.
    pub advertised: Vec<SocketAddr>,
    /// Where each keeps its data, in the order of the brokers. Empty: in a folder that goes with the brokers.
    pub data: Vec<PathBuf>,
    /// Properties of `server.properties`, which win over ours.
    pub properties: BTreeMap<String, String>,
    /// Java programs whose classes the properties may name.
    pub plugins: Vec<PathBuf>,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            core: None,
            heap_megabytes: 384,
            is_measured: false,
            advertised: Vec::new(),
            data: Vec::new(),
            properties: BTreeMap::new(),
            plugins: Vec::new(),
        }
    }
}

/// Brokers that run; dropped, they are killed and their data is removed.
pub struct Brokers {
    all: Vec<Broker>,
    java: Java,
    // Last, because it must outlive the processes that write to it.
    _folder: Folder,
}

struct Broker {
    id: usize,
    ports: Ports,
    folder: PathBuf,
    process: Mutex<Arc<Process>>,
    admin: TopicAdmin,
}

struct Java {
    jars: PathBuf,
    /// The classes of plugins.
    plugins: Option<PathBuf>,
    classes: Classes,
    log4j: PathBuf,
    heap_megabytes: u32,
    is_measured: bool,
    core: Option<usize>,
}

impl Brokers {
    /// Starts 1 or 3 brokers and waits until each of them knows all. Gets Kafka's jars first, where the cache has none.
    ///
    /// # Errors
    /// A program is missing, or a broker does not start; with the end of its log.
    pub async fn start(count: usize, settings: BrokerSettings) -> Result<Self> {
        check(count, &settings)?;
        packages::require(NEEDS)?;
        let cache = jars().await?;
        let step = Step::start(&format!("{count} broker(s) of Kafka"));
        let folder = Folder::new("kafka")?;
        let log4j = folder.path().join("log4j2.properties");
        files::write(&log4j, properties::LOG4J)?;
        let BrokerSettings { heap_megabytes, is_measured, core, .. } = settings;
        let plugins = compiled(&settings.plugins, &cache.jars(), folder.path()).await?;
        let java = Java { jars: cache.jars(), plugins, classes: Classes::find(&cache)?, log4j, heap_megabytes, is_measured, core };
        let (storage, ports) = (Storage::find(&cache)?, choose_ports(count)?);
        try_join_all((0..count).map(|id| prepare(&java, &storage, id, &ports, &settings, folder.path()))).await?;
        let mut all = Vec::with_capacity(count);
        for (id, ports) in ports.into_iter().enumerate() {
            all.push(Broker::start(&java, id, ports, home(folder.path(), id))?);
        }
        let brokers = Self { all, java, _folder: folder };
        for broker in &brokers.all {
            broker.wait_ready(&|seen| seen.brokers.len() == count).await?;
        }
        // Java keeps none where a folder is among the places that it takes classes from.
        if brokers.java.plugins.is_none() {
            brokers.java.classes.keep(&*brokers.process(0)?).await;
        }
        step.done();
        Ok(brokers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Where a broker listens for clients itself, whatever it advertises: where a proxy connects to.
    ///
    /// # Errors
    /// There is no such broker.
    pub fn listener(&self, id: usize) -> Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], self.broker(id)?.ports.client)))
    }

    /// The listeners of all brokers for clients, each as `host:port`. What stands between is not asked.
    pub fn bootstrap(&self) -> Vec<String> {
        self.all.iter().map(|broker| format!("127.0.0.1:{}", broker.ports.client)).collect()
    }

    /// The listeners of all brokers that nothing ever stands in front of, each as `host:port`: for the one who watches.
    pub fn internal(&self) -> Vec<String> {
        self.all.iter().map(|broker| format!("127.0.0.1:{}", broker.ports.internal)).collect()
    }

    /// The process of a broker: for its usage, its log, and to pause and resume it.
    ///
    /// # Errors
    /// There is no such broker.
    pub fn process(&self, id: usize) -> Result<Arc<Process>> {
        Ok(self.broker(id)?.process())
    }

    /// Kills a broker at once.
    ///
    /// # Errors
    /// There is no such broker.
    pub fn kill(&self, id: usize) -> Result<()> {
        self.process(id)?.kill();
        Ok(())
    }

    /// Stops a broker in an orderly way: it gives its partitions to others first.
    ///
    /// # Errors
    /// There is no such broker, or it does not end.
    pub async fn stop(&self, id: usize) -> Result<()> {
        let process = self.process(id)?;
        process.terminate();
        process.wait(STOP_LIMIT).await.map(drop)
    }

    /// Stops a broker where it is, as if its machine hung.
    ///
    /// # Errors
    /// There is no such broker.
    pub fn pause(&self, id: usize) -> Result<()> {
        self.process(id)?.pause();
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// There is no such broker.
    pub fn resume(&self, id: usize) -> Result<()> {
        self.process(id)?.resume();
        Ok(())
    }

    /// Starts a broker that was killed or stopped, with its data, and waits until it takes part again. One that runs is
    /// killed first.
    ///
    /// # Errors
    /// There is no such broker, or it does not start; with the end of its log.
    pub async fn restart(&self, id: usize) -> Result<()> {
        let broker = self.broker(id)?;
        broker.process().kill();
        let process = self.java.run_broker(id, &broker.folder)?;
        *broker.process.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(process);
        let own = i32::try_from(id).unwrap_or(i32::MAX);
        broker.wait_ready(&|seen| seen.brokers.iter().any(|known| known.id == own)).await
    }

    fn broker(&self, id: usize) -> Result<&Broker> {
        self.all.get(id).ok_or_else(|| HarnessError::Input(format!("there is no broker {id}: they are 0 to {}", self.all.len() - 1)))
    }
}

impl Broker {
    fn start(java: &Java, id: usize, ports: Ports, folder: PathBuf) -> Result<Self> {
        let address = format!("127.0.0.1:{}", ports.internal);
        let refused = |error: String| HarnessError::Input(format!("no client for {address}: {error}"));
        let connection = ConnectionSettings::new([&address]).map_err(|error| refused(error.to_string()))?;
        let admin = TopicAdmin::new(&connection).map_err(|error| refused(error.to_string()))?.with_timeout(QUESTION);
        let process = Mutex::new(Arc::new(java.run_broker(id, &folder)?));
        Ok(Self { id, ports, folder, process, admin })
    }

    fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until its answer is as it should be; not longer than it runs.
    async fn wait_ready(&self, enough: &(dyn Fn(&ClusterDescription) -> bool + Sync)) -> Result<()> {
        let process = self.process();
        let answers = async || process.ended().is_some() || self.admin.cluster().await.is_ok_and(|seen| enough(&seen));
        let waited = wait_until(&format!("broker {} does not answer", self.id), START_LIMIT, "", answers).await;
        process.must_run()?;
        waited.map_err(|_| process.late("does not answer", START_LIMIT))
    }
}

impl Java {
    fn command(&self, heap_megabytes: u32) -> Command {
        let mut command = Command::new("java");
        if !self.is_measured {
            command.arg("-XX:TieredStopAtLevel=1");
        }
        command.arg(self.classes.flag()).arg(format!("-Xmx{heap_megabytes}m"));
        let mut classes = format!("{}/*", self.jars.display());
        if let Some(folder) = &self.plugins {
            // By a name without colons, which part the classes from each other.
            command.current_dir(folder);
            classes.push_str(":.");
        }
        command.arg("-cp").arg(classes);
        command.arg(format!("-Dlog4j2.configurationFile={}", self.log4j.display()));
        command
    }

    fn run_broker(&self, id: usize, folder: &Path) -> Result<Process> {
        let mut command = self.command(self.heap_megabytes);
        command.args(["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "kafka.Kafka"]).arg(folder.join("server.properties"));
        Process::start(&format!("broker {id}"), &command, &folder.join("broker.log"), self.core)
    }
}

fn check(count: usize, settings: &BrokerSettings) -> Result<()> {
    if !matches!(count, 1 | 3) {
        return Err(HarnessError::Input(format!("{count} brokers: start 1 or 3")));
    }
    for (what, given) in [("advertised", settings.advertised.len()), ("data", settings.data.len())] {
        if given != 0 && given != count {
            return Err(HarnessError::Input(format!("{what}: give one for each of the {count} brokers, or none")));
        }
    }
    Ok(())
}

/// The cache, with Kafka's jars in it.
async fn jars() -> Result<Cache> {
    let cache = Cache::from_env()?;
    if !kafka_jars::are_there(&cache)? {
        let held = lock::acquire(&cache.lock(), "the cache").await?;
        kafka_jars::ensure(&cache, &held).await?;
    }
    Ok(cache)
}

/// Compiles plugins of brokers into a folder of their own.
async fn compiled(sources: &[PathBuf], jars: &Path, folder: &Path) -> Result<Option<PathBuf>> {
    if sources.is_empty() {
        return Ok(None);
    }
    packages::require(&[("javac", "apt-get install openjdk-17-jdk-headless")])?;
    let to = folder.join("plugins");
    let mut javac = Command::new("javac");
    javac.arg("-cp").arg(format!("{}/*", jars.display())).arg("-d").arg(&to).args(sources);
    output(&mut javac.into(), START_LIMIT).await?;
    Ok(Some(to))
}

fn choose_ports(brokers: usize) -> Result<Vec<Ports>> {
    let ports = ports::free(brokers * 3)?;
    let three = ports.chunks_exact(3).filter_map(|three| <[u16; 3]>::try_from(three).ok());
    Ok(three.map(|[client, internal, controller]| Ports { client, internal, controller }).collect())
}

fn home(folder: &Path, id: usize) -> PathBuf {
    folder.join(format!("broker-{id}"))
}

/// Writes a broker's settings and formats its storage.
async fn prepare(java: &Java, storage: &Storage, id: usize, ports: &[Ports], settings: &BrokerSettings, folder: &Path) -> Result<()> {
    let home = home(folder, id);
    let own = ports.get(id).map(|ports| ports.client).unwrap_or_default();
    let advertised = settings.advertised.get(id).copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], own)));
    let data = settings.data.get(id).cloned().unwrap_or_else(|| home.join("data"));
    let file = home.join("server.properties");
    files::write(&file, &properties::text(id, ports, advertised, &data, &settings.properties))?;
    if storage.is_kept() {
        return storage.format(CLUSTER_ID, id, &data);
    }
    let mut format = java.command(128);
    format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&file);
    output(&mut format.into(), START_LIMIT).await?;
    storage.keep(&data)
}
