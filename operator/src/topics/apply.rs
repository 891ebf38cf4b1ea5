//! Carries a plan out in Kafka, and looks until it is seen there.
//!
//! An answer that did not come is never taken for a yes or a no: the next look decides.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use penstock_kafka::{CommittedOffset, Error, GroupOffset, NewTopic, PerPartition, TopicId, TopicPartition};
use tokio::time::{Instant, sleep};

use super::{
    growth::{self, Grown, first_offsets},
    observe::{ObservedTopic, observe},
    plan::{History, TopicAction, plan},
    reassignment,
    validate::ValidatedTopic,
};
use crate::clusters::ClusterConnection;

/// How long a change may take to be seen on the broker that is asked.
const SETTLE: Duration = Duration::from_secs(10);
/// The pause between two looks at a topic that is changing.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The pause between two attempts to commit in partitions that a group's coordinator does not know yet.
const COMMIT_AGAIN: Duration = Duration::from_millis(200);

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
        TopicAction::Reassign(assignment) => reassignment::reassign(connection, topic, assignment).await,
        TopicAction::CancelReassignment { partitions, .. } => reassignment::cancel(connection, topic, partitions).await,
    }
    .map(|()| Applied::Done)
}

/// Asks whether a topic would be made, and makes none. One that somebody else has made by now is for the next look to tell of.
///
/// # Errors
/// Kafka's refusal; or that no answer came.
pub async fn would_create(connection: &ClusterConnection, new: &NewTopic) -> Result<(), Error> {
    let mut answers = connection.look("CreateTopics", connection.admin.validate_create(std::slice::from_ref(new))).await?;
    match answers.remove(&new.name) {
        None | Some(Ok(()) | Err(Error::TopicExists { .. })) => Ok(()),
        Some(refused) => refused,
    }
}

/// Deletes the topic with this id. One that is gone already is as good as deleted.
///
/// # Errors
/// `TopicIdMismatch` when it is gone and another topic has the name; Kafka's refusal; or that no answer came.
pub async fn delete(connection: &ClusterConnection, topic: &str, id: TopicId) -> Result<(), Error> {
    match connection.topics.delete(topic, id).await {
        Err(Error::UnknownTopic { .. }) => Ok(()),
        answer => answer,
    }
}

/// The groups that have committed something in a topic, with members or without. None: they cannot be asked for now.
pub async fn readers(connection: &ClusterConnection, topic: &str) -> Option<BTreeSet<String>> {
    let admin = &connection.admin;
    let committed = async {
        let groups = connection.look("ListGroups", admin.groups()).await?;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        connection.look("OffsetFetch", admin.offsets_of_groups(&groups)).await
    };
    match committed.await {
        Ok(committed) => Some(growth::readers(topic, committed)),
        Err(error) => {
            tracing::warn!(%error, topic, "which groups read the topic could not be asked");
            None
        }
    }
}

/// Commits for groups without members where they begin in partitions that a topic has got, and returns those for which that is done.
///
/// Not before the topic has them: brokers take offsets of partitions that exist alone. Nor while a group has members, since brokers
/// then take offsets from these alone; they begin at the start of new partitions by the notes beside their offsets.
pub async fn begin_new_partitions(connection: &ClusterConnection, groups: &[String], grown: Grown<'_>) -> Vec<String> {
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let committed = match connection.look("OffsetFetch", connection.admin.offsets_of_groups(&names)).await {
        Ok(committed) => committed,
        Err(error) => {
            tracing::warn!(%error, topic = grown.topic, "what groups have committed could not be read; they begin new partitions by themselves");
            return Vec::new();
        }
    };
    let mut done = Vec::new();
    for (group, offsets) in committed {
        let first = offsets.map(|offsets| first_offsets(grown, &offsets, Timestamp::now())).unwrap_or_default();
        if first.is_empty() {
            continue;
        }
        match commit(connection, &group, &first).await {
            Ok(true) => done.push(group),
            Ok(false) => {}
            Err(error) => {
                tracing::info!(%error, group, topic = grown.topic, "nothing was committed in new partitions; its members begin there by themselves")
            }
        }
    }
    done
}

/// Commits them where nothing is committed and no transaction is open at the time. False: there is nothing of that kind left.
async fn commit(connection: &ClusterConnection, group: &str, offsets: &[GroupOffset]) -> Result<bool, Error> {
    let partitions: Vec<TopicPartition> = offsets.iter().map(|offset| TopicPartition::new(&offset.topic, offset.partition)).collect();
    let deadline = Instant::now() + SETTLE;
    loop {
        // Workers may have come and gone meanwhile.
        let found = connection.look("OffsetFetch", connection.admin.stable_offsets(group, Some(&partitions))).await?;
        let left = without_commits(offsets, &found);
        if left.is_empty() {
            return Ok(false);
        }
        match connection.ask("OffsetCommit", connection.admin.commit_for_idle_group(group, &left)).await {
            Err(Error::UnknownTopic { .. }) if Instant::now() < deadline => sleep(COMMIT_AGAIN).await,
            answer => return answer.map(|()| true),
        }
    }
}

/// Those in partitions for which nothing was found, be it an offset or a reason why that cannot be told.
fn without_commits(offsets: &[GroupOffset], found: &PerPartition<CommittedOffset>) -> Vec<GroupOffset> {
    let is_free = |offset: &&GroupOffset| !found.contains_key(&TopicPartition::new(&offset.topic, offset.partition));
    offsets.iter().filter(is_free).cloned().collect()
}

/// Looks until nothing is left to do but for the number of copies, or for as long as that may take. Returns what was seen last.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub async fn settle(connection: &ClusterConnection, desired: &ValidatedTopic, history: &History) -> Result<Option<ObservedTopic>, Error> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let is_over = Instant::now() >= deadline;
        match observe(connection, &desired.name).await {
            Ok(observed) if is_over || plan(desired, history, observed.as_ref()).actions.is_empty() => return Ok(observed),
            // Some brokers may know of a topic that others do not know of yet.
            Err(error) if is_over || !matches!(error, Error::NotReady { .. }) => return Err(error),
            _ => {}
        }
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_partitions_without_a_commit_get_one() {
        let offsets = [1, 2, 3].map(|partition| GroupOffset::new("orders", partition, 0));
        let at = |partition, found| (TopicPartition::new("orders", partition), found);
        let committed = || Ok(CommittedOffset { offset: 7, metadata: String::new() });
        let unstable = || Err(Error::NotReady { code: 88, message: String::new() });
        for (name, found, expected) in [
            ("nothing is committed", vec![], vec![1, 2, 3]),
            ("a worker was there meanwhile", vec![at(2, committed())], vec![1, 3]),
            ("its transaction is open", vec![at(1, unstable()), at(2, committed())], vec![3]),
            ("all of them", vec![at(1, committed()), at(2, committed()), at(3, unstable())], vec![]),
        ] {
            let left = without_commits(&offsets, &found.into_iter().collect());
            assert_eq!(left.iter().map(|offset| offset.partition).collect::<Vec<_>>(), expected, "{name}");
        }
    }
}
