//! Where groups go on among transactions, as a real broker tells it: what the operator's scaling takes for records that wait.

use penstock_kafka::{ConnectionSettings, GroupOffset, NewTopic, RecordRef, TopicPartition, TransactionSettings, TransactionalProducer};
use penstock_operator::{
    clusters::{ClusterConnection, ClusterConnections},
    metrics::KafkaRequests,
    pipelines::autoscaler::{Looks, partitions, sweep},
    scaling::lag::standing,
};
use penstock_tests::scene::{LIMIT, Result, Waiting, until};

use crate::{shared, sweeps::subject, topic::make};

const TOPIC: &str = "peeked";

fn record() -> RecordRef<'static> {
    RecordRef { payload: Some(b"v"), ..RecordRef::to(TOPIC) }
}

/// Waits until the partition ends there, for readers of what is committed, and for all.
async fn ends(connection: &ClusterConnection, stable_end: i64, end: i64) -> Result {
    until(&format!("the partition ends at {stable_end} and {end}"), LIMIT, async || {
        let edges = connection.admin.edges(&[TopicPartition::new(TOPIC, 0)]).await?;
        let edges = edges.into_values().next().ok_or("no such partition")??;
        if (edges.stable_end, edges.end) == (stable_end, end) { Ok(()) } else { Err(Waiting::from(format!("{edges:?}"))) }
    })
    .await
}

/// How many records wait for a group that has committed this offset.
async fn lag(connection: &ClusterConnection, committed: i64) -> Result<u64> {
    let group = format!("peeked-{committed}");
    until("the offset is committed", LIMIT, async || {
        Ok(connection.admin.commit_for_idle_group(&group, &[GroupOffset::new(TOPIC, 0, committed)]).await?)
    })
    .await?;
    let subjects = [(group.clone(), subject(TOPIC, &group)?)];
    let answers = sweep(connection, &subjects, |_| Looks::new()).await?;
    let (all, _) = partitions(&subjects[0].1, &answers).all_or_at_least();
    Ok(all.ok_or("not every partition could be read")?.iter().map(|partition| standing(partition).lag).sum())
}

#[tokio::test]
async fn mistake_1_neither_marks_nor_open_transactions_are_lag() -> Result {
    let brokers = shared::broker().await?;
    let settings = ConnectionSettings::new(brokers.bootstrap())?;
    make(&settings, &[NewTopic::new(TOPIC).with_partitions(1)]).await?;
    let connection = ClusterConnections::new(KafkaRequests::default(), LIMIT).to("default", &brokers.bootstrap())?;
    let mut producer = TransactionalProducer::start(&settings, &TransactionSettings::new(TOPIC)).await?;
    let transaction = producer.begin().await?;
    for _ in 0..3 {
        transaction.enqueue(record(), 0).await?;
    }
    producer = transaction.commit().await?;
    ends(&connection, 4, 4).await?;
    for (committed, waits) in [(4, 0), (3, 0), (2, 2), (0, 4)] {
        assert_eq!(lag(&connection, committed).await?, waits, "three records and a mark, read up to {committed}");
    }

    let transaction = producer.begin().await?;
    for _ in 0..2 {
        transaction.enqueue(record(), 0).await?;
    }
    ends(&connection, 4, 6).await?;
    for (committed, waits) in [(4, 0), (5, 0), (6, 0), (3, 0), (7, 4)] {
        assert_eq!(lag(&connection, committed).await?, waits, "two more are still to be committed, read up to {committed}");
    }
    drop(transaction.commit().await?);
    ends(&connection, 7, 7).await?;
    for (committed, waits) in [(6, 0), (5, 2), (4, 3), (3, 3)] {
        assert_eq!(lag(&connection, committed).await?, waits, "they are, read up to {committed}");
    }
    Ok(())
}
