//! Who is in a group, where from, and which partitions it has: one request to the group's coordinator.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerProtocolAssignment, DescribeGroupsRequest,
    DescribeGroupsResponse,
};

use super::coordinators::{Asking, Coordinators};
use super::groups::group_id;
use super::{decode, outcome};
use crate::consumer::{GroupMember, GroupProtocol};
use crate::error::{Error, Result};
use crate::record::TopicPartition;
use crate::topic::BrokerInfo;

pub(super) const CLASSIC: (ApiKey, i16) = (ApiKey::DescribeGroups, 5);
/// KIP-848.
pub(super) const CONSUMER: (ApiKey, i16) = (ApiKey::ConsumerGroupDescribe, 0);

/// The members of a group of that protocol.
pub(crate) async fn members(
    asking: &Asking<'_>,
    coordinators: &Coordinators,
    group: &str,
    protocol: GroupProtocol,
) -> Result<Vec<GroupMember>> {
    let brokers = coordinators.of(asking, &[group]).await?;
    let unknown = || Error::NotReady { code: 15, message: format!("the group {group} has no coordinator") };
    let (broker, _) = brokers.first().ok_or_else(unknown)?;
    let found = match protocol {
        GroupProtocol::Classic => classic(asking, broker, group).await,
        GroupProtocol::Consumer => consumer(asking, broker, group).await,
    };
    found.inspect_err(|_| coordinators.forget(group))
}

async fn classic(asking: &Asking<'_>, broker: &BrokerInfo, group: &str) -> Result<Vec<GroupMember>> {
    let question = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    let mut answer = asking.ask(broker, CLASSIC, &question).await?;
    let answer: DescribeGroupsResponse = decode(&mut answer, CLASSIC.1)?;
    let mut all = Vec::new();
    for group in answer.groups {
        outcome(group.error_code, None)?;
        for member in group.members {
            all.push(GroupMember { host: host(&member.client_host), partitions: assigned(member.member_assignment)? });
        }
    }
    Ok(all)
}

/// What a member of a classic group was given, as the members themselves write it down: a version, then the assignment. Empty
/// while they have not agreed.
pub(super) fn assigned(mut assignment: Bytes) -> Result<Vec<TopicPartition>> {
    if assignment.len() < 2 {
        return Ok(Vec::new());
    }
    // Every version begins with what the first one is.
    assignment.advance(2);
    let assignment: ConsumerProtocolAssignment = decode(&mut assignment, 0)?;
    let of_topic = |topic: &str, partitions: Vec<i32>| partitions.into_iter().map(|n| TopicPartition::new(topic, n)).collect::<Vec<_>>();
    Ok(assignment.assigned_partitions.into_iter().flat_map(|given| of_topic(&given.topic, given.partitions)).collect())
}

async fn consumer(asking: &Asking<'_>, broker: &BrokerInfo, group: &str) -> Result<Vec<GroupMember>> {
    let question = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
    let mut answer = asking.ask(broker, CONSUMER, &question).await?;
    let answer: ConsumerGroupDescribeResponse = decode(&mut answer, CONSUMER.1)?;
    let mut all = Vec::new();
    for group in answer.groups {
        outcome(group.error_code, group.error_message.map(|message| message.to_string()))?;
        for member in group.members {
            let given = member.assignment.topic_partitions.iter();
            let partitions = given.flat_map(|topic| topic.partitions.iter().map(|n| TopicPartition::new(&**topic.topic_name, *n)));
            all.push(GroupMember { host: host(&member.client_host), partitions: partitions.collect() });
        }
    }
    Ok(all)
}

/// Brokers write an address as Java does: a name, which is empty, and the address behind a slash.
fn host(text: &str) -> String {
    text.rsplit('/').next().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Given;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;
    use crate::wire::Lines;

    #[test]
    fn what_members_wrote_down() {
        let name = TopicName(StrBytes::from_static_str("t"));
        let given = Given::default().with_topic(name).with_partitions(vec![2, 0]);
        for version in [0, 1, 3] {
            let mut written = BytesMut::new();
            written.put_i16(version);
            let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![given.clone()]);
            assignment.encode(&mut written, version).unwrap();
            let expected = vec![TopicPartition::new("t", 2), TopicPartition::new("t", 0)];
            assert_eq!(assigned(written.freeze()).unwrap(), expected, "version {version}");
        }
        assert_eq!(assigned(Bytes::new()).unwrap(), []);
        assert!(assigned(Bytes::from_static(&[0, 0, 0, 0])).is_err());
    }

    #[test]
    fn an_address_is_what_is_behind_the_slash() {
        for (text, address) in
            [("/10.244.0.7", "10.244.0.7"), ("node/10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("/fd00:1", "fd00:1")]
        {
            assert_eq!(host(text), address);
        }
    }

    /// What cannot be written down fails otherwise than what nobody answers.
    #[tokio::test]
    async fn questions_can_be_written_down() {
        let nobody = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: 1, rack: None };
        let lines = Lines::default();
        let asking = Asking { lines: &lines, client_id: "t", broker: &nobody, limit: Duration::from_secs(5) };
        for asked in [classic(&asking, &nobody, "g").await, consumer(&asking, &nobody, "g").await] {
            assert!(matches!(asked, Err(Error::Unreachable { .. })), "{asked:?}");
        }
    }
}
