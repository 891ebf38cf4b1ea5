//! Topics with several copies on brokers of a test's own.

use std::collections::BTreeMap;

use kube::ResourceExt;
use penstock_crds::KafkaTopic;
use penstock_kafka::TopicDescription;
use serde_json::json;

use super::{LIMIT, OwnKafka, Result, until};

/// What limits, on all brokers, how fast copies are made.
pub const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];

impl OwnKafka {
    /// Declares a topic with so many copies of each of two partitions.
    ///
    /// # Errors
    /// It is refused.
    pub async fn declare_copies(&self, name: &str, copies: i16) -> Result {
        let spec = json!({
            "topicName": self.scene.kafka_name(name), "partitions": 2, "replicationFactor": copies, "clusterRef": {"name": self.cluster},
        });
        self.scene.apply::<KafkaTopic>(name, spec).await?;
        Ok(())
    }

    /// Waits until it is ready, and says where its copies are: so many of each partition, all in sync, with nothing left of how they came there.
    /// Each broker answers from what it has heard of the controller, and may be behind the one that the operator has asked.
    ///
    /// # Errors
    /// It never is.
    ///
    /// # Panics
    /// It is ready, and its object says that it is not.
    pub async fn has_copies(&self, name: &str, copies: usize) -> Result<Vec<Vec<i32>>> {
        let ready = self.scene.ready::<KafkaTopic>(name).await?;
        assert_eq!((ready.finalizers().len(), ready.status.ok_or("no status")?.reassignment), (0, None));
        until(&format!("{copies} copies in sync, and no throttle"), LIMIT, async || {
            let (seen, throttles) = (self.described(name).await?, self.throttles(name).await?);
            let whole = seen.partitions.iter().all(|partition| partition.replicas.len() == copies && partition.isr.len() == copies);
            if !whole || !throttles.is_empty() {
                return Err(format!("{seen:?}, {throttles:?}").into());
            }
            Ok(seen.partitions.into_iter().map(|partition| partition.replicas).collect())
        })
        .await
    }

    /// What throttles the topic in Kafka: on it, and on all brokers.
    ///
    /// # Errors
    /// Kafka does not tell.
    pub async fn throttles(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let name = self.scene.kafka_name(name);
        let mut found = self.scene.admin.describe_configs(&[&name]).await?.remove(&name).ok_or("no answer")??.overrides();
        found.retain(|key, _| key.ends_with("throttled.replicas"));
        found.extend(self.scene.admin.broker_defaults(&RATES).await?);
        Ok(found)
    }

    async fn described(&self, name: &str) -> Result<TopicDescription> {
        let name = self.scene.kafka_name(name);
        Ok(self.scene.admin.describe(&[&name]).await?.remove(&name).ok_or("no answer")??)
    }
}
