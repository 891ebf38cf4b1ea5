//! Questions about many topics, groups and partitions at once, for whoever watches them all: each takes a request for each broker, however
//! many there are. What librdkafka asks one by one, or keeps too much of, goes over plaintext connections of its own, which are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::super::request::{Checked, check_names};
use super::{TopicAdmin, read};
use crate::consumer::{CommittedOffset, GroupMember, GroupOffset, GroupProtocol};
use crate::error::{Error, Result};
use crate::record::TopicPartition;
use crate::topic::{BrokerInfo, Peek, PerPartition, PerTopic, TopicConfig, TopicDescription, validate_topic_name};
use crate::wire::{self, Asking};

impl TopicAdmin {
    /// Reads what is set on topics themselves, and `cleanup.policy` and `min.insync.replicas` wherever their values come from.
    /// Of many topics that is a small part of [`TopicAdmin::describe_configs`]: most keys are inherited.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn describe_configs_in_brief(&self, names: &[&str]) -> Result<PerTopic<TopicConfig>> {
        let Checked { send, mut refused } = check_names(names);
        let names: Vec<&str> = send.into_keys().collect();
        if !names.is_empty() {
            let (bootstrap, client_id) = (self.settings.bootstrap_servers(), self.settings.client_id());
            refused.extend(wire::configs_in_brief(&self.lines, &self.entrances, bootstrap, client_id, &names, self.timeout).await?);
        }
        Ok(refused)
    }

    /// What groups have committed. Offsets in transactions that are still open do not count. A group that does not exist has
    /// committed nothing; one that has no coordinator at present is not among the answers.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn offsets_of_groups(&self, groups: &[&str]) -> Result<BTreeMap<String, Result<PerPartition<CommittedOffset>>>> {
        self.offsets_of_groups_via(&self.brokers().await?, groups).await
    }

    /// The same, where it is known who the brokers are.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn offsets_of_groups_via(
        &self,
        brokers: &[BrokerInfo],
        groups: &[&str],
    ) -> Result<BTreeMap<String, Result<PerPartition<CommittedOffset>>>> {
        wire::offsets(&self.asking(first(brokers)?), &self.coordinators, groups).await
    }

    /// What a group has committed in these partitions, or wherever it has where none are named. A partition that an open
    /// transaction has an offset for is an error: whoever commits there would overtake it. Where none are named, that is told only
    /// of those that something is committed in.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn stable_offsets(&self, group: &str, partitions: Option<&[TopicPartition]>) -> Result<PerPartition<CommittedOffset>> {
        let brokers = self.brokers().await?;
        wire::stable_offsets(&self.asking(first(&brokers)?), &self.coordinators, group, partitions).await
    }

    /// The groups that are sharing their partitions out anew, as these brokers tell: all of the cluster.
    ///
    /// # Errors
    /// A broker did not answer, so that those that it coordinates are not known.
    pub async fn rebalancing_groups(&self, brokers: &[BrokerInfo]) -> Result<BTreeSet<String>> {
        wire::in_states(&self.asking(first(brokers)?), brokers, &wire::REBALANCING).await
    }

    /// The groups that have members, and those without whose offsets are kept.
    ///
    /// # Errors
    /// A broker did not answer, so that those that it coordinates are not known.
    pub async fn groups(&self) -> Result<BTreeSet<String>> {
        let brokers = self.brokers().await?;
        wire::in_states(&self.asking(first(&brokers)?), &brokers, &wire::KNOWN).await
    }

    /// The groups with members that read a topic: they have committed something of it, or members have subscribed to it or were given
    /// it. Share groups are among them.
    ///
    /// # Errors
    /// A broker did not answer, so that those that it coordinates are not known; or what a group with members reads cannot be told.
    pub async fn groups_reading(&self, topic: &str) -> Result<BTreeSet<String>> {
        let brokers = self.brokers().await?;
        wire::live_readers(&self.asking(first(&brokers)?), &self.coordinators, &brokers, topic).await
    }

    /// Whether a topic has records that are not older than this, in milliseconds since 1970.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn is_written_since(&self, topic: &str, timestamp_ms: i64) -> Result<bool> {
        // No answer is no word on whether the topic is there, nor on whether it is written.
        let untold = || Error::NotReady { code: 0, message: format!("Kafka's answer does not tell all of the topic {topic}") };
        let described = self.describe(&[topic]).await?.remove(topic).ok_or_else(untold)??;
        let since: BTreeMap<_, _> = described.partitions.iter().map(|info| (TopicPartition::new(topic, info.id), timestamp_ms)).collect();
        let mut found = self.offsets_since(&since).await?;
        for partition in since.keys() {
            if found.remove(partition).ok_or_else(untold)??.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The offset of the first record of each partition that is not older than this, in milliseconds since 1970; none: all are. One
    /// request per broker.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn offsets_since(&self, timestamps: &BTreeMap<TopicPartition, i64>) -> Result<PerPartition<Option<i64>>> {
        timestamps.keys().try_for_each(|partition| validate_topic_name(&partition.topic))?;
        if timestamps.is_empty() {
            return Ok(BTreeMap::new());
        }
        Ok(read(self.native.get()?.offsets_since(timestamps, self.timeout).await)?.into_iter().collect())
    }

    /// Looks at what stands at these offsets, without reading it. Partitions that none of these brokers leads by these topics'
    /// descriptions, or whose leader does not answer, are not among the answers. Of a large batch nothing is seen, except in the first
    /// partition of each leader. `headers_of`: the topics of whose records the headers are told.
    pub async fn peek(
        &self,
        brokers: &[BrokerInfo],
        topics: &PerTopic<TopicDescription>,
        offsets: &[(TopicPartition, i64)],
        headers_of: &BTreeSet<&str>,
    ) -> PerPartition<Peek> {
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i64)>> = BTreeMap::new();
        for (partition, offset) in offsets {
            if let Some(leader) = leader(topics, partition) {
                by_leader.entry(leader).or_default().push((partition.clone(), *offset));
            }
        }
        let leaders = brokers.iter().filter_map(|broker| Some((broker, by_leader.get(&broker.id)?.as_slice())));
        let ask = |(broker, offsets)| async move {
            let seen = wire::peek(&self.lines, self.settings.client_id(), broker, offsets, headers_of, self.timeout).await;
            seen.inspect_err(|error| tracing::debug!(%error, broker = broker.id, "what stands in the partitions of a broker was not seen"))
        };
        join_all(leaders.map(ask)).await.into_iter().flatten().flatten().collect()
    }

    /// Commits offsets for a group without members. A group that has members refuses.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn commit_for_idle_group(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        offsets.iter().try_for_each(|offset| validate_topic_name(&offset.topic))?;
        let brokers = self.brokers().await?;
        wire::commit(&self.asking(first(&brokers)?), &self.coordinators, group, offsets).await
    }

    /// Commits offsets for a group without members, as [`TopicAdmin::commit_for_idle_group`] does, and has brokers keep what it has
    /// committed for as long as if its last member had just left. For that a member comes and goes where the group is a classic one,
    /// which takes as long as a broker has the first member wait for others (`group.initial.rebalance.delay.ms`): it reads and
    /// commits nothing.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn renew_idle_group(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        self.commit_for_idle_group(group, offsets).await?;
        let brokers = self.brokers().await?;
        wire::visit(&self.asking(first(&brokers)?), &self.coordinators, group).await
    }

    /// Who is in a group, and which partitions each member has. `protocol`: that of the group.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn group_members(&self, group: &str, protocol: GroupProtocol) -> Result<Vec<GroupMember>> {
        let brokers = self.brokers().await?;
        wire::members(&self.asking(first(&brokers)?), &self.coordinators, group, protocol).await
    }

    /// For how long every broker keeps what a group without members has committed (`offsets.retention.minutes`): the least of what
    /// they are set to.
    ///
    /// # Errors
    /// A broker does not answer, or does not tell.
    pub async fn offsets_retention(&self) -> Result<Duration> {
        const KEY: &str = "offsets.retention.minutes";
        let brokers = self.brokers().await?;
        let ask = |broker| wire::broker_setting(&self.lines, self.settings.client_id(), broker, KEY, self.timeout);
        let mut least = None;
        for told in join_all(brokers.iter().map(ask)).await {
            let minutes: Option<u64> = told?.and_then(|value| value.parse().ok());
            let minutes = minutes.ok_or_else(|| Error::NotReady { code: 0, message: format!("a broker does not tell its {KEY}") })?;
            let kept = Duration::from_secs(minutes.saturating_mul(60));
            least = Some(least.map_or(kept, |least: Duration| least.min(kept)));
        }
        least.ok_or_else(|| Error::Unreachable { reason: "the cluster shows no broker".to_owned() })
    }

    /// How many partitions a topic gets for which none are named, as a broker tells (`num.partitions`); none: it does not.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn default_partitions(&self) -> Result<Option<i32>> {
        let brokers = self.brokers().await?;
        let told = wire::broker_setting(&self.lines, self.settings.client_id(), first(&brokers)?, "num.partitions", self.timeout).await?;
        Ok(told.and_then(|value| value.parse().ok()))
    }

    pub(super) async fn brokers(&self) -> Result<Vec<BrokerInfo>> {
        Ok(self.brokers_up().await?.brokers)
    }

    pub(super) fn asking<'a>(&'a self, broker: &'a BrokerInfo) -> Asking<'a> {
        Asking { lines: &self.lines, client_id: self.settings.client_id(), broker, limit: self.timeout }
    }
}

fn leader(topics: &PerTopic<TopicDescription>, partition: &TopicPartition) -> Option<i32> {
    let described = topics.get(&partition.topic)?.as_ref().ok()?;
    described.partitions.iter().find(|info| info.id == partition.partition)?.leader
}

fn first(brokers: &[BrokerInfo]) -> Result<&BrokerInfo> {
    brokers.first().ok_or_else(|| Error::Unreachable { reason: "the cluster shows no broker".to_owned() })
}
