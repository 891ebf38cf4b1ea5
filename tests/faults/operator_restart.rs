//! The operator dies in the middle of each kind of change; what was declared comes about all the same.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use penstock_crds::{EventPipeline, KafkaTopic};
use penstock_kafka::{ConfigDelta, Record};
use penstock_tests::scene::{LIMIT, Result, Scene, Waiting, play, until, until_every};
use serde_json::{Value, json};

/// How long after a change the operator dies: at once, and at moments while it works on it.
const MOMENTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(120)];

/// What a look finds.
type Probe = std::result::Result<(), Waiting>;

/// Makes a change and kills the operator a moment later.
async fn interrupted(scene: &Scene, moment: Duration, change: impl AsyncFnOnce() -> Result) -> Result {
    let operator = scene.operator().await;
    let doomed = operator.doom().await?;
    change().await?;
    // The moment is the fault that is injected, not a wait for anything.
    tokio::time::sleep(moment).await;
    doomed.kill().await
}

/// Makes a change and kills the operator as soon as the first thing that follows from it is seen.
async fn interrupted_once(scene: &Scene, change: impl AsyncFnOnce() -> Result, seen: impl AsyncFnMut() -> Probe) -> Result {
    let operator = scene.operator().await;
    let doomed = operator.doom().await?;
    change().await?;
    until_every(Duration::from_millis(5), "the operator has begun", LIMIT, seen).await?;
    doomed.kill().await
}

fn topic(scene: &Scene, partitions: i32, config: Value) -> Value {
    json!({"topicName": scene.kafka_name("t"), "partitions": partitions, "replicationFactor": 1, "config": config, "deletionPolicy": "Delete"})
}

async fn live_of_a_topic(scene: &Scene, moment: Duration) -> Result {
    let name = scene.kafka_name("t");
    let apply = async |spec: Value| scene.apply::<KafkaTopic>("t", spec).await.map(drop).map_err(Into::into);
    interrupted(scene, moment, async || apply(topic(scene, 1, json!({"retention.ms": "3600000"}))).await).await?;
    let created = scene.ready::<KafkaTopic>("t").await?;
    let id = created.status.and_then(|s| s.topic_id);
    scene.produce(Record::to(name.clone()).with_payload("kept")).await?;

    interrupted(scene, moment, async || apply(topic(scene, 3, json!({"segment.ms": "600000"}))).await).await?;
    let grown = scene.ready::<KafkaTopic>("t").await?.status.ok_or("no status")?;
    assert_eq!((grown.topic_id, grown.partitions), (id, Some(3)));
    let config = scene.admin.describe_configs(&[&name]).await?.remove(&name).ok_or("no answer")??.overrides();
    assert_eq!(config.into_iter().collect::<Vec<_>>(), [("segment.ms".to_owned(), "600000".to_owned())], "a removed key is un-set");
    assert_eq!(scene.records(&name).await?.len(), 1);

    let delete = async || scene.api::<KafkaTopic>().delete("t", &DeleteParams::default()).await.map(drop).map_err(Into::into);
    interrupted(scene, moment, delete).await?;
    scene.gone::<KafkaTopic>("t").await?;
    until("the topic is gone in Kafka", LIMIT, async || {
        let answer = scene.admin.describe(&[&name]).await?.remove(&name);
        if matches!(answer, Some(Err(penstock_kafka::Error::UnknownTopic { .. }))) { Ok(()) } else { Err(format!("{answer:?}").into()) }
    })
    .await
}

#[tokio::test]
async fn a_topic_lives_its_life_though_the_operator_dies_at_every_change() {
    play("restart-topic", async |scene| {
        for moment in MOMENTS {
            live_of_a_topic(scene, moment).await?;
        }
        let apply = async || scene.apply::<KafkaTopic>("t", topic(scene, 1, json!({}))).await.map(drop).map_err(Into::into);
        let name = scene.kafka_name("t");
        let has_begun = async || match scene.admin.describe(&[&name]).await?.remove(&name) {
            Some(Ok(_)) => Ok(()),
            answer => Err(format!("{answer:?}").into()),
        };
        interrupted_once(scene, apply, has_begun).await?;
        scene.ready::<KafkaTopic>("t").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn drift_is_reverted_and_a_retained_topic_stays_though_the_operator_dies() {
    play("restart-drift", async |scene| {
        let name = scene.kafka_name("t");
        let mut retained = topic(scene, 1, json!({"retention.ms": "3600000"}));
        retained["deletionPolicy"] = json!("Retain");
        let made = scene.topic("t", retained).await?.status.and_then(|s| s.topic_id);
        let meddle = async || -> Result {
            let set = [("retention.ms".to_owned(), "1000".to_owned())].into();
            let delta = ConfigDelta { topic: name.clone(), set, ..ConfigDelta::default() };
            scene.admin.alter_configs_incremental(&[delta]).await?.remove(&name).ok_or("no answer")??;
            Ok(())
        };
        interrupted(scene, MOMENTS[1], meddle).await?;
        until("the drift is reverted", LIMIT, async || {
            let seen = scene.admin.describe_configs(&[&name]).await?.remove(&name).ok_or("no answer")??.overrides();
            if seen.get("retention.ms").is_some_and(|value| value == "3600000") { Ok(()) } else { Err(format!("{seen:?}").into()) }
        })
        .await?;

        let delete = async || scene.api::<KafkaTopic>().delete("t", &DeleteParams::default()).await.map(drop).map_err(Into::into);
        interrupted(scene, Duration::ZERO, delete).await?;
        scene.gone::<KafkaTopic>("t").await?;
        // A topic that must come proves that the new operator has looked around.
        let mut other = topic(scene, 1, json!({}));
        other["topicName"] = json!(scene.kafka_name("other"));
        scene.topic("other", other).await?;
        let left = scene.admin.describe(&[&name]).await?.remove(&name).ok_or("no answer")??;
        assert_eq!(Some(left.id.to_string()), made);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn adoption_and_conflict_survive_a_restart() {
    play("restart-owner", async |scene| {
        let name = scene.kafka_name("t");
        let new = penstock_kafka::NewTopic::new(name.clone()).with_partitions(1).with_replication_factor(1);
        scene.admin.create(&[new]).await?.remove(&name).ok_or("no answer")??;
        let id = scene.admin.wait_until_visible(&name, 1, LIMIT).await?.id.to_string();
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        let apply = async |object: &str| scene.apply::<KafkaTopic>(object, topic(scene, 1, json!({}))).await.map(drop).map_err(Into::into);
        interrupted(scene, MOMENTS[1], async || apply("older").await).await?;
        let adopted = scene.ready::<KafkaTopic>("older").await?;
        assert_eq!(adopted.status.and_then(|s| s.topic_id), Some(id.clone()));

        // Creation times have whole seconds: the order is certain only when these differ.
        let created = adopted.metadata.creation_timestamp.ok_or("no creation time")?;
        until("the clock has gone on", LIMIT, async || {
            scene.apply::<KafkaTopic>("younger", topic(scene, 1, json!({}))).await?;
            let younger = scene.api::<KafkaTopic>().get("younger").await?;
            if younger.metadata.creation_timestamp.as_ref().is_some_and(|t| t.0 > created.0) {
                return Ok(());
            }
            scene.api::<KafkaTopic>().delete("younger", &DeleteParams::default()).await?;
            Err("created within the same second".into())
        })
        .await?;
        scene.operator().await.kill().await?;
        scene.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;

        let delete = async || scene.api::<KafkaTopic>().delete("older", &DeleteParams::default()).await.map(drop).map_err(Into::into);
        interrupted(scene, MOMENTS[1], delete).await?;
        scene.gone::<KafkaTopic>("older").await?;
        let heir = scene.ready::<KafkaTopic>("younger").await?;
        assert_eq!(heir.status.and_then(|s| s.topic_id), Some(id), "the topic was handed over, not made again");
        assert_eq!(scene.records(&name).await?.len(), 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_lives_its_life_though_the_operator_dies_at_every_change() {
    play("restart-pipeline", async |scene| {
        let pipeline = |replicas: i32, rate: &str| {
            json!({
                "source": {"kafka": {"topics": ["in"]}}, "delivery": "AtLeastOnce", "replicas": replicas,
                "processor": {"builtin": "payments", "options": {"successRate": rate}}, "sink": {"kafka": {"topic": "out"}},
            })
        };
        let apply = async |spec: Value| scene.apply::<EventPipeline>("p", spec).await.map(drop).map_err(Into::into);
        interrupted(scene, MOMENTS[1], async || apply(pipeline(1, "1")).await).await?;
        scene.told::<EventPipeline>("p", "TopicsReady", "False", Some("TopicNotFound")).await?;
        let topics = async || {
            for name in ["in", "out"] {
                let mut spec = json!({"partitions": 1, "replicationFactor": 1});
                scene.own_topic_name(name, &mut spec);
                scene.apply::<KafkaTopic>(name, spec).await?;
            }
            Ok(())
        };
        interrupted_once(scene, topics, async || Ok(scene.api::<ServiceAccount>().get("p").await.map(drop)?)).await?;
        scene.ready::<EventPipeline>("p").await?;
        let first = scene.ready_workers("p", 1).await?;

        let scale = async || {
            let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
            scene.api::<EventPipeline>().patch_scale("p", &PatchParams::default(), &two).await.map(drop).map_err(Into::into)
        };
        interrupted(scene, MOMENTS[1], scale).await?;
        let scaled = scene.ready_workers("p", 2).await?;
        assert!(scaled.contains(&first[0]), "scaling replaced a worker");

        let template = async || -> Result<_> { Ok(scene.api::<Deployment>().get("p").await?.spec.map(|spec| spec.template)) };
        let before = template().await?;
        interrupted(scene, MOMENTS[1], async || apply(pipeline(2, "1")).await).await?;
        // A change that must be seen proves that the new operator has looked at the pipeline.
        apply(pipeline(3, "1")).await?;
        let more = scene.ready_workers("p", 3).await?;
        assert!(scaled.iter().all(|pod| more.contains(pod)), "applying the same again replaced a worker");
        assert_eq!(template().await?, before);

        interrupted(scene, MOMENTS[2], async || apply(pipeline(2, "0.5")).await).await?;
        scene.ready::<EventPipeline>("p").await?;
        let rolled = scene.ready_workers("p", 2).await?;
        assert!(rolled.iter().all(|pod| !more.contains(pod)), "a changed option rolls every worker");

        let delete = async || scene.api::<EventPipeline>().delete("p", &DeleteParams::default()).await.map(drop).map_err(Into::into);
        interrupted(scene, Duration::ZERO, delete).await?;
        scene.gone::<Deployment>("p").await?;
        scene.gone::<Service>("p").await?;
        scene.gone::<ServiceAccount>("p").await?;
        scene.gone::<PodDisruptionBudget>("p").await?;
        scene.gone::<ConfigMap>("p").await?;
        scene.gone::<KafkaTopic>("p-in-dlt").await?;
        for topic in ["in", "out", "in.DLT"] {
            let name = scene.kafka_name(topic);
            scene.admin.describe(&[&name]).await?.remove(&name).ok_or("no answer")??;
        }
        Ok(())
    })
    .await;
}
