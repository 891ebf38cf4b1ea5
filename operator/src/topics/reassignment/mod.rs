//! Changes how many copies a topic's partitions have, by moving partitions between brokers (KIP-455).
//!
//! What was begun stands in the object's status before it begins, and until nothing of it is left in Kafka, so that another operator takes it
//! up wherever this one died. What other tools have begun or set is left alone, and nothing is begun beside it.

mod begin;
mod copies;
mod decide;
mod end;
mod look;
mod placement;
mod rate;
mod throttle;
mod throttled;
mod words;

use std::time::Duration;

use penstock_crds::{KafkaTopic, KafkaTopicStatus, topic::TopicReassignment};
use penstock_kafka::Error as KafkaError;

pub use self::{
    begin::{begin, cancel, goes_on, keep_up, reassign},
    decide::{Assignment, Step},
    end::{abandon, end, unthrottle},
    look::{Seen, look},
    rate::shared_rate,
    throttle::REPLICAS,
    throttled::Throttled,
    words::{abandoned, begun, cancelled, holds, pending, pending_cancel},
};
use crate::{
    clusters::ClusterConnection,
    context::Context,
    status::{self as written, Error},
};

/// The pause before one looks again at a topic whose partitions move.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// The pause before one looks again whether what is in the way is gone.
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(15);

/// The Kafka cluster on which partitions move.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What every reconciler may use.
    pub context: &'a Context,
    /// The connection to it.
    pub connection: &'a ClusterConnection,
    /// How fast copies may be made, where the `KafkaCluster` says so.
    pub rate: Option<i64>,
}

/// What became of a step that writes to Kubernetes and to Kafka.
pub struct Outcome {
    /// The object as it is now.
    pub topic: KafkaTopic,
    /// Whether Kafka did it.
    pub done: Result<(), KafkaError>,
}

/// The change that the status tells of.
#[must_use]
pub fn record(topic: &KafkaTopic) -> Option<&TopicReassignment> {
    topic.status.as_ref()?.reassignment.as_ref()
}

/// Writes down the change that the status shall tell of.
async fn write(context: &Context, topic: KafkaTopic, record: Option<TopicReassignment>) -> Result<KafkaTopic, Error> {
    let status = KafkaTopicStatus { reassignment: record, ..topic.status.clone().unwrap_or_default() };
    Ok(written::write(context, &topic, topic.status.as_ref(), &status).await?.unwrap_or(topic))
}

/// Whether something was set in Kafka for it that must be taken away before the object goes.
#[must_use]
pub fn is_throttled(topic: &KafkaTopic) -> bool {
    record(topic).is_some_and(|record| record.throttle.is_some())
}
