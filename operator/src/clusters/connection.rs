//! One admin connection per Kafka cluster, whatever the number of objects on it.
//!
//! A connection is made anew when the bootstrap servers change or the client failed, and dropped with its `KafkaCluster`.
//! Every sign that a cluster comes or goes asks for a check of it.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_kafka::{ClientState, ConnectionSettings, Error, Health, TopicAdmin};
use tokio::sync::broadcast;

use super::{outage::Outage, racks::Racks, requests::TopicRequests};
use crate::metrics::KafkaRequests;

/// The name that brokers log and count the operator under.
const CLIENT_ID: &str = "penstock-operator";
/// How many clusters may ask for a check before one is forgotten; the regular check then finds it.
const CHECKS: usize = 256;

/// The connection to one Kafka cluster. Clone: another handle of it.
#[derive(Clone)]
pub struct ClusterConnection {
    /// The client.
    pub admin: TopicAdmin,
    /// What many reconciles ask about topics, sent together.
    pub topics: TopicRequests,
    /// The racks of its brokers, of those too that are down.
    pub racks: Racks,
    /// Whether it stays away.
    pub outage: Outage,
    requests: KafkaRequests,
}

impl ClusterConnection {
    /// Waits for the answer to a request, and counts it under that name.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn ask<T>(&self, request: &'static str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.requests.count(request, answer).await
    }

    /// The same for a question that changes nothing: it fails as soon as the client has lost all its connections.
    ///
    /// # Errors
    /// Those of the question.
    pub async fn look<T>(&self, request: &'static str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.ask(request, unless_lost(&self.admin, answer)).await
    }

    /// The same connection with another limit for each request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.admin = self.admin.with_timeout(timeout);
        self
    }
}

/// The answer, unless the client loses all its connections before.
pub(super) async fn unless_lost<T>(admin: &TopicAdmin, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        answer = answer => answer,
        reason = lost(admin.health()) => Err(Error::Unreachable { reason }),
    }
}

/// Waits until the client has no connection, and says why.
async fn lost(mut health: Health) -> String {
    loop {
        if let ClientState::Disconnected { reason } = health.state() {
            return reason;
        }
        if health.changed().await.is_none() {
            return std::future::pending().await;
        }
    }
}

/// The admin connection of each `KafkaCluster`, by its name.
pub struct ClusterConnections {
    connections: Mutex<HashMap<String, ClusterConnection>>,
    checks: broadcast::Sender<String>,
    requests: KafkaRequests,
    timeout: Duration,
}

impl ClusterConnections {
    /// No connections yet. `timeout`: how long one request may take.
    #[must_use]
    pub fn new(requests: KafkaRequests, timeout: Duration) -> Self {
        Self { connections: Mutex::default(), checks: broadcast::Sender::new(CHECKS), requests, timeout }
    }

    /// The connection to the cluster of that name at those servers. Does not wait for Kafka.
    ///
    /// # Errors
    /// When no client can be made of these servers.
    pub fn to(&self, cluster: &str, bootstrap_servers: &[String]) -> Result<ClusterConnection, Error> {
        let mut connections = self.lock();
        if let Some(connection) = connections.get(cluster)
            && connection.admin.connection().bootstrap_servers() == bootstrap_servers
        {
            return Ok(connection.clone());
        }
        let settings = ConnectionSettings::new(bootstrap_servers)?.with_client_id(CLIENT_ID)?;
        let admin = TopicAdmin::new(&settings)?.with_timeout(self.timeout);
        let topics = TopicRequests::start(&admin, &self.requests);
        let connection =
            ClusterConnection { admin, topics, racks: Racks::default(), outage: Outage::default(), requests: self.requests.clone() };
        connections.insert(cluster.to_owned(), connection.clone());
        self.follow(cluster.to_owned(), &connection);
        Ok(connection)
    }

    /// Drops the connection of that cluster.
    pub fn forget(&self, cluster: &str) {
        self.lock().remove(cluster);
    }

    /// Takes in how a request to that cluster failed: a lost cluster is checked soon, a broken client is made anew.
    pub fn failed(&self, cluster: &str, error: &Error) {
        if error.is_fatal() {
            self.forget(cluster);
        }
        if error.is_fatal() || error.is_retriable() {
            self.check(cluster.to_owned());
        }
    }

    /// The names of clusters that should be checked now.
    #[must_use]
    pub fn checks(&self) -> broadcast::Receiver<String> {
        self.checks.subscribe()
    }

    /// Asks for a check whenever the client's own view of its connection changes, as long as it lives.
    fn follow(&self, cluster: String, connection: &ClusterConnection) {
        let (checks, mut health) = (self.checks.clone(), connection.admin.health());
        tokio::spawn(async move {
            while health.changed().await.is_some() {
                // Nobody listens: the operator ends.
                let _ = checks.send(cluster.clone());
            }
        });
    }

    fn check(&self, cluster: String) {
        // Nobody listens: the operator ends.
        let _ = self.checks.send(cluster);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ClusterConnection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
