//! A broker that keeps the offsets of groups without members for a minute, and not for a week.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use penstock_crds::{
    EventPipeline,
    name::{COMPONENT_WORKER, LABEL_COMPONENT, LABEL_MANAGED_BY, LABEL_PIPELINE, MANAGED_BY},
};
use penstock_kafka::{GroupOffset, GroupProtocol, Record};
use penstock_tests::{
    cluster::KafkaSize,
    scene::{LIMIT, OwnKafka, Result, Scene, Waiting, little, play, until},
};
use serde_json::json;

use super::{cleared, committed, counted, decided};

/// The least that it can be set to, and how often it is looked at.
const FORGETFUL: [(&str, &str); 2] = [("offsets.retention.minutes", "1"), ("offsets.retention.check.interval.ms", "5000")];
/// Nobody renews what this one has committed.
const WITNESS: &str = "witness";

/// The pipelines, and by which protocol the workers of each are a group.
const PIPELINES: [(&str, &str, GroupProtocol); 2] =
    [("classic", "Classic", GroupProtocol::Classic), ("consumer", "Consumer", GroupProtocol::Consumer)];

/// Waits until the numbers in the sink of each pipeline are these: each once.
async fn read(scene: &Scene, numbers: &[i64]) -> Result {
    for (pipeline, ..) in PIPELINES {
        until(&format!("{numbers:?} in the sink of {pipeline}"), LIMIT, async || {
            let out = scene.events(&scene.kafka_name(&sink(pipeline)), |_| true).await?;
            let found: Vec<i64> = out.iter().filter_map(|event| event["n"].as_i64()).collect();
            match found.len() {
                more if more > numbers.len() => Err(Waiting::Never(format!("{found:?}").into())),
                _ if found == numbers => Ok(()),
                _ => Err(format!("{found:?}").into()),
            }
        })
        .await?;
        committed(scene, pipeline, i64::try_from(numbers.len())?).await?;
    }
    Ok(())
}

fn sink(pipeline: &str) -> String {
    format!("out-{pipeline}")
}

/// A worker that its node has evicted: Kubernetes keeps such pods until there are thousands.
async fn an_evicted_worker(scene: &Scene, pipeline: &str) -> Result {
    let evicted = format!("{pipeline}-evicted");
    let labels = json!({LABEL_MANAGED_BY: MANAGED_BY, LABEL_COMPONENT: COMPONENT_WORKER, LABEL_PIPELINE: pipeline});
    let pod = json!({
        "metadata": {"name": evicted, "labels": labels},
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
    api.patch_status(&evicted, &PatchParams::default(), &Patch::Merge(ended)).await?;
    Ok(())
}

async fn sleep_for_long(OwnKafka { scene, cluster, .. }: &OwnKafka) -> Result {
    let on_it = json!({"name": cluster});
    for name in ["in".to_owned(), sink("classic"), sink("consumer")] {
        scene.topic(&name, json!({"partitions": 1, "replicationFactor": 1, "clusterRef": on_it})).await?;
    }
    for (pipeline, protocol, _) in PIPELINES {
        let mut spec = counted(json!({"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 10}), "ExactlyOnce");
        spec["clusterRef"] = on_it.clone();
        spec["source"]["kafka"]["groupProtocol"] = json!(protocol);
        spec["sink"]["kafka"]["topic"] = json!(sink(pipeline));
        scene.apply::<EventPipeline>(pipeline, spec).await?;
    }
    let source = scene.kafka_name("in");
    scene.produce(Record::to(&source).with_payload(r#"{"n": 1}"#)).await?;
    read(scene, &[1]).await?;
    for (pipeline, _, protocol) in PIPELINES {
        decided(scene, pipeline, "Asleep", 0).await?;
        let group = format!("{}.{pipeline}", scene.namespace);
        until(&format!("{group} has no member"), LIMIT, async || {
            let left = scene.admin.group_members(&group, protocol).await?.len();
            if left == 0 { Ok(()) } else { Err(format!("{left}").into()) }
        })
        .await?;
        an_evicted_worker(scene, pipeline).await?;
    }

    scene.admin.commit_for_idle_group(WITNESS, &[GroupOffset::new(&source, 0, 1)]).await?;
    until("the broker has dropped what the witness had committed", LIMIT, async || {
        let left = scene.admin.offsets_of_groups(&[WITNESS]).await?.remove(WITNESS).ok_or("no answer")??;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}").into()) }
    })
    .await?;
    for (pipeline, ..) in PIPELINES {
        committed(scene, pipeline, 1).await?;
    }

    // `startFrom: Earliest`: without its place each would read the first one again.
    scene.produce(Record::to(&source).with_payload(r#"{"n": 2}"#)).await?;
    read(scene, &[1, 2]).await
}

#[tokio::test]
async fn mistake_9_groups_that_sleep_for_longer_than_offsets_are_kept_go_on_where_they_were() {
    play("scaling-m9", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::One, &FORGETFUL, async |own| {
                sleep_for_long(own).await?;
                cleared(&own.scene, &PIPELINES.map(|(pipeline, ..)| pipeline)).await
            })
            .await
    })
    .await;
}
