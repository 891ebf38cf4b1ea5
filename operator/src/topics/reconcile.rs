//! One reconcile of a `KafkaTopic`: observe, validate, plan, apply, status.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    condition::{ConditionType, Reason, Statement},
    topic::{DeletionPolicy, PlannedChange},
};
use penstock_kafka::Error as KafkaError;
use tokio::time::Instant;

use super::{
    apply::{Applied, apply, begin_new_partitions, delete, readers},
    approval,
    deletion::{self, Departure},
    drift::{self, Fate},
    finalizer,
    found::{Found, tend},
    growth,
    notice::{self, Cause},
    observe::{ObservedTopic, observe},
    ownership::{Claim, older_owner, successor},
    plan::{Plan, Recreation, TopicAction, managed_after, managed_before, new_topic, plan},
    protection,
    reassignment::{self, Outcome, Step},
    refused::refused,
    release::{Released, release},
    report::{fail, hold, now, refuse, report, tell_of_drift, tell_of_moves, tell_refusal},
    status::{self, Knowledge, as_declared, history},
    validate::{ValidatedTopic, validate},
};
use crate::{
    clusters::{self, ClusterConnection, ClusterIds, ResolvedCluster},
    context::Context,
    controller::Next,
    refusal::Refusal,
    status::{self as written, Error},
};

/// The pause between two attempts to delete a topic.
const DELETE_AGAIN: Duration = Duration::from_secs(2);

/// Reconciles one object.
pub(super) async fn reconcile(topic: Arc<KafkaTopic>, context: Arc<Context>) -> Result<Next, Error> {
    let topic = Arc::unwrap_or_clone(topic);
    let result = if topic.metadata.deletion_timestamp.is_some() { depart(&context, topic).await } else { keep(&context, topic).await };
    match result {
        Err(Error::Outdated) => Ok(Next::Outdated),
        result => result,
    }
}

/// Makes the topic and keeps it as declared.
async fn keep(context: &Context, topic: KafkaTopic) -> Result<Next, Error> {
    let topic = match topic.spec.deletion_policy {
        DeletionPolicy::Retain => {
            let is_throttled = reassignment::is_throttled(&topic);
            finalizer::set(context, topic, is_throttled).await?
        }
        DeletionPolicy::Delete => topic,
    };
    let cluster = match cluster(context, &topic) {
        Ok(cluster) => cluster,
        Err(refusal) => return turn_away(context, topic, Knowledge::Nothing, &refusal).await,
    };
    let mine = Claim::of(&topic);
    let rivals: Vec<_> = rivals(context, &mine).into_iter().filter(|rival| may_use_its_cluster(context, rival)).collect();
    if let Some(owner) = older_owner(&mine, &rivals) {
        let conflict = conflict(&topic, owner);
        return turn_away(context, topic, Knowledge::NotOurs, &conflict).await;
    }
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

/// Refuses an object that may not keep its topic. What was set for partitions that move is taken away: nobody would tend it.
async fn turn_away(context: &Context, topic: KafkaTopic, knowledge: Knowledge<'_>, refusal: &Refusal) -> Result<Next, Error> {
    let Released { mut topic, done } = release(context, topic).await?;
    let next = match done {
        Ok(()) if matches!(knowledge, Knowledge::NotOurs) => {
            topic = finalizer::set(context, topic, false).await?;
            Next::AwaitChange
        }
        Ok(()) => Next::AwaitChange,
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
    let drifted = drift::among(topic, approval::changes(&found.plan.differences()));
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
    let statement = approval::awaited(topic, &changes).still_not_ready(before);
    let status = status::status(topic, observed_only(topic, found), &statement, &now());
    let status = KafkaTopicStatus { plan: changes, ..status };
    let drifted = drift::among(topic, approval::changes(&found.plan.differences()));
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
        Some(observed) => Knowledge::Seen { observed, managed: history(topic).managed_config },
        None => Knowledge::Awaited,
    }
}

/// Does what is planned, looks whether it is seen, and reports.
async fn carry_out(context: &Context, topic: KafkaTopic, desired: &ValidatedTopic, mut found: Found) -> Result<Next, Error> {
    let before = history(&topic);
    let is_adoption = found.observed.is_some() && before.last_topic_id().is_none();
    let lost = before.last_topic_id().filter(|_| found.observed.is_none());
    // From the object as it is before anything is written down.
    let drifted = drift::among(&topic, approval::changes(&found.plan.differences()));
    let mut topic = remember(context, topic, desired, &found.plan).await?;
    let (history, none) = (history(&topic), BTreeMap::new());
    for action in &found.plan.actions {
        if let (TopicAction::Reassign(assignment), Some(copies)) = (action, &found.copies) {
            let config = found.observed.as_ref().map_or(&none, |observed| &observed.config);
            let begun = reassignment::begin(found.ground(context), topic, assignment, &copies.replication, config).await?;
            topic = begun.topic;
            if let Err(error) = begun.done {
                context.connections.failed(&found.cluster.name, &error);
                return hold(context, &topic, Knowledge::Nothing, &Refusal::from(&error), drifted).await;
            }
        }
        match apply(&found.connection, &desired.name, action).await {
            Ok(Applied::Done) => {}
            Ok(Applied::MadeByOthers) => {
                // What an earlier attempt asked for may have been made since.
                let Some(lost) = lost.filter(|_| before.recreation.is_none()) else { return Ok(Next::Backoff) };
                let knowledge = Knowledge::Missing { lost: Some(lost), recreation: None, managed: managed_before(desired, &history) };
                return hold(context, &topic, knowledge, &made_by_others(desired), drifted).await;
            }
            Err(error) => {
                let managed = managed_before(desired, &history);
                let knowledge = match &found.observed {
                    Some(observed) => Knowledge::Seen { observed, managed },
                    // Where it may have been made all the same, the next look must not take it for somebody else's.
                    None if before.recreation.is_none() && was_not_done(&error) => Knowledge::Missing { lost, recreation: None, managed },
                    None => Knowledge::Missing { lost: None, recreation: history.recreation.clone(), managed },
                };
                context.connections.failed(&found.cluster.name, &error);
                return hold(context, &topic, knowledge, &refused(action, &error), drifted).await;
            }
        }
        let cause = cause(action, &drifted);
        let mut done = notice::done(action, cause);
        if matches!(action, TopicAction::AddPartitions { .. }) {
            done = notice::read_by(done, readers(&found.connection, &desired.name).await.as_ref());
        }
        if notice::is_news(action, cause) {
            context.events.publish::<KafkaTopic>(&topic.metadata, notice::verb(action), done).await;
        } else {
            tracing::info!(reason = done.reason, "{}", done.message);
        }
    }
    let done = found.plan.clone();
    if !done.actions.is_empty() {
        let seen = found.look_again(&topic, desired, &done.actions).await;
        let tended = match seen {
            Ok(()) => tend(context, topic, &mut found).await?,
            Err(error) => Outcome { topic, done: Err(error) },
        };
        topic = tended.topic;
        if let Err(error) = tended.done {
            context.connections.failed(&found.cluster.name, &error);
            return hold(context, &topic, Knowledge::Nothing, &Refusal::from(&error), drifted).await;
        }
    }
    if let Some(grown) = growth::grown(&done, &desired.name, found.observed.as_ref()) {
        let pipelines = context.watches.pipelines.select(|_| true);
        let groups = begin_new_partitions(&found.connection, &growth::groups(&topic, &pipelines), grown).await;
        if !groups.is_empty() {
            context.events.publish::<KafkaTopic>(&topic.metadata, "AddPartitions", notice::begun(&groups)).await;
        }
    }
    let next = conclude(context, &topic, desired, &found, drifted).await?;
    if let (true, Some(adopted), Next::AwaitChange | Next::After(_)) = (is_adoption, &found.observed, next) {
        context.events.publish::<KafkaTopic>(&topic.metadata, "Adopt", notice::adopted(adopted)).await;
    }
    Ok(next)
}

fn cause(action: &TopicAction, drifted: &[PlannedChange]) -> Cause {
    let is_drift = approval::changes(std::slice::from_ref(action)).iter().any(|change| drifted.contains(change));
    if is_drift { Cause::Drift } else { Cause::Declared }
}

fn made_by_others(desired: &ValidatedTopic) -> Refusal {
    Refusal::new(Reason::Progressing, format!("somebody else made the topic `{}` again meanwhile: it is looked at anew", desired.name))
}

/// Tells that a topic was made again of which that was not known until it was seen now.
async fn tell_of_recreation(context: &Context, topic: &KafkaTopic, found: &Found) {
    let (Some(recreation), Some(observed)) = (history(topic).recreation, &found.observed) else { return };
    if recreation.lost != observed.id && !found.plan.is_of_another_topic() {
        let made = TopicAction::Create(recreation.asked);
        context.events.publish::<KafkaTopic>(&topic.metadata, notice::verb(&made), notice::done(&made, Cause::Drift)).await;
    }
}

/// Whether Kafka said no: an answer that did not come, or does not speak of the topic, is none.
fn was_not_done(error: &KafkaError) -> bool {
    match error {
        KafkaError::NotReady { code, .. } => *code > 0,
        error => !error.is_retriable() && !error.is_fatal(),
    }
}

/// Reports what was seen once everything was done that can be.
async fn conclude(
    context: &Context,
    topic: &KafkaTopic,
    desired: &ValidatedTopic,
    found: &Found,
    drifted: Vec<PlannedChange>,
) -> Result<Next, Error> {
    let history = history(topic);
    let step = found.copies.as_ref().map(|copies| &copies.step);
    // What began as drift was set back by now.
    let is_back = found.has_ended && step.is_none_or(|step| *step == Step::Rest);
    let drifted = if drifted.is_empty() && is_back { drift::still_open(topic) } else { drifted };
    let knowledge = match &found.observed {
        Some(_) if found.plan.is_of_another_topic() => match &history.recreation {
            // It is known now: somebody else was faster.
            Some(recreation) => {
                Knowledge::Missing { lost: Some(recreation.lost), recreation: None, managed: managed_before(desired, &history) }
            }
            None => Knowledge::Nothing,
        },
        Some(observed) => Knowledge::Seen { observed, managed: managed_after(desired, &history, observed) },
        None => Knowledge::Missing { lost: None, recreation: history.recreation.clone(), managed: managed_before(desired, &history) },
    };
    if !found.plan.actions.is_empty() {
        let message = format!("a change was sent to Kafka and is not seen yet: {}", notice::pending(&found.plan.actions));
        return hold(context, topic, knowledge, &Refusal::new(Reason::Progressing, message), drifted).await;
    }
    match (&found.plan.refusal, step) {
        (Some(refusal), Some(Step::Wait { remaining, .. })) => {
            let status = status::status(topic, knowledge, &refusal.not_ready(), &now());
            tell_of_moves(context, topic, status, *remaining, drifted, &refusal.not_ready()).await?;
        }
        (Some(refusal), step) if found.plan.is_of_another_topic() || (matches!(step, Some(Step::Refuse(_))) && drifted.is_empty()) => {
            refuse(context, topic, knowledge, refusal, found.next(context)).await?;
        }
        (Some(refusal), _) => tell_refusal(context, topic, knowledge, refusal, (drifted, Fate::Reverted)).await?,
        (None, _) => {
            let status = status::status(topic, knowledge, &as_declared(), &now());
            tell_of_drift(context, topic, status, drifted, Fate::Reverted, &as_declared()).await?;
        }
    }
    Ok(found.next(context))
}

/// Writes down, before anything is done, what a crash must not make us forget: the keys that become ours, and that the
/// topic which we owned is gone and what we ask for in its place, so that it can be told from what somebody else makes there.
async fn remember(context: &Context, topic: KafkaTopic, desired: &ValidatedTopic, plan: &Plan) -> Result<KafkaTopic, Error> {
    let history = history(&topic);
    let managed = managed_before(desired, &history);
    let creates = plan.actions.iter().any(|action| matches!(action, TopicAction::Create(_)));
    let lost = history.last_topic_id().filter(|_| creates);
    let sets = plan.actions.iter().any(|action| matches!(action, TopicAction::SetConfig { .. }));
    let status = if let Some(lost) = lost {
        let creating = Statement::new(ConditionType::Ready, Some(false), Reason::Progressing, "the topic is being created");
        let recreation = Some(Recreation { lost, asked: new_topic(desired) });
        let status = status::status(&topic, Knowledge::Missing { lost: None, recreation, managed }, &creating, &now());
        // A refusal that stands is not told anew by each attempt.
        let refused = topic.status.as_ref().map(|before| &before.conditions).filter(|told| is_refused(told)).cloned();
        KafkaTopicStatus { conditions: refused.unwrap_or(status.conditions), ..status }
    } else if sets {
        status::remembering(&topic, managed)
    } else {
        return Ok(topic);
    };
    Ok(written::write(context, &topic, topic.status.as_ref(), &status).await?.unwrap_or(topic))
}

fn is_refused(told: &[Condition]) -> bool {
    told.iter().any(|condition| condition.type_ == ConditionType::Ready.as_str() && condition.status == "False")
}

/// Lets the object go, and the topic before it where it shall and can.
async fn depart(context: &Context, topic: KafkaTopic) -> Result<Next, Error> {
    if !finalizer::is_on(&topic) {
        return Ok(Next::AwaitChange);
    }
    let mine = Claim::of(&topic);
    // Whoever lost its access to the cluster has not lost its data: a topic that it owned is not deleted by another.
    let owned = |rival: &Claim| rival.topic_id.is_some() && rival.topic_id == mine.topic_id;
    let rivals: Vec<_> = rivals(context, &mine).into_iter().filter(|rival| owned(rival) || may_use_its_cluster(context, rival)).collect();
    // Nobody would do that after the object is gone.
    let Released { mut topic, done } = release(context, topic).await?;
    if let Err(refusal) = done {
        match deletion::time_left(&topic, context.settings.deletion_timeout, Timestamp::now()) {
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
    let parting = match deletion::decide(&topic, older_owner(&mine, &rivals), successor(&mine, &rivals)) {
        Departure::Leave(parting) => parting,
        Departure::Delete(id) => match remove(context, &topic, id).await {
            Ok(()) => {
                tracing::info!("deleted the topic `{}` (id {id}) and its records", topic.kafka_name());
                None
            }
            Err(refusal) if refusal.reason == Reason::DeletionHeld => {
                let again = Next::After(protection::look_again(&topic, Timestamp::now()));
                return refuse(context, &topic, Knowledge::Nothing, &refusal, again).await;
            }
            Err(refusal) if refusal.reason == Reason::TopicRecreated => Some(deletion::abandoned(&topic, &refusal)),
            Err(refusal) => match deletion::time_left(&topic, context.settings.deletion_timeout, Timestamp::now()) {
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

async fn remove(context: &Context, topic: &KafkaTopic, id: penstock_kafka::TopicId) -> Result<(), Refusal> {
    let cluster = cluster(context, topic)?;
    let deleted = async {
        let connection = context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers)?;
        if let Some(lasts) = protection::lasts(topic, &cluster.spec)
            && let Some(held) = protection::held(&connection, topic.kafka_name(), lasts, Timestamp::now()).await?
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

fn cluster(context: &Context, topic: &KafkaTopic) -> Result<ResolvedCluster, Refusal> {
    let namespace = topic.namespace().unwrap_or_default();
    clusters::resolve(&context.watches.clusters.store(), &context.settings.namespace, topic.cluster_name(), &namespace)
}

/// What the other objects claim that mean the same topic.
fn rivals(context: &Context, mine: &Claim) -> Vec<Claim> {
    let ids = ClusterIds::known(&context.watches.clusters.store(), &context.settings.namespace);
    let namesakes = context.watches.topics_by_name.find(&mine.kafka_name);
    let claims = namesakes.iter().map(|object| Claim::of_any(object));
    claims.filter(|claim| !claim.is_same_object(mine) && claim.is_for_same_topic(mine, &ids)).collect()
}

fn may_use_its_cluster(context: &Context, claim: &Claim) -> bool {
    clusters::resolve(&context.watches.clusters.store(), &context.settings.namespace, &claim.cluster, &claim.namespace).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_no_leaves_a_lost_topic_lost() {
        let message = || "words".to_owned();
        for (error, was_not_made) in [
            (KafkaError::TopicExists { topic: message() }, true),
            (KafkaError::PolicyViolation { message: message() }, true),
            (KafkaError::Authorization { message: message() }, true),
            (KafkaError::NotReady { code: 89, message: message() }, true),
            (KafkaError::NotReady { code: 0, message: message() }, false),
            (KafkaError::NotReady { code: -1, message: message() }, false),
            (KafkaError::Timeout { reason: message() }, false),
            (KafkaError::Unreachable { reason: message() }, false),
            (KafkaError::Closed, false),
        ] {
            assert_eq!(was_not_done(&error), was_not_made, "{error:?}");
        }
    }
}
