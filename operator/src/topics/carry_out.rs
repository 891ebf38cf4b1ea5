//! Does what is planned for a topic: writes down what a crash must not make us forget, asks Kafka, looks again, reports.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use penstock_crds::{
    KafkaTopic, KafkaTopicStatus,
    condition::{ConditionType, Reason, Statement},
    topic::PlannedChange,
};
use penstock_kafka::Error as KafkaError;

use super::{
    apply::{Applied, apply, begin_new_partitions, readers, would_create},
    approval,
    drift::{self, Fate},
    found::{Found, tend},
    growth,
    memory::{Asked, Upshot},
    notice::{self, Cause},
    plan::{Plan, Recreation, TopicAction, managed_after, managed_before, new_topic},
    reassignment::{self, Outcome, Step},
    refused::refused,
    report::{hold, now, refuse, tell_of_drift, tell_of_moves, tell_refusal},
    status::{self, Knowledge, as_declared, history},
    validate::ValidatedTopic,
};
use crate::{
    context::Context,
    controller::Next,
    refusal::Refusal,
    status::{self as written, Error},
};

/// Does what is planned, looks whether it is seen, and reports.
pub(super) async fn carry_out(context: &Context, topic: KafkaTopic, desired: &ValidatedTopic, mut found: Found) -> Result<Next, Error> {
    let before = history(&topic);
    let (made, uid) = (&context.memory_of_topics.made, topic.uid().unwrap_or_default());
    let is_adoption = found.observed.as_ref().is_some_and(|observed| before.adopts(observed.id, made.get(&uid)));
    let lost = before.last_topic_id().filter(|_| found.observed.is_none());
    tell_of_unanswered(context, &topic, desired, &found).await;
    // From the object as it is before anything is written down.
    let drifted = drift::among(&topic, found.plan.differences());
    if lost.is_some()
        && before.recreation.is_none()
        && tells_of_refusal(&topic)
        && let Some(TopicAction::Create(new)) = found.plan.actions.first()
        && let Err(error) = would_create(&found.connection, new).await
    {
        // Nothing is to be written down for what would be refused as the status tells already.
        context.connections.failed(&found.cluster.name, &error);
        let knowledge = Knowledge::Missing { lost, recreation: None, managed: managed_before(desired, &before) };
        return hold(context, &topic, knowledge, &refused(&TopicAction::Create(new.clone()), &error), drifted).await;
    }
    let mut topic = remember(context, topic, desired, &found.plan).await?;
    let (history, none) = (history(&topic), BTreeMap::new());
    let mut has_acted = false;
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
        if matches!(action, TopicAction::Create(_)) {
            context.memory_of_topics.creating.note(&uid, ());
        }
        match apply(&found.connection, &desired.name, action).await {
            Ok(Applied::Done) => has_acted = true,
            Ok(Applied::MadeByOthers) => {
                // What an earlier attempt asked for may have been made since.
                let Some(lost) = lost.filter(|_| before.recreation.is_none()) else { return Ok(Next::Backoff) };
                let knowledge = Knowledge::Missing { lost: Some(lost), recreation: None, managed: managed_before(desired, &history) };
                return hold(context, &topic, knowledge, &made_by_others(desired), drifted).await;
            }
            Err(error) => {
                let managed = managed_before(desired, &history);
                let knowledge = match &found.observed {
                    Some(observed) => Knowledge::Seen { observed, managed, takes_over: has_acted },
                    // Where it may have been made all the same, the next look must not take it for somebody else's.
                    None if before.recreation.is_none() && was_not_done(&error) => Knowledge::Missing { lost, recreation: None, managed },
                    None => Knowledge::Missing { lost: None, recreation: history.recreation.clone(), managed },
                };
                context.connections.failed(&found.cluster.name, &error);
                if error.outcome_unknown() {
                    let asked = Asked { generation: topic.metadata.generation, action: action.clone(), cause: cause(action, &drifted) };
                    context.memory_of_topics.unanswered.note(&uid, asked);
                }
                let next = hold(context, &topic, knowledge, &refused(action, &error), drifted).await?;
                if is_adoption && has_acted {
                    tell_of_adoption(context, &topic, &found).await;
                }
                return Ok(next);
            }
        }
        tell_of(context, &topic, &found, action, cause(action, &drifted)).await;
    }
    let done = found.plan.clone();
    if !done.actions.is_empty() {
        let seen = found.look_again(&topic, desired, &done.actions).await;
        if let Some(observed) = found.observed.as_ref().filter(|_| seen.is_ok() && done.creates() && !found.plan.is_of_another_topic()) {
            made.note(&uid, observed.id);
        }
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
    begin_where_grown(context, &topic, desired, &found, &done.actions).await;
    let is_as_declared = found.plan.actions.is_empty() && found.plan.refusal.is_none();
    let takes_over = (has_acted || is_as_declared) && !found.plan.is_of_another_topic();
    let next = conclude(context, &topic, desired, &found, takes_over, drifted).await?;
    if found.observed.is_some() {
        made.forget(&uid);
        context.memory_of_topics.creating.forget(&uid);
    }
    if is_adoption && takes_over {
        tell_of_adoption(context, &topic, &found).await;
    }
    Ok(next)
}

/// Tells what was done.
async fn tell_of(context: &Context, topic: &KafkaTopic, found: &Found, action: &TopicAction, cause: Cause) {
    let mut done = notice::done(action, cause);
    if matches!(action, TopicAction::AddPartitions { .. }) {
        done = notice::read_by(done, readers(&found.connection, topic.kafka_name()).await.as_ref());
    }
    if notice::is_routine(action, cause) {
        context.events.publish_routine::<KafkaTopic>(&topic.metadata, notice::verb(action), done).await;
    } else {
        context.events.publish::<KafkaTopic>(&topic.metadata, notice::verb(action), done).await;
    }
}

/// Tells what was asked for in vain, as it seemed, and is there now.
async fn tell_of_unanswered(context: &Context, topic: &KafkaTopic, desired: &ValidatedTopic, found: &Found) {
    let (unanswered, uid) = (&context.memory_of_topics.unanswered, topic.uid().unwrap_or_default());
    let Some(asked) = unanswered.get(&uid).filter(|_| found.observed.is_some()) else { return };
    match asked.upshot(topic.metadata.generation, &found.plan) {
        Upshot::Open => return,
        Upshot::Unknown => {}
        Upshot::Done => {
            tell_of(context, topic, found, &asked.action, asked.cause).await;
            begin_where_grown(context, topic, desired, found, std::slice::from_ref(&asked.action)).await;
        }
    }
    unanswered.forget(&uid);
}

/// Lets groups begin with the partitions that came by that.
async fn begin_where_grown(context: &Context, topic: &KafkaTopic, desired: &ValidatedTopic, found: &Found, done: &[TopicAction]) {
    let Some(grown) = growth::grown(done, &desired.name, found.observed.as_ref()) else { return };
    let pipelines = context.watches.pipelines.select(|_| true);
    let groups = begin_new_partitions(&found.connection, &growth::groups(topic, &pipelines), grown).await;
    if !groups.is_empty() {
        context.events.publish::<KafkaTopic>(&topic.metadata, "AddPartitions", notice::begun(&groups)).await;
    }
}

async fn tell_of_adoption(context: &Context, topic: &KafkaTopic, found: &Found) {
    if let Some(adopted) = &found.observed {
        context.events.publish::<KafkaTopic>(&topic.metadata, "Adopt", notice::adopted(adopted)).await;
    }
}

fn cause(action: &TopicAction, drifted: &[PlannedChange]) -> Cause {
    let is_drift = approval::changes(std::slice::from_ref(action)).iter().any(|change| drifted.contains(change));
    if is_drift { Cause::Drift } else { Cause::Declared }
}

fn made_by_others(desired: &ValidatedTopic) -> Refusal {
    Refusal::new(Reason::Progressing, format!("somebody else made the topic `{}` again meanwhile: it is looked at anew", desired.name))
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
    takes_over: bool,
    drifted: Vec<PlannedChange>,
) -> Result<Next, Error> {
    let history = history(topic);
    let step = found.copies.as_ref().map(|copies| &copies.step);
    // What began as drift was set back by now.
    let is_back = found.has_ended && step.is_none_or(|step| *step == Step::Rest);
    let drifted = if is_back { drift::with_open(topic, drifted) } else { drifted };
    let knowledge = match &found.observed {
        Some(_) if found.plan.is_of_another_topic() => match &history.recreation {
            // It is known now: somebody else was faster.
            Some(recreation) => {
                Knowledge::Missing { lost: Some(recreation.lost), recreation: None, managed: managed_before(desired, &history) }
            }
            None => Knowledge::Nothing,
        },
        Some(observed) => Knowledge::Seen { observed, managed: managed_after(desired, &history, observed), takes_over },
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
        (Some(refusal), _) if found.plan.is_of_another_topic() => {
            refuse(context, topic, knowledge, refusal, found.next(context)).await?;
        }
        (Some(refusal), _) => {
            let outcome = drift::outcome(drifted, &found.plan.differences());
            tell_refusal(context, topic, knowledge, refusal, outcome).await?;
        }
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
    let lost = history.last_topic_id().filter(|_| plan.creates());
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

/// Whether the status tells that what this generation asks for was refused.
fn tells_of_refusal(topic: &KafkaTopic) -> bool {
    topic.status.as_ref().is_some_and(|told| told.observed_generation == topic.metadata.generation && is_refused(&told.conditions))
}

fn is_refused(told: &[Condition]) -> bool {
    told.iter().any(|condition| condition.type_ == ConditionType::Ready.as_str() && condition.status == "False")
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
