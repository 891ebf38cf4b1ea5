//! One reconcile of a `KafkaTopic`: observe, validate, plan, apply, status.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    condition::{ConditionType, Reason, Statement},
    topic::DeletionPolicy,
};
use penstock_kafka::{Error as KafkaError, TopicId};
use tokio::time::Instant;

use super::{
    approval,
    carry_out::carry_out,
    default_partitions,
    depart::{depart, may_own_unseen, take_back},
    drift::{self, Fate},
    finalizer,
    found::{Found, tend},
    notice::{self, Cause},
    observe::{ObservedTopic, observe},
    ownership::{Claim, older_owner},
    plan::{TopicAction, plan},
    reassignment::{self, Outcome},
    release::{Released, release},
    report::{fail, now, refuse, report, tell_of_drift, tell_of_moves},
    rivals::{cluster, rivals},
    status::{self, Knowledge, history},
    validate::validate,
};
use crate::{
    clusters::{ClusterConnection, ResolvedCluster},
    context::Context,
    controller::Next,
    refusal::Refusal,
    status::Error,
};

/// Reconciles one object.
pub(super) async fn reconcile(topic: Arc<KafkaTopic>, context: Arc<Context>) -> Result<Next, Error> {
    let topic = Arc::unwrap_or_clone(topic);
    let before = topic.clone();
    let result = if topic.metadata.deletion_timestamp.is_some() { depart(&context, topic).await } else { keep(&context, topic).await };
    // What departed has its topic settled.
    if let Some(made) = forget_if_gone(&context, &before.metadata).filter(|_| before.metadata.deletion_timestamp.is_none()) {
        take_back(&context, &before, made).await;
    }
    match result {
        Err(Error::Outdated) => Ok(Next::Outdated),
        result => result,
    }
}

/// Forgets what was noted of an object that went meanwhile, perhaps after its going was told. Gives the topic that was made for it and is
/// nobody's.
fn forget_if_gone(context: &Context, meta: &ObjectMeta) -> Option<TopicId> {
    let (namespace, name, uid) = (meta.namespace.as_ref()?, meta.name.as_ref()?, meta.uid.as_ref()?);
    let latest = context.watches.topics.get(namespace, name);
    if latest.is_some_and(|latest| latest.meta().uid.as_ref() == Some(uid)) {
        return None;
    }
    context.memory_of_topics.forget(uid)
}

/// Makes the topic and keeps it as declared.
async fn keep(context: &Context, topic: KafkaTopic) -> Result<Next, Error> {
    let topic = match topic.spec.deletion_policy {
        DeletionPolicy::Retain => {
            let is_throttled = reassignment::is_throttled(&topic);
            finalizer::set(context, topic, is_throttled).await?
        }
        // Whatever may be in the way below: the topic goes with the object.
        DeletionPolicy::Delete if history(&topic).is_taken_over => finalizer::set(context, topic, true).await?,
        DeletionPolicy::Delete => topic,
    };
    let cluster = match cluster(context, &topic) {
        Ok(cluster) => cluster,
        Err(refusal) => return turn_away(context, topic, Knowledge::Nothing, &refusal).await,
    };
    let mine = Claim::of(&topic);
    let rivals = rivals(context, &mine);
    if let Some(owner) = older_owner(&mine, &rivals) {
        let conflict = conflict(&topic, owner);
        return turn_away(context, topic, Knowledge::NotOurs, &conflict).await;
    }
    tell_of_rivals(context, &topic, &rivals).await;
    let desired = match validate(&topic, &cluster.spec) {
        Ok(desired) => desired,
        Err(refusal) => return turn_away(context, topic, Knowledge::Nothing, &refusal).await,
    };
    if let Err(refusal) = &cluster.state {
        return refuse(context, &topic, Knowledge::Nothing, refusal, Next::AwaitChange).await;
    }
    let wanted = topic.spec.deletion_policy == DeletionPolicy::Delete || reassignment::is_throttled(&topic);
    let topic = finalizer::set(context, topic, wanted).await?;
    let (connection, observed) = match look(context, &cluster, &topic, &desired.name).await {
        Ok(found) => found,
        Err(error) => return fail(context, &topic, &cluster, Knowledge::Nothing, &error).await,
    };
    let desired = match observed {
        Some(_) => desired,
        None => match default_partitions::named(&connection, desired, &cluster.spec).await {
            Ok(Ok(named)) => named,
            Ok(Err(refusal)) => return refuse(context, &topic, Knowledge::Nothing, &refusal, Next::Backoff).await,
            Err(error) => return fail(context, &topic, &cluster, Knowledge::Nothing, &error).await,
        },
    };
    let plan = plan(&desired, &history(&topic), observed.as_ref());
    let mut found = Found::new(cluster, connection, observed, plan);
    if let Err(error) = found.look_at_copies(&topic, &desired).await {
        return fail(context, &topic, &found.cluster, Knowledge::Nothing, &error).await;
    }
    tell_of_recreation(context, &topic, &found).await;
    if topic.spec.suspend {
        return compare(context, &topic, &found).await;
    }
    let topic = match tend(context, topic, &mut found).await? {
        Outcome { topic, done: Ok(()) } => topic,
        Outcome { topic, done: Err(error) } => return fail(context, &topic, &found.cluster, Knowledge::Nothing, &error).await,
    };
    if found.plan.actions.is_empty() || approval::is_given(&topic) {
        carry_out(context, topic, &desired, found).await
    } else {
        await_approval(context, &topic, &found).await
    }
}

/// Tells the owner of a topic which others mean it too, once of each.
async fn tell_of_rivals(context: &Context, topic: &KafkaTopic, rivals: &[Claim]) {
    let rivals = rivals.iter().map(ToString::to_string).collect();
    if context.memory_of_topics.note_rivals(&topic.uid().unwrap_or_default(), &rivals) {
        context.events.publish::<KafkaTopic>(&topic.metadata, "Reconcile", notice::contested(topic.kafka_name(), &rivals)).await;
    }
}

/// Refuses an object that may not keep its topic. What was set for partitions that move is taken away, unless it is suspended: nobody would
/// tend it.
async fn turn_away(context: &Context, topic: KafkaTopic, knowledge: Knowledge<'_>, refusal: &Refusal) -> Result<Next, Error> {
    let released = if topic.spec.suspend { Released { topic, done: Ok(()) } } else { release(context, topic).await? };
    let Released { mut topic, done } = released;
    let next = match done {
        Ok(()) => {
            let may_own = history(&topic).is_taken_over || may_own_unseen(context, &topic);
            let is_ours = may_own && !matches!(knowledge, Knowledge::NotOurs);
            let keeps = finalizer::is_on(&topic) && (is_ours || reassignment::is_throttled(&topic));
            topic = finalizer::set(context, topic, keeps).await?;
            Next::AwaitChange
        }
        Err(error) => {
            tracing::warn!(%error, "the throttle of a reassignment cannot be taken away yet");
            Next::Backoff
        }
    };
    refuse(context, &topic, knowledge, refusal, next).await
}

/// Reports what differs, and changes nothing.
async fn compare(context: &Context, topic: &KafkaTopic, found: &Found) -> Result<Next, Error> {
    let knowledge = observed_only(topic, found);
    let statement = match (&found.plan.refusal, found.plan.actions.as_slice()) {
        (Some(refusal), _) => Statement::new(ConditionType::Ready, Some(false), Reason::Suspended, format!("suspended; {refusal}")),
        (None, []) => Statement::new(ConditionType::Ready, Some(true), Reason::Suspended, "suspended; the topic is as declared"),
        (None, actions) => {
            Statement::new(ConditionType::Ready, Some(false), Reason::Suspended, format!("suspended; {}", notice::pending(actions)))
        }
    };
    if found.plan.is_of_another_topic() {
        // What was told of ours stays.
        return report(context, topic, knowledge, &statement).await.map(|()| Next::AwaitChange);
    }
    let mut status = status::status(topic, knowledge, &statement, &now());
    if let (Some(begun), Some(copies)) = (&mut status.reassignment, &found.copies) {
        begun.remaining = i32::try_from(copies.left()).unwrap_or(i32::MAX);
    }
    let drifted = drift::among(topic, found.plan.differences());
    match found.remaining() {
        Some(remaining) => tell_of_moves(context, topic, status, remaining, drifted, &statement).await?,
        None => tell_of_drift(context, topic, status, drifted, Fate::Open, &statement).await?,
    }
    Ok(found.next(context))
}

/// Shows what would be done, and does nothing until somebody approves it.
async fn await_approval(context: &Context, topic: &KafkaTopic, found: &Found) -> Result<Next, Error> {
    let changes = approval::changes(&found.plan.actions);
    let before = topic.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let statement = approval::awaited(topic, &changes, found.plan.refusal.as_ref()).still_not_ready(before);
    let status = status::status(topic, observed_only(topic, found), &statement, &now());
    let status = KafkaTopicStatus { plan: changes, ..status };
    let drifted = drift::among(topic, found.plan.differences());
    match found.remaining() {
        Some(remaining) => tell_of_moves(context, topic, status, remaining, drifted, &statement).await?,
        None => tell_of_drift(context, topic, status, drifted, Fate::Open, &statement).await?,
    }
    Ok(found.next(context))
}

/// What is known where nothing is changed.
fn observed_only<'a>(topic: &KafkaTopic, found: &'a Found) -> Knowledge<'a> {
    match &found.observed {
        Some(_) if found.plan.is_of_another_topic() => Knowledge::Nothing,
        Some(observed) => Knowledge::Seen { observed, managed: history(topic).managed_config, takes_over: false },
        None => Knowledge::Awaited,
    }
}

/// Tells that a topic was made again of which that was not known until it was seen now.
async fn tell_of_recreation(context: &Context, topic: &KafkaTopic, found: &Found) {
    let (Some(recreation), Some(observed)) = (history(topic).recreation, &found.observed) else { return };
    // Of what was made by this operator it has told.
    let is_told = context.memory_of_topics.made.get(&topic.uid().unwrap_or_default()) == Some(observed.id);
    if recreation.lost != observed.id && !is_told && !found.plan.is_of_another_topic() {
        let made = TopicAction::Create(recreation.asked);
        context.events.publish::<KafkaTopic>(&topic.metadata, notice::verb(&made), notice::done(&made, Cause::Drift)).await;
    }
}

fn conflict(topic: &KafkaTopic, owner: &Claim) -> Refusal {
    let message = format!(
        "the topic `{}` belongs to the older KafkaTopic {owner}: delete one of the two, or make one for another topic",
        topic.kafka_name()
    );
    Refusal::new(Reason::TopicConflict, message)
}

async fn look(
    context: &Context,
    cluster: &ResolvedCluster,
    topic: &KafkaTopic,
    name: &str,
) -> Result<(ClusterConnection, Option<ObservedTopic>), KafkaError> {
    let connection = context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers)?;
    let observed = observe(&connection, name).await?;
    let place = (topic.namespace().unwrap_or_default(), topic.name_any());
    let lasting = context.health_of_topics.lasting(&cluster.name, &place, Instant::now());
    Ok((connection, observed.map(|observed| ObservedTopic { lasting, ..observed })))
}
