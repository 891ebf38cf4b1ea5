//! Partitions that move to other brokers, as brokers do it: what the operator's changes of a replication factor build on.

use std::collections::{BTreeMap, BTreeSet};

use penstock_kafka::{
    ConfigDelta, ConnectionSettings, NewTopic, OngoingReassignment, Producer, ProducerSettings, Record, TopicAdmin, TopicPartition,
};
use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::{LIMIT, Result, Waiting, until},
};

use crate::topic::make;

const TOPIC: &str = "moves";
const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
/// So few bytes a second that what is throttled does not end within a test.
const SLOW: &str = "1000";

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, index)
}

/// Some megabytes that no compression makes smaller: more than brokers fetch at once before they look at the rate.
pub async fn fill(connection: &ConnectionSettings, topic: &str, partitions: i32) -> Result {
    let producer = Producer::new(connection, &ProducerSettings::default())?;
    let mut number = 1_u32;
    for partition in (0..partitions).flat_map(|partition| std::iter::repeat_n(partition, 8)) {
        let payload: Vec<u8> = std::iter::repeat_with(|| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 24) as u8
        })
        .take(500_000)
        .collect();
        producer.send(Record::to(topic).with_partition(partition).with_payload(payload)).await?;
    }
    Ok(())
}

async fn replicas(admin: &TopicAdmin, topic: &str) -> Result<Vec<Vec<i32>>> {
    let described = admin.describe(&[topic]).await?.remove(topic).ok_or("no answer")??;
    Ok(described.partitions.into_iter().map(|partition| partition.replicas).collect())
}

async fn come_to(admin: &TopicAdmin, wanted: &[&[i32]]) -> Result {
    let all: Vec<_> = (0..).zip(wanted).map(|(index, _)| partition(index)).collect();
    until(&format!("the replicas are {wanted:?}"), LIMIT, async || {
        let under_way = admin.reassignments(&all).await?;
        let seen = replicas(admin, TOPIC).await?;
        if under_way.is_empty() && seen == wanted { Ok(()) } else { Err(Waiting::from(format!("{seen:?}, {under_way:?}"))) }
    })
    .await
}

async fn reassign(admin: &TopicAdmin, targets: &[&[i32]]) -> Result {
    let targets = (0..).zip(targets).map(|(index, target)| (partition(index), target.to_vec())).collect();
    for (_, begun) in admin.reassign(&targets).await? {
        begun?;
    }
    Ok(())
}

async fn throttle(admin: &TopicAdmin, rate: Option<&str>) -> Result {
    let set = RATES.into_iter().filter_map(|key| Some((key, rate?.to_owned()))).collect();
    let unset: BTreeSet<&str> = RATES.into_iter().filter(|_| rate.is_none()).collect();
    admin.change_broker_defaults(&set, &unset).await?;
    let lists = ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];
    let mut delta = ConfigDelta { topic: TOPIC.to_owned(), ..ConfigDelta::default() };
    match rate {
        Some(_) => delta.set = lists.into_iter().map(|key| (key.to_owned(), "*".to_owned())).collect(),
        None => delta.unset = lists.into_iter().map(str::to_owned).collect(),
    }
    admin.alter_configs_incremental(&[delta]).await?.remove(TOPIC).ok_or("no answer")??;
    until("the rate is what it was set to", LIMIT, async || {
        let seen = admin.broker_defaults(&RATES).await?;
        let wanted: BTreeMap<_, _> = RATES.into_iter().filter_map(|key| Some((key.to_owned(), rate?.to_owned()))).collect();
        if seen == wanted { Ok(()) } else { Err(Waiting::from(format!("{seen:?}"))) }
    })
    .await
}

#[tokio::test]
async fn partitions_move_slowly_where_that_is_wanted_and_stay_where_it_is_cancelled() -> Result {
    let properties = [("broker.rack".to_owned(), "r1".to_owned())].into();
    let brokers = Brokers::start(3, BrokerSettings { properties, ..BrokerSettings::default() }).await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let admin = TopicAdmin::new(&connection)?;
    assert!(admin.live_brokers().await?.iter().all(|broker| broker.rack.as_deref() == Some("r1")));
    make(&connection, &[NewTopic::new(TOPIC).with_partitions(2).with_replication_factor(1)]).await?;
    reassign(&admin, &[&[0], &[1]]).await?;
    come_to(&admin, &[&[0], &[1]]).await?;
    fill(&connection, TOPIC, 2).await?;

    let refused = admin.reassign(&[(partition(0), vec![0, 7]), (partition(1), vec![1])].into()).await?;
    assert!(refused[&partition(0)].is_err() && refused[&partition(1)].is_ok(), "one bad partition fails by itself: {refused:?}");

    throttle(&admin, Some(SLOW)).await?;
    reassign(&admin, &[&[0, 1, 2], &[1]]).await?;
    let under_way = admin.reassignments(&[partition(0), partition(1)]).await?;
    let expected = OngoingReassignment::new(&[0, 1, 2], &[1, 2], &[]);
    assert_eq!(under_way, [(partition(0), expected)].into(), "it ends although it is throttled");
    // What does not move is cancelled already.
    for (partition, cancelled) in admin.cancel_reassignments(&[partition(0), partition(1)]).await? {
        assert_eq!(cancelled, Ok(()), "{partition}");
    }
    come_to(&admin, &[&[0], &[1]]).await?;

    reassign(&admin, &[&[0, 1, 2], &[1, 2, 0]]).await?;
    throttle(&admin, None).await?;
    come_to(&admin, &[&[0, 1, 2], &[1, 2, 0]]).await?;
    until("the copies are in sync", LIMIT, async || {
        let described = admin.describe(&[TOPIC]).await?.remove(TOPIC).ok_or("no answer")??;
        if described.partitions.iter().all(|partition| partition.isr.len() == 3) { Ok(()) } else { Err(format!("{described:?}").into()) }
    })
    .await?;

    brokers.kill(2)?;
    until("the broker is missed", LIMIT, async || {
        let live = admin.live_brokers().await?.len();
        if live == 2 { Ok(()) } else { Err(Waiting::from(format!("{live}"))) }
    })
    .await?;
    // Copies are only taken away where those that stay are in sync.
    reassign(&admin, &[&[0, 2], &[1, 0]]).await?;
    let under_way = admin.reassignments(&[partition(0), partition(1)]).await?;
    assert_eq!(under_way, [(partition(0), OngoingReassignment::new(&[0, 2, 1], &[], &[1]))].into());
    // What is under way is replaced.
    reassign(&admin, &[&[0, 1], &[1, 0]]).await?;
    come_to(&admin, &[&[0, 1], &[1, 0]]).await?;
    // To one that is down nothing moves until it is back.
    reassign(&admin, &[&[0, 1], &[1, 2]]).await?;
    let under_way = admin.reassignments(&[partition(0), partition(1)]).await?;
    assert_eq!(under_way.keys().collect::<Vec<_>>(), [&partition(1)]);
    brokers.restart(2).await?;
    come_to(&admin, &[&[0, 1], &[1, 2]]).await
}
