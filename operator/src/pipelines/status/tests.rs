use serde_json::json;

use super::*;
use crate::pipelines::{
    testing::{at, example_topics, payments, references},
    validate::validate,
};

fn judged(settled: bool, available: bool, reason: Reason) -> Judgement {
    Judgement { settled, statement: Statement::new(ConditionType::WorkersAvailable, Some(available), reason, "of the workers") }
}

fn word<'a>(status: &'a EventPipelineStatus, kind: &str) -> (&'a str, &'a str) {
    let condition = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    (condition.status.as_str(), condition.reason.as_str())
}

#[test]
fn the_first_thing_in_the_way_is_the_reason() {
    let refused = Refusal::new(Reason::NameConflict, "in the way");
    let unready = Refusal::new(Reason::TopicNotReady, "not ready");
    let invalid = Refusal::new(Reason::InvalidOptions, "wrong");
    let running = || judged(true, true, Reason::WorkersAvailable);
    let rolling = || judged(false, true, Reason::RollingOut);
    let rows = [
        (None, None, None, running(), ("True", "AsDeclared")),
        (None, None, None, rolling(), ("False", "RollingOut")),
        (None, None, Some(&unready), running(), ("False", "TopicNotReady")),
        (None, Some(&refused), Some(&unready), running(), ("False", "NameConflict")),
        (Some(&invalid), Some(&refused), Some(&unready), running(), ("False", "InvalidOptions")),
    ];
    for (invalid, refused, unready, workers, expected) in rows {
        let pipeline = payments(json!({}));
        let mut verdict = validate(&pipeline, &references(example_topics()));
        verdict.unready = unready.cloned();
        if let Some(problem) = invalid {
            verdict.pipeline = Err(problem.clone());
        }
        let findings = Findings { verdict: &verdict, refused, deployment: None, workers: &workers, told: None, moves: None };
        let status = status(&pipeline, &findings, &at(1));
        assert_eq!(word(&status, "Ready"), expected);
        assert_eq!(word(&status, "WorkersAvailable"), ("True", workers.statement.reason.as_str()));
    }
}

#[test]
fn suspended_and_scaled_to_zero_are_as_declared() {
    for (suspend, expected) in [(true, ("True", "Suspended")), (false, ("True", "AsDeclared"))] {
        let pipeline = payments(json!({"replicas": 0, "suspend": suspend}));
        let verdict = validate(&pipeline, &references(example_topics()));
        let workers = judged(true, true, Reason::ScaledToZero);
        let findings = Findings { verdict: &verdict, refused: None, deployment: None, workers: &workers, told: None, moves: None };
        assert_eq!(word(&status(&pipeline, &findings, &at(1)), "Ready"), expected);
    }
}

#[test]
fn missing_topics_stand_in_two_conditions() {
    let pipeline = payments(json!({}));
    let verdict = validate(&pipeline, &references(vec![]));
    let workers = judged(false, false, Reason::WorkersUnavailable);
    let findings = Findings { verdict: &verdict, refused: None, deployment: None, workers: &workers, told: None, moves: None };
    let status = status(&pipeline, &findings, &at(1));
    assert_eq!(word(&status, "Ready"), ("False", "TopicNotFound"));
    assert_eq!(word(&status, "TopicsReady"), ("False", "TopicNotFound"));
    assert_eq!(status.dead_letter_topic, None);
}

#[test]
fn numbers_names_and_times() {
    let mut pipeline = payments(json!({"source": {"kafka": {"group": null}}}));
    let verdict = validate(&pipeline, &references(example_topics()));
    let workers = judged(false, false, Reason::WorkersUnavailable);
    let deployment: Deployment = serde_json::from_value(
        json!({"metadata": {}, "spec": {"selector": {}, "template": {}}, "status": {"replicas": 2, "readyReplicas": 1}}),
    )
    .unwrap();
    let findings = Findings { verdict: &verdict, refused: None, deployment: Some(&deployment), workers: &workers, told: None, moves: None };
    let first = status(&pipeline, &findings, &at(1));
    assert_eq!((first.replicas, first.ready_replicas, first.observed_generation), (2, 1, Some(1)));
    assert_eq!(first.group.as_deref(), Some("shop.payments"));
    assert_eq!(first.dead_letter_topic.as_deref(), Some("orders.DLT"));
    assert_eq!(first.selector.as_deref(), Some("app.kubernetes.io/component=worker,penstock.dev/pipeline=payments"));

    // A later look at the same state gives the same status.
    assert_eq!(unready_for(&pipeline, &at(30)), None);
    pipeline.status = Some(first.clone());
    assert_eq!(status(&pipeline, &findings, &at(30)), first);
    assert_eq!(unready_for(&pipeline, &at(30)), Some(Duration::from_secs(29)));
    assert_eq!(unready_for(&pipeline, &at(0)), Some(Duration::ZERO));
}

#[test]
fn positions_are_told_and_kept_while_they_are_not_known() {
    use penstock_crds::position::{MoveReason, Moved};

    let mut pipeline = payments(json!({}));
    let verdict = validate(&pipeline, &references(example_topics()));
    let workers = judged(true, true, Reason::WorkersAvailable);
    let moved = Moved { reason: MoveReason::OffsetOutOfRange, from: Some(5), to: 9, at: "2026-01-01T00:00:01Z".parse().unwrap() };
    let moves = Moves::from([(penstock_kafka::TopicPartition::new("orders", 0), moved)]);
    let none = Moves::new();
    let mut told = |moves: Option<&Moves>, second| {
        let findings = Findings { verdict: &verdict, refused: None, deployment: None, workers: &workers, told: None, moves };
        let status = status(&pipeline, &findings, &at(second));
        let said = status.conditions.iter().find(|c| c.type_ == "PositionsKept").cloned();
        pipeline.status = Some(status);
        said
    };
    assert_eq!(told(None, 1), None, "nothing is said before it is known");
    let kept = told(Some(&none), 2);
    assert_eq!(kept.as_ref().map(|c| (c.status.as_str(), c.reason.as_str())), Some(("True", "PositionsKept")));
    let lost = told(Some(&moves), 3);
    assert_eq!(lost.as_ref().map(|c| (c.status.as_str(), c.reason.as_str())), Some(("False", "OffsetOutOfRange")));
    assert_eq!((told(None, 4), told(Some(&moves), 5)), (lost.clone(), lost));
    assert_eq!(told(Some(&none), 6).map(|c| (c.status, c.last_transition_time)), Some(("True".to_owned(), at(6))));
}
