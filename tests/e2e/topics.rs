//! `KafkaTopic`: what it becomes in Kafka, what is done about it when somebody else meddles, and what is left when it goes.

use std::collections::BTreeMap;

use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use penstock_crds::{KafkaCluster, KafkaTopic, KafkaTopicStatus};
use penstock_kafka::{ConfigDelta, Error as KafkaError, NewTopic, Record, TopicDescription};
use penstock_tests::scene::{LIMIT, Result, Scene, condition, install, play, refusal, until};
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

/// Waits for an event on an object whose reason or note holds these words.
async fn event(scene: &Scene, name: &str, words: &str) -> Result<Event> {
    until(&format!("an event on {name} with `{words}`"), LIMIT, async || {
        let events = scene.api::<Event>().list(&ListParams::default()).await?.items;
        let own = events.into_iter().filter(|e| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name));
        let text = |e: &Event| format!("{}: {}", e.reason.as_deref().unwrap_or_default(), e.note.as_deref().unwrap_or_default());
        let mut others = Vec::new();
        for event in own {
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

#[tokio::test]
async fn a_topic_is_created_as_declared_and_says_so() {
    play("t-create", async |scene| {
        let name = scene.kafka_name("t");
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 2, "config": {"retention.ms": DAY}}))).await?;
        let ready = scene.told::<KafkaTopic>("t", "Ready", "True", Some("AsDeclared")).await?;
        let (seen, told) = (described(scene, &name).await?, status(ready)?);
        assert_eq!((seen.partition_count(), seen.replication_factor()), (2, Some(1)));
        assert_eq!(told.topic_id, Some(seen.id.to_string()));
        assert_eq!((told.partitions, told.replication_factor), (Some(2), Some(1)));
        assert_eq!(told.topic_name.as_ref(), Some(&name));
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY)]));
        let event = event(scene, "t", &format!("Created: created the topic `{name}`")).await?;
        assert_eq!(event.type_.as_deref(), Some("Normal"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_says_nothing_has_its_objects_name_and_the_brokers_defaults() {
    play("t-bare", async |scene| {
        // Its name in Kafka has no prefix of the test's, so it must be one that nobody else has.
        let name = format!("{}-bare", scene.namespace);
        scene.apply::<KafkaTopic>(&name, json!({"deletionPolicy": "Delete"})).await?;
        let told = status(scene.ready::<KafkaTopic>(&name).await?)?;
        let seen = described(scene, &name).await?;
        assert_eq!((told.topic_name.as_deref(), told.partitions), (Some(name.as_str()), Some(seen.partition_count())));
        assert_eq!(told.replication_factor, seen.replication_factor());
        scene.delete::<KafkaTopic>(&name).await?;
        goes(scene, &name).await
    })
    .await;
}

#[tokio::test]
async fn partitions_grow_and_never_shrink() {
    play("t-grow", async |scene| {
        let name = scene.kafka_name("t");
        let first = status(scene.topic("t", spec(scene, json!({"partitions": 1}))).await?)?;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        let grown = status(scene.topic("t", spec(scene, json!({"partitions": 4}))).await?)?;
        assert_eq!((grown.partitions, &grown.topic_id), (Some(4), &first.topic_id));
        assert_eq!(described(scene, &name).await?.partition_count(), 4);
        assert_eq!(scene.records(&name).await?.len(), 1);
        event(scene, "t", "PartitionsAdded: added partitions: there were 1, now there are 4").await?;

        let said = refusal(scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 3}))).await)?;
        assert!(said.contains("partitions may only grow"), "{said}");
        assert_eq!(described(scene, &name).await?.partition_count(), 4);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn config_is_set_and_unset_and_foreign_keys_stay() {
    play("t-config", async |scene| {
        let name = scene.kafka_name("t");
        scene.topic("t", spec(scene, json!({"config": {"retention.ms": DAY, "segment.ms": HOUR}}))).await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY), ("segment.ms", HOUR)]));
        meddle(scene, &name, &[("max.message.bytes", "2000000")]).await?;

        scene.topic("t", spec(scene, json!({"config": {"retention.ms": HOUR}}))).await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", HOUR), ("max.message.bytes", "2000000")]));
        event(scene, "t", &format!("ConfigChanged: retention.ms to `{HOUR}` (was `{DAY}`), segment.ms to the broker's default")).await?;
        let told = status(scene.topic("t", spec(scene, json!({}))).await?)?;
        assert_eq!(overrides(scene, &name).await?, map(&[("max.message.bytes", "2000000")]));
        assert_eq!(told.managed_config, Vec::<String>::new());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn drift_is_reverted_and_told() {
    play("t-drift", async |scene| {
        let name = scene.kafka_name("t");
        scene.topic("t", spec(scene, json!({"partitions": 1, "config": {"retention.ms": DAY}}))).await?;
        meddle(scene, &name, &[("retention.ms", "1000")]).await?;
        until("the drift is reverted", LIMIT, async || {
            let seen = overrides(scene, &name).await?;
            if seen == map(&[("retention.ms", DAY)]) { Ok(()) } else { Err(format!("{seen:?}").into()) }
        })
        .await?;
        event(scene, "t", "DriftReverted: somebody changed the topic's configuration; set back: retention.ms").await?;
        scene.ready::<KafkaTopic>("t").await?;

        let id = described(scene, &name).await?.id;
        scene.admin.delete(&[(&name, id)]).await?.remove(&name).ok_or("no answer")??;
        until("the topic is lost", LIMIT, async || match described(scene, &name).await {
            Ok(seen) if seen.id == id => Err("it is there".into()),
            _ => Ok(()),
        })
        .await?;
        // Any change of the object makes the operator look before it would by itself.
        let label = Patch::Merge(json!({"metadata": {"labels": {"look": "now"}}}));
        scene.api::<KafkaTopic>().patch("t", &PatchParams::default(), &label).await?;
        let told = event(scene, "t", &format!("CreatedAgain: the topic `{name}` was gone from Kafka")).await?;
        assert_eq!(told.type_.as_deref(), Some("Warning"));
        until("the new topic is known", LIMIT, async || {
            let known = status(scene.ready::<KafkaTopic>("t").await?)?.topic_id;
            if known.as_ref() == Some(&described(scene, &name).await?.id.to_string()) { Ok(()) } else { Err(format!("{known:?}").into()) }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn an_existing_topic_is_adopted_without_loss() {
    play("t-adopt", async |scene| {
        let name = scene.kafka_name("t");
        let existing = NewTopic::new(name.clone()).with_partitions(3).with_replication_factor(1).with_config("retention.ms", HOUR);
        let id = make(scene, existing, 5).await?.id;

        scene.apply::<KafkaTopic>("few", spec(scene, json!({"partitions": 2}))).await?;
        let refused = scene.told::<KafkaTopic>("few", "Ready", "False", Some("PartitionDecreaseRefused")).await?;
        assert!(message(&refused).contains("spec.partitions to 3"), "{}", message(&refused));
        scene.delete::<KafkaTopic>("few").await?;

        let told = status(scene.topic("t", spec(scene, json!({"partitions": 3, "config": {"segment.ms": DAY}}))).await?)?;
        assert_eq!(told.topic_id, Some(id.to_string()));
        let seen = described(scene, &name).await?;
        assert_eq!((seen.id, seen.partition_count()), (id, 3));
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", HOUR), ("segment.ms", DAY)]));
        assert_eq!(scene.records(&name).await?.len(), 5);
        event(scene, "t", &format!("Adopted: adopted the existing topic with id {id} and 3 partitions")).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_object_leaves_its_topic_or_takes_it_along() {
    play("t-delete", async |scene| {
        let name = scene.kafka_name("t");
        let made = status(scene.topic("t", spec(scene, json!({"deletionPolicy": "Retain"}))).await?)?;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        scene.api::<KafkaTopic>().delete("t", &DeleteParams::default()).await?;
        let left = scene.api::<KafkaTopic>().get_opt("t").await?;
        assert!(left.is_none(), "nothing is to be waited for: {left:?}");
        assert_eq!(Some(described(scene, &name).await?.id.to_string()), made.topic_id);
        assert_eq!(scene.records(&name).await?.len(), 1);

        let adopted = status(scene.topic("t", spec(scene, json!({"deletionPolicy": "Delete"}))).await?)?;
        assert_eq!(adopted.topic_id, made.topic_id);
        scene.delete::<KafkaTopic>("t").await?;
        event(scene, "t", &format!("Deleted: deleted the topic `{name}`")).await?;
        goes(scene, &name).await
    })
    .await;
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

#[tokio::test]
async fn of_two_objects_for_one_topic_the_older_owns_it() {
    play("t-conflict", async |scene| {
        let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
        let older = scene.topic("older", spec(scene, json!({"partitions": 1, "deletionPolicy": "Delete"}))).await?;
        let id = status(older.clone())?.topic_id;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;

        let rival = spec(scene, json!({"partitions": 3, "deletionPolicy": "Delete", "config": {"retention.ms": HOUR}}));
        apply_younger(&neighbour, &older, &rival).await?;
        let told = neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;
        assert!(message(&told).contains(&format!("{}/older", scene.namespace)), "{}", message(&told));
        assert_eq!(described(scene, &name).await?.partition_count(), 1, "the younger changed the older's topic");
        assert_eq!(overrides(scene, &name).await?, map(&[]));

        neighbour.delete::<KafkaTopic>("younger").await?;
        assert_eq!(Some(described(scene, &name).await?.id.to_string()), id);
        assert_eq!(scene.records(&name).await?.len(), 1);
        scene.ready::<KafkaTopic>("older").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_is_handed_over_when_its_owner_is_deleted() {
    play("t-handover", async |scene| {
        let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
        let declared = spec(scene, json!({"partitions": 1, "deletionPolicy": "Delete"}));
        let older = scene.topic("older", declared.clone()).await?;
        let id = status(older.clone())?.topic_id;
        scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
        apply_younger(&neighbour, &older, &declared).await?;
        neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;

        scene.delete::<KafkaTopic>("older").await?;
        let heir = status(neighbour.ready::<KafkaTopic>("younger").await?)?;
        assert_eq!(heir.topic_id, id, "the topic was made again");
        event(scene, "older", &format!("HandedOver: the topic now belongs to KafkaTopic {}/younger", neighbour.namespace)).await?;
        assert_eq!(scene.records(&name).await?.len(), 1);
        neighbour.delete::<KafkaTopic>("younger").await?;
        goes(scene, &name).await
    })
    .await;
}

#[tokio::test]
async fn a_suspended_object_writes_nothing() {
    play("t-suspend", async |scene| {
        let name = scene.kafka_name("t");
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"suspend": true}))).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("Suspended")).await?;
        assert!(is_absent(scene, &name).await?, "a suspended object made a topic");
        scene.topic("t", spec(scene, json!({"partitions": 1, "config": {"retention.ms": DAY}}))).await?;

        let change = json!({"partitions": 2, "config": {"segment.ms": HOUR}});
        let mut suspended = change.clone();
        suspended["suspend"] = json!(true);
        scene.apply::<KafkaTopic>("t", spec(scene, suspended)).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("Suspended")).await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 1);
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", DAY)]));

        scene.topic("t", spec(scene, change)).await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 2);
        assert_eq!(overrides(scene, &name).await?, map(&[("segment.ms", HOUR)]), "what was un-set meanwhile stays set");

        scene.apply::<KafkaTopic>("t", spec(scene, json!({"partitions": 2, "deletionPolicy": "Delete", "suspend": true}))).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("Suspended")).await?;
        scene.delete::<KafkaTopic>("t").await?;
        assert_eq!(described(scene, &name).await?.partition_count(), 2, "a suspended object deleted its topic");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_kafka_refuses_is_told_in_its_words_and_heals() {
    play("t-refused", async |scene| {
        let name = scene.kafka_name("t");
        for (config, word) in [(json!({"no.such.key": "1"}), "no.such.key"), (json!({"retention.ms": "long"}), "retention.ms")] {
            scene.apply::<KafkaTopic>("t", spec(scene, json!({"config": config}))).await?;
            let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("InvalidConfig")).await?;
            assert!(message(&told).contains(word), "{}", message(&told));
            assert!(is_absent(scene, &name).await?, "half of what was declared was made");
        }
        scene.topic("t", spec(scene, json!({"config": {"retention.ms": DAY}}))).await?;

        scene.apply::<KafkaTopic>("t", spec(scene, json!({"config": {"retention.ms": DAY, "no.such.key": "1"}}))).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("InvalidConfig")).await?;
        scene.topic("t", spec(scene, json!({"config": {"retention.ms": HOUR}}))).await?;
        assert_eq!(overrides(scene, &name).await?, map(&[("retention.ms", HOUR)]));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn more_replicas_than_brokers_are_told() {
    play("t-replicas", async |scene| {
        let wide = spec(scene, json!({"replicationFactor": 32}));
        scene.apply::<KafkaTopic>("t", wide).await?;
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", None).await?;
        let said = until("the reason", LIMIT, async || {
            let topic = scene.api::<KafkaTopic>().get("t").await?;
            let said = message(&topic).to_lowercase();
            if said.contains("replication") && said.contains("32") { Ok(said) } else { Err(said.into()) }
        })
        .await?;
        assert!(said.contains("broker"), "{said}");
        assert!(told.status.and_then(|s| s.topic_id).is_none());

        let narrow = status(scene.topic("t", spec(scene, json!({"replicationFactor": 1}))).await?)?;
        assert_eq!(narrow.replication_factor, Some(1));
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"replicationFactor": 2}))).await?;
        scene.told::<KafkaTopic>("t", "Ready", "False", Some("ReplicationFactorMismatch")).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn another_topic_of_the_same_name_is_not_taken_for_the_old_one() {
    play("t-recreated", async |scene| {
        let name = scene.kafka_name("t");
        let declared = json!({"partitions": 1, "deletionPolicy": "Delete"});
        let first = status(scene.topic("t", spec(scene, declared.clone())).await?)?;
        let mut suspended = declared.clone();
        // Suspended, so that the operator does not make the topic anew while there is none.
        suspended["suspend"] = json!(true);
        scene.apply::<KafkaTopic>("t", spec(scene, suspended)).await?;
        until("the suspension was seen", LIMIT, async || {
            let topic = scene.api::<KafkaTopic>().get("t").await?;
            let seen = topic.status.as_ref().and_then(|s| s.observed_generation);
            if seen == topic.metadata.generation { Ok(()) } else { Err(format!("generation {seen:?}").into()) }
        })
        .await?;
        let id = described(scene, &name).await?.id;
        assert_eq!(Some(id.to_string()), first.topic_id);
        scene.admin.delete(&[(&name, id)]).await?.remove(&name).ok_or("no answer")??;
        goes(scene, &name).await?;
        let other = make(scene, NewTopic::new(name.clone()).with_partitions(1).with_replication_factor(1), 2).await?;

        scene.apply::<KafkaTopic>("t", spec(scene, declared)).await?;
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("TopicRecreated")).await?;
        assert!(message(&told).contains(&other.id.to_string()), "{}", message(&told));
        scene.delete::<KafkaTopic>("t").await?;
        assert_eq!(described(scene, &name).await?.id, other.id, "somebody else's topic was deleted");
        assert_eq!(scene.records(&name).await?.len(), 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_cluster_and_one_in_a_tenants_namespace_have_no_effect() {
    play("t-tenant", async |scene| {
        scene.apply::<KafkaCluster>("own", json!({"bootstrapServers": ["127.0.0.1:1"]})).await?;
        let cluster = scene.told::<KafkaCluster>("own", "Ready", "False", Some("WrongNamespace")).await?;
        let conditions = cluster.status.map(|s| s.conditions).unwrap_or_default();
        assert!(condition(&conditions, "Ready").is_some_and(|c| c.message.contains(install::NAMESPACE)), "{conditions:?}");
        scene.apply::<KafkaTopic>("t", spec(scene, json!({"clusterRef": {"name": "own"}}))).await?;
        let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotFound")).await?;
        assert!(message(&told).contains("own") && message(&told).contains(install::NAMESPACE), "{}", message(&told));
        scene.delete::<KafkaTopic>("t").await
    })
    .await;
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

/// Compares what a cluster's status tells with what the brokers say themselves, at their other listeners.
async fn is_described(scene: &Scene, cluster: &KafkaCluster) -> Result {
    let (told, seen) = (cluster.status.clone().ok_or("no status")?, scene.admin.cluster().await?);
    let told_ids: Vec<i32> = told.brokers.iter().map(|b| b.id).collect();
    let ids: Vec<i32> = seen.brokers.iter().map(|b| b.id).collect();
    let version = seen.version.map(|version| version.to_string());
    let is_right = told.cluster_id == Some(seen.cluster_id)
        && told_ids == ids
        && told.broker_count == i32::try_from(ids.len()).ok()
        && told.brokers.iter().all(|b| b.host.contains("kafka") && b.port == 9092)
        && told.controller_id.is_some_and(|id| ids.contains(&id))
        && version.is_some()
        && told.kafka_version == version;
    if is_right { Ok(()) } else { Err(format!("{told:?}, but the brokers {ids:?} of Kafka {version:?} are there").into()) }
}

#[tokio::test]
async fn a_dead_cluster_is_told_and_so_are_its_topics() {
    play("t-dead", async |scene| {
        with_cluster(scene, json!({"bootstrapServers": ["127.0.0.1:1"]}), async |system, name| {
            let cluster = system.told::<KafkaCluster>(name, "Ready", "False", Some("KafkaUnreachable")).await?;
            let conditions = cluster.status.map(|s| s.conditions).unwrap_or_default();
            if !condition(&conditions, "Ready").is_some_and(|c| c.message.contains("127.0.0.1:1")) {
                return Err(format!("the address is not told: {conditions:?}").into());
            }
            scene.apply::<KafkaTopic>("t", spec(scene, json!({"clusterRef": {"name": name}}))).await?;
            let told = scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotReady")).await?;
            if message(&told).contains(name) { scene.delete::<KafkaTopic>("t").await } else { Err(message(&told).into()) }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_cluster_says_who_may_use_it() {
    play("t-access", async |scene| {
        with_cluster(scene, json!({"access": {"namespaces": ["somebody-else"]}}), async |system, name| {
            system.ready::<KafkaCluster>(name).await?;
            let declared = spec(scene, json!({"clusterRef": {"name": name}}));
            scene.apply::<KafkaTopic>("t", declared).await?;
            scene.told::<KafkaTopic>("t", "Ready", "False", Some("ClusterNotAllowed")).await?;
            let brokers = scene.cluster.brokers().await?.internal;
            let open = json!({"bootstrapServers": [brokers], "access": {"namespaces": ["somebody-else", "t-access-*"]}});
            system.apply::<KafkaCluster>(name, open).await?;
            scene.ready::<KafkaTopic>("t").await.map(drop)
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn two_names_of_one_kafka_cluster_are_one_cluster() {
    play("t-alias", async |scene| {
        with_cluster(scene, json!({}), async |system, alias| {
            system.ready::<KafkaCluster>(alias).await?;
            let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
            let older = scene.topic("older", spec(scene, json!({"partitions": 1}))).await?;
            let rival = spec(scene, json!({"partitions": 2, "deletionPolicy": "Delete", "clusterRef": {"name": alias}}));
            apply_younger(&neighbour, &older, &rival).await?;
            neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;
            neighbour.delete::<KafkaTopic>("younger").await?;
            assert_eq!(Some(described(scene, &name).await?.id.to_string()), status(older)?.topic_id);
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn whoever_loses_access_does_not_lose_the_topic() {
    play("t-lost", async |scene| {
        with_cluster(scene, json!({}), async |system, cluster| {
            let (name, neighbour) = (scene.kafka_name("t"), scene.neighbour().await?);
            let declared = |policy| spec(scene, json!({"partitions": 1, "deletionPolicy": policy, "clusterRef": {"name": cluster}}));
            let older = scene.topic("older", declared("Retain")).await?;
            scene.produce(Record::to(name.clone()).with_payload("kept")).await?;
            apply_younger(&neighbour, &older, &declared("Delete")).await?;
            neighbour.told::<KafkaTopic>("younger", "Ready", "False", Some("TopicConflict")).await?;
            let closed =
                json!({"bootstrapServers": [scene.cluster.brokers().await?.internal], "access": {"namespaces": [neighbour.namespace]}});
            system.apply::<KafkaCluster>(cluster, closed).await?;
            scene.told::<KafkaTopic>("older", "Ready", "False", Some("ClusterNotAllowed")).await?;
            neighbour.ready::<KafkaTopic>("younger").await?;

            neighbour.delete::<KafkaTopic>("younger").await?;
            assert_eq!(Some(described(scene, &name).await?.id.to_string()), status(older)?.topic_id);
            assert_eq!(scene.records(&name).await?.len(), 1);
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_cluster_has_defaults_and_limits() {
    play("t-limits", async |scene| {
        let settings = json!({"topicDefaults": {"partitions": 2, "replicationFactor": 1}, "topicLimits": {"maxPartitions": 3}});
        with_cluster(scene, settings, async |system, name| {
            is_described(scene, &system.ready::<KafkaCluster>(name).await?).await?;
            let mut declared = json!({"topicName": scene.kafka_name("t"), "clusterRef": {"name": name}});
            scene.apply::<KafkaTopic>("t", declared.clone()).await?;
            let told = status(scene.ready::<KafkaTopic>("t").await?)?;
            if (told.partitions, told.replication_factor) != (Some(2), Some(1)) {
                return Err(format!("not the cluster's defaults: {told:?}").into());
            }
            declared["partitions"] = json!(4);
            scene.apply::<KafkaTopic>("t", declared).await?;
            let refused = scene.told::<KafkaTopic>("t", "Ready", "False", Some("LimitExceeded")).await?;
            if message(&refused).contains('3') { Ok(()) } else { Err(message(&refused).into()) }
        })
        .await
    })
    .await;
}
