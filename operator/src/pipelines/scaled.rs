//! The number of workers of a pipeline with `scaling`, and what is said of it. Pure: no I/O, no clock.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use penstock_crds::{
    EventPipeline, EventPipelineStatus,
    condition::{ConditionType, Reason, Statement},
    pipeline::{Scaling, ScalingBounds, ScalingStatus},
};

use super::{
    autoscaler::{Told, ineffective, rounded},
    validate::Verdict,
};
use crate::{
    events::Notice,
    refusal::Refusal,
    scaling::{self, Decision, Limit, PartitionKey},
};

/// How many partitions are told of by name.
const TOLD_AT_MOST: usize = 5;

/// The number of workers that was decided last: by the autoscaler, else what runs. What the status says from before the operator was
/// started counts only where nothing tells better: while there is no Deployment, or when the pipeline was suspended. None: nothing was
/// decided, or the pipeline's own number counts.
#[must_use]
pub fn decided(pipeline: &EventPipeline, told: Option<&Told>, deployment: Option<&Deployment>) -> Option<i32> {
    pipeline.spec.scaling.as_ref().filter(|scaling| !scaling.dry_run)?;
    let told = told.map(|told| i32::try_from(told.desired).unwrap_or(i32::MAX));
    let suspended = [ConditionType::Ready, ConditionType::ScalingActive].into_iter().any(|kind| was_suspended(pipeline, kind));
    let runs = || deployment?.spec.as_ref()?.replicas;
    let before = || Some(pipeline.status.as_ref()?.scaling.as_ref()?.desired);
    told.or_else(|| if suspended { before().or_else(runs) } else { runs().or_else(before) })
}

/// Whether that condition says that the pipeline was suspended when its status was written.
#[must_use]
pub fn was_suspended(pipeline: &EventPipeline, kind: ConditionType) -> bool {
    let conditions = pipeline.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|c| c.type_ == kind.as_str() && c.reason == Reason::Suspended.as_str())
}

/// How many workers that is within the bounds of the pipeline; a pipeline that is new begins with the fewest.
#[must_use]
pub fn within(bounds: ScalingBounds, decided: Option<i32>) -> i32 {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    decided.unwrap_or_default().clamp(number(bounds.min), number(bounds.max))
}

/// Why what waits for a pipeline with `scaling` is not watched; none: it is.
#[must_use]
pub fn unwatched(pipeline: &EventPipeline, verdict: &Verdict) -> Option<Refusal> {
    pipeline.spec.scaling.as_ref()?;
    if pipeline.spec.suspend {
        return Some(Refusal::new(Reason::Suspended, "suspended: what waits is not watched"));
    }
    let refusal = verdict.pipeline.as_ref().err()?;
    Some(Refusal::new(refusal.reason, format!("what waits is not watched: {}", refusal.message)))
}

/// Whether figures of a status tell of what is watched now.
#[must_use]
pub fn is_watched(status: &EventPipelineStatus) -> bool {
    let condition = status.conditions.iter().find(|c| c.type_ == ConditionType::ScalingActive.as_str());
    condition.is_none_or(|c| c.status == "True" || c.reason == Reason::LagUnknown.as_str())
}

/// What stands in the status. What was not decided yet stays as it was; of what is not watched only the number does, what did not
/// help, and how fast workers are.
#[must_use]
pub fn status(pipeline: &EventPipeline, told: Option<&Told>, unwatched: Option<&Refusal>) -> Option<ScalingStatus> {
    pipeline.spec.scaling.as_ref()?;
    let before = || pipeline.status.as_ref()?.scaling.clone();
    let number = |told: &Told| i32::try_from(told.desired).unwrap_or(i32::MAX);
    if let Some(unwatched) = unwatched {
        let desired = told.map(number).or_else(|| before().map(|before| before.desired))?;
        let ScalingStatus { worker_rate, ineffective, .. } = before().unwrap_or_default();
        let reason = unwatched.reason.as_str().to_owned();
        return Some(ScalingStatus { desired, reason, worker_rate, ineffective, ..ScalingStatus::default() });
    }
    let Some(told) = told else { return before() };
    let decision = &told.decision;
    Some(ScalingStatus {
        desired: number(told),
        reason: reason(decision.reason).as_str().to_owned(),
        lag: decision.lag.map(|lag| i64::try_from(lag).unwrap_or(i64::MAX)),
        lag_seconds: decision.age.map(seconds),
        arrival_rate: rounded(decision.arrival),
        worker_rate: decision.speed.map(rounded),
        limited_by: decision.limited_by.map(|limit| word(limit).to_owned()),
        ineffective: decision.ceiling.as_ref().and_then(ineffective),
    })
}

/// How what is said of a dry run begins.
const DRY_RUN: &str = "dry run: ";

/// What the condition `ScalingActive` says; none: that was not decided yet.
#[must_use]
pub fn statement(pipeline: &EventPipeline, told: Option<&Told>, unwatched: Option<&Refusal>) -> Option<Statement> {
    let scaling = pipeline.spec.scaling.as_ref()?;
    if let Some(unwatched) = unwatched {
        return Some(Statement::new(ConditionType::ScalingActive, Some(false), unwatched.reason, unwatched.message.clone()));
    }
    let Told { desired, decision } = told?;
    let (dry, whose) = if scaling.dry_run { (DRY_RUN, "; the number is that of `replicas`") } else { ("", "") };
    let message = format!("{dry}{desired} workers: {}{}{whose}", words(decision), beyond(scaling, decision));
    let active = decision.reason != scaling::Reason::LagUnknown;
    Some(Statement::new(ConditionType::ScalingActive, Some(active), reason(decision.reason), message))
}

/// What to tell of a change: another number, the first one too, or a reason that a person should look at.
#[must_use]
pub fn notices(before: Option<&EventPipelineStatus>, after: &EventPipelineStatus) -> Vec<Notice> {
    let said = |status: &EventPipelineStatus| {
        let condition = status.conditions.iter().find(|c| c.type_ == ConditionType::ScalingActive.as_str())?;
        Some((status.scaling.as_ref()?.desired, condition.reason.clone(), condition.message.clone()))
    };
    let Some((desired, why, message)) = said(after) else { return vec![] };
    let before = before.and_then(said);
    let from = before.as_ref().map(|(from, ..)| *from);
    let mut notices = vec![];
    if from != Some(desired) {
        let (dry, rest) = message.strip_prefix(DRY_RUN).map_or(("", message.as_str()), |rest| (DRY_RUN, rest));
        let from = from.map_or_else(String::new, |from| format!("from {from} to "));
        notices.push(Notice::normal("ScalingDecided", format!("{dry}{from}{rest}")));
    }
    if before.is_none_or(|(_, before, _)| before != why)
        && let Some(reason) = WORTH_A_LOOK.iter().find(|reason| reason.as_str() == why)
    {
        notices.push(Notice::warning(reason.as_str(), message));
    }
    notices
}

const WORTH_A_LOOK: [Reason; 4] = [Reason::HotPartition, Reason::ScaleUpIneffective, Reason::NoProgress, Reason::LagUnknown];

fn reason(reason: scaling::Reason) -> Reason {
    use scaling::Reason as Decided;
    match reason {
        Decided::AsNeeded => Reason::AsNeeded,
        Decided::Behind => Reason::Behind,
        Decided::FewerEnough => Reason::FewerEnough,
        Decided::Waiting => Reason::Watching,
        Decided::TooCostly => Reason::ScaleDownTooCostly,
        Decided::Asleep => Reason::Asleep,
        Decided::Awake => Reason::Awake,
        Decided::Beginning => Reason::Beginning,
        Decided::OutOfBounds => Reason::OutOfBounds,
        Decided::AtMaximum => Reason::AtMaximum,
        Decided::AtPartitions => Reason::AtPartitions,
        Decided::HotPartition => Reason::HotPartition,
        Decided::Crowded => Reason::Crowded,
        Decided::ScaleUpIneffective => Reason::ScaleUpIneffective,
        Decided::LagUnknown => Reason::LagUnknown,
        Decided::RollingOut => Reason::RollingOut,
        Decided::Rebalancing => Reason::Rebalancing,
        Decided::Starting => Reason::WorkersStarting,
        Decided::OnTrial => Reason::OnTrial,
        Decided::NoProgress => Reason::NoProgress,
        Decided::Measuring => Reason::Measuring,
    }
}

fn word(limit: Limit) -> &'static str {
    match limit {
        Limit::Minimum => "Minimum",
        Limit::Maximum => "Maximum",
        Limit::Partitions => "Partitions",
        Limit::HotPartition => "HotPartition",
        Limit::Effect => "Effect",
    }
}

/// Why, without figures: a message changes when the reason does, and not with each look.
fn words(decision: &Decision) -> String {
    use scaling::Reason as Decided;
    match decision.reason {
        Decided::AsNeeded => "they keep up".to_owned(),
        Decided::Behind => "what waits would not be handled within drainSeconds by fewer".to_owned(),
        Decided::FewerEnough => "they have been enough for the whole window".to_owned(),
        Decided::Waiting => "fewer would be enough now; whether that lasts is to be seen".to_owned(),
        Decided::TooCostly => {
            "fewer have been enough for the whole window, and would save less than it costs to share partitions out anew".to_owned()
        }
        Decided::Asleep => "nothing has come for idleSeconds".to_owned(),
        Decided::Awake => "records wait".to_owned(),
        Decided::Beginning => "a worker must commit where the group begins (startFrom: Latest), or records would be skipped".to_owned(),
        Decided::OutOfBounds => "their number was below minReplicas or above maxReplicas".to_owned(),
        Decided::AtMaximum => "as many as maxReplicas has room for, and not enough to handle what comes within drainSeconds".to_owned(),
        Decided::AtPartitions => "more would have no partition of their own: add partitions, or make the processor faster".to_owned(),
        Decided::HotPartition => hot(&decision.hot),
        Decided::Crowded => "partitions with much to do have met at one worker, and another number shares them out anew".to_owned(),
        Decided::ScaleUpIneffective => {
            "more of them did not do more, so the last step up was taken back: look at what they wait for".to_owned()
        }
        Decided::LagUnknown => "what waits could not be read, so their number stays".to_owned(),
        Decided::RollingOut => "new ones are replacing old ones".to_owned(),
        Decided::Rebalancing => "the group is sharing its partitions out anew".to_owned(),
        Decided::Starting => "not all of them are ready yet".to_owned(),
        Decided::OnTrial => "the last step up is still to show what it is good for".to_owned(),
        Decided::NoProgress => "they have work, and commit nothing: look at their logs".to_owned(),
        Decided::Measuring => "records wait, and how fast workers are is still being measured".to_owned(),
    }
}

/// What the partitions are that are too much for one worker, a few of them by name.
fn hot(partitions: &[PartitionKey]) -> String {
    let names = partitions.iter().take(TOLD_AT_MOST).map(|hot| format!("{}/{}", hot.topic, hot.partition)).collect::<Vec<_>>().join(", ");
    let more = match partitions.len().saturating_sub(TOLD_AT_MOST) {
        0 => String::new(),
        more => format!(" and {more} others"),
    };
    let (get, have, their) = if partitions.len() > 1 { ("each get", "each", "their") } else { ("gets", "it", "its") };
    format!(
        "{names}{more} {get} more than one worker can handle, and only one can have {have}: spread {their} keys, or make the processor faster"
    )
}

/// That more workers are allowed than can ever have a partition, as long as that is so.
fn beyond(scaling: &Scaling, decision: &Decision) -> String {
    match decision.partitions {
        Some(partitions) if u32::try_from(scaling.max_replicas).is_ok_and(|most| most > partitions) => format!(
            "; maxReplicas is {}, and the source has {partitions} partitions: more than {partitions} workers would have nothing to do",
            scaling.max_replicas
        ),
        _ => String::new(),
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pipelines::testing::payments;

    fn partition(partition: i32) -> PartitionKey {
        PartitionKey { topic: "orders".to_owned(), partition }
    }

    fn told(desired: u32, reason: scaling::Reason) -> Told {
        let hot = (reason == scaling::Reason::HotPartition).then(|| partition(2)).into_iter().collect();
        let decision = Decision {
            desired: None,
            reason,
            limited_by: None,
            hot,
            lag: Some(70),
            age: Some(Duration::from_millis(2_900)),
            arrival: 1.26,
            speed: Some(100.04),
            partitions: Some(9),
            ceiling: None,
        };
        Told { desired, decision }
    }

    fn deployment(replicas: i32) -> Deployment {
        serde_json::from_value(json!({"metadata": {}, "spec": {"replicas": replicas, "selector": {}, "template": {}}})).unwrap()
    }

    #[test]
    fn the_number_of_workers() {
        let scaling = |spec: Value| payments(json!({"scaling": spec}));
        let bounds = |pipeline: &EventPipeline| pipeline.spec.scaling.as_ref().unwrap().bounds().unwrap();
        let mut told_before = scaling(json!({"maxReplicas": 9}));
        told_before.status = Some(EventPipelineStatus {
            scaling: Some(ScalingStatus { desired: 4, ..ScalingStatus::default() }),
            ..EventPipelineStatus::default()
        });
        let of_condition = |kind: &str| {
            let mut pipeline = told_before.clone();
            let condition = json!({
                "type": kind, "status": "True", "reason": "Suspended", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            pipeline.status.as_mut().unwrap().conditions = vec![serde_json::from_value(condition).unwrap()];
            pipeline
        };
        let six = told(6, scaling::Reason::Behind);
        for (name, pipeline, told, deployment, expected) in [
            ("decided", scaling(json!({"maxReplicas": 9})), Some(&six), Some(deployment(2)), 6),
            ("bounds count at once", scaling(json!({"maxReplicas": 3})), Some(&six), Some(deployment(2)), 3),
            ("not decided yet: what runs, whatever the status says", told_before.clone(), None, Some(deployment(2)), 2),
            ("what runs is none", told_before.clone(), None, Some(deployment(0)), 1),
            ("the Deployment was deleted", told_before.clone(), None, None, 4),
            ("no longer suspended", of_condition("Ready"), None, Some(deployment(0)), 4),
            ("and its workers start", of_condition("ScalingActive"), None, Some(deployment(0)), 4),
            ("decided since", of_condition("Ready"), Some(&six), Some(deployment(0)), 6),
            ("not decided ever: what runs", scaling(json!({"maxReplicas": 9})), None, Some(deployment(2)), 2),
            ("new", scaling(json!({"maxReplicas": 9})), None, None, 1),
            ("new, and may sleep", scaling(json!({"minReplicas": 0, "maxReplicas": 9})), None, None, 0),
        ] {
            assert_eq!(within(bounds(&pipeline), decided(&pipeline, told, deployment.as_ref())), expected, "{name}");
        }
        let dry = scaling(json!({"maxReplicas": 9, "dryRun": true}));
        assert_eq!(decided(&dry, Some(&six), Some(&deployment(2))), None);
    }

    #[test]
    fn what_is_said() {
        let pipeline = payments(json!({"scaling": {"maxReplicas": 9}}));
        let hot = told(2, scaling::Reason::HotPartition);
        let status = status(&pipeline, Some(&hot), None).unwrap();
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({"desired": 2, "reason": "HotPartition", "lag": 70, "lagSeconds": 2, "arrivalRate": 1.26, "workerRate": 100.0})
        );
        let said = statement(&pipeline, Some(&hot), None).unwrap();
        assert!(said.message.starts_with("2 workers: orders/2 gets more"), "{}", said.message);
        assert_eq!(statement(&pipeline, Some(&told(2, scaling::Reason::LagUnknown)), None).unwrap().status, Some(false));
        let dry = payments(json!({"scaling": {"maxReplicas": 9, "dryRun": true}}));
        assert!(statement(&dry, Some(&hot), None).unwrap().message.starts_with("dry run: 2 workers: "));
        assert_eq!(statement(&payments(json!({})), Some(&hot), None), None);
    }

    #[test]
    fn hot_partitions_are_told_by_name() {
        for (partitions, start) in [
            (1, "orders/0 gets more than one worker can handle, and only one can have it: spread its keys"),
            (2, "orders/0, orders/1 each get more than one worker can handle, and only one can have each: spread their keys"),
            (7, "orders/0, orders/1, orders/2, orders/3, orders/4 and 2 others each get more"),
        ] {
            let said = hot(&(0..partitions).map(partition).collect::<Vec<_>>());
            assert!(said.starts_with(start), "{said}");
        }
    }

    /// A status that says this, as it is written.
    fn said(pipeline: &EventPipeline, told: Option<&Told>, unwatched: Option<&Refusal>) -> EventPipelineStatus {
        let condition = statement(pipeline, told, unwatched).map(|said| {
            let status = if said.status == Some(true) { "True" } else { "False" };
            serde_json::from_value(json!({
                "type": "ScalingActive", "status": status, "reason": said.reason.as_str(), "message": said.message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }))
            .unwrap()
        });
        let scaling = status(pipeline, told, unwatched);
        EventPipelineStatus { scaling, conditions: condition.into_iter().collect(), ..EventPipelineStatus::default() }
    }

    #[test]
    fn another_number_is_told() {
        let (two, six) = (told(2, scaling::Reason::AsNeeded), told(6, scaling::Reason::Behind));
        for (dry_run, start) in [(false, "from 2 to 6 workers: what waits"), (true, "dry run: from 2 to 6 workers: what waits")] {
            let pipeline = payments(json!({"scaling": {"maxReplicas": 9, "dryRun": dry_run}}));
            let told = notices(Some(&said(&pipeline, Some(&two), None)), &said(&pipeline, Some(&six), None));
            assert_eq!(told.len(), 1);
            assert!(format!("{told:?}").contains(start), "{told:?}");
            let first = format!("{:?}", notices(None, &said(&pipeline, Some(&two), None)));
            assert!(first.contains(&format!("\"{}2 workers: they keep up", if dry_run { DRY_RUN } else { "" })), "{first}");
        }
    }

    #[test]
    fn of_what_is_not_watched_only_the_number_stays_and_what_was_measured() {
        let mut pipeline = payments(json!({"scaling": {"maxReplicas": 9}}));
        let six = told(6, scaling::Reason::Behind);
        pipeline.status = Some(said(&pipeline, Some(&six), None));
        assert!(is_watched(pipeline.status.as_ref().unwrap()));
        let unknown = said(&pipeline, Some(&told(6, scaling::Reason::LagUnknown)), None);
        assert!(is_watched(&unknown), "it is asked about all the same");
        for (name, told) in [("just now", Some(&six)), ("for a while", None)] {
            let suspended = Refusal::new(Reason::Suspended, "suspended");
            let after = said(&pipeline, told, Some(&suspended));
            let expected =
                ScalingStatus { desired: 6, reason: "Suspended".to_owned(), worker_rate: Some(100.0), ..ScalingStatus::default() };
            assert_eq!(after.scaling, Some(expected), "{name}");
            let condition = after.conditions.first().unwrap();
            assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "Suspended"), "{name}");
            assert!(!is_watched(&after), "{name}");
        }
    }

    #[test]
    fn a_maximum_beyond_the_partitions_is_said_from_the_start() {
        let said = |most: i32, partitions: Option<u32>| {
            let mut asleep = told(0, scaling::Reason::Asleep);
            asleep.decision.partitions = partitions;
            let pipeline = payments(json!({"scaling": {"minReplicas": 0, "maxReplicas": most}}));
            statement(&pipeline, Some(&asleep), None).unwrap().message
        };
        assert!(said(9, Some(3)).contains("maxReplicas is 9, and the source has 3 partitions"), "{}", said(9, Some(3)));
        for (most, partitions) in [(3, Some(3)), (2, Some(3)), (9, None)] {
            assert!(!said(most, partitions).contains("maxReplicas is"), "{most} of {partitions:?}");
        }
    }
}
