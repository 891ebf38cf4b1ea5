use penstock_crds::condition::Statement;

use super::*;
use crate::{events::Importance, pipelines::testing::at};

fn change(kind: ChildKind, verb: Verb) -> Change {
    Change { kind, name: "payments".into(), verb }
}

fn derived(name: &str, verb: Verb) -> Change {
    Change { kind: ChildKind::KafkaTopic, name: name.into(), verb }
}

fn told(notices: Vec<Notice>) -> Vec<String> {
    notices.into_iter().map(|n| format!("{}: {}", n.reason, n.message)).collect()
}

#[test]
fn writes_are_summed_up() {
    let rows: Vec<(Vec<Change>, Vec<&str>)> = vec![
        (vec![], vec![]),
        (
            vec![
                derived("p-in-dlt", Verb::Created),
                derived("p-in-retry-1", Verb::Created),
                derived("p-in-held", Verb::Created),
                change(ChildKind::Service, Verb::Created),
                change(ChildKind::Deployment, Verb::Created),
            ],
            vec![
                "Created: created Service `payments`, Deployment `payments`",
                "DeadLetterTopicDerived: made KafkaTopic `p-in-dlt` for dead letters",
                "RetryTopicDerived: made KafkaTopic `p-in-retry-1` for records that wait for another attempt",
                "RetryTopicDerived: made KafkaTopic `p-in-held` for records that wait behind others",
            ],
        ),
        (
            vec![change(ChildKind::ConfigMap, Verb::Updated), change(ChildKind::Deployment, Verb::Scaled { from: 1, to: 3 })],
            vec!["Updated: updated ConfigMap `payments`", "Scaled: scaled from 1 to 3 workers"],
        ),
        (
            vec![derived("p-in-dlt", Verb::Removed)],
            vec!["Removed: removed KafkaTopic `p-in-dlt`, which nothing needs any more; the topic in Kafka stays"],
        ),
    ];
    for (changes, expected) in rows {
        assert_eq!(told(of_changes(&changes)), expected);
    }
}

#[test]
fn readiness_is_told_of_once() {
    let status = |ready: bool, reason: Reason| {
        let statement = Statement::new(ConditionType::Ready, Some(ready), reason, "words");
        let conditions = penstock_crds::condition::conditions(&[], &at(1), None, &[statement]);
        EventPipelineStatus { conditions, ..EventPipelineStatus::default() }
    };
    let missing = || status(false, Reason::TopicNotFound);
    let ready = || status(true, Reason::AsDeclared);
    let rows = [
        (None, missing(), Some(("TopicNotFound", Importance::Warning))),
        (Some(missing()), missing(), None),
        (Some(missing()), status(false, Reason::TopicNotReady), Some(("TopicNotReady", Importance::Normal))),
        (Some(missing()), ready(), Some(("AsDeclared", Importance::Normal))),
        (Some(ready()), ready(), None),
        (Some(ready()), status(false, Reason::RollingOut), None),
        (Some(ready()), status(true, Reason::Suspended), None),
        (Some(ready()), status(false, Reason::WorkersFailing), Some(("WorkersFailing", Importance::Warning))),
    ];
    for (before, after, expected) in rows {
        let notice = of_readiness(before.as_ref(), &after);
        assert_eq!(notice.map(|n| (n.reason, n.importance)), expected, "{after:?}");
    }
}

#[test]
fn a_moved_position_is_told_of_once() {
    let status = |told: Option<(bool, Reason, &str)>| {
        let statement = told.map(|(kept, reason, words)| Statement::new(ConditionType::PositionsKept, Some(kept), reason, words));
        let conditions = penstock_crds::condition::conditions(&[], &at(1), None, statement.as_slice());
        EventPipelineStatus { conditions, ..EventPipelineStatus::default() }
    };
    let kept = || status(Some((true, Reason::PositionsKept, "well")));
    let lost = |words| status(Some((false, Reason::OffsetOutOfRange, words)));
    let rows = [
        (None, kept(), None),
        (None, status(None), None),
        (None, lost("first -- advice"), Some("OffsetOutOfRange")),
        (Some(kept()), lost("first -- advice"), Some("OffsetOutOfRange")),
        (Some(lost("first -- advice")), lost("first -- advice"), None),
        (Some(lost("first -- advice")), lost("second; first -- advice"), Some("OffsetOutOfRange")),
        (Some(lost("second; first -- advice")), lost("second -- advice"), None),
        (Some(lost("first -- advice")), kept(), None),
        (Some(lost("first -- advice")), status(Some((false, Reason::TopicRecreated, "third -- other advice"))), Some("TopicRecreated")),
    ];
    for (before, after, expected) in rows {
        let notice = of_positions(before.as_ref(), &after);
        assert_eq!(notice.as_ref().map(|notice| notice.reason), expected, "{before:?} {after:?}");
        assert!(notice.is_none_or(|notice| notice.importance == Importance::Warning));
    }
}
