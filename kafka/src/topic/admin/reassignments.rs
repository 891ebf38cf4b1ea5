//! Moving partitions to other brokers (KIP-455), and what all brokers are set to by default, such as the rate at which they do it
//! (KIP-73). librdkafka has no calls for either: they go over plaintext connections of their own.
//!
//! Whichever broker is asked passes it on to the controller; where that one has moved meanwhile, it is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{TopicAdmin, read};
use crate::error::{Error, Result};
use crate::record::TopicPartition;
use crate::topic::{BrokerInfo, OngoingReassignment, PerPartition, validate_topic_name};
use crate::wire;

/// Kafka's code for a broker that is not the controller (any more).
const NOT_CONTROLLER: i32 = 41;
/// The pause before another broker is asked.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl TopicAdmin {
    /// What is under way for these partitions. Those that stay where they are are not among the answers.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn reassignments(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, OngoingReassignment>> {
        check(partitions.iter())?;
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.of_controller(|broker| async move { read(wire::reassignments(&self.asking(&broker), partitions).await) }).await
    }

    /// Sends partitions to these brokers, each with its preferred leader first. Kafka takes it as begun; it has ended once
    /// [`TopicAdmin::reassignments`] does not tell of it any more. One that is under way is replaced.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`]. After [`Error::Timeout`] it may have begun all the same.
    pub async fn reassign(&self, targets: &BTreeMap<TopicPartition, Vec<i32>>) -> Result<PerPartition<()>> {
        self.alter(targets.iter().map(|(partition, brokers)| (partition.clone(), Some(brokers.clone()))).collect()).await
    }

    /// Lets partitions stay on the brokers that held them before. Where nothing is under way there is nothing to do.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`]. After [`Error::Timeout`] it may have been done all the same.
    pub async fn cancel_reassignments(&self, partitions: &[TopicPartition]) -> Result<PerPartition<()>> {
        self.alter(partitions.iter().map(|partition| (partition.clone(), None)).collect()).await
    }

    async fn alter(&self, targets: BTreeMap<TopicPartition, Option<Vec<i32>>>) -> Result<PerPartition<()>> {
        check(targets.keys())?;
        if targets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let targets = &targets;
        self.of_controller(|broker| async move { wire::reassign(&broker, self.settings.client_id(), targets, self.timeout).await }).await
    }

    /// The brokers that are up, with their racks.
    ///
    /// # Errors
    /// See [`TopicAdmin`].
    pub async fn live_brokers(&self) -> Result<Vec<BrokerInfo>> {
        self.brokers().await
    }

    /// What all brokers are set to by default at run time, of these keys. One that is not set is not among the answers; what a broker is
    /// set to by itself wins over it, and is not told.
    ///
    /// # Errors
    /// See [`TopicAdmin`].
    pub async fn broker_defaults(&self, keys: &[&'static str]) -> Result<BTreeMap<String, String>> {
        self.of_controller(|broker| async move { read(wire::broker_defaults(&self.asking(&broker), keys).await) }).await
    }

    /// Sets and un-sets what all brokers have by default. All other keys keep their values, and so do brokers that are set by themselves.
    ///
    /// # Errors
    /// Kafka refuses; see [`TopicAdmin`].
    pub async fn change_broker_defaults(&self, set: &BTreeMap<&str, String>, unset: &BTreeSet<&str>) -> Result<()> {
        if set.is_empty() && unset.is_empty() {
            return Ok(());
        }
        let change = |broker: BrokerInfo| async move {
            wire::change_broker_defaults(&broker, self.settings.client_id(), set, unset, self.timeout).await
        };
        self.of_controller(change).await
    }

    /// Asks the broker that the cluster names for such requests, and again where that one says that it is not the one: then nothing was
    /// done.
    async fn of_controller<T, F: Future<Output = Result<T>>>(&self, ask: impl Fn(BrokerInfo) -> F) -> Result<T> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let cluster = self.brokers_up().await?;
            let broker = cluster.entry_point().cloned();
            let broker = broker.ok_or_else(|| Error::Unreachable { reason: "the cluster shows no broker".to_owned() })?;
            match ask(broker).await {
                Err(Error::NotReady { code: NOT_CONTROLLER, .. }) if Instant::now() < deadline => sleep(ASK_AGAIN).await,
                answer => return answer,
            }
        }
    }
}

fn check<'a>(mut partitions: impl Iterator<Item = &'a TopicPartition>) -> Result<()> {
    partitions.try_for_each(|partition| validate_topic_name(&partition.topic))
}
