//! Begins to move partitions, sees to it that they move no faster than they may, and cancels it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    topic::{ReassignmentThrottle, TopicReassignment},
};
use penstock_kafka::{ConfigDelta, Error as KafkaError, PerPartition, TopicPartition};

use super::{Ground, Outcome, copies::Replication, decide::Assignment, end::loosen, rate, rate::Rates, record, throttle};
use crate::{
    clusters::ClusterConnection,
    status::{self as written, Error},
    topics::finalizer,
};

/// Writes down what begins, and sets the throttle. After that the partitions may move.
///
/// # Errors
/// Kubernetes did not take it.
pub async fn begin(ground: Ground<'_>, topic: KafkaTopic, assignment: &Assignment, seen: &Replication) -> Result<Outcome, Error> {
    let count = i32::try_from(assignment.targets.len()).unwrap_or(i32::MAX);
    let wanted = ground.rate.and_then(|_| throttle::wanted(assignment, seen));
    let begins = TopicReassignment {
        started_at: Time(Timestamp::now()),
        from: assignment.from,
        to: assignment.to,
        partitions: count,
        remaining: count,
        throttle: None,
    };
    let Some(wanted) = wanted else {
        return Ok(Outcome { topic: write(ground, topic, begins).await?, done: Ok(()) });
    };
    let found = match rate::found(ground).await {
        Ok(found) => found,
        Err(error) => return Ok(Outcome { topic, done: Err(error) }),
    };
    let throttled = with_rate(ground, &topic, wanted, &found);
    let topic = write(ground, topic, TopicReassignment { throttle: Some(throttled.clone()), ..begins }).await?;
    // The object must not go before the throttle does.
    let topic = finalizer::set(ground.context, topic, true).await?;
    let done = slow_down(ground, &topic, &throttled, &found, &BTreeMap::new()).await;
    Ok(Outcome { topic, done })
}

/// Sees to it that what is under way is throttled as the `KafkaCluster` says by now. `config`: what is set on the topic.
///
/// # Errors
/// Kubernetes did not take it.
pub async fn keep_up(ground: Ground<'_>, topic: KafkaTopic, config: &mut BTreeMap<String, String>) -> Result<Outcome, Error> {
    let Some((before, throttled)) = record(&topic).and_then(|record| Some((record.clone(), record.throttle.clone()?))) else {
        return Ok(Outcome { topic, done: Ok(()) });
    };
    if ground.rate.is_none() {
        return loosen(ground, topic, config, Some(TopicReassignment { throttle: None, ..before })).await;
    }
    let found = match rate::found(ground).await {
        Ok(found) => found,
        Err(error) => return Ok(Outcome { topic, done: Err(error) }),
    };
    let throttled = with_rate(ground, &topic, throttled, &found);
    let topic = write(ground, topic, TopicReassignment { throttle: Some(throttled.clone()), ..before }).await?;
    let done = slow_down(ground, &topic, &throttled, &found, config).await;
    Ok(Outcome { topic, done })
}

/// The same throttle with the rate that is to be ours: none where another tool has set one. `found`: what is set for all brokers.
fn with_rate(
    ground: Ground<'_>,
    topic: &KafkaTopic,
    throttled: ReassignmentThrottle,
    found: &BTreeMap<String, String>,
) -> ReassignmentThrottle {
    let is_foreign = throttle::is_foreign_rate(found, &Rates::told(ground.context, topic).ours);
    ReassignmentThrottle { bytes_per_second: ground.rate.filter(|_| !is_foreign), ..throttled }
}

/// Sets what the throttle consists of, as far as it does not stand there. A list of another tool is left as it is.
async fn slow_down(
    ground: Ground<'_>,
    topic: &KafkaTopic,
    throttled: &ReassignmentThrottle,
    found: &BTreeMap<String, String>,
    config: &BTreeMap<String, String>,
) -> Result<(), KafkaError> {
    if let Some(rate) = throttled.bytes_per_second {
        ground.context.throttled.take(&topic.uid().unwrap_or_default());
        if !throttle::RATES.iter().all(|key| found.get(*key) == Some(&rate.to_string())) {
            rate::set(ground, rate).await?;
        }
    }
    let missing = throttle::lists(throttled).into_iter().filter(|(key, _)| !config.contains_key(*key));
    let set: BTreeMap<String, String> = missing.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if set.is_empty() {
        return Ok(());
    }
    ground.connection.topics.change_config(&ConfigDelta { topic: topic.kafka_name().to_owned(), set, unset: BTreeSet::new() }).await
}

async fn write(ground: Ground<'_>, topic: KafkaTopic, begins: TopicReassignment) -> Result<KafkaTopic, Error> {
    let status = KafkaTopicStatus { reassignment: Some(begins), ..topic.status.clone().unwrap_or_default() };
    Ok(written::write(ground.context, &topic, topic.status.as_ref(), &status).await?.unwrap_or(topic))
}

/// Lets partitions move.
///
/// # Errors
/// Kafka's refusal; or that no answer came, and they may move all the same.
pub async fn reassign(connection: &ClusterConnection, topic: &str, assignment: &Assignment) -> Result<(), KafkaError> {
    let of = |(partition, brokers): (&i32, &Vec<i32>)| (TopicPartition::new(topic, *partition), brokers.clone());
    let targets = assignment.targets.iter().map(of).collect();
    all(connection.ask("AlterPartitionReassignments", connection.admin.reassign(&targets)).await?)
}

/// Lets partitions stay where they were.
///
/// # Errors
/// As when they are let move.
pub async fn cancel(connection: &ClusterConnection, topic: &str, partitions: &[i32]) -> Result<(), KafkaError> {
    let partitions: Vec<_> = partitions.iter().map(|partition| TopicPartition::new(topic, *partition)).collect();
    all(connection.ask("AlterPartitionReassignments", connection.admin.cancel_reassignments(&partitions)).await?)
}

fn all(answers: PerPartition<()>) -> Result<(), KafkaError> {
    answers.into_values().collect()
}
