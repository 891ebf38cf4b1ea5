//! What brokers tell of groups, and what they take from somebody who is no member: what the operator's scaling builds on.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError, mpsc},
    time::Duration,
};

use penstock_kafka::{
    CommitOffsets, ConnectionSettings, Consumer, ConsumerSettings, Error, GroupOffset, GroupProtocol, NewTopic, Producer, ProducerSettings,
    RebalanceListener, Record, TopicAdmin, TopicPartition,
};
use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::{LIMIT, Result, Waiting, until},
};

use crate::topic::make;

const TOPIC: &str = "grows";
/// What the broker is set to: not what it would be without.
const RETENTION: (&str, Duration) = ("37", Duration::from_secs(37 * 60));

async fn commit(admin: &TopicAdmin, group: &str, partition: i32) -> std::result::Result<(), Error> {
    admin.commit_for_idle_group(group, &[GroupOffset::new(TOPIC, partition, 0)]).await
}

/// Joins two members, each of which gets one of two partitions.
async fn members(connection: &ConnectionSettings, admin: &TopicAdmin, group: &str, protocol: GroupProtocol) -> Result<Vec<Consumer>> {
    let mut settings = ConsumerSettings::new(group);
    settings.group_protocol = protocol;
    let join = || Consumer::subscribe(connection, &settings, &[TOPIC], ());
    let both = vec![join()?, join()?];
    until("each member has a partition", LIMIT, async || {
        let members = admin.group_members(group, protocol).await?;
        let held: BTreeSet<&TopicPartition> = members.iter().flat_map(|member| &member.partitions).collect();
        let each = members.iter().all(|member| member.partitions.len() == 1 && member.host == "127.0.0.1");
        if (members.len(), held.len(), each) == (2, 2, true) { Ok(()) } else { Err(Waiting::from(format!("{members:?}"))) }
    })
    .await?;
    Ok(both)
}

/// Waits, before it lets partitions go, until it is told that it may.
struct Patient(Mutex<mpsc::Receiver<()>>);

impl RebalanceListener for Patient {
    fn on_revoked(&self, _: &[TopicPartition], _: &dyn CommitOffsets) {
        // Whoever ends the other side wants no more waiting.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
    }
}

#[tokio::test]
async fn a_group_that_shares_its_partitions_out_anew_is_listed_as_long_as_it_does() -> Result {
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    make(&connection, &[NewTopic::new(TOPIC).with_partitions(2)]).await?;
    let admin = TopicAdmin::new(&connection)?;
    let all = admin.live_brokers().await?;
    for (group, protocol) in [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)] {
        let mut settings = ConsumerSettings::new(group);
        settings.group_protocol = protocol;
        let (done, waits) = mpsc::channel();
        let first = Consumer::subscribe(&connection, &settings, &[TOPIC], Patient(Mutex::new(waits)))?;
        let is_listed = async |expected: bool| {
            until(&format!("{group} is listed: {expected}"), LIMIT, async || {
                let listed = admin.rebalancing_groups(&all).await?;
                if listed.contains(group) == expected { Ok(()) } else { Err(Waiting::from(format!("{listed:?}"))) }
            })
            .await
        };
        until("the first has both", LIMIT, async || {
            let held = first.assignment().len();
            if held == 2 { Ok(()) } else { Err(Waiting::from(format!("{held}"))) }
        })
        .await?;
        is_listed(false).await?;
        let second = Consumer::subscribe(&connection, &settings, &[TOPIC], ())?;
        is_listed(true).await?;
        drop(done);
        is_listed(false).await?;
        are_left(&admin, group, protocol, vec![first, second]).await?;
    }
    Ok(())
}

async fn are_left(admin: &TopicAdmin, group: &str, protocol: GroupProtocol, members: Vec<Consumer>) -> Result {
    for member in members {
        member.close().await;
    }
    until("nobody is left", LIMIT, async || {
        let left = admin.group_members(group, protocol).await?.len();
        if left == 0 { Ok(()) } else { Err(Waiting::from(format!("{left}"))) }
    })
    .await
}

#[tokio::test]
async fn only_members_commit_while_there_are_any_and_only_in_partitions_that_exist() -> Result {
    let properties =
        [("offsets.retention.minutes", RETENTION.0), ("num.partitions", "5")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let brokers = Brokers::start(1, BrokerSettings { properties, ..BrokerSettings::default() }).await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let admin = TopicAdmin::new(&connection)?;
    assert_eq!(admin.offsets_retention().await?, RETENTION.1);
    assert_eq!(admin.default_partitions().await?, Some(5));
    for (_, created) in admin.create(&[NewTopic::new(TOPIC).with_partitions(2)]).await? {
        created?;
    }
    admin.wait_until_visible(TOPIC, 2, LIMIT).await?;
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    producer.send(Record::to(TOPIC).with_partition(0).with_payload("v")).await?;

    for (group, protocol) in [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)] {
        let both = members(&connection, &admin, group, protocol).await?;
        assert_eq!(admin.groups_reading(TOPIC).await?, [group.to_owned()].into(), "it has committed nothing yet");
        assert!(admin.groups_reading("another").await?.is_empty());
        let refused = commit(&admin, group, 0).await;
        assert!(matches!(refused, Err(Error::Fenced { .. })), "{group} has members: {refused:?}");
        are_left(&admin, group, protocol, both).await?;
        commit(&admin, group, 0).await?;
        let refused = commit(&admin, group, 2).await;
        assert!(matches!(refused, Err(Error::UnknownTopic { .. })), "there is no such partition yet: {refused:?}");
    }

    for (_, added) in admin.add_partitions(&[(TOPIC, 3)]).await? {
        added?;
    }
    admin.wait_until_visible(TOPIC, 3, LIMIT).await?;
    for group in ["classic", "consumer"] {
        until("the new partition is known", LIMIT, async || Ok(commit(&admin, group, 2).await?)).await?;
        let offsets = admin.offsets_of_groups(&[group]).await?.remove(group).ok_or("no such group")??;
        assert_eq!(offsets.keys().map(|partition| partition.partition).collect::<Vec<_>>(), [0, 2], "{offsets:?}");
    }
    Ok(())
}
