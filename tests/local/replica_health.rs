//! How replicas are, told by real brokers of which one stops and comes back.

use std::collections::BTreeMap;

use penstock_kafka::{ConnectionSettings, NewTopic, Producer, ProducerSettings, Record, ReplicaHealth, TopicAdmin};
use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::{LIMIT, Result, Waiting, until},
};

use crate::topic::make;

const MIN_ISR: &str = "min.insync.replicas";

fn topic(name: &str, factor: i16, min_isr: &str) -> NewTopic {
    NewTopic::new(name).with_partitions(3).with_replication_factor(factor).with_config(MIN_ISR, min_isr)
}

/// Under-replicated, under the minimum, offline.
async fn counts(admin: &TopicAdmin, names: &[&str]) -> Result<BTreeMap<String, (ReplicaHealth, [i32; 3])>> {
    let (described, mut configured) = tokio::try_join!(admin.describe(names), admin.describe_configs_in_brief(names))?;
    let mut counts = BTreeMap::new();
    for (name, described) in described {
        let config = configured.remove(&name).ok_or("no configuration")??;
        let health = described?.health(config.value(MIN_ISR).ok_or("no minimum")?.parse()?);
        let three = [health.under_replicated, health.under_min_isr, health.offline];
        counts.insert(name, (health, three));
    }
    Ok(counts)
}

#[tokio::test]
async fn a_stopped_broker_is_seen_in_the_replicas_of_its_topics() -> Result {
    let brokers = Brokers::start(3, BrokerSettings::default()).await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    make(&connection, &[topic("safe", 3, "2"), topic("strict", 3, "3"), topic("single", 1, "2")]).await?;
    let admin = TopicAdmin::new(&connection)?;
    let names = ["safe", "strict", "single"];
    let sees = async |what: &str, expected: [[i32; 3]; 3]| -> Result {
        until(what, LIMIT, async || {
            let seen = counts(&admin, &names).await.map_err(|error| Waiting::from(error.to_string()))?;
            let found = names.map(|name| seen.get(name).map(|(_, three)| *three).unwrap_or_default());
            if found != expected {
                return Err(Waiting::from(format!("{found:?}")));
            }
            let is_well = expected == [[0; 3]; 3];
            for (name, (health, _)) in seen {
                let lagging: Vec<i32> = health.lagging.into_iter().collect();
                assert_eq!(lagging, if is_well { vec![] } else { vec![2] }, "{what}: {name}");
            }
            Ok(())
        })
        .await
    };
    sees("all replicas are in sync", [[0; 3]; 3]).await?;
    // More than there are is asked of no partition: brokers take safe writes with the one replica that there is.
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    producer.send(Record::to("single").with_payload("v")).await?;
    brokers.stop(2).await?;
    // The one partition of `single` that is on the broker has no leader; brokers ask no more replicas of the others than they have.
    sees("what the broker held is missing", [[3, 0, 0], [3, 3, 0], [1, 1, 1]]).await?;
    brokers.restart(2).await?;
    sees("all replicas are in sync again", [[0; 3]; 3]).await?;

    // Each of these brokers is a controller, too, and all of them name the one that is active. It may be another after an election, but
    // does not change from answer to answer.
    let controller = async || -> Result<i32> { Ok(admin.cluster().await?.controller.ok_or("nobody is")?) };
    let mut named = Vec::new();
    while named.len() < 30 {
        named.push(controller().await?);
    }
    assert!(named.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 2, "{named:?}");
    let first = *named.last().ok_or("nobody was")?;
    brokers.stop(usize::try_from(first)?).await?;
    until("another controller is told", LIMIT, async || match controller().await {
        Ok(other) if other != first => Ok(()),
        other => Err(Waiting::from(format!("{other:?}"))),
    })
    .await
}
