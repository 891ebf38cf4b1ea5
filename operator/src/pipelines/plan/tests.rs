use penstock_crds::EventPipeline;
use serde_json::json;

use super::*;
use crate::pipelines::{
    testing::{UID, derived_by, example_topics, merge, payments, references, topic, unready},
    validate::validate,
};

const IMAGE: &str = "penstock-worker:0.1.0";

/// What the cache holds once everything was applied, and Kubernetes has filled in its defaults.
fn applied(pipeline: &EventPipeline) -> Vec<Owned> {
    let valid = validate(pipeline, &references(example_topics())).pipeline.unwrap();
    build::build(&valid, IMAGE, None).unwrap().into_iter().map(|m| live(m, json!({}))).collect()
}

fn live(manifest: Manifest, patch: Value) -> Owned {
    let mut body = manifest.body;
    merge(&mut body, &json!({"metadata": {"resourceVersion": "1", "uid": "u"}, "status": {"x": 1}}));
    merge(&mut body, &patch);
    Owned { kind: manifest.kind, metadata: serde_json::from_value(body["metadata"].clone()).unwrap(), body }
}

fn deployment_of(owned: &[Owned]) -> Option<Deployment> {
    let mut body = owned.iter().find(|o| o.kind == ChildKind::Deployment)?.body.clone();
    body.as_object_mut().unwrap().remove("status");
    Some(serde_json::from_value(body).unwrap())
}

fn planned(pipeline: &EventPipeline, topics: Vec<penstock_crds::KafkaTopic>, owned: &[Owned]) -> Plan {
    plan(&validate(pipeline, &references(topics)), owned, deployment_of(owned).as_ref(), IMAGE).unwrap()
}

fn kinds(plan: &Plan) -> Vec<ChildKind> {
    plan.apply.iter().map(|m| m.kind).collect()
}

use ChildKind::{ConfigMap, Deployment as Workers, KafkaTopic, PodDisruptionBudget, Service, ServiceAccount};

#[test]
fn nothing_is_written_twice_and_drift_is_reverted() {
    let pipeline = payments(json!({}));
    assert_eq!(kinds(&planned(&pipeline, example_topics(), &[])), [ServiceAccount, ConfigMap, Service, PodDisruptionBudget, Workers]);
    let owned = applied(&pipeline);
    assert_eq!(planned(&pipeline, example_topics(), &owned), Plan::default());
    for (index, patch) in [
        (0, json!({"automountServiceAccountToken": true})),
        (1, json!({"data": {"worker.json": "{}"}})),
        (2, json!({"spec": {"selector": {"penstock.dev/pipeline": "other"}}})),
        (3, json!({"spec": {"maxUnavailable": 2}})),
        (4, json!({"spec": {"replicas": 9}})),
        (4, json!({"metadata": {"labels": {"app.kubernetes.io/part-of": null}}})),
    ] {
        let mut drifted = owned.clone();
        let kind = drifted[index].kind;
        merge(&mut drifted[index].body, &patch);
        assert_eq!(kinds(&planned(&pipeline, example_topics(), &drifted)), [kind], "{patch}");
    }
    let after = planned(&payments(json!({"replicas": 3})), example_topics(), &owned);
    assert_eq!((kinds(&after), after.scale), (vec![Workers], None));
    assert_eq!(kinds(&planned(&payments(json!({"concurrency": 3})), example_topics(), &owned)), [ConfigMap, Workers]);
}

#[test]
fn workers_wait_for_their_topics_and_are_not_taken_away_with_them() {
    let mut not_ready = example_topics();
    not_ready.retain(|t| t.metadata.name.as_deref() != Some("payments"));
    let missing = not_ready.clone();
    not_ready.push(topic("payments", unready("KafkaUnreachable")));
    let running = applied(&payments(json!({})));
    let drifted = {
        let mut drifted = running.clone();
        merge(&mut drifted[3].body, &json!({"spec": {"maxUnavailable": 2}}));
        drifted
    };
    // Spec, topics, what runs; what is applied, the number of workers that is set.
    type Row<'a> = (Value, &'a Vec<penstock_crds::KafkaTopic>, &'a [Owned], &'a [ChildKind], Option<i32>);
    let rows: Vec<Row> = vec![
        (json!({}), &not_ready, &[], &[], None),
        (json!({}), &missing, &[], &[], None),
        (json!({}), &not_ready, &running, &[], None),
        (json!({}), &missing, &running, &[], None),
        // What runs is kept as it is declared.
        (json!({}), &not_ready, &drifted, &[PodDisruptionBudget], None),
        (json!({"replicas": 3}), &not_ready, &running, &[Workers], None),
        // No new pods are started: only their number follows the spec.
        (json!({"concurrency": 3}), &not_ready, &running, &[], None),
        (json!({"concurrency": 3, "suspend": true}), &not_ready, &running, &[], Some(0)),
        (json!({"replicas": 2}), &missing, &running, &[], Some(2)),
        (json!({"processor": {"options": {"nope": "1"}}, "replicas": 2}), &not_ready, &running, &[], Some(2)),
    ];
    for (patch, topics, owned, apply, scale) in rows {
        let plan = planned(&payments(patch.clone()), topics.clone(), owned);
        assert_eq!((kinds(&plan).as_slice(), plan.scale), (apply, scale), "{patch}");
        assert_eq!(plan.remove, [], "{patch}");
    }
}

#[test]
fn the_derived_dead_letter_topic_comes_first_and_goes_when_another_is_chosen() {
    let sources = || vec![topic("orders", json!({})), topic("payments", json!({}))];
    let pipeline = payments(json!({}));
    let first = planned(&pipeline, sources(), &[]);
    assert_eq!(kinds(&first), [KafkaTopic]);

    let own = topic("payments-orders-dlt", testing_spec());
    let body = first.apply[0].clone();
    let owned: Vec<Owned> = [live(body, json!({}))].into();
    let named = topic("letters", unready("TopicConflict"));
    // The spec, the topics; whether the derived object goes.
    for (patch, others, goes) in [
        (json!({}), vec![], false),
        (json!({}), vec![topic("orders-dlt", json!({"spec": {"topicName": "orders.DLT"}}))], true),
        (json!({"deadLetter": {"topic": "letters"}}), vec![named], true),
        (json!({"deadLetter": {"topic": "letters"}}), vec![], false),
    ] {
        let topics: Vec<_> = sources().into_iter().chain([own.clone()]).chain(others).collect();
        let plan = planned(&payments(patch.clone()), topics, &owned);
        assert_eq!(plan.remove.len() == 1, goes, "{patch}");
    }
}

fn testing_spec() -> Value {
    let mut patch = derived_by("payments", UID);
    merge(&mut patch, &json!({"spec": {"topicName": "orders.DLT", "partitions": 3, "replicationFactor": 1}}));
    patch
}

#[test]
fn what_is_no_longer_needed_is_removed() {
    let pipeline = payments(json!({}));
    let mut owned = applied(&pipeline);
    let mut old = owned[2].clone();
    old.metadata.name = Some("payments-old".into());
    owned.push(old.clone());
    assert_eq!(planned(&pipeline, example_topics(), &owned), Plan { remove: vec![old.clone()], ..Plan::default() });
    old.metadata.deletion_timestamp = Some(crate::pipelines::testing::at(1));
    owned.pop();
    owned.push(old);
    assert_eq!(planned(&pipeline, example_topics(), &owned), Plan::default());
}
