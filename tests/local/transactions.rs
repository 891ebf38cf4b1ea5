//! Transactions of the `kafka` crate against a real broker, where librdkafka alone would not go on.

use penstock_kafka::{CommitError, ConnectionSettings, Error, NewTopic, RecordRef, TopicAdmin, TransactionSettings, TransactionalProducer};
use penstock_tests::scene::{LIMIT, Result};

use crate::{shared, topic::read};

const TOPIC: &str = "small-records";

/// More than the topic takes, however well it is compressed.
fn noise() -> Vec<u8> {
    let numbers = std::iter::successors(Some(1_u32), |number| Some(number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    numbers.map(|number| (number >> 24) as u8).take(2_000).collect()
}

fn record(payload: &[u8]) -> RecordRef<'_> {
    RecordRef { payload: Some(payload), ..RecordRef::to(TOPIC) }
}

#[tokio::test]
async fn a_producer_goes_on_after_its_topic_has_refused_a_record() -> Result {
    let brokers = shared::broker().await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let admin = TopicAdmin::new(&connection)?;
    let topic = NewTopic::new(TOPIC).with_partitions(1).with_config("max.message.bytes", "1000");
    for (name, created) in admin.create(&[topic]).await? {
        created?;
        admin.wait_until_visible(&name, 1, LIMIT).await?;
    }
    let mut producer = TransactionalProducer::start(&connection, &TransactionSettings::new("refused")).await?;
    for round in 0_u8..3 {
        let transaction = producer.begin().await?;
        transaction.enqueue(record(&noise()), 7).await?;
        producer = match transaction.commit().await.map(drop).unwrap_err() {
            CommitError::Aborted { reason: Error::RecordTooLarge { .. }, record: Some(7), producer } => *producer,
            error => return Err(error.into()),
        };
        let transaction = producer.begin().await?;
        transaction.enqueue(record(&[round]), 0).await?;
        producer = transaction.commit().await?;
    }
    let stored: Vec<_> = read(&connection, TOPIC).await?.into_iter().filter_map(|record| record.payload).collect();
    assert_eq!(stored.concat(), [0, 1, 2]);
    Ok(())
}
