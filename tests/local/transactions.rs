//! Transactions of the `kafka` crate against a real broker, where librdkafka alone would not go on.

use std::time::Duration;

use futures::future::try_join_all;
use penstock_crds::worker::Delivery;
use penstock_kafka::{
    CommitError, ConnectionSettings, Error, NewTopic, Producer, ProducerSettings, Record, RecordRef, TopicAdmin, TopicPartition,
    TransactionSettings, TransactionalProducer,
};
use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::{LIMIT, Result, Waiting, until},
};

use crate::{
    pipeline::Pipeline,
    shared,
    topic::{make, read},
};

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
    let topic = NewTopic::new(TOPIC).with_partitions(1).with_config("max.message.bytes", "1000");
    make(&connection, &[topic]).await?;
    let mut producer = TransactionalProducer::start(&connection, &TransactionSettings::new("refused")).await?;
    for round in 0_u8..3 {
        let transaction = producer.begin().await?;
        transaction.enqueue(record(&noise()), 7).await?;
        producer = match transaction.commit().await.map(drop).unwrap_err() {
            CommitError::Aborted { reason: Error::RecordTooLarge { .. }, records, producer } if records == [7] => *producer,
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

/// As in memory: see `workers/src/testing/producers.rs`.
#[tokio::test]
async fn a_transaction_that_lasts_too_long_is_aborted_and_its_producer_fenced() -> Result {
    // How often the broker looks.
    let often = ("transaction.abort.timed.out.transaction.cleanup.interval.ms".to_owned(), "200".to_owned());
    let brokers = Brokers::start(1, BrokerSettings { properties: [often].into(), ..BrokerSettings::default() }).await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let admin = TopicAdmin::new(&connection)?;
    make(&connection, &[NewTopic::new(TOPIC).with_partitions(1)]).await?;
    let settings = TransactionSettings::new("slow").with_timeout(Duration::from_secs(1));
    let transaction = TransactionalProducer::start(&connection, &settings).await?.begin().await?;
    transaction.enqueue(record(b"late"), 0).await?;
    until("the broker has aborted the transaction", LIMIT, async || {
        let edges = admin.edges(&[TopicPartition::new(TOPIC, 0)]).await?;
        let edges = edges.into_values().next().ok_or("no such partition")??;
        // The record and the mark of the end.
        if edges.stable_end == 2 { Ok(()) } else { Err(Waiting::from(format!("{edges:?}"))) }
    })
    .await?;
    match transaction.commit().await {
        Err(CommitError::ProducerLost { reason: Error::Fenced { .. } }) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err("what was aborted cannot be committed".into()),
    }
    let transaction = TransactionalProducer::start(&connection, &settings).await?.begin().await?;
    transaction.enqueue(record(b"in time"), 0).await?;
    drop(transaction.commit().await?);
    let stored: Vec<_> = read(&connection, TOPIC).await?.into_iter().filter_map(|record| record.payload).collect();
    assert_eq!(stored, ["in time"]);
    Ok(())
}

/// Of a batch of records whose processor computes for long, the first are committed long before the last is handled, and the worker
/// ends when it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_that_computes_for_long_holds_up_neither_commits_nor_the_end() -> Result {
    const COUNT: usize = 100;
    let brokers = shared::broker().await?;
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let pipeline = Pipeline::without_delays(&brokers, "busy", delivery).await?.computing_for(Duration::from_millis(100));
        let producer = Producer::new(&pipeline.connection, &ProducerSettings::default())?;
        let record = || Record::to(pipeline.name("in")).with_partition(0).with_payload("1");
        try_join_all((0..COUNT).map(|_| producer.send(record()))).await?;
        let all = i64::try_from(COUNT)?;
        let (stop, worker) = pipeline.start("worker-0");
        until("something is committed", LIMIT, async || {
            let lag = pipeline.lag().await?;
            if lag < all { Ok(()) } else { Err(Waiting::from(format!("lag {lag}, {} calls", pipeline.calls.count()))) }
        })
        .await?;
        let calls = pipeline.calls.count();
        assert!(calls < COUNT / 2, "{delivery:?}: {calls} records were handled before the first was committed");
        stop.cancel();
        worker.await??;
        let calls = pipeline.calls.count();
        assert!(calls < COUNT, "{delivery:?}: all {calls} records were handled before the worker ended");
        assert_eq!(pipeline.read("out").await?.len(), calls, "{delivery:?}: what was handled is committed");
    }
    Ok(())
}
