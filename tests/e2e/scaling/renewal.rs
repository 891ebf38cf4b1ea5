//! A broker that keeps the offsets of groups without members for a minute, and not for a week.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use penstock_crds::{EventPipeline, KafkaTopic, name};
use penstock_kafka::{GroupOffset, GroupProtocol, Record};
use penstock_tests::{
    cluster::KafkaSize,
    scene::{LIMIT, OwnKafka, Result, Scene, Waiting, play, until},
};
use serde_json::json;

use super::{committed, counted, until_declared};
use crate::handlers::little;

/// The least that it can be set to, and how often it is looked at.
const FORGETFUL: [(&str, &str); 2] = [("offsets.retention.minutes", "1"), ("offsets.retention.check.interval.ms", "5000")];
/// Nobody renews what this one has committed.
const WITNESS: &str = "witness";

/// Waits until the numbers in `out` are these: each once.
async fn read(scene: &Scene, numbers: &[i64]) -> Result {
    until(&format!("{numbers:?} in the sink"), LIMIT, async || {
        let out = scene.events(&scene.kafka_name("out"), |_| true).await?;
        let found: Vec<i64> = out.iter().filter_map(|event| event["n"].as_i64()).collect();
        match found.len() {
            more if more > numbers.len() => Err(Waiting::Never(format!("{found:?}").into())),
            _ if found == numbers => Ok(()),
            _ => Err(format!("{found:?}").into()),
        }
    })
    .await
}

/// A worker that its node has evicted: Kubernetes keeps such pods until there are thousands.
async fn an_evicted_worker(scene: &Scene) -> Result {
    let labels =
        json!({name::LABEL_MANAGED_BY: name::MANAGED_BY, name::LABEL_COMPONENT: name::COMPONENT_WORKER, name::LABEL_PIPELINE: "p"});
    let pod = json!({
        "metadata": {"name": "evicted", "labels": labels},
        "spec": {
            "schedulerName": "nobody", "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "worker", "image": "nowhere", "resources": little(),
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    let api = scene.api::<Pod>();
    api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let ended = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
    api.patch_status("evicted", &PatchParams::default(), &Patch::Merge(ended)).await?;
    Ok(())
}

async fn sleeps_for_long(OwnKafka { scene, cluster, .. }: &OwnKafka) -> Result {
    let on_it = json!({"name": cluster});
    for name in ["in", "out"] {
        scene.topic(name, json!({"partitions": 1, "replicationFactor": 1, "clusterRef": on_it})).await?;
    }
    let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 10}), "ExactlyOnce");
    spec["clusterRef"] = on_it;
    scene.apply::<EventPipeline>("p", spec).await?;
    let source = scene.kafka_name("in");
    scene.produce(Record::to(&source).with_payload(r#"{"n": 1}"#)).await?;
    read(scene, &[1]).await?;
    until_declared(scene, "no workers", LIMIT, |workers| workers == 0).await?;
    let group = format!("{}.p", scene.namespace);
    until("the group has no member", LIMIT, async || {
        let left = scene.admin.group_members(&group, GroupProtocol::Classic).await?.len();
        if left == 0 { Ok(()) } else { Err(format!("{left}").into()) }
    })
    .await?;

    an_evicted_worker(scene).await?;
    scene.admin.commit_for_idle_group(WITNESS, &[GroupOffset::new(&source, 0, 1)]).await?;
    until("the broker has dropped what the witness had committed", LIMIT, async || {
        let left = scene.admin.offsets_of_groups(&[WITNESS]).await?.remove(WITNESS).ok_or("no answer")??;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}").into()) }
    })
    .await?;
    committed(scene, "p", 1).await?;

    // `startFrom: Earliest`: without its place it would read the first one again.
    scene.produce(Record::to(&source).with_payload(r#"{"n": 2}"#)).await?;
    read(scene, &[1, 2]).await?;
    committed(scene, "p", 2).await
}

/// While there is somebody to ask about them.
async fn cleared(scene: &Scene) -> Result {
    scene.delete::<EventPipeline>("p").await?;
    let topics = scene.api::<KafkaTopic>();
    topics.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until("no topics are left", LIMIT, async || {
        let left = topics.list(&ListParams::default()).await?.items.len();
        if left == 0 { Ok(()) } else { Err(format!("{left}").into()) }
    })
    .await
}

#[tokio::test]
async fn mistake_9_a_group_that_sleeps_for_longer_than_offsets_are_kept_goes_on_where_it_was() {
    play("scaling-m9", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::One, &FORGETFUL, async |own| {
                sleeps_for_long(own).await?;
                cleared(&own.scene).await
            })
            .await
    })
    .await;
}
