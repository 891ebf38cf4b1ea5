//! What every reconciler may use. Holds handles only; making one starts nothing but the watches it is given.

use std::sync::Arc;

use kube::{Client, runtime::watcher};
use penstock_crds::{EventPipeline, KafkaCluster, KafkaTopic};

use crate::{
    clusters::ClusterConnections,
    events::Events,
    health::Health,
    metrics::Metrics,
    settings::Settings,
    superseded::Superseded,
    topics::{HealthBook, Memory},
    watch::{Lookup, Watch, Watched},
};

/// What every reconciler may use.
pub struct Context {
    /// The apiserver.
    pub client: Client,
    /// What the operator was started with.
    pub settings: Settings,
    /// The admin connection of each Kafka cluster.
    pub connections: ClusterConnections,
    /// Events on objects.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// How the replicas of topics are.
    pub health_of_topics: HealthBook,
    /// What is known of `KafkaTopic`s beside what their statuses tell.
    pub memory_of_topics: Memory,
    /// What readiness and liveness are judged by.
    pub health: Arc<Health>,
    /// The watches that all controllers share.
    pub watches: Watches,
    /// Versions of objects that were replaced, though caches may still show them.
    pub superseded: Superseded,
}

/// The watches that all controllers share, each over all namespaces.
#[derive(Clone)]
pub struct Watches {
    /// `KafkaCluster`s.
    pub clusters: Watch<KafkaCluster>,
    /// `KafkaTopic`s.
    pub topics: Watch<KafkaTopic>,
    /// The same by the name in Kafka that they mean.
    pub topics_by_name: Lookup<KafkaTopic>,
    /// `EventPipeline`s.
    pub pipelines: Watch<EventPipeline>,
}

impl Context {
    /// Starts another watch over all namespaces, which readiness then needs too.
    #[must_use]
    pub fn watch<K: Watched>(&self, config: watcher::Config) -> Watch<K> {
        watch(&self.client, &self.health, config)
    }
}

/// Starts a watch over all namespaces. Readiness needs it; liveness needs the task that drives it.
pub fn watch<K: Watched>(client: &Client, health: &Arc<Health>, config: watcher::Config) -> Watch<K> {
    let (watch, driver) = Watch::new(client, config);
    health.needs(&watch);
    let end = EndOfWatch { health: Arc::clone(health), kind: K::kind(&()).into_owned() };
    tokio::spawn(async move {
        let _end = end;
        driver.await;
    });
    watch
}

/// Dropped when the task ends for whatever reason, a panic too.
struct EndOfWatch {
    health: Arc<Health>,
    kind: String,
}

impl Drop for EndOfWatch {
    fn drop(&mut self) {
        self.health.ended(&format!("the watch of {}", self.kind));
    }
}
