//! What many groups have committed, and which of them are sharing their partitions out anew: a request for each broker, however
//! many groups there are.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    ApiKey, GroupId, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::coordinators::{Asking, Coordinators, GROUPS, no_coordinator};
use super::{decode, is_too_large, outcome};
use crate::consumer::{CommittedOffset, GroupOffset};
use crate::error::{Error, Result};
use crate::record::TopicPartition;
use crate::topic::{BrokerInfo, PerPartition};

/// KIP-709: many groups at once.
const FETCH: (ApiKey, i16) = (ApiKey::OffsetFetch, 8);
/// KIP-518: by state.
const LIST: (ApiKey, i16) = (ApiKey::ListGroups, 4);
const COMMIT: (ApiKey, i16) = (ApiKey::OffsetCommit, 8);
/// The states of groups that have members.
pub(crate) const LIVE: [&str; 5] = ["Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"];
/// Those, and that of groups without members whose offsets are kept.
pub(crate) const KNOWN: [&str; 6] = ["Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling", "Empty"];
/// The states in which partitions change hands: of classic groups, and of those of KIP-848.
pub(crate) const REBALANCING: [&str; 4] = ["PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"];

/// What groups have committed; those in open transactions do not count. A group that does not exist has committed nothing. A group
/// that is not among the answers has no coordinator at present.
pub(crate) async fn offsets(
    asking: &Asking<'_>,
    coordinators: &Coordinators,
    groups: &[&str],
) -> Result<BTreeMap<String, Result<PerPartition<CommittedOffset>>>> {
    let brokers = coordinators.of(asking, groups).await?;
    Ok(offsets_from(asking, coordinators, &brokers).await)
}

/// Which of these groups have committed something of the topic.
///
/// # Errors
/// What one of them has committed cannot be told: it is never taken for nothing.
pub(super) async fn reading(asking: &Asking<'_>, coordinators: &Coordinators, groups: &[&str], topic: &str) -> Result<BTreeSet<String>> {
    let (brokers, without) = coordinators.find(asking, groups).await?;
    let mut answers = offsets_from(asking, coordinators, &brokers).await;
    answers.extend(without.into_iter().map(|(group, error)| (group, Err(error))));
    readers(groups, answers, topic)
}

fn readers(groups: &[&str], mut answers: BTreeMap<String, Result<PerPartition<CommittedOffset>>>, topic: &str) -> Result<BTreeSet<String>> {
    let mut reading = BTreeSet::new();
    for group in groups {
        let committed = answers.remove(*group).unwrap_or_else(|| Err(no_coordinator(group)))?;
        if committed.keys().any(|partition| partition.topic == topic) {
            reading.insert((*group).to_owned());
        }
    }
    Ok(reading)
}

async fn offsets_from(
    asking: &Asking<'_>,
    coordinators: &Coordinators,
    brokers: &[(BrokerInfo, Vec<String>)],
) -> BTreeMap<String, Result<PerPartition<CommittedOffset>>> {
    let questions = brokers.iter().flat_map(|(broker, groups)| groups.chunks(GROUPS).map(move |some| (broker, some)));
    let answers = join_all(questions.map(|(broker, some)| fetch_in_parts(asking, broker, some))).await;
    let mut all = BTreeMap::new();
    for (asked, answer) in answers.into_iter().flatten() {
        match answer {
            Ok(found) => all.extend(found.into_iter().map(|group| (group.group_id.to_string(), committed(group)))),
            Err(error) => all.extend(asked.iter().map(|group| (group.clone(), Err(error.clone())))),
        }
    }
    // Another broker may coordinate them by now.
    all.iter().filter(|(_, answer)| answer.is_err()).for_each(|(group, _)| coordinators.forget(group));
    all
}

/// Asks in halves wherever the answer would be too large.
async fn fetch_in_parts<'a>(
    asking: &Asking<'_>,
    broker: &BrokerInfo,
    groups: &'a [String],
) -> Vec<(&'a [String], Result<Vec<OffsetFetchResponseGroup>>)> {
    let (mut left, mut answers) = (vec![groups], Vec::new());
    while let Some(some) = left.pop() {
        match fetch(asking, broker, some).await {
            Err(error) if is_too_large(&error) && some.len() > 1 => left.extend(<[_; 2]>::from(some.split_at(some.len() / 2))),
            answer => answers.push((some, answer)),
        }
    }
    answers
}

async fn fetch(asking: &Asking<'_>, broker: &BrokerInfo, groups: &[String]) -> Result<Vec<OffsetFetchResponseGroup>> {
    let named = |group: &String| OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None);
    ask_offsets(asking, broker, &OffsetFetchRequest::default().with_groups(groups.iter().map(named).collect())).await
}

async fn ask_offsets(asking: &Asking<'_>, broker: &BrokerInfo, question: &OffsetFetchRequest) -> Result<Vec<OffsetFetchResponseGroup>> {
    let mut answer = asking.ask(broker, FETCH, question).await?;
    let answer: OffsetFetchResponse = decode(&mut answer, FETCH.1)?;
    Ok(answer.groups)
}

/// What a group has committed in these partitions, or wherever it has where none are named. KIP-447: a partition that an open
/// transaction has an offset for is an error. Of those that are not named, only such with a commit are looked at.
pub(crate) async fn stable_offsets(
    asking: &Asking<'_>,
    coordinators: &Coordinators,
    group: &str,
    partitions: Option<&[TopicPartition]>,
) -> Result<PerPartition<CommittedOffset>> {
    let broker = coordinators.of_one(asking, group).await?;
    let answer = ask_offsets(asking, &broker, &stable_question(group, partitions)).await;
    // No answer is not the same as nothing committed.
    let unanswered = || Error::NotReady { code: 15, message: format!("the coordinator tells nothing of the group {group}") };
    let found = answer.and_then(|mut groups| committed(groups.pop().ok_or_else(unanswered)?));
    found.inspect_err(|_| coordinators.forget(group))
}

fn stable_question(group: &str, partitions: Option<&[TopicPartition]>) -> OffsetFetchRequest {
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        let topic = |(name, indexes): (&str, Vec<i32>)| {
            OffsetFetchRequestTopics::default().with_name(topic_name(name)).with_partition_indexes(indexes)
        };
        topics.into_iter().map(topic).collect()
    });
    let group = OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(topics);
    OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(true)
}

fn committed(group: OffsetFetchResponseGroup) -> Result<PerPartition<CommittedOffset>> {
    outcome(group.error_code, None)?;
    let mut all = BTreeMap::new();
    for topic in group.topics {
        let name = topic.name.to_string();
        for found in topic.partitions {
            let partition = TopicPartition::new(&name, found.partition_index);
            if let Err(error) = outcome(found.error_code, None) {
                all.insert(partition, Err(error));
            } else if found.committed_offset >= 0 {
                let metadata = found.metadata.map(|text| text.to_string()).unwrap_or_default();
                all.insert(partition, Ok(CommittedOffset { offset: found.committed_offset, metadata }));
            }
        }
    }
    Ok(all)
}

/// The groups in one of these states. All brokers must be asked: each tells of those that it coordinates.
pub(crate) async fn in_states(asking: &Asking<'_>, brokers: &[BrokerInfo], states: &[&'static str]) -> Result<BTreeSet<String>> {
    Ok(listed(asking, brokers, states).await?.into_keys().collect())
}

/// The same, with the protocol of each.
pub(super) async fn listed(asking: &Asking<'_>, brokers: &[BrokerInfo], states: &[&'static str]) -> Result<BTreeMap<String, String>> {
    let states = states.iter().map(|state| StrBytes::from_static_str(state)).collect();
    let question = &ListGroupsRequest::default().with_states_filter(states);
    let answers = join_all(brokers.iter().map(|broker| async move { asking.ask(broker, LIST, question).await })).await;
    let mut groups = BTreeMap::new();
    for answer in answers {
        let answer: ListGroupsResponse = decode(&mut answer?, LIST.1)?;
        outcome(answer.error_code, None)?;
        groups.extend(answer.groups.into_iter().map(|group| (group.group_id.to_string(), group.protocol_type.to_string())));
    }
    Ok(groups)
}

/// Commits offsets for a group without members. One that has some refuses.
pub(crate) async fn commit(asking: &Asking<'_>, coordinators: &Coordinators, group: &str, offsets: &[GroupOffset]) -> Result<()> {
    let broker = coordinators.of_one(asking, group).await?;
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for offset in offsets {
        let metadata = offset.metadata.as_ref().map(|text| StrBytes::from_string(text.to_string()));
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition)
            .with_committed_offset(offset.next_offset)
            .with_committed_metadata(metadata);
        topics.entry(&offset.topic).or_default().push(partition);
    }
    let topic = |(name, partitions): (&str, Vec<OffsetCommitRequestPartition>)| {
        OffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions)
    };
    let question = OffsetCommitRequest::default().with_group_id(group_id(group)).with_topics(topics.into_iter().map(topic).collect());
    let mut answer = asking.ask(&broker, COMMIT, &question).await?;
    let answer: OffsetCommitResponse = decode(&mut answer, COMMIT.1)?;
    let mut results = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| outcome(partition.error_code, None));
    results.try_for_each(|result| result).inspect_err(|_| coordinators.forget(group))
}

pub(super) fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kafka_protocol::messages::find_coordinator_response::Coordinator;
    use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponsePartitions, OffsetFetchResponseTopics};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::wire::Lines;
    use crate::wire::coordinators::coordinator;

    #[test]
    fn what_a_group_has_committed() {
        let partition = |index, offset, error: i16| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_metadata(Some(StrBytes::from_static_str("note")))
                .with_error_code(error)
        };
        let topic = OffsetFetchResponseTopics::default().with_name(TopicName(StrBytes::from_static_str("t"))).with_partitions(vec![
            partition(0, 7, 0),
            partition(1, -1, 0),
            partition(2, -1, 29),
            partition(3, -1, 88),
        ]);
        let group = |error| OffsetFetchResponseGroup::default().with_topics(vec![topic.clone()]).with_error_code(error);
        let offsets = committed(group(0)).unwrap();
        let found: Vec<_> = offsets.iter().map(|(partition, found)| (partition.partition, found.as_ref().ok().map(|c| c.offset))).collect();
        assert_eq!(
            found,
            [(0, Some(7)), (2, None), (3, None)],
            "nothing committed is no answer; no right to know and a transaction are errors"
        );
        assert!(committed(group(16)).is_err());
    }

    #[test]
    fn a_group_that_cannot_be_asked_is_not_taken_for_one_that_reads_nothing() {
        type Answer = Result<PerPartition<CommittedOffset>>;
        let of = |topic: &str| -> Answer {
            Ok([(TopicPartition::new(topic, 0), Ok(CommittedOffset { offset: 7, metadata: String::new() }))].into())
        };
        let denied =
            || coordinator(&Coordinator::default().with_key(StrBytes::from_static_str("b")).with_error_code(30)).map(|_| BTreeMap::new());
        let moving = || coordinator(&Coordinator::default().with_error_code(15)).map(|_| BTreeMap::new());
        let nowhere = || coordinator(&Coordinator::default().with_port(-1)).map(|_| BTreeMap::new());
        type Check = fn(&Result<BTreeSet<String>>) -> bool;
        let rows: [(&str, Option<Answer>, Check); 6] = [
            ("reads it", Some(of("t")), |found| found.as_ref().is_ok_and(|groups| groups.len() == 2)),
            ("reads another", Some(of("u")), |found| found.as_ref().is_ok_and(|groups| groups.len() == 1)),
            ("not among the answers", None, |found| matches!(found, Err(Error::NotReady { .. }))),
            ("its coordinator comes", Some(moving()), |found| matches!(found, Err(Error::NotReady { .. }))),
            ("its coordinator has no address", Some(nowhere()), |found| matches!(found, Err(Error::NotReady { .. }))),
            ("may not be read", Some(denied()), |found| matches!(found, Err(Error::Authorization { .. }))),
        ];
        for (name, answer, expected) in rows {
            let answers = [("a".to_owned(), of("t"))].into_iter().chain(answer.map(|answer| ("b".to_owned(), answer))).collect();
            let found = readers(&["a", "b"], answers, "t");
            assert!(expected(&found), "{name}: {found:?}");
        }
    }

    #[test]
    fn open_transactions_are_asked_about() {
        let partitions = [("t", 4), ("u", 0), ("t", 5)].map(|(topic, partition)| TopicPartition::new(topic, partition));
        let question = stable_question("g", Some(&partitions));
        let topics: Vec<(&str, &[i32])> = question
            .groups
            .iter()
            .flat_map(|group| group.topics.iter().flatten())
            .map(|topic| (&**topic.name, &*topic.partition_indexes))
            .collect();
        assert!(question.require_stable);
        assert_eq!(topics, [("t", &[4, 5][..]), ("u", &[0])]);
        assert_eq!(stable_question("g", None).groups.first().map(|group| group.topics.clone()), Some(None), "all of them");
    }

    /// Says of a group that it has committed nothing; an answer about more than two is too large, and one about `huge` always.
    async fn answer(listener: tokio::net::TcpListener, names: &[String]) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(size) = stream.read_i32().await {
                let mut question = vec![0; usize::try_from(size).unwrap()];
                stream.read_exact(&mut question).await.unwrap();
                let is_asked = |name: &&String| question.windows(name.len()).any(|bytes| bytes == name.as_bytes());
                let asked: Vec<&String> = names.iter().filter(is_asked).collect();
                if asked.len() > 2 || asked.iter().any(|name| *name == "huge") {
                    stream.write_i32(i32::MAX).await.unwrap();
                    break;
                }
                // The number of the question and no tags, no throttle, the groups, no tags.
                let mut body = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, u8::try_from(asked.len() + 1).unwrap()];
                for name in asked {
                    body.push(u8::try_from(name.len() + 1).unwrap());
                    body.extend(name.as_bytes());
                    // No topics, no error, no tags.
                    body.extend([1, 0, 0, 0]);
                }
                body.push(0);
                stream.write_i32(i32::try_from(body.len()).unwrap()).await.unwrap();
                stream.write_all(&body).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_asked_for_in_parts() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port, rack: None };
        let names: Vec<String> = ["a-1", "a-2", "a-3", "huge", "a-4", "a-5", "a-6"].map(str::to_owned).to_vec();
        let (lines, of_broker) = (Lines::default(), names.clone());
        tokio::spawn(async move { answer(listener, &of_broker).await });
        let asking = Asking { lines: &lines, client_id: "t", broker: &broker, limit: Duration::from_secs(5) };
        let answers = offsets_from(&asking, &Coordinators::default(), &[(broker.clone(), names)]).await;
        assert_eq!(answers.len(), 7);
        for (name, answer) in answers {
            assert_eq!(answer.is_err_and(|error| is_too_large(&error)), name == "huge", "{name}");
        }
    }

    /// What cannot be written down fails otherwise than what nobody answers.
    #[tokio::test]
    async fn questions_can_be_written_down() {
        let nobody = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: 1, rack: None };
        let (lines, limit) = (Lines::default(), Duration::from_secs(5));
        let asking = Asking { lines: &lines, client_id: "t", broker: &nobody, limit };
        let known = Coordinators::default();
        let unknown = offsets(&asking, &known, &["g"]).await.unwrap_err();
        known.learn([("g".to_owned(), nobody.clone())], Instant::now());
        let fetched = offsets(&asking, &known, &["g"]).await.unwrap().remove("g").unwrap().unwrap_err();
        known.learn([("g".to_owned(), nobody.clone())], Instant::now());
        known.learn([("g".to_owned(), nobody.clone())], Instant::now());
        let partition = TopicPartition::new("t", 0);
        let stable = stable_offsets(&asking, &known, "g", Some(std::slice::from_ref(&partition))).await.unwrap_err();
        known.learn([("g".to_owned(), nobody.clone())], Instant::now());
        let offset = GroupOffset { metadata: Some("note".into()), ..GroupOffset::new("t", 0, 7) };
        let committed = commit(&asking, &known, "g", &[offset]).await.unwrap_err();
        let listed = in_states(&asking, std::slice::from_ref(&nobody), &REBALANCING).await.unwrap_err();
        for error in [unknown, fetched, stable, committed, listed] {
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        }
    }
}
