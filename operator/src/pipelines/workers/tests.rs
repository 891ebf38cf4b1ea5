use serde_json::{Value, json};

use super::*;

fn deployment(generation: i64, status: Value) -> Deployment {
    serde_json::from_value(
        json!({"metadata": {"name": "payments", "generation": generation}, "spec": {"selector": {}, "template": {}}, "status": status}),
    )
    .unwrap()
}

fn counts(observed: i64, all: i32, updated: i32, ready: i32) -> Value {
    json!({"observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "readyReplicas": ready})
}

fn pod(status: Value) -> Arc<Guarded<Pod>> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": "payments-x"}, "status": status})).unwrap())
}

fn container(ready: bool, state: Value, last_state: Value) -> Arc<Guarded<Pod>> {
    pod(json!({"containerStatuses": [
        {"name": "worker", "image": "penstock-worker:9", "imageID": "", "ready": ready, "restartCount": 1, "state": state, "lastState": last_state},
    ]}))
}

#[test]
fn the_state_of_a_deployment() {
    // Wanted, counts (generation seen of 2, all, updated, ready); settled, available, reason, words.
    let rows = [
        (2, (2, 2, 2, 2), true, true, Reason::WorkersAvailable, "2 of 2 workers are ready"),
        (2, (2, 2, 2, 1), false, false, Reason::WorkersUnavailable, "1 of 2 workers are ready"),
        (2, (2, 0, 0, 0), false, false, Reason::WorkersUnavailable, "0 of 2 workers are ready"),
        (2, (1, 2, 2, 2), false, true, Reason::RollingOut, "about to change"),
        (2, (2, 3, 1, 2), false, true, Reason::RollingOut, "1 of 2 workers have the new configuration; 2 old ones still run"),
        (2, (2, 2, 1, 1), false, false, Reason::RollingOut, "1 of 2 workers have the new configuration; 1 old ones still run"),
        (3, (2, 2, 2, 2), false, false, Reason::WorkersUnavailable, "2 of 3 workers are ready"),
        (1, (2, 3, 3, 3), false, true, Reason::RollingOut, "2 workers are still to stop"),
        (0, (2, 0, 0, 0), true, true, Reason::ScaledToZero, "scaled to no workers"),
        (0, (2, 2, 2, 2), false, true, Reason::RollingOut, "2 workers are still to stop"),
        (0, (1, 0, 0, 0), false, true, Reason::RollingOut, "told to stop"),
    ];
    for (wanted, (observed, all, updated, ready), settled, available, reason, words) in rows {
        let deployment = deployment(2, counts(observed, all, updated, ready));
        let got = judge(Workers { deployment: Some(&deployment), pods: &[], wanted, overdue: true });
        let row = format!("{wanted} {observed} {all} {updated} {ready}: {got:?}");
        assert_eq!((got.settled, got.statement.status, got.statement.reason), (settled, Some(available), reason), "{row}");
        assert!(got.statement.message.contains(words), "{row}");
    }
}

#[test]
fn without_a_deployment_there_are_no_workers() {
    let got = judge(Workers { deployment: None, pods: &[], wanted: 0, overdue: true });
    assert!(!got.settled);
    assert_eq!((got.statement.status, got.statement.reason), (Some(false), Reason::WorkersUnavailable));
}

#[test]
fn what_pods_say() {
    let crashed = |message: &str| {
        container(
            false,
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}}),
            json!({"terminated": {"exitCode": 1, "reason": "Error", "message": message}}),
        )
    };
    let killed =
        |message: &str| container(false, json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": message}}), json!({}));
    let pull = |reason: &str| container(false, json!({"waiting": {"reason": reason, "message": "words that alternate"}}), json!({}));
    let creating = || container(false, json!({"waiting": {"reason": "ContainerCreating"}}), json!({}));
    let recovered = || container(true, json!({"running": {}}), json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
    let unschedulable = || {
        pod(
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]}),
        )
    };
    let rows = [
        (vec![], Reason::WorkersUnavailable, "0 of 2 workers are ready"),
        (vec![creating(), recovered()], Reason::WorkersUnavailable, "0 of 2 workers are ready"),
        (
            vec![crashed("first\n2026-01-01T00:00:00Z ERROR no such topic\n")],
            Reason::WorkersFailing,
            "0 of 2 workers are ready; 1 of 1: crashed (Error, exit code 1): ERROR no such topic",
        ),
        (
            vec![crashed(r#"{"timestamp":"2026-01-01T00:00:00Z","level":"ERROR","fields":{"message":"no such topic"}}"#)],
            Reason::WorkersFailing,
            "0 of 2 workers are ready; 1 of 1: crashed (Error, exit code 1): no such topic",
        ),
        (
            vec![crashed("\u{1b}[2m2026-01-01T00:00:00.1Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m no such topic")],
            Reason::WorkersFailing,
            "0 of 2 workers are ready; 1 of 1: crashed (Error, exit code 1): ERROR no such topic",
        ),
        (vec![killed("info: all is well")], Reason::WorkersFailing, "0 of 2 workers are ready; 1 of 1: crashed (OOMKilled, exit code 137)"),
        (vec![crashed("")], Reason::WorkersFailing, "0 of 2 workers are ready; 1 of 1: crashed (Error, exit code 1)"),
        (
            vec![pull("ErrImagePull"), pull("ImagePullBackOff"), crashed("x")],
            Reason::WorkersFailing,
            "0 of 2 workers are ready; 2 of 3: image `penstock-worker:9` cannot be pulled",
        ),
        (
            vec![pull("CreateContainerConfigError")],
            Reason::WorkersFailing,
            "0 of 2 workers are ready; 1 of 1: CreateContainerConfigError: words that alternate",
        ),
        (
            vec![unschedulable(), creating()],
            Reason::WorkersUnavailable,
            "0 of 2 workers are ready; 1 of 2: no node takes it: 0/1 nodes are available",
        ),
    ];
    for (pods, reason, words) in rows {
        let deployment = deployment(1, counts(1, 2, 2, 0));
        let got = judge(Workers { deployment: Some(&deployment), pods: &pods, wanted: 2, overdue: true });
        assert_eq!((got.statement.reason, got.statement.message.as_str()), (reason, words));
        assert!(!got.settled);
    }
}

#[test]
fn a_handler_that_fails_is_named() {
    let status = |name: &str, ready: bool, state: Value, last_state: Value| json!({"name": name, "image": "shop/handler:1", "imageID": "", "ready": ready, "restartCount": 1, "state": state, "lastState": last_state});
    let both = |handler: Value, worker: Value| pod(json!({"initContainerStatuses": [handler], "containerStatuses": [worker]}));
    let handler = |ready, state, last_state| status("handler", ready, state, last_state);
    let initializing = || status("worker", false, json!({"waiting": {"reason": "PodInitializing"}}), json!({}));
    let running = |ready| status("worker", ready, json!({"running": {}}), json!({}));
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let crash = |code, message: &str| json!({"terminated": {"exitCode": code, "reason": "Error", "message": message}});
    for (pod, reason, words) in [
        (
            both(handler(false, waiting("ImagePullBackOff"), json!({})), initializing()),
            Reason::WorkersFailing,
            "container `handler`: image `shop/handler:1` cannot be pulled",
        ),
        (
            both(handler(false, waiting("CrashLoopBackOff"), crash(1, "Traceback:\nImportError: flask\n")), initializing()),
            Reason::WorkersFailing,
            "container `handler`: crashed (Error, exit code 1): ImportError: flask",
        ),
        // Later, while the worker is as it shall be.
        (
            both(handler(false, waiting("CrashLoopBackOff"), crash(2, "")), running(true)),
            Reason::WorkersFailing,
            "container `handler`: crashed (Error, exit code 2)",
        ),
        (
            both(handler(false, json!({"running": {}}), json!({})), initializing()),
            Reason::WorkersUnavailable,
            "container `handler`: accepts no connections on its port yet; it must listen on the port in the variable PORT, on all addresses",
        ),
        (both(handler(true, json!({"running": {}}), json!({})), running(false)), Reason::WorkersUnavailable, ""),
        // What the worker says counts before a handler that starts again.
        (
            both(
                handler(false, json!({"running": {}}), json!({})),
                status("worker", false, waiting("CrashLoopBackOff"), crash(1, "no such topic")),
            ),
            Reason::WorkersFailing,
            "crashed (Error, exit code 1): no such topic",
        ),
    ] {
        let deployment = deployment(1, counts(1, 1, 1, 0));
        let got = judge(Workers { deployment: Some(&deployment), pods: &[pod], wanted: 1, overdue: true });
        let expected = if words.is_empty() { String::new() } else { format!("; 1 of 1: {words}") };
        assert_eq!((got.statement.reason, got.statement.message), (reason, format!("0 of 1 workers are ready{expected}")));
    }
}

#[test]
fn what_every_worker_passes_through_is_told_only_once_it_lasts() {
    let starting = |handler: Value| pod(json!({"initContainerStatuses": [handler]}));
    let handler = |ready: bool, state: Value| {
        starting(json!({"name": "handler", "image": "shop/handler:1", "imageID": "", "ready": ready, "restartCount": 0, "state": state}))
    };
    let going = || {
        let mut pod = serde_json::to_value(handler(false, json!({"running": {}})).0.as_ref().unwrap()).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    for (pod, overdue, told) in [
        (handler(false, json!({"running": {}})), false, ""),
        (handler(false, json!({"running": {}})), true, "accepts no connections"),
        (going(), true, ""),
        (handler(false, json!({"waiting": {"reason": "ImagePullBackOff"}})), false, "cannot be pulled"),
        (pod(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no"}]})), false, "no node takes it: no"),
    ] {
        let deployment = deployment(1, counts(1, 1, 1, 0));
        let message = judge(Workers { deployment: Some(&deployment), pods: &[pod], wanted: 1, overdue }).statement.message;
        assert_eq!((message.contains(told), message.contains("; 1 of 1: ")), (true, !told.is_empty()), "{message}");
    }
}

#[test]
fn pods_that_kubernetes_refuses() {
    for (message, words) in [
        ("exceeded quota: pods=1", "exceeded quota: pods=1"),
        (r#"pods "payments-7745f9df4d-j4c4x" is forbidden: exceeded quota: q"#, "pods are forbidden: exceeded quota: q"),
    ] {
        let mut status = counts(1, 0, 0, 0);
        status["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
        let got = judge(Workers { deployment: Some(&deployment(1, status)), pods: &[], wanted: 1, overdue: true });
        assert_eq!((got.statement.reason, got.statement.message.as_str()), (Reason::RefusedByKubernetes, words));
    }
}

#[test]
fn a_rollout_that_cannot_go_on_leaves_the_old_workers_available() {
    let unschedulable = pod(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no"}]}));
    let deployment = deployment(1, counts(1, 2, 1, 1));
    let got = judge(Workers { deployment: Some(&deployment), pods: &[unschedulable], wanted: 1, overdue: true });
    assert_eq!((got.settled, got.statement.status, got.statement.reason), (false, Some(true), Reason::RollingOut));
    assert_eq!(got.statement.message, "1 of 1 workers are ready; 1 of 1: no node takes it: no");
}
