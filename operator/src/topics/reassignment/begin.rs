//! Begins to move partitions, sees to it that they move no faster than they may, and cancels it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use penstock_crds::{
    KafkaTopic,
    topic::{ReassignmentThrottle, TopicReassignment},
};
use penstock_kafka::{ConfigDelta, Error as KafkaError, PerPartition, TopicPartition};

use super::{
    Ground, Outcome, copies::Replication, decide::Assignment, end::unthrottle, is_throttled, rate, rate::Rates, record, throttle, write,
};
use crate::{clusters::ClusterConnection, context::Context, status::Error, topics::finalizer};

/// Writes down what begins, and sets the throttle. After that the partitions may move. Where the status tells of it already, Kafka refused it
/// before: then only what differs is written. `config`: what is set on the topic.
///
/// # Errors
/// Kubernetes did not take it.
pub async fn begin(
    ground: Ground<'_>,
    topic: KafkaTopic,
    assignment: &Assignment,
    seen: &Replication,
    config: &BTreeMap<String, String>,
) -> Result<Outcome, Error> {
    let wanted = ground.rate.and_then(|_| throttle::wanted(assignment, seen));
    let begins = begins(record(&topic), assignment, Time(Timestamp::now()));
    let Some(wanted) = wanted else {
        return Ok(Outcome { topic: write(ground.context, topic, Some(begins)).await?, done: Ok(()) });
    };
    let found = match rate::found(ground).await {
        Ok(found) => found,
        Err(error) => return Ok(Outcome { topic, done: Err(error) }),
    };
    let rate = rate_to_set(ground, &Rates::told(ground.context, &topic).may_be_ours(None), &found);
    // Until another rate of ours gives way, it is the one that stands there.
    let stands = found.values().find_map(|rate| rate.parse().ok()).filter(|_| rate.is_some());
    let throttled = ReassignmentThrottle { bytes_per_second: stands.or(rate), ..wanted };
    let topic = write(ground.context, topic, Some(TopicReassignment { throttle: Some(throttled.clone()), ..begins })).await?;
    // The object must not go before the throttle does.
    let topic = finalizer::set(ground.context, topic, true).await?;
    slow_down(ground, topic, rate, &found, config).await
}

/// What the status tells of it. It began when it was tried first.
fn begins(record: Option<&TopicReassignment>, assignment: &Assignment, now: Time) -> TopicReassignment {
    let count = i32::try_from(assignment.targets.len()).unwrap_or(i32::MAX);
    let new = TopicReassignment {
        started_at: now,
        from: assignment.from,
        to: assignment.to,
        partitions: count,
        remaining: count,
        throttle: None,
    };
    match record.filter(|record| record.to == assignment.to).cloned() {
        Some(record) => TopicReassignment { remaining: count, partitions: record.partitions.max(count), throttle: None, ..record },
        None => new,
    }
}

/// Whether what is to begin is what the status tells of, with the throttle that it tells of: then nothing of it is taken away first.
#[must_use]
pub fn goes_on(ground: Ground<'_>, topic: &KafkaTopic, assignment: &Assignment, seen: &Replication) -> bool {
    let wanted = ground.rate.and_then(|_| throttle::wanted(assignment, seen));
    record(topic).is_some_and(|record| is_same(record, assignment.to, wanted.as_ref()))
}

fn is_same(record: &TopicReassignment, to: i16, wanted: Option<&ReassignmentThrottle>) -> bool {
    let is_kept = |set| wanted.is_some_and(|wanted| throttle::lists(wanted) == throttle::lists(set));
    record.to == to && record.throttle.as_ref().is_none_or(is_kept)
}

/// Sees to it that what is under way is throttled as the `KafkaCluster` says by now. `config`: what is set on the topic.
///
/// # Errors
/// Kubernetes did not take it.
pub async fn keep_up(ground: Ground<'_>, topic: KafkaTopic, config: &mut BTreeMap<String, String>) -> Result<Outcome, Error> {
    if !is_throttled(&topic) {
        return Ok(Outcome { topic, done: Ok(()) });
    }
    if ground.rate.is_none() {
        return unthrottle(ground, topic, Some(config)).await;
    }
    let found = match rate::found(ground).await {
        Ok(found) => found,
        Err(error) => return Ok(Outcome { topic, done: Err(error) }),
    };
    let rates = Rates::told(ground.context, &topic);
    let rate = rate_to_set(ground, &rates.may_be_ours(ground.rate), &found);
    let topic = claim(ground.context, topic, rate).await?;
    slow_down(ground, topic, rate, &found, config).await
}

/// Writes down the first rate that is to be ours before it is set: what is not known as ours would never be taken away.
async fn claim(context: &Context, topic: KafkaTopic, rate: Option<i64>) -> Result<KafkaTopic, Error> {
    let Some(claimed) = record(&topic).and_then(|record| claimed(record, rate)) else { return Ok(topic) };
    write(context, topic, Some(claimed)).await
}

fn claimed(record: &TopicReassignment, rate: Option<i64>) -> Option<TopicReassignment> {
    let throttle = record.throttle.clone().filter(|throttle| throttle.bytes_per_second.is_none() && rate.is_some())?;
    Some(TopicReassignment { throttle: Some(ReassignmentThrottle { bytes_per_second: rate, ..throttle }), ..record.clone() })
}

/// The rate that is to be ours: none where another tool has set one. `found`: what is set for all brokers.
fn rate_to_set(ground: Ground<'_>, ours: &BTreeSet<i64>, found: &BTreeMap<String, String>) -> Option<i64> {
    ground.rate.filter(|_| !throttle::is_foreign_rate(found, ours))
}

/// Sets what the throttle consists of, as far as it does not stand there. A list of another tool is left as it is. Another rate is written down
/// only once it is set: until then the one that stands there must be known as ours.
async fn slow_down(
    ground: Ground<'_>,
    topic: KafkaTopic,
    rate: Option<i64>,
    found: &BTreeMap<String, String>,
    config: &BTreeMap<String, String>,
) -> Result<Outcome, Error> {
    let Some((record, throttled)) = record(&topic).and_then(|record| Some((record.clone(), record.throttle.clone()?))) else {
        return Ok(Outcome { topic, done: Ok(()) });
    };
    if let Err(error) = set(ground, &topic, &throttled, rate, found, config).await {
        return Ok(Outcome { topic, done: Err(error) });
    }
    let throttled = ReassignmentThrottle { bytes_per_second: rate, ..throttled };
    let topic = write(ground.context, topic, Some(TopicReassignment { throttle: Some(throttled), ..record })).await?;
    Ok(Outcome { topic, done: Ok(()) })
}

async fn set(
    ground: Ground<'_>,
    topic: &KafkaTopic,
    throttled: &ReassignmentThrottle,
    rate: Option<i64>,
    found: &BTreeMap<String, String>,
    config: &BTreeMap<String, String>,
) -> Result<(), KafkaError> {
    if let Some(rate) = rate {
        ground.context.memory_of_topics.throttled.take(&topic.uid().unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(leaders: &str) -> ReassignmentThrottle {
        ReassignmentThrottle { bytes_per_second: Some(1000), leader_replicas: leaders.to_owned(), follower_replicas: "0:2".to_owned() }
    }

    fn record(throttle: Option<ReassignmentThrottle>) -> TopicReassignment {
        TopicReassignment { started_at: Time(Timestamp::UNIX_EPOCH), from: 1, to: 2, partitions: 3, remaining: 3, throttle }
    }

    #[test]
    fn only_the_first_rate_of_ours_is_written_down_before_it_is_set() {
        let without = || ReassignmentThrottle { bytes_per_second: None, ..throttle("0:1") };
        for (name, told, rate, expected) in [
            ("no throttle", None, Some(2000), None),
            ("another tool's rate stands there", Some(without()), None, None),
            ("another tool's rate has gone", Some(without()), Some(2000), Some(2000)),
            ("a changed rate of ours", Some(throttle("0:1")), Some(2000), None),
        ] {
            let claimed = claimed(&record(told), rate);
            assert_eq!(claimed.and_then(|record| record.throttle?.bytes_per_second), expected, "{name}");
        }
    }

    #[test]
    fn what_was_refused_is_tried_again_and_not_begun_anew() {
        for (name, told, to, wanted, same) in [
            ("refused", Some(throttle("0:1")), 2, Some(throttle("0:1")), true),
            (
                "the rate is another by now",
                Some(throttle("0:1")),
                2,
                Some(ReassignmentThrottle { bytes_per_second: None, ..throttle("0:1") }),
                true,
            ),
            ("other brokers", Some(throttle("0:1")), 2, Some(throttle("0:3")), false),
            ("no throttle any more", Some(throttle("0:1")), 2, None, false),
            ("a throttle from now on", None, 2, Some(throttle("0:1")), true),
            ("another number", Some(throttle("0:1")), 3, Some(throttle("0:1")), false),
        ] {
            assert_eq!(is_same(&record(told), to, wanted.as_ref()), same, "{name}");
        }

        let later = Time(Timestamp::from_second(9).unwrap());
        for (to, count, second, partitions) in [(2, 2, 0, 3), (2, 4, 0, 4), (3, 2, 9, 2)] {
            let assignment = Assignment { from: 1, to, targets: (0..count).map(|partition| (partition, vec![1, 2])).collect() };
            let begins = begins(Some(&record(None)), &assignment, later.clone());
            assert_eq!((begins.started_at.0.as_second(), begins.partitions, begins.remaining), (second, partitions, count), "{to} {count}");
        }
    }
}
