//! Takes away what was set in Kafka while partitions moved, and forgets that they did.

use std::collections::BTreeMap;

use kube::ResourceExt;
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    topic::{DeletionPolicy, ReassignmentThrottle, TopicReassignment},
};
use penstock_kafka::{ConfigDelta, Error as KafkaError};

use super::{Ground, Outcome, is_throttled, rate, rate::Rates, record, throttle, words};
use crate::{
    status::{self as written, Error},
    topics::{finalizer, observe::ObservedTopic},
};

/// Nothing of ours is under way any more: the throttle goes, then the record of it. An event tells of what has come to its end. What was
/// observed tells of the topic as it is then.
///
/// # Errors
/// Kubernetes did not take it.
pub async fn end(ground: Ground<'_>, topic: KafkaTopic, observed: Option<&mut ObservedTopic>) -> Result<Outcome, Error> {
    let Some(ended) = record(&topic).cloned() else { return Ok(Outcome { topic, done: Ok(()) }) };
    let has_come = observed.as_ref().is_some_and(|observed| observed.replication_factors.iter().all(|factor| *factor == ended.to));
    let mut none = BTreeMap::new();
    let config = observed.map_or(&mut none, |observed| &mut observed.config);
    let outcome = loosen(ground, topic, config, None).await?;
    if has_come && outcome.done.is_ok() {
        ground.context.events.publish::<KafkaTopic>(&outcome.topic.metadata, "Reassign", words::ended(&ended)).await;
    }
    Ok(outcome)
}

/// The throttle goes, if there is one; then this is what the status tells, and the finalizer that was there for the throttle goes too.
pub(super) async fn loosen(
    ground: Ground<'_>,
    topic: KafkaTopic,
    config: &mut BTreeMap<String, String>,
    left: Option<TopicReassignment>,
) -> Result<Outcome, Error> {
    if let Err(error) = release(ground, &topic, config).await {
        return Ok(Outcome { topic, done: Err(error) });
    }
    let was_throttled = is_throttled(&topic);
    let status = KafkaTopicStatus { reassignment: left, ..topic.status.clone().unwrap_or_default() };
    let mut topic = written::write(ground.context, &topic, topic.status.as_ref(), &status).await?.unwrap_or(topic);
    if was_throttled {
        let keeps = topic.spec.deletion_policy == DeletionPolicy::Delete;
        topic = finalizer::set(ground.context, topic, keeps).await?;
    }
    Ok(Outcome { topic, done: Ok(()) })
}

/// Takes the throttle away. `config`: what is set on the topic, and what is set after that.
///
/// # Errors
/// Kafka's refusal; or that no answer came.
pub async fn release(ground: Ground<'_>, topic: &KafkaTopic, config: &mut BTreeMap<String, String>) -> Result<(), KafkaError> {
    let Some(throttled) = record(topic).and_then(|record| record.throttle.as_ref()) else { return Ok(()) };
    let lists = throttle::lists_to_lift(config, throttled);
    if !lists.is_empty() {
        config.retain(|key, _| !lists.contains(key));
        let delta = ConfigDelta { topic: topic.kafka_name().to_owned(), set: BTreeMap::new(), unset: lists };
        match ground.connection.topics.change_config(&delta).await {
            Ok(()) | Err(KafkaError::UnknownTopic { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    release_rate(ground, topic, throttled).await
}

/// The rate goes with the last topic that needs it.
async fn release_rate(ground: Ground<'_>, topic: &KafkaTopic, throttled: &ReassignmentThrottle) -> Result<(), KafkaError> {
    if throttled.bytes_per_second.is_none() {
        return Ok(());
    }
    let rates = Rates::told(ground.context, topic);
    let uid = topic.uid().unwrap_or_default();
    if !ground.context.throttled.let_go(&uid, rates.others.iter().map(String::as_str)) {
        return Ok(());
    }
    let mut ours = rates.ours;
    ours.extend(ground.rate);
    rate::lift(ground, &ours).await
}
