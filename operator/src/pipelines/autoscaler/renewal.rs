//! Commits the offsets of a group without members again, so that brokers do not drop them.

use penstock_kafka::{CommittedOffset, GroupOffset, TopicPartition};

use super::{subject::Subject, sweep::Answers};
use crate::clusters::ClusterConnection;

/// Commits what the group of a pipeline has committed, with what stands beside it. True: that is done, or there is nothing to commit.
/// A group that has members by now refuses, and needs it no more.
pub async fn renew(connection: &ClusterConnection, subject: &Subject, answers: &Answers) -> bool {
    let Some(Ok(committed)) = answers.groups.get(&subject.group) else { return false };
    let offsets: Vec<GroupOffset> =
        committed.iter().filter_map(|(partition, found)| Some(again(partition, found.as_ref().ok()?))).collect();
    if offsets.is_empty() {
        return true;
    }
    let renewed = connection.ask("OffsetCommit", connection.admin.commit_for_idle_group(&subject.group, &offsets)).await;
    match &renewed {
        Ok(()) => tracing::info!(group = subject.group, partitions = offsets.len(), "renewed the offsets of a group without members"),
        Err(error) => tracing::warn!(%error, group = subject.group, "the offsets of a group without members were not renewed"),
    }
    renewed.is_ok()
}

fn again(partition: &TopicPartition, found: &CommittedOffset) -> GroupOffset {
    GroupOffset { metadata: Some(found.metadata.as_str().into()), ..GroupOffset::new(&partition.topic, partition.partition, found.offset) }
}
