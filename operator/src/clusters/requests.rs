//! What reconciles ask a Kafka cluster about topics: those that ask at about the same time share a request.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use penstock_kafka::{
    BrokerInfo, ConfigDelta, Error, NewTopic, OngoingReassignment, PerTopic, TopicAdmin, TopicConfig, TopicDescription, TopicId,
    TopicPartition,
};

use super::connection::unless_lost;
use crate::{
    batch::{Batcher, Limits},
    metrics::KafkaRequests,
};

/// How long the first question waits for others, also behind another request, and how many go together: enough for a fleet, and few
/// enough for an answer in time.
const LIMITS: Limits = Limits { window: Duration::from_millis(4), behind: Duration::from_millis(50), most: 200 };
/// How long one attempt to delete topics may take.
const DELETE: Duration = Duration::from_secs(5);

/// What moves of a topic, and where it could.
#[derive(Clone, Debug)]
pub struct Moves {
    /// What is under way, by the partition.
    pub under_way: BTreeMap<i32, OngoingReassignment>,
    /// The brokers that are up.
    pub brokers: Arc<[BrokerInfo]>,
}

/// Requests about topics of one Kafka cluster. Clone: another handle of the same.
#[derive(Clone)]
pub struct TopicRequests {
    descriptions: Batcher<String, TopicDescription>,
    configs: Batcher<String, TopicConfig>,
    moves: Batcher<(String, i32), Moves>,
    creations: Batcher<NewTopic, ()>,
    growths: Batcher<(String, i32), ()>,
    changes: Batcher<ConfigDelta, ()>,
    deletions: Batcher<(String, TopicId), ()>,
}

impl TopicRequests {
    /// Sends requests over this client, and counts them.
    #[must_use]
    pub fn start(admin: &TopicAdmin, count: &KafkaRequests) -> Self {
        let hurried = admin.clone().with_timeout(DELETE);
        Self {
            descriptions: shared(admin, count, "DescribeTopics", |admin, names| {
                async move { unless_lost(&admin, admin.describe(&texts(&names))).await }.boxed()
            }),
            configs: shared(admin, count, "DescribeConfigs", |admin, names| {
                async move { unless_lost(&admin, admin.describe_configs_in_brief(&texts(&names))).await }.boxed()
            }),
            moves: shared(admin, count, "ListPartitionReassignments", |admin, topics| {
                async move { unless_lost(&admin, moves(&admin, &topics)).await }.boxed()
            }),
            creations: shared(admin, count, "CreateTopics", |admin, topics| async move { admin.create(&topics).await }.boxed()),
            growths: shared(admin, count, "CreatePartitions", |admin, totals| {
                async move { admin.add_partitions(&named(&totals)).await }.boxed()
            }),
            changes: shared(admin, count, "IncrementalAlterConfigs", |admin, deltas| {
                async move { admin.alter_configs_incremental(&deltas).await }.boxed()
            }),
            deletions: shared(&hurried, count, "DeleteTopics", |admin, topics| async move { admin.delete(&named(&topics)).await }.boxed()),
        }
    }

    /// Describes a topic. None: there is no such topic.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn describe(&self, name: &str) -> Result<Option<TopicDescription>, Error> {
        if_known(self.descriptions.ask(name, name.to_owned()).await)
    }

    /// Reads what is set on a topic, and how it stores its records. None: there is no such topic.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn config(&self, name: &str) -> Result<Option<TopicConfig>, Error> {
        if_known(self.configs.ask(name, name.to_owned()).await)
    }

    /// What moves of a topic that has so many partitions.
    ///
    /// # Errors
    /// Kafka refuses or does not answer.
    pub async fn moves(&self, name: &str, partitions: i32) -> Result<Moves, Error> {
        self.moves.ask(name, (name.to_owned(), partitions)).await
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// Kafka refuses; or no answer came, and the topic may be there all the same.
    pub async fn create(&self, topic: &NewTopic) -> Result<(), Error> {
        self.creations.ask(&topic.name, topic.clone()).await
    }

    /// Raises the number of a topic's partitions to a total.
    ///
    /// # Errors
    /// Kafka refuses; or no answer came, and the partitions may be there all the same.
    pub async fn add_partitions(&self, name: &str, total: i32) -> Result<(), Error> {
        self.growths.ask(name, (name.to_owned(), total)).await
    }

    /// Changes the configuration of a topic.
    ///
    /// # Errors
    /// Kafka refuses; or no answer came, and the change may count all the same.
    pub async fn change_config(&self, delta: &ConfigDelta) -> Result<(), Error> {
        self.changes.ask(&delta.topic, delta.clone()).await
    }

    /// Deletes the topic with this id.
    ///
    /// # Errors
    /// `UnknownTopic`, `TopicIdMismatch`; Kafka refuses; or no answer came, and the topic may be gone all the same.
    pub async fn delete(&self, name: &str, id: TopicId) -> Result<(), Error> {
        self.deletions.ask(name, (name.to_owned(), id)).await
    }
}

async fn moves(admin: &TopicAdmin, topics: &[(String, i32)]) -> Result<PerTopic<Moves>, Error> {
    let of_one = |(name, count): &(String, i32)| (0..*count).map(|partition| TopicPartition::new(name, partition)).collect::<Vec<_>>();
    let partitions: Vec<_> = topics.iter().flat_map(of_one).collect();
    let (under_way, brokers) = tokio::try_join!(admin.reassignments(&partitions), admin.live_brokers())?;
    let brokers: Arc<[BrokerInfo]> = brokers.into();
    let mut all: PerTopic<Moves> =
        topics.iter().map(|(name, _)| (name.clone(), Ok(Moves { under_way: BTreeMap::new(), brokers: Arc::clone(&brokers) }))).collect();
    for (partition, ongoing) in under_way {
        if let Some(Ok(moves)) = all.get_mut(&partition.topic) {
            moves.under_way.insert(partition.partition, ongoing);
        }
    }
    Ok(all)
}

/// What sends a request for all who ask at about the same time.
type Call<Q, A> = fn(TopicAdmin, Vec<Q>) -> BoxFuture<'static, Result<PerTopic<A>, Error>>;

fn shared<Q, A>(admin: &TopicAdmin, count: &KafkaRequests, request: &'static str, call: Call<Q, A>) -> Batcher<Q, A>
where
    Q: Clone + Send + Sync + 'static,
    A: Send + 'static,
{
    let (admin, count) = (admin.clone(), count.clone());
    Batcher::start(LIMITS, move |batch| {
        let (count, answers) = (count.clone(), call(admin.clone(), batch));
        async move { count.count(request, answers).await }
    })
}

/// The answer about a topic that perhaps is not there.
///
/// # Errors
/// Those of the answer.
pub fn if_known<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::UnknownTopic { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn named<T: Copy>(entries: &[(String, T)]) -> Vec<(&str, T)> {
    entries.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}
