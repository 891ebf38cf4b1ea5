//! Asks a Kafka cluster about all pipelines on it: a handful of requests for each broker, whatever their number.
//!
//! What groups have committed is read before the ends of partitions, so that no group is ahead of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::try_join;
use jiff::Timestamp;
use penstock_kafka::{BrokerInfo, CommittedOffset, Error, PerPartition, PerTopic, StableRange, TopicDescription, TopicPartition};

use super::{
    looks::{self, Looks, Wanted},
    subject::Subject,
};
use crate::clusters::ClusterConnection;

/// What a cluster answered.
pub struct Answers {
    /// The topics that pipelines read.
    pub topics: PerTopic<TopicDescription>,
    /// What each group has committed.
    pub groups: BTreeMap<String, Result<PerPartition<CommittedOffset>, Error>>,
    /// What may be read of their partitions.
    pub ranges: PerPartition<StableRange>,
    /// Where logs end, records of open transactions included, of partitions in which a group is beyond what may be read.
    pub ends: PerPartition<i64>,
    /// The first retry in each partition that is not due yet.
    pub due: PerPartition<Option<i64>>,
    /// Groups that share their partitions out anew, as far as that is known: all, where a broker does not tell.
    pub rebalancing: BTreeSet<String>,
    /// What stands where each group goes on.
    pub looks: BTreeMap<String, Looks>,
    /// When they were asked.
    pub at: Timestamp,
}

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

    let (topics, brokers) = connection.look("DescribeTopics", try_join(admin.describe(&names), admin.live_brokers())).await?;
    let rebalancing = connection.look("ListConsumerGroups", admin.rebalancing_groups(&brokers)).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "which groups share their partitions out anew is not known: all may");
        groups.iter().map(|group| (*group).to_owned()).collect()
    });
    let committed = connection.look("OffsetFetch", admin.offsets_of_groups_via(&brokers, &groups)).await?;
    let at = Timestamp::now();
    let retries = due_since(subjects, &topics, at);
    let due = match retries.is_empty() {
        true => PerPartition::new(),
        false => connection.look("ListOffsets", admin.offsets_since(&retries)).await?,
    };
    let partitions: Vec<TopicPartition> = names.iter().flat_map(|name| partitions_of(&topics, name)).collect();
    let ranges = connection.look("ListOffsets", admin.stable_ranges(&partitions)).await?;
    let beyond = beyond(&committed, &ranges);
    let ends = match beyond.is_empty() {
        true => PerPartition::new(),
        false => connection.look("ListOffsets", admin.ends(&beyond)).await?,
    };
    let mut answers = Answers { topics, groups: committed, ranges, ends, due, rebalancing, looks: BTreeMap::new(), at };
    let retries: BTreeSet<&str> = subjects.iter().flat_map(|(_, subject)| &subject.tiers).map(|(topic, _)| topic.as_str()).collect();
    answers.looks = look(connection, &brokers, &retries, &answers, looks::plan(subjects, before, &answers)).await;
    Ok(answers)
}

/// The partitions of a topic that was found.
pub fn partitions_of(topics: &PerTopic<TopicDescription>, name: &str) -> Vec<TopicPartition> {
    let found = topics.get(name).and_then(|topic| topic.as_ref().ok());
    found.into_iter().flat_map(|topic| &topic.partitions).map(|partition| TopicPartition::new(name, partition.id)).collect()
}

/// Partitions in which a group is beyond what may be read: it has read what a transaction is still to commit, or the log was cut.
fn beyond(
    groups: &BTreeMap<String, Result<PerPartition<CommittedOffset>, Error>>,
    ranges: &PerPartition<StableRange>,
) -> Vec<TopicPartition> {
    let end = |partition: &TopicPartition| Some(ranges.get(partition)?.as_ref().ok()?.end);
    let commits = groups.values().flatten().flatten().filter_map(|(partition, found)| Some((partition, found.as_ref().ok()?.offset)));
    let beyond = commits.filter(|(partition, offset)| end(partition).is_some_and(|end| *offset > end));
    beyond.map(|(partition, _)| partition.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// How old a retry in each partition must be to be due, as the time before which it was written. Each topic has one delay.
fn due_since(subjects: &[(String, Subject)], topics: &PerTopic<TopicDescription>, at: Timestamp) -> BTreeMap<TopicPartition, i64> {
    let tiers = subjects.iter().flat_map(|(_, subject)| &subject.tiers);
    let since = |delay: &Duration| at.as_millisecond().saturating_sub(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
    tiers.flat_map(|(topic, delay)| partitions_of(topics, topic).into_iter().map(move |partition| (partition, since(delay)))).collect()
}

/// Looks at what stands where groups go on, wherever that may be other than it was. What was not seen counts as records that wait.
/// `retries`: the topics of those whose headers say when they are due.
async fn look(
    connection: &ClusterConnection,
    brokers: &[BrokerInfo],
    retries: &BTreeSet<&str>,
    answers: &Answers,
    (mut known, wanted): (BTreeMap<String, Looks>, Vec<Wanted<'_>>),
) -> BTreeMap<String, Looks> {
    let (questions, asked) = looks::share_out(wanted);
    let peek = async { Ok(connection.admin.peek(brokers, &answers.topics, &questions, retries).await) };
    match connection.look("Fetch", peek).await {
        Ok(found) => looks::add(&mut known, asked, &found, answers.at),
        Err(error) => tracing::debug!(%error, "what stands where groups go on was not seen"),
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_asked_for_only_where_a_group_is_beyond_them() {
        let at = |n: i32, offset: i64| (TopicPartition::new("orders", n), Ok(CommittedOffset { offset, metadata: String::new() }));
        let range = |n: i32, end: i64| (TopicPartition::new("orders", n), Ok(StableRange { start: 0, end }));
        let ranges = PerPartition::from([range(0, 10), range(1, 10), (TopicPartition::new("orders", 2), Err(Error::Closed))]);
        let groups = |offsets: [i64; 3]| {
            let one = Ok(PerPartition::from([at(0, offsets[0]), at(1, offsets[1]), at(2, offsets[2])]));
            BTreeMap::from([("a".to_owned(), one.clone()), ("b".to_owned(), one), ("c".to_owned(), Err(Error::Closed))])
        };
        for (offsets, expected) in [([9, 10, 90], &[][..]), ([11, 10, 0], &[0]), ([12, 99, 0], &[0, 1])] {
            let expected: Vec<_> = expected.iter().map(|n| TopicPartition::new("orders", *n)).collect();
            assert_eq!(beyond(&groups(offsets), &ranges), expected, "{offsets:?}");
        }
    }
}
