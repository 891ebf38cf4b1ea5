//! Three brokers with a proxy in front of each, for all runs of a program.

mod disk;
mod firewall;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_kafka::{ConnectionSettings, NewTopic, TopicAdmin};
use penstock_tests::local::{BrokerSettings, Brokers, Folder, ports};
use tokio::time::{Instant, sleep};

use crate::{
    PATIENCE, Result,
    fault::Means,
    fleet::Fleet,
    proxy::{Proxy, Rules, Strike},
    worker::Topics,
};

pub use disk::Disk;
pub use firewall::Firewall;

const BROKERS: usize = 3;
/// The broker whose data lies on a small disk.
pub const SMALL: usize = 2;
const PARTITIONS: i32 = 6;
/// More than a worker puts into a batch, less than [`crate::order::OVERSIZE`].
const MAX_LETTER: &str = "200000";
/// How long replicas may take to be level again.
const LEVEL: Duration = Duration::from_secs(60);

/// What all runs stand on.
pub struct Rig {
    /// The brokers.
    pub brokers: Brokers,
    /// What is done to requests.
    pub rules: Arc<Rules>,
    /// What this machine allows.
    pub means: Means,
    /// The small disk, where the machine allows one.
    pub disk: Option<Disk>,
    /// Cuts brokers off.
    pub firewall: Firewall,
    /// Held while a broker is away.
    pub broker: tokio::sync::Mutex<()>,
    admin: TopicAdmin,
    proxies: Vec<Proxy>,
    target: Target,
    // Last, because it must outlive what writes to it.
    folder: Folder,
}

/// The fleet whose workers are struck.
type Target = Arc<Mutex<Option<Arc<Fleet>>>>;

impl Rig {
    /// Starts brokers and proxies.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start() -> Result<Self> {
        let folder = Folder::new("chaos")?;
        let disk = Disk::mount(&folder.path().join("small-disk")).inspect_err(|error| eprintln!("    no fault `disk-full`: {error}")).ok();
        let firewall = Firewall::new();
        let can_cut = firewall.check().inspect_err(|error| eprintln!("    no fault `partitioned`: {error}")).is_ok();
        let advertised: Vec<SocketAddr> = ports::free(BROKERS)?.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let brokers = Brokers::start(BROKERS, settings(&advertised, disk.as_ref(), folder.path())).await?;
        let (rules, target) = (Arc::new(Rules::default()), Target::default());
        let mut proxies = Vec::with_capacity(BROKERS);
        for (id, address) in advertised.into_iter().enumerate() {
            proxies.push(Proxy::start(address, brokers.listener(id)?, Arc::clone(&rules), strike(&target)).await?);
        }
        let admin = TopicAdmin::new(&ConnectionSettings::new(brokers.internal())?)?;
        let means = Means { firewall: can_cut, small_disk: disk.is_some(), next_generation: true };
        Ok(Self { brokers, rules, means, disk, firewall, broker: tokio::sync::Mutex::new(()), admin, proxies, target, folder })
    }

    /// Where workers connect to.
    #[must_use]
    pub fn proxied(&self) -> Vec<String> {
        self.proxies.iter().map(|proxy| proxy.address().to_string()).collect()
    }

    /// Where nothing stands between.
    #[must_use]
    pub fn direct(&self) -> Vec<String> {
        self.brokers.internal()
    }

    /// Puts a run's files where they outlive this program, for a person to read.
    ///
    /// # Errors
    /// They cannot be copied.
    pub fn keep(&self, name: &str) -> Result<PathBuf> {
        let kept = std::env::temp_dir().join("penstock-chaos").join(name);
        std::fs::create_dir_all(&kept)?;
        for entry in std::fs::read_dir(self.folder.path().join(name))? {
            let entry = entry?;
            std::fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        Ok(kept)
    }

    /// A folder for a run's files.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// From now on these workers are struck.
    pub fn aim(&self, fleet: Option<Arc<Fleet>>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = fleet;
    }

    /// Makes the topics of a run.
    ///
    /// # Errors
    /// Kafka does not.
    pub async fn make_topics(&self, topics: &Topics) -> Result {
        let topic = |name: &str| NewTopic::new(name).with_partitions(PARTITIONS).with_replication_factor(3);
        let letters = topic(&topics.letters).with_config("max.message.bytes", MAX_LETTER);
        let others = topics.all().into_iter().filter(|name| *name != topics.letters).map(topic);
        for (name, made) in self.admin.create(&others.chain([letters]).collect::<Vec<_>>()).await? {
            made.map_err(|error| format!("{name}: {error}"))?;
        }
        for name in topics.all() {
            self.admin.wait_until_visible(name, PARTITIONS, PATIENCE).await?;
        }
        Ok(())
    }

    /// Removes the topics of a run.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub async fn remove_topics(&self, topics: &Topics) -> Result {
        let names = topics.all();
        let described = self.admin.describe(&names).await?;
        let known: Vec<_> = described.iter().filter_map(|(name, found)| Some((name.as_str(), found.as_ref().ok()?.id))).collect();
        self.admin.delete(&known).await?;
        Ok(())
    }

    /// Waits until every replica of the run's topics has what its leader has.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn level(&self, topics: &Topics) -> Result {
        let names = topics.all();
        let deadline = Instant::now() + LEVEL;
        while Instant::now() < deadline {
            let described = self.admin.describe(&names).await.unwrap_or_default();
            let level = |found: &penstock_kafka::TopicDescription| found.partitions.iter().all(|p| p.isr.len() == BROKERS);
            if described.len() == names.len() && described.iter().all(|(_, found)| found.as_ref().is_ok_and(level)) {
                return Ok(());
            }
            sleep(Duration::from_millis(200)).await;
        }
        Err(format!("replicas are not level after {} s", LEVEL.as_secs()).into())
    }
}

fn strike(target: &Target) -> Strike {
    let target = Arc::clone(target);
    Box::new(move |ends, blow| {
        let fleet = target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fleet.is_some_and(|fleet| fleet.strike(ends, blow))
    })
}

fn settings(advertised: &[SocketAddr], disk: Option<&Disk>, folder: &Path) -> BrokerSettings {
    let data = |id| match disk {
        Some(disk) if id == SMALL => disk.path().join("data"),
        _ => folder.join(format!("data-{id}")),
    };
    let properties = [
        // A broker that is gone is found to be gone soon, and what it leads moves on.
        ("broker.session.timeout.ms", "6000"),
        ("replica.lag.time.max.ms", "6000"),
        // A transaction that has run out of time is aborted at once, not within ten seconds.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"),
        ("group.consumer.session.timeout.ms", "6000"),
        ("group.consumer.min.session.timeout.ms", "6000"),
        ("group.consumer.heartbeat.interval.ms", "1000"),
        ("group.consumer.min.heartbeat.interval.ms", "1000"),
        ("log.segment.bytes", "16777216"),
    ];
    BrokerSettings {
        advertised: advertised.to_vec(),
        data: (0..BROKERS).map(data).collect(),
        properties: properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>(),
        ..BrokerSettings::default()
    }
}
