//! Carries a plan out in Kafka, and looks until it is seen there.
//!
//! An answer that did not come is never taken for a yes or a no: the next look decides.

use std::time::Duration;

use penstock_kafka::{Error, TopicId};
use tokio::time::{Instant, sleep};

use super::{
    observe::{ObservedTopic, observe},
    plan::{History, TopicAction, plan},
    validate::ValidatedTopic,
};
use crate::clusters::ClusterConnection;

/// How long a change may take to be seen on the broker that is asked.
const SETTLE: Duration = Duration::from_secs(10);
/// The pause between two looks at a topic that is changing.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was done.
    Done,
    /// Somebody else made the topic since we looked: the next look tells what it is like.
    MadeByOthers,
}

/// Does one action.
///
/// # Errors
/// Kafka's refusal; or that no answer came.
pub async fn apply(connection: &ClusterConnection, topic: &str, action: &TopicAction) -> Result<Applied, Error> {
    let topics = &connection.topics;
    match action {
        TopicAction::Create(new) => match topics.create(new).await {
            Err(Error::TopicExists { .. }) => return Ok(Applied::MadeByOthers),
            answer => answer,
        },
        TopicAction::AddPartitions { total, .. } => topics.add_partitions(topic, *total).await,
        TopicAction::SetConfig { delta, .. } => topics.change_config(delta).await,
    }
    .map(|()| Applied::Done)
}

/// Deletes the topic, if it still has this id. One that is gone already is as good as deleted.
///
/// # Errors
/// `TopicIdMismatch` when another topic has the name; Kafka's refusal; or that no answer came.
pub async fn delete(connection: &ClusterConnection, topic: &str, id: TopicId) -> Result<(), Error> {
    match connection.topics.delete(topic, id).await {
        Err(Error::UnknownTopic { .. }) => Ok(()),
        answer => answer,
    }
}

/// Looks until nothing is left to do, or for as long as that may take. Returns what was seen last.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub async fn settle(connection: &ClusterConnection, desired: &ValidatedTopic, history: &History) -> Result<Option<ObservedTopic>, Error> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let observed = observe(connection, &desired.name).await?;
        if plan(desired, history, observed.as_ref()).actions.is_empty() || Instant::now() >= deadline {
            return Ok(observed);
        }
        sleep(LOOK_AGAIN).await;
    }
}
