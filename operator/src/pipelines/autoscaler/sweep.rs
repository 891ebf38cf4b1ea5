//! Asks a Kafka cluster about all pipelines on it: a handful of requests for each broker, whatever their number.
//!
//! What groups have committed is read before the ends of partitions, so that no group is ahead of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use penstock_kafka::{CommittedOffset, Error, PartitionEdges, Peek, PerPartition, PerTopic, TopicDescription, TopicPartition};

use super::subject::Subject;
use crate::clusters::ClusterConnection;

/// What a cluster answered.
pub struct Answers {
    /// The topics that pipelines read.
    pub topics: PerTopic<TopicDescription>,
    /// What each group has committed.
    pub groups: BTreeMap<String, Result<PerPartition<CommittedOffset>, Error>>,
    /// The ends of their partitions.
    pub edges: PerPartition<PartitionEdges>,
    /// The first retry in each partition that is not due yet.
    pub due: PerPartition<Option<i64>>,
    /// Groups that share their partitions out anew, as far as that is known: all, where a broker does not tell.
    pub rebalancing: BTreeSet<String>,
    /// What stands where groups go on, with the offset that was looked at, for each group.
    pub looks: BTreeMap<String, Looks>,
    /// When they were asked.
    pub at: Timestamp,
}

/// What stands where a group goes on: the offset at which it does, the end at that time, and what was seen.
pub type Looks = BTreeMap<TopicPartition, (i64, i64, Peek)>;

/// Asks about these pipelines. `before`: what was seen of where a group goes on, by the uid of its pipeline.
///
/// # Errors
/// Kafka does not answer or refuses.
pub async fn sweep(
    connection: &ClusterConnection,
    subjects: &[(String, Subject)],
    before: impl Fn(&str) -> Looks,
) -> Result<Answers, Error> {
    let admin = &connection.admin;
    let names: BTreeSet<&str> = subjects.iter().flat_map(|(_, subject)| subject.every_topic()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let groups: BTreeSet<&str> = subjects.iter().map(|(_, subject)| subject.group.as_str()).collect();
    let groups: Vec<&str> = groups.into_iter().collect();

    let topics = connection.look("DescribeTopics", admin.describe(&names)).await?;
    let rebalancing = connection.look("ListConsumerGroups", admin.rebalancing_groups()).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "which groups share their partitions out anew is not known: all may");
        groups.iter().map(|group| (*group).to_owned()).collect()
    });
    let committed = connection.look("OffsetFetch", admin.offsets_of_groups(&groups)).await?;
    let at = Timestamp::now();
    let retries = due_since(subjects, &topics, at);
    let due = match retries.is_empty() {
        true => PerPartition::new(),
        false => connection.look("ListOffsets", admin.offsets_since(&retries)).await?,
    };
    let partitions: Vec<TopicPartition> = names.iter().flat_map(|name| partitions_of(&topics, name)).collect();
    let edges = connection.look("ListOffsets", admin.edges(&partitions)).await?;
    let mut answers = Answers { topics, groups: committed, edges, due, rebalancing, looks: BTreeMap::new(), at };
    look(connection, subjects, before, &mut answers).await;
    Ok(answers)
}

/// The partitions of a topic that was found.
pub fn partitions_of(topics: &PerTopic<TopicDescription>, name: &str) -> Vec<TopicPartition> {
    let found = topics.get(name).and_then(|topic| topic.as_ref().ok());
    found.into_iter().flat_map(|topic| &topic.partitions).map(|partition| TopicPartition::new(name, partition.id)).collect()
}

/// How old a retry in each partition must be to be due, as the time before which it was written. Each topic has one delay.
fn due_since(subjects: &[(String, Subject)], topics: &PerTopic<TopicDescription>, at: Timestamp) -> BTreeMap<TopicPartition, i64> {
    let tiers = subjects.iter().flat_map(|(_, subject)| &subject.tiers);
    let since = |delay: &Duration| at.as_millisecond().saturating_sub(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
    tiers.flat_map(|(topic, delay)| partitions_of(topics, topic).into_iter().map(move |partition| (partition, since(delay)))).collect()
}

/// Looks at what stands where groups go on, wherever that may be other than it was. What was not seen counts as records that wait.
async fn look(connection: &ClusterConnection, subjects: &[(String, Subject)], before: impl Fn(&str) -> Looks, answers: &mut Answers) {
    let mut kept: BTreeMap<String, Looks> = BTreeMap::new();
    let mut wanted: Vec<Wanted> = Vec::new();
    for (uid, subject) in subjects {
        let Some(Ok(committed)) = answers.groups.get(&subject.group) else { continue };
        let mut earlier = before(uid);
        for (partition, offset) in committed.iter().filter_map(|(partition, found)| Some((partition, found.as_ref().ok()?.offset))) {
            let Some(Ok(edges)) = answers.edges.get(partition) else { continue };
            if offset < edges.start || offset >= edges.stable_end {
                continue;
            }
            let earlier = earlier.remove(partition);
            let looked_at = earlier.map(|(_, end, _)| end);
            let known = earlier.filter(|(at, ..)| *at == offset);
            let from = known.map_or(offset, |(.., peek)| peek.empty_until);
            if let Some(known) = known {
                kept.entry(subject.group.clone()).or_default().insert(partition.clone(), known);
                // A record that was seen there stays; where there was none, more may have come.
                if known.2.timestamp_ms.is_some() || known.1 == edges.stable_end {
                    continue;
                }
            }
            if from < edges.stable_end {
                let group = subject.group.as_str();
                wanted.push(Wanted { group, partition: partition.clone(), offset, from, end: edges.stable_end, looked_at });
            }
        }
    }
    let (questions, asked) = share_out(wanted);
    let found = connection.look("Fetch", connection.admin.peek(&questions)).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "what stands where groups go on was not seen");
        PerPartition::new()
    });
    for Wanted { group, partition, offset, end, .. } in asked {
        if let Some(Ok(peek)) = found.get(&partition) {
            kept.entry(group.to_owned()).or_default().insert(partition, (offset, end, *peek));
        }
    }
    answers.looks = kept;
}

/// A look that a group would have at a partition.
struct Wanted<'a> {
    group: &'a str,
    partition: TopicPartition,
    /// Where the group goes on.
    offset: i64,
    /// Where to look.
    from: i64,
    end: i64,
    /// Where the partition ended at the look of it that is kept.
    looked_at: Option<i64>,
}

/// What is looked at, and for whom. A partition is looked at in one place at a time: of two groups that go on at other offsets of it the
/// one without a look goes first, then the one whose look is the older.
fn share_out(mut wanted: Vec<Wanted<'_>>) -> (BTreeMap<TopicPartition, i64>, Vec<Wanted<'_>>) {
    wanted.sort_by_key(|wanted| wanted.looked_at);
    let mut questions: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    wanted.retain(|wanted| *questions.entry(wanted.partition.clone()).or_insert(wanted.from) == wanted.from);
    (questions, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_take_turns_at_a_partition() {
        let wanted =
            |group, from, looked_at| Wanted { group, partition: TopicPartition::new("orders", 0), offset: from, from, end: 100, looked_at };
        for (name, all, expected) in [
            ("the first of two that are as good", vec![wanted("a", 5, None), wanted("b", 7, None)], vec!["a"]),
            ("at the same offset", vec![wanted("a", 5, None), wanted("b", 5, Some(90))], vec!["a", "b"]),
            ("the one without a look", vec![wanted("a", 5, Some(90)), wanted("b", 7, None)], vec!["b"]),
            ("the one whose look is older", vec![wanted("a", 5, Some(95)), wanted("b", 7, Some(90))], vec!["b"]),
        ] {
            let (questions, asked) = share_out(all);
            assert_eq!(asked.iter().map(|wanted| wanted.group).collect::<Vec<_>>(), expected, "{name}");
            assert_eq!(questions.into_values().collect::<Vec<_>>(), [asked[0].from], "{name}");
        }
    }
}
