//! Which groups with members read a topic: those that have committed something of it, and those that have not yet, but whose members have
//! subscribed to it or were given it. A request for each broker and kind of group, and more only of many groups.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerProtocolSubscription, DescribeGroupsRequest,
    DescribeGroupsResponse, ShareGroupDescribeRequest, ShareGroupDescribeResponse, TopicName,
    consumer_group_describe_response::DescribedGroup as ConsumerGroup, describe_groups_response::DescribedGroup as ClassicGroup,
    share_group_describe_response::DescribedGroup as ShareGroup,
};
use kafka_protocol::protocol::StrBytes;

use super::coordinators::{Asking, Coordinators, no_coordinator};
use super::groups::{LIVE, group_id, listed, reading};
use super::members::{CLASSIC, CONSUMER, assigned};
use super::{decode, is_too_large, outcome};
use crate::error::Result;
use crate::topic::BrokerInfo;

/// KIP-932.
const SHARE: (ApiKey, i16) = (ApiKey::ShareGroupDescribe, 1);
/// How many groups one request names: the answer has what each of their members says of itself.
const GROUPS: usize = 100;
/// The protocol of groups of consumers, of both kinds, and that of share groups.
const CONSUMERS: &str = "consumer";
const SHARES: &str = "share";
/// A classic group that is none, or of another kind.
const DEAD: &str = "Dead";
const GROUP_ID_NOT_FOUND: i16 = 69;

/// A kind of group, which is asked about by requests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Classic,
    Consumer,
    Share,
}

/// Whether a group reads the topic; none: there is no group of that kind.
type Reads = Result<Option<bool>>;

/// The groups with members that read a topic. `brokers`: all of the cluster. Of a classic group whose members have not agreed yet only
/// commits are seen.
///
/// # Errors
/// What one of the groups reads cannot be told: it is never taken for nothing.
pub(crate) async fn live_readers(
    asking: &Asking<'_>,
    coordinators: &Coordinators,
    brokers: &[BrokerInfo],
    topic: &str,
) -> Result<BTreeSet<String>> {
    let live = listed(asking, brokers, &LIVE).await?;
    let of_kind = |is_share| live.iter().filter(move |(_, protocol)| (*protocol == SHARES) == is_share).map(|(group, _)| group.as_str());
    let (others, shares): (Vec<&str>, Vec<&str>) = (of_kind(false).collect(), of_kind(true).collect());
    let mut found = reading(asking, coordinators, &others, topic).await?;
    let rest: Vec<&str> = others.into_iter().filter(|group| !found.contains(*group)).collect();
    let classic = described(asking, coordinators, Kind::Classic, &rest, topic).await?;
    let rest: Vec<&str> = classic.iter().filter(|(_, reads)| reads.is_none()).map(|(group, _)| group.as_str()).collect();
    let consumer = described(asking, coordinators, Kind::Consumer, &rest, topic).await?;
    let share = described(asking, coordinators, Kind::Share, &shares, topic).await?;
    let all = [classic, consumer, share].into_iter().flatten();
    found.extend(all.filter(|(_, reads)| *reads == Some(true)).map(|(group, _)| group));
    Ok(found)
}

async fn described(
    asking: &Asking<'_>,
    coordinators: &Coordinators,
    kind: Kind,
    groups: &[&str],
    topic: &str,
) -> Result<BTreeMap<String, Option<bool>>> {
    let (brokers, without) = coordinators.find(asking, groups).await?;
    let mut answers: BTreeMap<String, Reads> = without.into_iter().map(|(group, error)| (group, Err(error))).collect();
    for (broker, groups) in &brokers {
        let mut left: Vec<&[String]> = groups.chunks(GROUPS).collect();
        while let Some(some) = left.pop() {
            match ask(asking, broker, kind, some, topic).await {
                Ok(told) => answers.extend(told),
                Err(error) if is_too_large(&error) && some.len() > 1 => left.extend(<[_; 2]>::from(some.split_at(some.len() / 2))),
                Err(error) => answers.extend(some.iter().map(|group| (group.clone(), Err(error.clone())))),
            }
        }
    }
    // Another broker may coordinate them by now.
    answers.iter().filter(|(_, answer)| answer.is_err()).for_each(|(group, _)| coordinators.forget(group));
    let told = |group: &&str| Ok(((*group).to_owned(), answers.remove(*group).unwrap_or_else(|| Err(no_coordinator(group)))?));
    groups.iter().map(told).collect()
}

async fn ask(asking: &Asking<'_>, broker: &BrokerInfo, kind: Kind, groups: &[String], topic: &str) -> Result<Vec<(String, Reads)>> {
    let groups = groups.iter().map(|group| group_id(group)).collect();
    Ok(match kind {
        Kind::Classic => {
            let mut answer = asking.ask(broker, CLASSIC, &DescribeGroupsRequest::default().with_groups(groups)).await?;
            let answer: DescribeGroupsResponse = decode(&mut answer, CLASSIC.1)?;
            answer.groups.into_iter().map(|group| (group.group_id.to_string(), classic(group, topic))).collect()
        }
        Kind::Consumer => {
            let mut answer = asking.ask(broker, CONSUMER, &ConsumerGroupDescribeRequest::default().with_group_ids(groups)).await?;
            let answer: ConsumerGroupDescribeResponse = decode(&mut answer, CONSUMER.1)?;
            answer.groups.into_iter().map(|group| (group.group_id.to_string(), consumer(&group, topic))).collect()
        }
        Kind::Share => {
            let mut answer = asking.ask(broker, SHARE, &ShareGroupDescribeRequest::default().with_group_ids(groups)).await?;
            let answer: ShareGroupDescribeResponse = decode(&mut answer, SHARE.1)?;
            answer.groups.into_iter().map(|group| (group.group_id.to_string(), share(&group, topic))).collect()
        }
    })
}

fn classic(group: ClassicGroup, topic: &str) -> Reads {
    if group.error_code == GROUP_ID_NOT_FOUND || (group.error_code == 0 && &*group.group_state == DEAD) {
        return Ok(None);
    }
    outcome(group.error_code, None)?;
    if &*group.protocol_type != CONSUMERS {
        return Ok(Some(false));
    }
    for member in group.members {
        let is_given = assigned(member.member_assignment)?.iter().any(|given| given.topic == topic);
        if is_given || subscribed(member.member_metadata)?.iter().any(|name| name == topic) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// What a member of a classic group has subscribed to, as it writes that down itself: a version, then the topics. Empty while the members
/// have not agreed.
fn subscribed(mut metadata: Bytes) -> Result<Vec<String>> {
    if metadata.len() < 2 {
        return Ok(Vec::new());
    }
    // Every version begins with what the first one is.
    metadata.advance(2);
    let subscription: ConsumerProtocolSubscription = decode(&mut metadata, 0)?;
    Ok(subscription.topics.iter().map(ToString::to_string).collect())
}

fn consumer(group: &ConsumerGroup, topic: &str) -> Reads {
    let named = group.members.iter().flat_map(|member| {
        let given = member.assignment.topic_partitions.iter().map(|given| &given.topic_name);
        given.chain(&member.subscribed_topic_names)
    });
    names(group.error_code, group.error_message.as_ref(), named, topic)
}

fn share(group: &ShareGroup, topic: &str) -> Reads {
    let named = group.members.iter().flat_map(|member| {
        let given = member.assignment.topic_partitions.iter().map(|given| &given.topic_name);
        given.chain(&member.subscribed_topic_names)
    });
    names(group.error_code, group.error_message.as_ref(), named, topic)
}

/// Whether the topic is among those that the members of a group have subscribed to or were given.
fn names<'a>(code: i16, message: Option<&StrBytes>, mut named: impl Iterator<Item = &'a TopicName>, topic: &str) -> Reads {
    if code == GROUP_ID_NOT_FOUND {
        return Ok(None);
    }
    outcome(code, message.map(ToString::to_string))?;
    Ok(Some(named.any(|name| &***name == topic)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::consumer_group_describe_response::{
        Assignment, Member as ConsumerMember, TopicPartitions as ConsumerPartitions,
    };
    use kafka_protocol::messages::consumer_protocol_assignment;
    use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
    use kafka_protocol::messages::share_group_describe_response::Member as ShareMember;
    use kafka_protocol::protocol::Encodable;
    use tokio::time::Instant;

    use super::*;
    use crate::error::Error;
    use crate::wire::Lines;

    fn text(text: &str) -> StrBytes {
        StrBytes::from_string(text.to_owned())
    }

    fn named(topics: &[&str]) -> Vec<TopicName> {
        topics.iter().map(|topic| TopicName(text(topic))).collect()
    }

    fn versioned(body: &impl Encodable) -> Bytes {
        let mut written = BytesMut::new();
        written.put_i16(1);
        body.encode(&mut written, 1).unwrap();
        written.freeze()
    }

    fn of_classic(state: &str, protocol: &str, subscribed: &[&str], given: Option<&str>) -> ClassicGroup {
        let subscription = ConsumerProtocolSubscription::default().with_topics(subscribed.iter().map(|topic| text(topic)).collect());
        let assigned = given.map(|topic| {
            let given = consumer_protocol_assignment::TopicPartition::default().with_topic(TopicName(text(topic))).with_partitions(vec![0]);
            versioned(&kafka_protocol::messages::ConsumerProtocolAssignment::default().with_assigned_partitions(vec![given]))
        });
        let member = DescribedGroupMember::default()
            .with_member_metadata(versioned(&subscription))
            .with_member_assignment(assigned.unwrap_or_default());
        ClassicGroup::default().with_group_state(text(state)).with_protocol_type(text(protocol)).with_members(vec![member])
    }

    fn of_consumers(subscribed: &[&str], given: &[&str]) -> ConsumerGroup {
        let given = named(given).into_iter().map(|name| ConsumerPartitions::default().with_topic_name(name).with_partitions(vec![0]));
        let member = ConsumerMember::default()
            .with_subscribed_topic_names(named(subscribed))
            .with_assignment(Assignment::default().with_topic_partitions(given.collect()));
        ConsumerGroup::default().with_members(vec![member])
    }

    #[test]
    fn a_group_reads_what_its_members_have_subscribed_to_or_were_given() {
        let silent = ClassicGroup::default()
            .with_group_state(text("PreparingRebalance"))
            .with_protocol_type(text("consumer"))
            .with_members(vec![DescribedGroupMember::default()]);
        for (name, reads, expected) in [
            ("subscribed", classic(of_classic("Stable", "consumer", &["u", "t"], None), "t"), Some(true)),
            ("given", classic(of_classic("Stable", "consumer", &[], Some("t")), "t"), Some(true)),
            ("others", classic(of_classic("Stable", "consumer", &["u"], Some("u")), "t"), Some(false)),
            ("not agreed yet", classic(silent, "t"), Some(false)),
            ("no consumers", classic(of_classic("Stable", "connect", &["t"], None), "t"), Some(false)),
            ("of another kind", classic(of_classic("Dead", "", &[], None), "t"), None),
            ("unknown", classic(of_classic("", "", &[], None).with_error_code(GROUP_ID_NOT_FOUND), "t"), None),
            ("KIP-848, subscribed", consumer(&of_consumers(&["t"], &[]), "t"), Some(true)),
            ("KIP-848, by a pattern", consumer(&of_consumers(&[], &["u", "t"]), "t"), Some(true)),
            ("KIP-848, others", consumer(&of_consumers(&["u"], &["u"]), "t"), Some(false)),
            ("KIP-848, gone", consumer(&ConsumerGroup::default().with_error_code(GROUP_ID_NOT_FOUND), "t"), None),
            (
                "shares",
                share(&ShareGroup::default().with_members(vec![ShareMember::default().with_subscribed_topic_names(named(&["t"]))]), "t"),
                Some(true),
            ),
            ("no shares", share(&ShareGroup::default().with_error_code(GROUP_ID_NOT_FOUND), "t"), None),
        ] {
            assert_eq!(reads.unwrap(), expected, "{name}");
        }
        assert!(classic(ClassicGroup::default().with_error_code(16), "t").is_err(), "another broker coordinates it by now");
        assert!(consumer(&ConsumerGroup::default().with_error_code(29), "t").is_err(), "it may not be told");
        assert!(share(&ShareGroup::default().with_error_code(30), "t").is_err());
    }

    /// What cannot be written down fails otherwise than what nobody answers.
    #[tokio::test]
    async fn questions_can_be_written_down() {
        let nobody = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: 1, rack: None };
        let lines = Lines::default();
        let asking = Asking { lines: &lines, client_id: "t", broker: &nobody, limit: Duration::from_secs(5) };
        for kind in [Kind::Classic, Kind::Consumer, Kind::Share] {
            let known = Coordinators::default();
            known.learn([("g".to_owned(), nobody.clone())], Instant::now());
            let asked = described(&asking, &known, kind, &["g"], "t").await;
            assert!(matches!(asked, Err(Error::Unreachable { .. })), "{kind:?}: {asked:?}");
            assert!(!known.knows("g"), "its coordinator is asked for anew");
        }
    }
}
