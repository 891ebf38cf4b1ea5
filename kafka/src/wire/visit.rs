//! Comes into a classic group without members and leaves it again, so that its time without members begins anew.
//!
//! Brokers drop all that such a group has committed when its last member has been gone for `offsets.retention.minutes`; what is
//! committed meanwhile changes nothing about that (KIP-211). In groups of KIP-848, and in those that never had a member, each
//! offset is kept by itself from when it was committed: nobody need come.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ApiKey, ConsumerProtocolSubscription, DescribeGroupsRequest, DescribeGroupsResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::coordinators::{Asking, Coordinators};
use super::groups::group_id;
use super::{decode, outcome, protocol};
use crate::error::Result;
use crate::topic::BrokerInfo;

const DESCRIBE: (ApiKey, i16) = (ApiKey::DescribeGroups, 5);
const JOIN: (ApiKey, i16) = (ApiKey::JoinGroup, 5);
const LEAVE: (ApiKey, i16) = (ApiKey::LeaveGroup, 3);
/// KIP-394: whoever joins is given a name first, and then joins by it.
const MEMBER_ID_REQUIRED: i16 = 79;
/// The type of the groups of consumers.
const CONSUMERS: &str = "consumer";
/// How members may share out what they read. A worker that starts just then must know one of them.
const SHARING: [&str; 2] = ["cooperative-sticky", "range"];
/// For how long a broker keeps a member that does not leave. Few are set to refuse that.
const SESSION: Duration = Duration::from_secs(10);
/// How much longer the answer may take: a broker has the first member wait for others (`group.initial.rebalance.delay.ms`, 3 s
/// unless set otherwise).
const INITIAL_DELAY: Duration = Duration::from_secs(10);

/// Comes and goes, where that is what the time is counted from and nobody else is there.
pub(crate) async fn visit(asking: &Asking<'_>, coordinators: &Coordinators, group: &str) -> Result<()> {
    let broker = coordinators.of_one(asking, group).await?;
    let visited = async { if is_left(asking, &broker, group).await? { come_and_go(asking, &broker, group).await } else { Ok(()) } };
    visited.await.inspect_err(|_| coordinators.forget(group))
}

async fn is_left(asking: &Asking<'_>, broker: &BrokerInfo, group: &str) -> Result<bool> {
    let question = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    let mut answer = asking.ask(broker, DESCRIBE, &question).await?;
    let answer: DescribeGroupsResponse = decode(&mut answer, DESCRIBE.1)?;
    answer.groups.iter().try_for_each(|group| outcome(group.error_code, None))?;
    Ok(answer.groups.iter().any(was_left_by_members))
}

/// Whether it is a classic group that had members and has none. Of KIP-848 groups it is said here that there are none.
fn was_left_by_members(group: &DescribedGroup) -> bool {
    &*group.protocol_type == CONSUMERS && &*group.group_state == "Empty"
}

async fn come_and_go(asking: &Asking<'_>, broker: &BrokerInfo, group: &str) -> Result<()> {
    let named = join(asking, broker, group, &StrBytes::default()).await?;
    if named.error_code != MEMBER_ID_REQUIRED {
        outcome(named.error_code, None)?;
    }
    let joined = match named.error_code {
        0 => Ok(()),
        _ => join(asking, broker, group, &named.member_id).await.and_then(|joined| outcome(joined.error_code, None)),
    };
    // However that went: nobody is to wait for a member that does nothing.
    let left = leave(asking, broker, group, named.member_id).await;
    joined.and(left)
}

async fn join(asking: &Asking<'_>, broker: &BrokerInfo, group: &str, member: &StrBytes) -> Result<JoinGroupResponse> {
    let milliseconds = i32::try_from(SESSION.as_millis()).unwrap_or(i32::MAX);
    let subscription = nothing()?;
    let sharing = |name| JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str(name)).with_metadata(subscription.clone());
    let question = JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(milliseconds)
        .with_rebalance_timeout_ms(milliseconds)
        .with_member_id(member.clone())
        .with_protocol_type(StrBytes::from_static_str(CONSUMERS))
        .with_protocols(SHARING.map(sharing).to_vec());
    let limit = asking.limit + INITIAL_DELAY;
    let mut answer = asking.lines.ask(broker, asking.client_id, JOIN, &question, limit).await?;
    decode(&mut answer, JOIN.1)
}

/// What a member says that wants to read nothing, as members write that down: a version, then the topics.
fn nothing() -> Result<Bytes> {
    let mut written = BytesMut::new();
    written.put_i16(0);
    ConsumerProtocolSubscription::default().encode(&mut written, 0).map_err(|error| protocol(&error))?;
    Ok(written.freeze())
}

async fn leave(asking: &Asking<'_>, broker: &BrokerInfo, group: &str, member: StrBytes) -> Result<()> {
    let member = MemberIdentity::default().with_member_id(member);
    let question = LeaveGroupRequest::default().with_group_id(group_id(group)).with_members(vec![member]);
    let mut answer = asking.ask(broker, LEAVE, &question).await?;
    let answer: LeaveGroupResponse = decode(&mut answer, LEAVE.1)?;
    outcome(answer.error_code, None)?;
    answer.members.iter().try_for_each(|member| outcome(member.error_code, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::wire::Lines;

    #[test]
    fn only_groups_that_members_have_left_are_visited() {
        let group = |kind, state| {
            let text = StrBytes::from_static_str;
            DescribedGroup::default().with_protocol_type(text(kind)).with_group_state(text(state))
        };
        for (kind, state, expected) in [
            ("consumer", "Empty", true),
            ("consumer", "Stable", false),
            ("consumer", "PreparingRebalance", false),
            // It never had a member; it is one of Kafka Connect; it is another broker's, or of KIP-848.
            ("", "Empty", false),
            ("connect", "Empty", false),
            ("", "Dead", false),
        ] {
            assert_eq!(was_left_by_members(&group(kind, state)), expected, "{kind} {state}");
        }
    }

    /// What cannot be written down fails otherwise than what nobody answers.
    #[tokio::test]
    async fn questions_can_be_written_down() {
        let nobody = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: 1, rack: None };
        let lines = Lines::default();
        let asking = Asking { lines: &lines, client_id: "t", broker: &nobody, limit: Duration::from_secs(5) };
        let described = is_left(&asking, &nobody, "g").await.map(drop);
        let joined = join(&asking, &nobody, "g", &StrBytes::default()).await.map(drop);
        let left = leave(&asking, &nobody, "g", StrBytes::from_static_str("m")).await;
        for error in [described, joined, left].map(Result::unwrap_err) {
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        }
    }
}
