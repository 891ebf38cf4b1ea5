//! Says in a pipeline's status what was found and done. Pure: no I/O; the time is handed in.
//!
//! `Ready` is True only while everything declared was seen. Its reason is that of the first thing in the way: the spec, the
//! cluster, the topics, Kubernetes, the workers.

use std::time::Duration;

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Time};
use penstock_crds::{
    EventPipeline, EventPipelineStatus,
    condition::{ConditionType, Reason, Statement, conditions},
    name,
};

use super::{
    autoscaler::Told,
    build::selector_text,
    positions::{self, Moves, Telling},
    scaled,
    validate::Verdict,
    workers::Judgement,
};
use crate::refusal::Refusal;

/// What was found and done.
pub struct Findings<'a> {
    /// What validation said.
    pub verdict: &'a Verdict,
    /// Why something could not be applied.
    pub refused: Option<&'a Refusal>,
    /// The Deployment, if there is one.
    pub deployment: Option<&'a Deployment>,
    /// How the workers are.
    pub workers: &'a Judgement,
    /// What was decided last about the number of workers.
    pub told: Option<&'a Told>,
    /// Where the group did not go on where it had stopped; none: that is not known.
    pub moves: Option<&'a Moves>,
}

/// The status that a pipeline shall have.
#[must_use]
pub fn status(pipeline: &EventPipeline, findings: &Findings<'_>, now: &Time) -> EventPipelineStatus {
    let meta = &pipeline.metadata;
    let own_name = meta.name.as_deref().unwrap_or_default();
    let previous = pipeline.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let counts = findings.deployment.and_then(|d| d.status.as_ref());
    let topics = &findings.verdict.topics;
    let mut statements = vec![ready(pipeline, findings), topics_ready(findings.verdict), findings.workers.statement.clone()];
    let kept = match positions::tell(pipeline, findings.verdict, findings.moves, now) {
        Telling::Say(statement) => {
            statements.push(statement);
            None
        }
        Telling::Keep => previous.iter().find(|c| c.type_ == ConditionType::PositionsKept.as_str()).cloned(),
        Telling::Nothing => None,
    };
    let unwatched = scaled::unwatched(pipeline, findings.verdict);
    let unchanged = pipeline.spec.scaling.as_ref().filter(|_| findings.told.is_none() && unwatched.is_none());
    let scaling_before = unchanged.and_then(|_| previous.iter().find(|c| c.type_ == ConditionType::ScalingActive.as_str()).cloned());
    statements.extend(scaled::statement(pipeline, findings.told, unwatched.as_ref()));
    EventPipelineStatus {
        observed_generation: meta.generation,
        desired_replicas: findings.verdict.replicas,
        replicas: counts.and_then(|s| s.replicas).unwrap_or_default(),
        ready_replicas: counts.and_then(|s| s.ready_replicas).unwrap_or_default(),
        processor: pipeline.spec.processor.choice().ok().map(|choice| choice.name().to_owned()),
        selector: Some(selector_text(own_name)),
        group: group(pipeline),
        dead_letter_topic: topics.dead_letter.as_ref().and_then(|d| topics.kafka_name(d.object())),
        scaling: scaled::status(pipeline, findings.told, unwatched.as_ref()),
        conditions: conditions(previous, now, meta.generation, &statements).into_iter().chain(kept).chain(scaling_before).collect(),
    }
}

/// The consumer group of a pipeline; none: it reads no records.
#[must_use]
pub fn group(pipeline: &EventPipeline) -> Option<String> {
    let meta = &pipeline.metadata;
    let (namespace, own_name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    pipeline.spec.source.kafka.as_ref().map(|k| k.group.clone().unwrap_or_else(|| name::default_group(namespace, own_name)))
}

/// How long the pipeline has not been ready; none: it is, or that was not seen yet.
#[must_use]
pub fn unready_for(pipeline: &EventPipeline, now: &Time) -> Option<Duration> {
    let conditions = pipeline.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let unready = conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str() && c.status != "True")?;
    Some(Duration::try_from(now.0.duration_since(unready.last_transition_time.0)).unwrap_or_default())
}

fn ready(pipeline: &EventPipeline, findings: &Findings<'_>) -> Statement {
    let in_the_way = findings.verdict.pipeline.as_ref().err().or(findings.refused).or(findings.verdict.unready.as_ref());
    if let Some(problem) = in_the_way {
        return Statement::new(ConditionType::Ready, Some(false), problem.reason, problem.message.clone());
    }
    let workers = &findings.workers.statement;
    let (reason, message) = match (findings.workers.settled, pipeline.spec.suspend) {
        (true, true) => (Reason::Suspended, "suspended: no workers run".to_owned()),
        (true, false) => (Reason::AsDeclared, workers.message.clone()),
        (false, _) => (workers.reason, workers.message.clone()),
    };
    Statement::new(ConditionType::Ready, Some(findings.workers.settled), reason, message)
}

fn topics_ready(verdict: &Verdict) -> Statement {
    match verdict.topics.refusal.as_ref().or(verdict.topics.unready.as_ref()) {
        Some(problem) => Statement::new(ConditionType::TopicsReady, Some(false), problem.reason, problem.message.clone()),
        None => Statement::new(ConditionType::TopicsReady, Some(true), Reason::TopicsReady, "every topic is ready"),
    }
}

#[cfg(test)]
mod tests;
