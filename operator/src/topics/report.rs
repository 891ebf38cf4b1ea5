//! Writes what a reconcile came to know into the object's status, and tells what is news as an event.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    condition::{ConditionType, Reason, Statement},
    topic::PlannedChange,
};
use penstock_kafka::Error as KafkaError;

use super::{
    drift::{self, Fate},
    status::{self, Knowledge},
};
use crate::{
    clusters::ResolvedCluster,
    context::Context,
    controller::Next,
    events::Notice,
    metrics::Drift,
    refusal::Refusal,
    status::{self as written, Error},
};

/// Reports that Kafka refused or did not answer; it is tried again, ever less often.
pub(super) async fn fail(
    context: &Context,
    topic: &KafkaTopic,
    cluster: &ResolvedCluster,
    knowledge: Knowledge<'_>,
    error: &KafkaError,
) -> Result<Next, Error> {
    context.connections.failed(&cluster.name, error);
    refuse(context, topic, knowledge, &Refusal::from(error), Next::Backoff).await
}

pub(super) async fn refuse(
    context: &Context,
    topic: &KafkaTopic,
    knowledge: Knowledge<'_>,
    refusal: &Refusal,
    next: Next,
) -> Result<Next, Error> {
    let before = topic.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    report(context, topic, knowledge, &refusal.still_not_ready(before)).await?;
    Ok(next)
}

/// Reports a refusal, and the drift that stays because of it; it is tried again, ever less often.
pub(super) async fn hold(
    context: &Context,
    topic: &KafkaTopic,
    knowledge: Knowledge<'_>,
    refusal: &Refusal,
    drifted: Vec<PlannedChange>,
) -> Result<Next, Error> {
    if drifted.is_empty() {
        return refuse(context, topic, knowledge, refusal, Next::Backoff).await;
    }
    tell_refusal(context, topic, knowledge, refusal, (drifted, Fate::Open)).await?;
    Ok(Next::Backoff)
}

/// Writes the status with a refusal and what became of drift.
pub(super) async fn tell_refusal(
    context: &Context,
    topic: &KafkaTopic,
    knowledge: Knowledge<'_>,
    refusal: &Refusal,
    (drifted, fate): (Vec<PlannedChange>, Fate),
) -> Result<(), Error> {
    let before = topic.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let statement = refusal.still_not_ready(before);
    let status = status::status(topic, knowledge, &statement, &now());
    tell_of_drift(context, topic, status, drifted, fate, &statement).await
}

/// Writes the status; tells a refusal that is news as an event too.
pub(super) async fn report(context: &Context, topic: &KafkaTopic, knowledge: Knowledge<'_>, statement: &Statement) -> Result<(), Error> {
    tell(context, topic, &status::status(topic, knowledge, statement, &now()), statement).await
}

async fn tell(context: &Context, topic: &KafkaTopic, status: &KafkaTopicStatus, statement: &Statement) -> Result<(), Error> {
    written::write(context, topic, topic.status.as_ref(), status).await?;
    if status::is_news(topic, statement) {
        let notice = Notice::warning(statement.reason.as_str(), statement.message.clone());
        context.events.publish::<KafkaTopic>(&topic.metadata, "Reconcile", notice).await;
    }
    Ok(())
}

/// Writes the status while partitions move, with for how many that has not ended. What is told of drift stays, unless more is found.
pub(super) async fn tell_of_moves(
    context: &Context,
    topic: &KafkaTopic,
    mut status: KafkaTopicStatus,
    remaining: usize,
    drifted: Vec<PlannedChange>,
    statement: &Statement,
) -> Result<(), Error> {
    if let Some(reassignment) = &mut status.reassignment {
        reassignment.remaining = i32::try_from(remaining).unwrap_or(i32::MAX);
    }
    if drift::is_told(topic, &drifted) {
        return tell(context, topic, &status, statement).await;
    }
    tell_of_drift(context, topic, status, drifted, Fate::Open, statement).await
}

pub(super) fn now() -> Time {
    Time(Timestamp::now())
}

/// Writes the status with the drift that it tells of, and counts drift that is new.
pub(super) async fn tell_of_drift(
    context: &Context,
    topic: &KafkaTopic,
    status: KafkaTopicStatus,
    drifted: Vec<PlannedChange>,
    fate: Fate,
    statement: &Statement,
) -> Result<(), Error> {
    let drift = drift::of(topic, drifted, fate, &now());
    let known = topic.status.as_ref().and_then(|status| status.drift.as_ref());
    let is_new = drift.is_some() && drift.as_ref() != known;
    let status = drift::told(status, topic, drift, fate, &now());
    tell(context, topic, &status, statement).await?;
    if is_new {
        context.metrics.drifted(if fate == Fate::Open { Drift::Reported } else { Drift::Reverted });
        if let (Fate::Open, Some(told)) = (fate, status.conditions.iter().find(|told| told.type_ == ConditionType::Drifted.as_str())) {
            let notice = Notice::warning(Reason::DriftFound.as_str(), told.message.clone());
            context.events.publish::<KafkaTopic>(&topic.metadata, "Compare", notice).await;
        }
    }
    Ok(())
}
