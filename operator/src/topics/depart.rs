//! Lets an object go that is deleted.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use penstock_crds::{KafkaTopic, condition::Reason};
use penstock_kafka::{Error as KafkaError, TopicId};
use tokio::time::Instant;

use super::{
    apply::delete,
    deletion::{self, Departure, Owned},
    finalizer,
    ownership::{Claim, older_owner, successor},
    protection, reassignment,
    release::{Released, release},
    report::{refuse, report},
    rivals::{claimants, cluster},
    status::{Knowledge, history},
};
use crate::{context::Context, controller::Next, refusal::Refusal, status::Error};

/// The pause between two attempts to delete a topic.
const DELETE_AGAIN: Duration = Duration::from_secs(2);

/// Lets the object go, and the topic before it where it shall and can.
pub(super) async fn depart(context: &Context, topic: KafkaTopic) -> Result<Next, Error> {
    if !finalizer::is_on(&topic) {
        return Ok(Next::AwaitChange);
    }
    let uid = topic.uid().unwrap_or_default();
    let owned = history(&topic).owned(context.memory_of_topics.made.get(&uid));
    let mut mine = Claim::of(&topic);
    mine.topic_id = owned.map(|id| id.to_string());
    let claimants = claimants(context, &mine);
    let was_throttled = reassignment::is_throttled(&topic);
    // Nobody would do that after the object is gone.
    let Released { mut topic, done } = release(context, topic).await?;
    if let Err(refusal) = done {
        match time_left(context, &topic) {
            Some(left) => {
                report(context, &topic, Knowledge::Nothing, &reassignment::holds(&refusal).not_ready()).await?;
                return Ok(Next::After(DELETE_AGAIN.min(left)));
            }
            None => {
                context.events.publish::<KafkaTopic>(&topic.metadata, "Delete", reassignment::abandoned(&refusal)).await;
                topic = reassignment::abandon(context, topic).await?;
            }
        }
    }
    let failing = &context.memory_of_topics.failing;
    if was_throttled {
        // The throttle is gone, or given up: the topic has a time of its own.
        failing.forget(&uid);
    }
    let owned = match owned {
        Some(id) => Owned::Known(id),
        None if may_own_unseen(context, &topic) => Owned::Unknown,
        None => Owned::None,
    };
    let parting = match deletion::decide(&topic, owned, older_owner(&mine, &claimants), successor(&mine, &claimants)) {
        Departure::Leave(parting) => parting,
        Departure::Delete(id) => match remove(context, &topic, id).await {
            Ok(()) => {
                tracing::info!("deleted the topic `{}` (id {id}) and its records", topic.kafka_name());
                None
            }
            Err(refusal) if deletion::is_put_off(&refusal) => {
                failing.forget(&uid);
                let again = match refusal.reason {
                    Reason::DeletionHeld => Next::After(protection::look_again(&topic, Timestamp::now())),
                    _ => Next::Backoff,
                };
                return refuse(context, &topic, Knowledge::Nothing, &refusal, again).await;
            }
            Err(refusal) if refusal.reason == Reason::TopicRecreated => Some(deletion::abandoned(&topic, &refusal)),
            Err(refusal) => match time_left(context, &topic) {
                None => Some(deletion::abandoned(&topic, &refusal)),
                Some(left) => {
                    let before = topic.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
                    let statement = deletion::waits(&refusal).still_not_ready(before);
                    report(context, &topic, Knowledge::Nothing, &statement).await?;
                    return Ok(Next::After(DELETE_AGAIN.min(left)));
                }
            },
        },
    };
    if let Some(notice) = parting {
        context.events.publish::<KafkaTopic>(&topic.metadata, "Delete", notice).await;
    }
    match finalizer::set(context, topic, false).await {
        Ok(_) => Ok(Next::AwaitChange),
        Err(error) => Err(error),
    }
}

/// Takes back the topic that was made for an object which is gone without having departed. The apiserver lets go of an object at once if our
/// finalizer comes between its look at the object and the deletion.
pub(super) async fn take_back(context: &Context, topic: &KafkaTopic, made: TopicId) {
    let mut mine = Claim::of(topic);
    mine.topic_id = Some(made.to_string());
    let claimants = claimants(context, &mine);
    let parting = match deletion::decide(topic, Owned::Known(made), older_owner(&mine, &claimants), successor(&mine, &claimants)) {
        Departure::Leave(parting) => parting,
        Departure::Delete(id) => match remove(context, topic, id).await {
            Ok(()) => {
                tracing::info!("deleted the topic `{}` (id {id}), whose object was gone before it was told of it", topic.kafka_name());
                None
            }
            Err(refusal) => Some(deletion::abandoned(topic, &refusal)),
        },
    };
    if let Some(notice) = parting {
        tracing::warn!(reason = notice.reason, "{}", notice.message);
        context.events.publish::<KafkaTopic>(&topic.metadata, "Delete", notice).await;
    }
}

/// Whether there may be a topic of the object's, although none is known.
pub(super) fn may_own_unseen(context: &Context, topic: &KafkaTopic) -> bool {
    history(topic).recreation.is_some() || context.memory_of_topics.may_have_made(&topic.metadata)
}

/// How long one may go on trying after an attempt that failed; None: no longer.
fn time_left(context: &Context, topic: &KafkaTopic) -> Option<Duration> {
    let now = Instant::now();
    let since = context.memory_of_topics.failing.get_or_note(&topic.uid().unwrap_or_default(), now);
    deletion::time_left(now.saturating_duration_since(since), context.settings.deletion_timeout)
}

async fn remove(context: &Context, topic: &KafkaTopic, id: TopicId) -> Result<(), Refusal> {
    let cluster = cluster(context, topic)?;
    // The servers may lead to another Kafka by now: what that says of the topic is no word on ours.
    cluster.state.clone()?;
    let deleted = async {
        let connection = context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers)?;
        if let Some(lasts) = protection::lasts(topic, &cluster.spec)
            && let Some(held) = protection::held(&connection, topic.kafka_name(), id, lasts, Timestamp::now()).await?
        {
            return Ok(Err(held));
        }
        delete(&connection, topic.kafka_name(), id).await.map(Ok)
    };
    deleted.await.unwrap_or_else(|error: KafkaError| {
        context.connections.failed(&cluster.name, &error);
        Err(Refusal::from(&error))
    })
}
