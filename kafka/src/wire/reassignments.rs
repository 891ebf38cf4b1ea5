//! Moving partitions to other brokers (KIP-455): what is under way, and to begin or cancel it.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ApiKey, BrokerId, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Asking, decode, exchange, outcome};
use crate::error::{Error, Result};
use crate::record::TopicPartition;
use crate::topic::{BrokerInfo, OngoingReassignment, PerPartition};

const LIST: (ApiKey, i16) = (ApiKey::ListPartitionReassignments, 0);
const ALTER: (ApiKey, i16) = (ApiKey::AlterPartitionReassignments, 0);
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;

/// What is under way for these partitions; those for which nothing is are not among the answers.
pub(crate) async fn reassignments(
    asking: &Asking<'_>,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, OngoingReassignment>> {
    let named = by_topic(partitions.iter().map(|partition| (partition, partition.partition)));
    let topics = named
        .into_iter()
        .map(|(name, indexes)| ListPartitionReassignmentsTopics::default().with_name(topic_name(name)).with_partition_indexes(indexes));
    let question = ListPartitionReassignmentsRequest::default().with_timeout_ms(wait(asking.limit)).with_topics(Some(topics.collect()));
    let mut answer = asking.ask(asking.broker, LIST, &question).await?;
    under_way(decode(&mut answer, LIST.1)?)
}

fn under_way(answer: ListPartitionReassignmentsResponse) -> Result<BTreeMap<TopicPartition, OngoingReassignment>> {
    outcome(answer.error_code, answer.error_message.map(|message| message.to_string()))?;
    let ids = |brokers: Vec<BrokerId>| brokers.into_iter().map(|broker| broker.0).collect();
    let mut all = BTreeMap::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let ongoing = OngoingReassignment {
                replicas: ids(partition.replicas),
                adding: ids(partition.adding_replicas),
                removing: ids(partition.removing_replicas),
            };
            all.insert(TopicPartition::new(topic.name.to_string(), partition.partition_index), ongoing);
        }
    }
    Ok(all)
}

/// Sends partitions to these brokers; none: what is under way is cancelled. Where nothing is, there is nothing to cancel, and that is no
/// error. The request has a connection of its own, so that it is known whether it was sent.
pub(crate) async fn reassign(
    broker: &BrokerInfo,
    client_id: &str,
    targets: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
    limit: Duration,
) -> Result<PerPartition<()>> {
    let named = by_topic(targets.iter().map(|(partition, target)| {
        let replicas = target.as_ref().map(|brokers| brokers.iter().copied().map(BrokerId).collect());
        (partition, ReassignablePartition::default().with_partition_index(partition.partition).with_replicas(replicas))
    }));
    let topics = named
        .into_iter()
        .map(|(name, partitions)| ReassignableTopic::default().with_name(topic_name(name)).with_partitions(partitions))
        .collect();
    let body = AlterPartitionReassignmentsRequest::default().with_timeout_ms(wait(limit)).with_topics(topics);
    let mut answer = exchange(broker, client_id, ALTER.0, ALTER.1, &body, limit).await?;
    answers(decode(&mut answer, ALTER.1)?, targets)
}

fn answers(answer: AlterPartitionReassignmentsResponse, targets: &BTreeMap<TopicPartition, Option<Vec<i32>>>) -> Result<PerPartition<()>> {
    outcome(answer.error_code, answer.error_message.map(|message| message.to_string()))?;
    let mut all = PerPartition::new();
    for topic in answer.responses {
        for told in topic.partitions {
            let partition = TopicPartition::new(topic.name.to_string(), told.partition_index);
            let is_cancelled = targets.get(&partition).is_some_and(Option::is_none) && told.error_code == NO_REASSIGNMENT_IN_PROGRESS;
            let code = if is_cancelled { 0 } else { told.error_code };
            let result = outcome(code, told.error_message.map(|message| message.to_string())).map_err(|error| match error {
                Error::UnknownTopic { .. } => Error::UnknownTopic { topic: partition.topic.clone() },
                error => error,
            });
            all.insert(partition, result);
        }
    }
    for partition in targets.keys() {
        let untold = || Err(Error::NotReady { code: 0, message: format!("Kafka's answer does not speak of {partition}") });
        all.entry(partition.clone()).or_insert_with(untold);
    }
    Ok(all)
}

fn by_topic<'a, T>(partitions: impl Iterator<Item = (&'a TopicPartition, T)>) -> BTreeMap<&'a str, Vec<T>> {
    let mut named: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    for (partition, what) in partitions {
        named.entry(&partition.topic).or_default().push(what);
    }
    named
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// How long brokers may wait for the controller: less than we wait for them.
fn wait(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis() / 2).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse};

    use super::*;

    #[test]
    fn each_partition_has_its_own_answer() {
        let targets = BTreeMap::from([
            (TopicPartition::new("t", 0), Some(vec![1])),
            (TopicPartition::new("t", 1), None),
            (TopicPartition::new("t", 2), Some(vec![9])),
            (TopicPartition::new("t", 3), None),
        ]);
        let told = |index, code| ReassignablePartitionResponse::default().with_partition_index(index).with_error_code(code);
        let topic = |partitions| ReassignableTopicResponse::default().with_name(topic_name("t")).with_partitions(partitions);
        let answer =
            AlterPartitionReassignmentsResponse::default().with_responses(vec![topic(vec![told(0, 85), told(1, 85), told(2, 39)])]);
        let all = answers(answer, &targets).unwrap();
        let of = |index| all.get(&TopicPartition::new("t", index)).unwrap();
        assert!(matches!(of(0), Err(Error::Other { code: 85, .. })), "{:?}", of(0));
        assert_eq!(of(1), &Ok(()), "what does not run is as good as cancelled");
        assert!(matches!(of(2), Err(Error::InvalidReplicationFactor { .. })), "{:?}", of(2));
        assert!(of(3).as_ref().is_err_and(Error::is_retriable), "{:?}", of(3));

        let moved = AlterPartitionReassignmentsResponse::default().with_error_code(41);
        assert!(matches!(answers(moved, &targets), Err(Error::NotReady { code: 41, .. })));
        let refused = ListPartitionReassignmentsResponse::default().with_error_code(31);
        assert!(matches!(under_way(refused), Err(Error::Authorization { .. })));
    }
}
