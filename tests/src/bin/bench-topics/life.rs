//! W1: the life of each of many topics, all at once: create → `Ready` and seen in Kafka → ten keys changed, and seen → deleted in both. And
//! the *floor*: the same objects and topics by a bare loop, which sends to Kafka as few requests as the operator does.

use std::time::{Duration, Instant};

use penstock_kafka::{ConfigDelta, NewTopic};
use penstock_tests::scene::Result;
use serde_json::{Value, json};

use crate::fleet::{Fleet, config};

/// How long it took.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// All of them, from the first request to the last topic gone.
    pub total: Duration,
    /// Each, from the request that creates it until it was seen to be ready.
    pub ready: Vec<Duration>,
}

/// With the operator.
///
/// # Errors
/// One of them fails.
pub async fn with_operator(fleet: &Fleet, count: usize) -> Result<Lives> {
    let begin = Instant::now();
    let ready = fleet
        .each(count, async |name| {
            let begin = Instant::now();
            fleet.create(&name).await?;
            fleet.board.until(&name, |seen| seen.ready).await?;
            let ready = begin.elapsed();
            fleet.in_kafka(&name, true).await?;
            let generation = fleet.change(&name).await?;
            fleet.board.until(&name, |seen| seen.ready && seen.observed == generation).await?;
            fleet.is_changed(&name).await?;
            fleet.delete(&name).await?;
            fleet.board.until(&name, |seen| !seen.exists).await?;
            if !fleet.takes_topics_along() {
                fleet.delete_in_kafka(&name).await?;
            }
            fleet.in_kafka(&name, false).await?;
            Ok(ready)
        })
        .await?;
    Ok(Lives { total: begin.elapsed(), ready })
}

/// By a bare loop, while no operator runs.
///
/// # Errors
/// One of them fails.
pub async fn floor(fleet: &Fleet, count: usize) -> Result<Lives> {
    let begin = Instant::now();
    let ready = fleet.each(count, async |name| by_hand(fleet, &name).await).await?;
    Ok(Lives { total: begin.elapsed(), ready })
}

async fn by_hand(fleet: &Fleet, name: &str) -> Result<Duration> {
    let (begin, topic) = (Instant::now(), fleet.topic(name));
    let object = fleet.create(name).await?;
    let mut new = NewTopic::new(&topic).with_partitions(1).with_replication_factor(1);
    new.config = serde_json::from_value(config(1))?;
    fleet.kafka.topics.create(&new).await?;
    fleet.in_kafka(name, true).await?;
    fleet.tell(name, status(object.metadata.generation)).await?;
    fleet.board.until(name, |seen| seen.ready).await?;
    let ready = begin.elapsed();

    let generation = fleet.change(name).await?;
    let delta = ConfigDelta { topic: topic.clone(), set: serde_json::from_value(config(2))?, ..ConfigDelta::default() };
    fleet.kafka.topics.change_config(&delta).await?;
    fleet.is_changed(name).await?;
    fleet.tell(name, status(generation)).await?;
    fleet.board.until(name, |seen| seen.ready && seen.observed == generation).await?;

    fleet.delete_in_kafka(name).await?;
    fleet.delete(name).await?;
    fleet.board.until(name, |seen| !seen.exists).await?;
    fleet.in_kafka(name, false).await?;
    Ok(ready)
}

fn status(generation: Option<i64>) -> Value {
    json!({"observedGeneration": generation, "partitions": 1, "replicationFactor": 1, "conditions": [{
        "type": "Ready", "status": "True", "reason": "AsDeclared", "message": "the topic is as declared",
        "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]})
}
