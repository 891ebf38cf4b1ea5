use k8s_openapi::api::apps::v1::DeploymentStatus;
use serde_json::{Value, json};

use super::*;
use crate::pipelines::{
    testing::{example_topics, gateway, handled, payments, references, topic},
    topics::DeadLetterChoice,
    validate::validate,
};

const IMAGE: &str = "penstock-worker:0.1.0";

fn built(pipeline: &penstock_crds::EventPipeline) -> Vec<Manifest> {
    build(&validate(pipeline, &references(example_topics())).pipeline.unwrap(), IMAGE, None).unwrap()
}

fn bodies(manifests: Vec<Manifest>) -> Vec<Value> {
    manifests.into_iter().map(|m| m.body).collect()
}

#[test]
fn golden_http_pipeline() {
    let pipeline = gateway(json!({
        "replicas": 2,
        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "128Mi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
        "producer": {"batchBytes": 16384, "linger": "20ms", "compression": "Zstd"},
    }));
    insta::assert_yaml_snapshot!(bodies(built(&pipeline)));
}

#[test]
fn keys_are_mounted_as_a_folder_with_nothing_else_of_the_config_map() {
    let auth = json!({"jwt": {"issuer": "https://login.example", "audience": "shop", "jwks": {"configMap": "login-keys", "key": "set"}}});
    let built = built(&gateway(json!({"source": {"http": {"auth": auth}}})));
    let spec = &pod_template(&built)["spec"];
    let volume = json!({"name": "jwks", "configMap": {"name": "login-keys", "items": [{"key": "set", "path": "jwks.json"}]}});
    assert_eq!(spec["volumes"][1], volume);
    let mount = json!({"name": "jwks", "mountPath": "/etc/penstock-jwks", "readOnly": true});
    assert_eq!(spec["containers"][0]["volumeMounts"][1], mount);
    let file = built.iter().find_map(|m| m.body.pointer("/data/worker.json")).unwrap().as_str().unwrap();
    let expected = json!({"issuer": "https://login.example", "audience": "shop", "leeway": "30s", "jwks": "/etc/penstock-jwks/jwks.json"});
    assert_eq!(serde_json::from_str::<Value>(file).unwrap()["source"]["http"]["auth"], expected);
}

#[test]
fn golden_kafka_pipeline() {
    let pipeline = payments(json!({
        "processor": {"options": {"successRate": "0.5"}},
        "retry": {"attempts": 2, "backoff": {"max": "1s"}},
        "deadLetter": {"topic": "orders-dlt", "format": "Envelope", "headers": ["Connect", "Spring"]},
        "admin": {"port": 3002},
    }));
    insta::assert_yaml_snapshot!(bodies(built(&pipeline)));
}

#[test]
fn golden_handler() {
    let resources = json!({"requests": {"memory": "64Mi"}, "limits": {"cpu": "1"}});
    let pipeline = payments(handled(json!({"path": "/events", "timeout": "30s", "resources": resources})));
    let built = built(&pipeline);
    let file = built.iter().find_map(|m| m.body.pointer("/data/worker.json")).unwrap().as_str().unwrap();
    let file: Value = serde_json::from_str(file).unwrap();
    insta::assert_yaml_snapshot!(json!({"processor": file["processor"], "template": pod_template(&built)}));
}

#[test]
fn an_image_of_one_s_own_takes_the_place_of_the_worker_s() {
    let own = json!({"processor": {"builtin": null, "image": "shop/worker:1", "options": {"speed": "9"}}});
    let (stock, own) = (built(&payments(json!({}))), built(&payments(own)));
    let mut expected = pod_template(&stock).clone();
    for (pointer, value) in [("/spec/containers/0/image", "shop/worker:1"), ("/metadata/labels/app.kubernetes.io~1name", "image")] {
        *expected.pointer_mut(pointer).unwrap() = json!(value);
    }
    const HASH: &str = "/metadata/annotations/penstock.dev~1config-hash";
    let hash = pod_template(&own).pointer(HASH).cloned().unwrap();
    assert_ne!(expected.pointer(HASH), Some(&hash));
    *expected.pointer_mut(HASH).unwrap() = hash;
    assert_eq!(pod_template(&own), &expected);
}

#[test]
fn golden_dead_letter_topic() {
    let source = topic("orders", json!({"spec": {"config": {"retention.ms": "604800000"}}}));
    let verdict = validate(&payments(json!({})), &references(vec![source, topic("payments", json!({}))]));
    let valid = verdict.pipeline.unwrap();
    let Some(DeadLetterChoice::Derive { object, spec: Some(spec), .. }) = verdict.topics.dead_letter else { panic!("not derived") };
    insta::assert_yaml_snapshot!(derived_topic(&valid.owner, &valid.worker.pipeline, &object, spec).unwrap().body);
}

fn pod_template(manifests: &[Manifest]) -> &Value {
    manifests.iter().find(|m| m.kind == ChildKind::Deployment).unwrap().body.pointer("/spec/template").unwrap()
}

#[test]
fn workers_that_hold_records_back_never_share_a_group_with_others() {
    let delays = json!({"delays": ["10s"]});
    for (spec, expected) in [
        (json!({}), "RollingUpdate"),
        (json!({"ordering": "None", "retry": delays}), "RollingUpdate"),
        (json!({"retry": delays}), "Recreate"),
        (json!({"retry": delays, "source": {"kafka": {"groupProtocol": "Consumer"}}}), "RollingUpdate"),
    ] {
        let built = built(&payments(spec.clone()));
        let deployment = built.iter().find(|manifest| manifest.kind == ChildKind::Deployment).unwrap();
        assert_eq!(deployment.body["spec"]["strategy"]["type"], expected, "{spec}");
    }
}

#[test]
fn workers_that_do_not_know_where_records_wait_go_before_those_that_do() {
    let consumer = |delays: &[&str], more: Value| {
        let mut spec = json!({"replicas": 2, "retry": {"delays": delays}, "source": {"kafka": {"groupProtocol": "Consumer"}}});
        more.as_object().unwrap().iter().for_each(|(name, value)| spec[name] = value.clone());
        validate(&payments(spec), &references(example_topics())).pipeline.unwrap()
    };
    let next = |pipeline: &ValidatedPipeline, before: &Deployment| {
        let built = build(pipeline, IMAGE, Some(before)).unwrap();
        let mut next: Deployment = serde_json::from_value(built.into_iter().next_back().unwrap().body).unwrap();
        next.metadata.generation = Some(before.metadata.generation.unwrap_or_default() + 1);
        next.status.clone_from(&before.status);
        next
    };
    let strategy = |deployment: &Deployment| deployment.spec.clone().unwrap().strategy.unwrap().type_.unwrap();
    let is_rolled_out = |deployment: Deployment, updated: i32| {
        let observed_generation = deployment.metadata.generation;
        let status = DeploymentStatus { observed_generation, replicas: Some(2), updated_replicas: Some(updated), ..Default::default() };
        Deployment { status: Some(status), ..deployment }
    };
    let (none, one, two) = (consumer(&[], json!({})), consumer(&["10s"], json!({})), consumer(&["10s", "1m"], json!({})));
    let other = consumer(&["10s", "1m"], json!({"concurrency": 3}));

    let before = is_rolled_out(next(&none, &Deployment::default()), 2);
    assert_eq!(strategy(&before), "RollingUpdate");
    // Records wait from now on, then in one more topic; until the old ones are gone, whatever changes meanwhile.
    for (pipeline, changed) in [(&one, &one), (&two, &other)] {
        let begun = next(pipeline, &before);
        assert_eq!(strategy(&begun), "Recreate");
        for (updated, expected) in [(0, "Recreate"), (1, "Recreate"), (2, "RollingUpdate")] {
            for pipeline in [pipeline, changed] {
                assert_eq!(strategy(&next(pipeline, &is_rolled_out(begun.clone(), updated))), expected, "{updated}");
            }
        }
        assert_eq!(strategy(&next(pipeline, &begun)), "Recreate", "nobody has looked at it yet");
    }
    // The same topics after other delays.
    let now = is_rolled_out(next(&two, &is_rolled_out(next(&two, &before), 2)), 2);
    assert_eq!(strategy(&next(&consumer(&["5s", "2m"], json!({})), &now)), "RollingUpdate");
    // Of a Deployment of before the annotation nobody knows.
    let mut unknown = now;
    unknown.metadata.annotations = None;
    assert_eq!(strategy(&next(&two, &unknown)), "Recreate");
}

#[test]
fn only_what_workers_do_rolls_the_pods() {
    let base = payments(json!({"replicas": 1}));
    let before = built(&base);
    let rows = [
        (json!({}), false),
        (json!({"replicas": 5}), false),
        (json!({"suspend": true}), false),
        (json!({"ordering": "Key", "concurrency": 16, "retry": {"attempts": 4, "backoff": {"initial": "200ms"}}}), false),
        (json!({"processor": {"options": {"successRate": "0.8"}}}), false),
        (json!({"deadLetter": {"topic": "orders-dlt", "format": "Record"}}), false),
        (json!({"processor": {"options": {"successRate": "0.9"}}}), true),
        (json!({"concurrency": 17}), true),
        (json!({"ordering": "Partition"}), true),
        (json!({"retry": {"attempts": 5}}), true),
        (json!({"deadLetter": {"format": "Envelope"}}), true),
        (json!({"deadLetter": {"headers": []}}), false),
        (json!({"deadLetter": {"headers": ["Spring"]}}), true),
        (json!({"admin": {"port": 9000}}), true),
        (json!({"source": {"kafka": {"startFrom": "Latest"}}}), true),
        (json!({"source": {"kafka": {"sessionTimeout": "20s", "fetch": {"minBytes": 1}}}, "producer": {"linger": "10ms"}}), false),
        (json!({"source": {"kafka": {"sessionTimeout": "30s"}}}), true),
        (json!({"source": {"kafka": {"fetch": {"maxWait": "1s"}}}}), true),
        (json!({"producer": {"compression": "Zstd"}}), true),
        (json!({"resources": {"limits": {"memory": "64Mi"}}}), true),
        (json!({"nodeSelector": {"disk": "ssd"}}), true),
        (json!({"imagePullSecrets": [{"name": "registry"}]}), true),
    ];
    for (patch, rolls) in rows {
        let after = built(&payments(patch.clone()));
        assert_eq!(pod_template(&before) != pod_template(&after), rolls, "{patch}");
    }
}

#[test]
fn what_others_do_to_the_objects_does_not_roll_the_pods() {
    let before = built(&payments(json!({})));
    let mut relabelled = payments(json!({}));
    relabelled.metadata.labels = Some(BTreeMap::from([("team".to_owned(), "x".to_owned())]));
    relabelled.metadata.generation = Some(7);
    assert_eq!(built(&relabelled), before);

    let mut seen = references(example_topics());
    seen.topics.reverse();
    let mut cluster = seen.cluster.unwrap();
    cluster.spec.bootstrap_servers.reverse();
    cluster.state = Err(crate::refusal::Refusal::new(penstock_crds::condition::Reason::ClusterNotReady, "restarts"));
    seen.cluster = Ok(cluster);
    assert_eq!(build(&validate(&payments(json!({})), &seen).pipeline.unwrap(), IMAGE, None).unwrap(), before);
}

#[test]
fn the_configuration_file_is_what_a_worker_reads() {
    let own = json!({"processor": {"builtin": null, "image": "shop/worker:1", "options": {"speed": "9"}}});
    for pipeline in [payments(json!({})), gateway(json!({})), payments(handled(json!({}))), payments(own)] {
        let manifests = built(&pipeline);
        let config_map = manifests.iter().find(|m| m.kind == ChildKind::ConfigMap).unwrap();
        let file = config_map.body.pointer("/data/worker.json").unwrap().as_str().unwrap();
        let read: WorkerConfig = serde_json::from_str(file).unwrap();
        assert_eq!(read, validate(&pipeline, &references(example_topics())).pipeline.unwrap().worker);
    }
}
