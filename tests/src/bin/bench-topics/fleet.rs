//! Many topics at once: their objects, what Kafka shows of them, and how many requests of our own that took.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use penstock_crds::{KafkaTopic, topic::DeletionPolicy};
use penstock_operator::clusters::ClusterConnection;
use penstock_tests::scene::{Result, until_every};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::board::Board;

/// How many requests of ours are under way at once at the apiserver, with the operator and without.
const REQUESTS: usize = 64;
/// The pause between two looks at Kafka, which many share.
const LOOKS: Duration = Duration::from_millis(50);
/// How many keys are changed in a topic's life.
const KEYS: [&str; 10] = [
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];

/// A namespace full of topics.
pub struct Fleet {
    /// The objects.
    pub api: Api<KafkaTopic>,
    /// What was seen of them.
    pub board: Board,
    /// Kafka, by requests that are sent together, so that looking on costs little.
    pub kafka: ClusterConnection,
    /// What the names of the topics in Kafka begin with.
    pub prefix: String,
    /// What the objects say of their topics when they go.
    policy: DeletionPolicy,
    at_once: Semaphore,
    requests: AtomicU64,
}

impl Fleet {
    /// An empty one.
    pub fn new(api: Api<KafkaTopic>, kafka: ClusterConnection, prefix: String, policy: DeletionPolicy) -> Self {
        let board = Board::follow(api.clone());
        Self { api, board, kafka, prefix, policy, at_once: Semaphore::new(REQUESTS), requests: AtomicU64::new(0) }
    }

    /// How many requests of ours the apiserver has answered, without the watch.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The name of a topic in Kafka.
    pub fn topic(&self, object: &str) -> String {
        format!("{}.{object}", self.prefix)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// The apiserver refuses it.
    pub async fn create(&self, name: &str) -> Result<KafkaTopic> {
        let object = serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": name},
            "spec": {"topicName": self.topic(name), "partitions": 1, "replicationFactor": 1, "deletionPolicy": self.policy, "config": config(1)},
        }))?;
        self.count(self.api.create(&PostParams::default(), &object)).await
    }

    /// Gives ten keys other values. Returns the generation that says so.
    ///
    /// # Errors
    /// The apiserver refuses it.
    pub async fn change(&self, name: &str) -> Result<Option<i64>> {
        let patch = Patch::Merge(json!({"spec": {"config": config(2)}}));
        Ok(self.count(self.api.patch(name, &PatchParams::default(), &patch)).await?.metadata.generation)
    }

    /// Writes a status, as an operator would.
    ///
    /// # Errors
    /// The apiserver refuses it.
    pub async fn tell(&self, name: &str, status: Value) -> Result {
        let patch = Patch::Merge(json!({"status": status}));
        self.count(self.api.patch_status(name, &PatchParams::default(), &patch)).await.map(drop)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// The apiserver refuses it.
    pub async fn delete(&self, name: &str) -> Result {
        self.count(self.api.delete(name, &DeleteParams::background())).await.map(drop)
    }

    /// Deletes a topic in Kafka, where its object does not.
    ///
    /// # Errors
    /// It is not there, or stays.
    pub async fn delete_in_kafka(&self, name: &str) -> Result {
        let topic = self.topic(name);
        let id = self.kafka.topics.describe(&topic).await?.ok_or("the topic is gone")?.id;
        Ok(self.kafka.topics.delete(&topic, id).await?)
    }

    /// Whether the objects take their topics along.
    pub fn takes_topics_along(&self) -> bool {
        self.policy == DeletionPolicy::Delete
    }

    /// Waits until Kafka shows the topic, or shows it no more.
    ///
    /// # Errors
    /// It never does.
    pub async fn in_kafka(&self, name: &str, wanted: bool) -> Result {
        let topic = self.topic(name);
        until_every(LOOKS, &format!("topic {topic}: {wanted}"), penstock_tests::scene::LIMIT, async || {
            let found = self.kafka.topics.describe(&topic).await?.is_some();
            if found == wanted { Ok(()) } else { Err("not yet".into()) }
        })
        .await
    }

    /// Waits until Kafka shows the changed configuration.
    ///
    /// # Errors
    /// It never does.
    pub async fn is_changed(&self, name: &str) -> Result {
        let (topic, wanted) = (self.topic(name), config(2));
        until_every(LOOKS, &format!("the configuration of {topic}"), penstock_tests::scene::LIMIT, async || {
            let found = self.kafka.topics.config(&topic).await?.ok_or("no such topic")?.overrides();
            if serde_json::to_value(&found).ok().as_ref() == Some(&wanted) { Ok(()) } else { Err(format!("{found:?}").into()) }
        })
        .await
    }

    /// Does the same for so many objects at once, and gives what each came to.
    ///
    /// # Errors
    /// The first that failed.
    pub async fn each<T>(&self, count: usize, life: impl AsyncFn(String) -> Result<T>) -> Result<Vec<T>> {
        let life = &life;
        stream::iter(0..count)
            .map(|number| async move { life(format!("t{number:05}")).await })
            .buffer_unordered(count.max(1))
            .try_collect()
            .await
    }

    async fn count<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T> {
        let _turn = self.at_once.acquire().await?;
        let answer = request.await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }
}

/// Ten keys; values of all that every topic takes, different for each version.
pub fn config(version: u32) -> Value {
    KEYS.iter().map(|key| ((*key).to_owned(), Value::String((20_000_000 + version).to_string()))).collect::<serde_json::Map<_, _>>().into()
}
