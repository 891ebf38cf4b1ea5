//! A pause of a partition does not outlive the time that the partition is with its consumer.

use std::time::Duration;

use penstock_kafka::{
    ConnectionSettings, Consumer, ConsumerSettings, Error, Held, NewTopic, Producer, ProducerSettings, Record, StartFrom, TopicPartition,
};
use penstock_tests::scene::{LIMIT, Result, Waiting, until};
use tokio::time::timeout;

use crate::{shared, topic::make};

const TOPIC: &str = "paused";

fn member(connection: &ConnectionSettings) -> penstock_kafka::Result<Consumer> {
    let mut settings = ConsumerSettings::new("pauses");
    settings.start_from = StartFrom::AsTold;
    settings.session_timeout = Duration::from_secs(6);
    Consumer::subscribe(connection, &settings, &[TOPIC], ())
}

/// Waits until that many partitions are with a member that have not begun.
async fn held(consumer: &Consumer, count: usize) -> Result<Vec<Held>> {
    until(&format!("{count} partitions wait to begin"), LIMIT, async || {
        let held = consumer.held();
        if held.len() == count { Ok(held) } else { Err(Waiting::from(format!("{held:?}"))) }
    })
    .await
}

#[tokio::test]
async fn a_pause_does_not_outlive_the_assignment() -> Result {
    let connection = ConnectionSettings::new(shared::broker().await?.bootstrap())?;
    make(&connection, &[NewTopic::new(TOPIC).with_partitions(2)]).await?;
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    for partition in 0..2 {
        producer.send(Record::to(TOPIC).with_partition(partition).with_payload("x")).await?;
    }
    let first = member(&connection)?;
    let all: Vec<_> = held(&first, 2).await?.into_iter().map(|held| (held, 0)).collect();
    first.begin(&all).await?;
    for _ in 0..2 {
        timeout(LIMIT, first.recv()).await??;
    }

    let second = member(&connection)?;
    held(&second, 1).await?;
    let kept = first.assignment();
    let gone = all.iter().map(|(held, _)| held.partition.clone()).find(|partition| !kept.contains(partition)).ok_or("nothing moved")?;
    let refused = first.pause(std::slice::from_ref(&gone)).await;
    assert!(matches!(refused, Err(Error::InvalidRequest { .. })), "{refused:?}");
    second.close().await;

    let back: Vec<_> = held(&first, 1).await?.into_iter().map(|held| (held, 0)).collect();
    // Said of the time before, and late.
    first.pause(std::slice::from_ref(&gone)).await?;
    first.begin(&back).await?;
    let record = timeout(LIMIT, first.recv()).await??;
    assert_eq!(TopicPartition::new(&*record.topic, record.partition), gone);
    first.close().await;
    Ok(())
}
