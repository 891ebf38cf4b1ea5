//! Reads and changes topics through one administrative connection per cluster.
//!
//! Every call takes many topics, answers each by itself, never blocks the async runtime and ends within the timeout.

mod deletion;
mod many;
mod positions;
mod reassignments;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join;
use tokio::time::{Instant, sleep};

use super::request::{Checked, check, check_names, valid_delta, valid_new_topic, valid_partitions};
use super::{ClusterDescription, ConfigDelta, KafkaVersion, NewTopic, OffsetRange, PerTopic, TopicConfig, TopicDescription, TopicSummary};
use crate::connection::{ConnectionSettings, tell};
use crate::detached::Detached;
use crate::error::{Error, Result};
use crate::ffi::{Edge, Native};
use crate::health::Health;
use crate::record::TopicPartition;
use crate::wire::{self, Coordinators, Entrances, Lines};
use positions::Groups;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
const VISIBILITY_POLL: Duration = Duration::from_millis(50);
/// The library's settings that are told when an admin starts.
const TOLD: [&str; 2] = ["bootstrap.servers", "client.id"];

/// Describes, creates, changes and deletes topics. Clones share their connections.
///
/// The outer `Result` of a call is about the call as a whole (Kafka unreachable, no permission at all); the inner ones
/// are about each topic. After [`Error::Timeout`] of a changing call its outcome is unknown: describe before repeating.
///
/// ```no_run
/// # async fn example() -> penstock_kafka::Result<()> {
/// use penstock_kafka::{ConnectionSettings, NewTopic, TopicAdmin};
///
/// let admin = TopicAdmin::new(&ConnectionSettings::parse("localhost:9092")?)?;
/// for (name, created) in admin.create(&[NewTopic::new("orders").with_partitions(3)]).await? {
///     created?;
///     let topic = admin.wait_until_visible(&name, 3, std::time::Duration::from_secs(10)).await?;
///     admin.delete(&[(&name, topic.id)]).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TopicAdmin {
    native: Detached<Native>,
    groups: Arc<Groups>,
    lines: Arc<Lines>,
    entrances: Arc<Entrances>,
    coordinators: Arc<Coordinators>,
    settings: ConnectionSettings,
    timeout: Duration,
}

impl fmt::Debug for TopicAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicAdmin").field("connection", &self.settings).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl TopicAdmin {
    /// Starts a client. Does not wait for Kafka.
    ///
    /// # Errors
    /// [`Error::InvalidSettings`] if no client can be made from the settings.
    pub fn new(connection: &ConnectionSettings) -> Result<Self> {
        let config = connection.client_config();
        tell("admin", &config, &TOLD, None);
        let native = Native::for_requests(&config)?;
        Ok(Self {
            native: Detached::new(native),
            groups: Arc::default(),
            lines: Arc::default(),
            entrances: Arc::default(),
            coordinators: Arc::default(),
            settings: connection.clone(),
            timeout: DEFAULT_TIMEOUT,
        })
    }

    /// The same connection with another limit for each call. Default 15 s, at least 1 ms, at most one hour. While all
    /// brokers are known to be down, a call fails at once; the client reconnects by itself.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The connection this client was made for.
    pub fn connection(&self) -> &ConnectionSettings {
        &self.settings
    }

    /// Watches the connection.
    pub fn health(&self) -> Health {
        match self.native.get() {
            Ok(native) => native.health(),
            Err(_) => crate::health::HealthSource::new().watch(),
        }
    }

    /// Describes topics, with their ids and partitions. A topic that is not there is [`Error::UnknownTopic`].
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn describe(&self, names: &[&str]) -> Result<PerTopic<TopicDescription>> {
        let Checked { send, mut refused } = check_names(names);
        let names: Vec<&str> = send.into_keys().collect();
        if !names.is_empty() {
            refused.extend(read(self.native.get()?.describe_topics(&names, self.timeout).await)?);
        }
        Ok(refused)
    }

    /// Reads the whole configuration of topics.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn describe_configs(&self, names: &[&str]) -> Result<PerTopic<TopicConfig>> {
        let Checked { send, mut refused } = check_names(names);
        let names: Vec<&str> = send.into_keys().collect();
        if !names.is_empty() {
            refused.extend(read(self.native.get()?.describe_configs(&names, self.timeout).await)?);
        }
        Ok(refused)
    }

    /// Creates topics. A topic may not be visible on every broker at once; see [`TopicAdmin::wait_until_visible`].
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn create(&self, topics: &[NewTopic]) -> Result<PerTopic<()>> {
        self.create_or_validate(topics, false).await
    }

    /// Asks the broker whether it would create these topics. Creates nothing.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn validate_create(&self, topics: &[NewTopic]) -> Result<PerTopic<()>> {
        self.create_or_validate(topics, true).await
    }

    async fn create_or_validate(&self, topics: &[NewTopic], validate_only: bool) -> Result<PerTopic<()>> {
        let entries = topics.iter().map(|topic| (topic.name.as_str(), topic));
        let Checked { send, mut refused } = check(entries, valid_new_topic);
        let topics: Vec<&NewTopic> = send.into_values().collect();
        if !topics.is_empty() {
            let created = self.native.get()?.create_topics(&topics, validate_only, self.timeout).await;
            let created = if validate_only { read(created) } else { created };
            refused.extend(created?);
        }
        Ok(refused)
    }

    /// Raises partition counts to these totals. A total that is not above the current one is
    /// [`Error::InvalidPartitions`]: Kafka cannot take partitions away.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn add_partitions(&self, totals: &[(&str, i32)]) -> Result<PerTopic<()>> {
        let Checked { send, mut refused } = check(totals.iter().copied(), valid_partitions);
        if !send.is_empty() {
            refused.extend(self.native.get()?.create_partitions(&send, self.timeout).await?);
        }
        Ok(refused)
    }

    /// Sets and removes single configuration keys (IncrementalAlterConfigs, KIP-339). All other keys keep their values.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn alter_configs_incremental(&self, deltas: &[ConfigDelta]) -> Result<PerTopic<()>> {
        let entries = deltas.iter().map(|delta| (delta.topic.as_str(), delta));
        let Checked { send, mut refused } = check(entries, valid_delta);
        let (send, unchanged): (Vec<&ConfigDelta>, Vec<&ConfigDelta>) =
            send.into_values().partition(|delta| !delta.set.is_empty() || !delta.unset.is_empty());
        refused.extend(unchanged.into_iter().map(|delta| (delta.topic.clone(), Ok(()))));
        if !send.is_empty() {
            refused.extend(self.native.get()?.alter_configs(&send, self.timeout).await?);
        }
        Ok(refused)
    }

    /// Waits until a topic has at least `partitions` partitions and each of them a leader.
    ///
    /// # Errors
    /// [`Error::NotReady`] or [`Error::UnknownTopic`] once the time is over; at once if the name is invalid or access
    /// is refused.
    pub async fn wait_until_visible(&self, topic: &str, partitions: i32, timeout: Duration) -> Result<TopicDescription> {
        let deadline = Instant::now() + timeout;
        loop {
            let described = self
                .describe(&[topic])
                .await
                .and_then(|mut topics| topics.remove(topic).unwrap_or_else(|| Err(Error::UnknownTopic { topic: topic.to_owned() })));
            let problem = match described {
                Ok(described) => match missing(&described, partitions) {
                    None => return Ok(described),
                    Some(message) => Error::NotReady { code: 5, message },
                },
                Err(error) if error.is_retriable() || matches!(error, Error::UnknownTopic { .. }) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(problem);
            }
            sleep(VISIBILITY_POLL).await;
        }
    }

    /// All topics that this principal may see.
    ///
    /// # Errors
    /// See [`TopicAdmin`].
    pub async fn list(&self) -> Result<Vec<TopicSummary>> {
        let (native, timeout) = (self.native.clone(), self.timeout);
        let topics = tokio::task::spawn_blocking(move || native.get()?.list_blocking(timeout))
            .await
            .map_err(|error| Error::Fatal { message: error.to_string() })??;
        let summary = |(name, partitions)| TopicSummary { name, partitions: i32::try_from(partitions).unwrap_or(i32::MAX) };
        Ok(topics.into_iter().map(summary).collect())
    }

    /// The first and the next offset of every partition of topics.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn offsets(&self, names: &[&str]) -> Result<PerTopic<BTreeMap<i32, OffsetRange>>> {
        let mut result: PerTopic<BTreeMap<i32, OffsetRange>> = BTreeMap::new();
        let mut partitions = Vec::new();
        for (name, described) in self.describe(names).await? {
            match described {
                Ok(topic) => {
                    partitions.extend(topic.partitions.iter().map(|info| TopicPartition::new(&name, info.id)));
                    result.insert(name, Ok(BTreeMap::new()));
                }
                Err(error) => {
                    result.insert(name, Err(error));
                }
            }
        }
        if partitions.is_empty() {
            return Ok(result);
        }
        let native = self.native.get()?;
        let (starts, ends) = read(
            try_join(
                native.list_offsets(&partitions, Edge::Start, self.timeout),
                native.list_offsets(&partitions, Edge::End, self.timeout),
            )
            .await,
        )?;
        let mut starts: BTreeMap<TopicPartition, Result<i64>> = starts.into_iter().collect();
        for (partition, end) in ends {
            let start = starts.remove(&partition).unwrap_or(Err(Error::Closed));
            let Some(topic) = result.get_mut(&partition.topic) else { continue };
            match (topic.as_mut(), start, end) {
                (Ok(ranges), Ok(start), Ok(end)) => {
                    ranges.insert(partition.partition, OffsetRange { start, end });
                }
                (Ok(_), Err(error), _) | (Ok(_), _, Err(error)) => *topic = Err(error),
                (Err(_), _, _) => {}
            }
        }
        Ok(result)
    }

    /// The cluster's id, brokers, version and controller. The last two are asked over short plaintext connections; what that fails
    /// for is left out, and the rest is still told.
    ///
    /// # Errors
    /// See [`TopicAdmin`].
    pub async fn cluster(&self) -> Result<ClusterDescription> {
        let mut cluster = self.brokers_up().await?;
        if let Some(broker) = cluster.entry_point() {
            let client_id = self.settings.client_id();
            let (level, leader) = tokio::join!(
                wire::metadata_version(broker, client_id, self.timeout),
                wire::metadata_leader(broker, client_id, self.timeout)
            );
            match level {
                Ok(level) => cluster.version = level.and_then(KafkaVersion::of_metadata_version),
                Err(error) => tracing::debug!(%error, "cannot tell the release of the broker"),
            }
            match leader {
                Ok(leader) => cluster.controller = leader,
                Err(error) => tracing::debug!(%error, "cannot tell the controller"),
            }
        }
        Ok(cluster)
    }

    /// The cluster without its version and its controller.
    async fn brokers_up(&self) -> Result<ClusterDescription> {
        wire::cluster(&self.lines, &self.entrances, self.settings.bootstrap_servers(), self.settings.client_id(), self.timeout).await
    }
}

/// Reading changes nothing: a read without an answer is as good as not sent.
fn read<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Timeout { reason } => Error::Unreachable { reason },
        other => other,
    })
}

/// What a topic still lacks to be usable.
fn missing(topic: &TopicDescription, partitions: i32) -> Option<String> {
    let count = topic.partition_count();
    if count < partitions {
        return Some(format!("topic {} shows {count} of {partitions} partitions", topic.name));
    }
    let leaderless = topic.partitions.iter().find(|partition| partition.leader.is_none())?;
    Some(format!("partition {} of topic {} has no leader", leaderless.id, topic.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{PartitionInfo, TopicId};

    #[test]
    fn a_topic_is_usable_once_all_partitions_have_a_leader() {
        let topic = |leaders: &[Option<i32>]| TopicDescription {
            name: "t".to_owned(),
            id: TopicId::from_halves(0, 1),
            internal: false,
            partitions: (0..)
                .zip(leaders)
                .map(|(id, leader)| PartitionInfo { id, leader: *leader, replicas: vec![1], isr: vec![1] })
                .collect(),
        };
        let table: [(&[Option<i32>], i32, bool); 4] =
            [(&[Some(1), Some(1)], 2, true), (&[Some(1)], 2, false), (&[Some(1), None], 2, false), (&[Some(1), Some(1), Some(1)], 2, true)];
        for (leaders, partitions, usable) in table {
            assert_eq!(missing(&topic(leaders), partitions).is_none(), usable, "{leaders:?}");
        }
    }
}
