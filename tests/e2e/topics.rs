//! `KafkaTopic`: what it becomes in Kafka, what is done about it when somebody else meddles, and what is left when it goes.

mod approval;
mod clusters;
mod copies;
mod deletion;
mod drift;
mod importing;
mod keys;
mod making;
mod owners;
mod quiet;
mod recreation;
mod refused;
mod rights;

use std::collections::BTreeMap;

use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use penstock_crds::{KafkaCluster, KafkaTopic, KafkaTopicStatus};
use penstock_kafka::{ConfigDelta, Error as KafkaError, NewTopic, Record, TopicDescription};
use penstock_tests::scene::{LIMIT, Result, Scene, condition, install, until};
use serde_json::{Value, json};

const DAY: &str = "86400000";
const HOUR: &str = "3600000";

/// A spec with a topic name of this test's own and one replica.
fn spec(scene: &Scene, changes: Value) -> Value {
    let mut spec = json!({"topicName": scene.kafka_name("t"), "replicationFactor": 1});
    let fields = spec.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    spec
}

fn status(topic: KafkaTopic) -> Result<KafkaTopicStatus> {
    topic.status.ok_or_else(|| "no status".into())
}

/// What the object's `Ready` condition says.
fn message(topic: &KafkaTopic) -> &str {
    let conditions = topic.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    condition(conditions, "Ready").map(|c| c.message.as_str()).unwrap_or_default()
}

/// The topic in Kafka.
async fn described(scene: &Scene, name: &str) -> Result<TopicDescription> {
    Ok(scene.admin.describe(&[name]).await?.remove(name).ok_or("no answer")??)
}

async fn is_absent(scene: &Scene, name: &str) -> Result<bool> {
    let answer = scene.admin.describe(&[name]).await?.remove(name).ok_or("no answer")?;
    Ok(matches!(answer, Err(KafkaError::UnknownTopic { .. })))
}

/// Waits until Kafka does not show the topic any more, which it may for a moment after it has deleted it.
async fn goes(scene: &Scene, name: &str) -> Result {
    until(&format!("topic {name} goes"), LIMIT, async || if is_absent(scene, name).await? { Ok(()) } else { Err("it is there".into()) })
        .await
}

/// What is set on the topic itself in Kafka.
async fn overrides(scene: &Scene, name: &str) -> Result<BTreeMap<String, String>> {
    Ok(scene.admin.describe_configs(&[name]).await?.remove(name).ok_or("no answer")??.overrides())
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Sets configuration past the operator.
async fn meddle(scene: &Scene, name: &str, set: &[(&str, &str)]) -> Result {
    let delta = ConfigDelta { topic: name.to_owned(), set: map(set), ..ConfigDelta::default() };
    Ok(scene.admin.alter_configs_incremental(&[delta]).await?.remove(name).ok_or("no answer")??)
}

/// Makes a topic past the operator, with some records.
async fn make(scene: &Scene, topic: NewTopic, records: usize) -> Result<TopicDescription> {
    let (name, partitions) = (topic.name.clone(), topic.partitions.unwrap_or(1));
    scene.admin.create(&[topic]).await?.remove(&name).ok_or("no answer")??;
    let made = scene.admin.wait_until_visible(&name, partitions, LIMIT).await?;
    for number in 0..records {
        scene.produce(Record::to(name.clone()).with_payload(format!("record {number}"))).await?;
    }
    Ok(made)
}

/// The events on an object so far.
async fn events(scene: &Scene, name: &str) -> Result<Vec<Event>> {
    let all = scene.api::<Event>().list(&ListParams::default()).await?.items;
    Ok(all.into_iter().filter(|e| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name)).collect())
}

/// Waits for an event on an object whose reason or note holds these words.
async fn event(scene: &Scene, name: &str, words: &str) -> Result<Event> {
    until(&format!("an event on {name} with `{words}`"), LIMIT, async || {
        let text = |e: &Event| format!("{}: {}", e.reason.as_deref().unwrap_or_default(), e.note.as_deref().unwrap_or_default());
        let mut others = Vec::new();
        for event in events(scene, name).await? {
            let said = text(&event);
            if said.contains(words) {
                return Ok(event);
            }
            others.push(said);
        }
        Err(format!("{others:?}").into())
    })
    .await
}

/// Applies an object in the neighbour's namespace that is younger than `older`. Creation times have whole seconds, so the
/// order is certain only when these differ.
async fn apply_younger(neighbour: &Scene, older: &KafkaTopic, spec: &Value) -> Result {
    let api = neighbour.api::<KafkaTopic>();
    until("the clock has gone on", LIMIT, async || {
        neighbour.apply::<KafkaTopic>("younger", spec.clone()).await?;
        if api.get("younger").await?.creation_timestamp() > older.creation_timestamp() {
            return Ok(());
        }
        api.delete("younger", &DeleteParams::default()).await?;
        neighbour.gone::<KafkaTopic>("younger").await?;
        Err("created within the same second".into())
    })
    .await
}

/// Runs a test with a cluster object of its own in the operator's namespace.
async fn with_cluster(scene: &Scene, mut cluster: Value, test: impl AsyncFnOnce(&Scene, &str) -> Result) -> Result {
    let system = Scene::at(install::NAMESPACE).await?;
    let name = scene.namespace.as_str();
    if cluster["bootstrapServers"].is_null() {
        cluster["bootstrapServers"] = json!([scene.cluster.brokers().await?.internal]);
    }
    system.apply::<KafkaCluster>(name, cluster).await?;
    let outcome = test(&system, name).await;
    let api: Api<KafkaCluster> = system.api();
    api.delete(name, &DeleteParams::default()).await?;
    outcome
}
