//! Brokers as processes: what `penstock_tests::local::Brokers` promises.

use std::time::Duration;

use penstock_kafka::{ConnectionSettings, NewTopic, Producer, ProducerSettings, Record, TopicAdmin};
use penstock_tests::local::{BrokerSettings, Brokers};
use penstock_tests::scene::{LIMIT, Result, Waiting, until};

/// Waits until a broker sees that many.
async fn sees(brokers: &Brokers, witness: usize, count: usize) -> Result {
    let address = brokers.internal().into_iter().nth(witness).ok_or("no such broker")?;
    let connection = ConnectionSettings::new([address])?;
    let admin = TopicAdmin::new(&connection)?.with_timeout(Duration::from_secs(2));
    let probe = async || {
        let seen = admin.cluster().await?.brokers.len();
        if seen == count { Ok(()) } else { Err(Waiting::from(format!("{seen} brokers"))) }
    };
    until(&format!("broker {witness} sees {count} brokers"), LIMIT, probe).await
}

#[tokio::test]
async fn three_brokers_survive_what_is_done_to_one() -> Result {
    let brokers = Brokers::start(3, BrokerSettings::default()).await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let admin = TopicAdmin::new(&connection)?;
    for (name, created) in admin.create(&[NewTopic::new("orders").with_partitions(3)]).await? {
        created?;
        let topic = admin.wait_until_visible(&name, 3, LIMIT).await?;
        assert!(topic.partitions.iter().all(|partition| partition.replicas.len() == 3), "{topic:?}");
    }
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    let send = async || producer.send(Record::to("orders").with_key("k").with_payload("v")).await;
    send().await?;

    brokers.kill(0)?;
    assert!(brokers.process(0)?.ended().is_some());
    sees(&brokers, 1, 2).await?;
    send().await?;
    brokers.restart(0).await?;

    brokers.stop(1).await?;
    sees(&brokers, 2, 2).await?;
    send().await?;
    brokers.restart(1).await?;

    brokers.pause(2)?;
    sees(&brokers, 0, 2).await?;
    brokers.resume(2)?;
    sees(&brokers, 2, 3).await?;
    send().await?;

    let stored: i64 = admin.offsets(&["orders"]).await?.remove("orders").ok_or("no offsets")??.values().map(|range| range.end).sum();
    assert_eq!(stored, 4);
    assert!(brokers.kill(3).is_err());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_started_is_refused() {
    let one = "127.0.0.1:1".parse().ok().into_iter().collect();
    for (count, settings, part) in [
        (2, BrokerSettings::default(), "start 1 or 3"),
        (3, BrokerSettings { advertised: one, ..BrokerSettings::default() }, "advertised"),
        (1, BrokerSettings { data: vec!["/a".into(), "/b".into()], ..BrokerSettings::default() }, "data"),
    ] {
        let refused = Brokers::start(count, settings).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
}

#[tokio::test]
async fn a_broker_that_cannot_start_shows_the_end_of_its_log() {
    let settings = BrokerSettings { properties: [("num.io.threads".to_owned(), "0".to_owned())].into(), ..BrokerSettings::default() };
    let refused = Brokers::start(1, settings).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("num.io.threads"), "{refused}");
}
