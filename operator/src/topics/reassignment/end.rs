//! Takes away what was set in Kafka while partitions moved, and forgets that they did.

use std::collections::BTreeMap;

use kube::ResourceExt;
use penstock_crds::{
    KafkaTopic,
    topic::{DeletionPolicy, ReassignmentThrottle, TopicReassignment},
};
use penstock_kafka::{ConfigDelta, Error as KafkaError};

use super::{Ground, Outcome, is_throttled, rate, rate::Rates, record, throttle, words, write};
use crate::{
    context::Context,
    status::Error,
    topics::{finalizer, observe::ObservedTopic},
};

/// Nothing of ours is under way any more: the throttle goes, then the record of it. An event tells of what has come to its end. What was
/// observed tells of the topic as it is then; none: there is none, or it is not ours.
///
/// # Errors
/// Kubernetes did not take it.
pub async fn end(ground: Ground<'_>, topic: KafkaTopic, observed: Option<&mut ObservedTopic>) -> Result<Outcome, Error> {
    let Some(ended) = record(&topic).cloned() else { return Ok(Outcome { topic, done: Ok(()) }) };
    let has_come = observed.as_ref().is_some_and(|observed| observed.replication_factors.iter().all(|factor| *factor == ended.to));
    let outcome = loosen(ground, topic, observed.map(|observed| &mut observed.config), None).await?;
    if has_come && outcome.done.is_ok() {
        ground.context.events.publish::<KafkaTopic>(&outcome.topic.metadata, "Reassign", words::ended(&ended)).await;
    }
    Ok(outcome)
}

/// The throttle goes, and nothing is set any more while partitions move. What else is told of them stays. `config` as in [`release`].
///
/// # Errors
/// Kubernetes did not take it.
pub async fn unthrottle(ground: Ground<'_>, topic: KafkaTopic, config: Option<&mut BTreeMap<String, String>>) -> Result<Outcome, Error> {
    let left = unthrottled(&topic);
    loosen(ground, topic, config, left).await
}

/// The throttle could not be taken away, and is not tried to be any more.
///
/// # Errors
/// Kubernetes did not take it.
pub async fn abandon(context: &Context, topic: KafkaTopic) -> Result<KafkaTopic, Error> {
    let left = unthrottled(&topic);
    write(context, topic, left).await
}

fn unthrottled(topic: &KafkaTopic) -> Option<TopicReassignment> {
    record(topic).map(|record| TopicReassignment { throttle: None, ..record.clone() })
}

/// The throttle goes, if there is one; then this is what the status tells, and the finalizer that was there for the throttle goes too.
async fn loosen(
    ground: Ground<'_>,
    topic: KafkaTopic,
    config: Option<&mut BTreeMap<String, String>>,
    left: Option<TopicReassignment>,
) -> Result<Outcome, Error> {
    if let Err(error) = release(ground, &topic, config).await {
        return Ok(Outcome { topic, done: Err(error) });
    }
    let was_throttled = is_throttled(&topic);
    let mut topic = write(ground.context, topic, left).await?;
    if was_throttled {
        // An object that goes is let go once all is done.
        let keeps = topic.spec.deletion_policy == DeletionPolicy::Delete || topic.metadata.deletion_timestamp.is_some();
        topic = finalizer::set(ground.context, topic, keeps).await?;
    }
    Ok(Outcome { topic, done: Ok(()) })
}

/// Takes the throttle away. `config`: what is set on the topic, and what is set after that; none: there is none, or it is not ours.
///
/// # Errors
/// Kafka's refusal; or that no answer came.
async fn release(ground: Ground<'_>, topic: &KafkaTopic, config: Option<&mut BTreeMap<String, String>>) -> Result<(), KafkaError> {
    let Some(throttled) = record(topic).and_then(|record| record.throttle.as_ref()) else { return Ok(()) };
    let lists = config.as_deref().map(|config| throttle::lists_to_lift(config, throttled)).unwrap_or_default();
    if !lists.is_empty() {
        let delta = ConfigDelta { topic: topic.kafka_name().to_owned(), set: BTreeMap::new(), unset: lists };
        match ground.connection.topics.change_config(&delta).await {
            Ok(()) | Err(KafkaError::UnknownTopic { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(config) = config {
            config.retain(|key, _| !delta.unset.contains(key));
        }
    }
    release_rate(ground, topic, throttled).await
}

/// The rate goes with the last topic that needs it.
async fn release_rate(ground: Ground<'_>, topic: &KafkaTopic, throttled: &ReassignmentThrottle) -> Result<(), KafkaError> {
    if throttled.bytes_per_second.is_none() {
        return Ok(());
    }
    let (context, uid) = (ground.context, topic.uid().unwrap_or_default());
    if !context.memory_of_topics.throttled.let_go(&uid, || rate::other_holders(context, topic)) {
        return Ok(());
    }
    rate::lift(ground, &Rates::told(context, topic).may_be_ours(ground.rate)).await
}
