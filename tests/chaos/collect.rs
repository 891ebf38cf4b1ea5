//! Reads what a run has left in Kafka, past the proxy.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use bytes::Bytes;
use penstock_kafka::{ConsumedRecord, Header, TimestampType};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};

use crate::{
    PATIENCE, Result,
    history::{OpenTransaction, Progress, Stable},
    wire,
};

/// A client that belongs to no group, or asks for what a group has committed.
fn client(bootstrap: &[String], group: &str, isolation: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap.join(","))
        .set("group.id", group)
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.queue.backoff.ms", "5")
        .create()?)
}

/// All committed records of a topic, in their order within each partition.
///
/// # Errors
/// Kafka does not answer, or a partition does not come to its end in time.
pub fn records(bootstrap: &[String], topic: &str) -> Result<Vec<ConsumedRecord>> {
    let client = client(bootstrap, "chaos-reader", "read_committed")?;
    let partitions = partitions(&client, topic)?;
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    client.assign(&assignment)?;
    let mut open: BTreeSet<i32> = partitions.into_iter().collect();
    let (mut records, deadline) = (Vec::new(), Instant::now() + PATIENCE * 6);
    while !open.is_empty() {
        if Instant::now() > deadline {
            return Err(format!("{topic} cannot be read to its end: partitions {open:?}").into());
        }
        match client.poll(PATIENCE / 10) {
            Some(Ok(message)) => records.push(consumed(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            // A broker that has just come back; the client goes on by itself.
            Some(Err(error)) => tracing::debug!(%error, topic, "reading goes on"),
            None => {}
        }
    }
    records.sort_by_key(|record: &ConsumedRecord| (record.partition, record.offset));
    Ok(records)
}

fn consumed(message: &BorrowedMessage<'_>) -> ConsumedRecord {
    let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
        name: header.key.to_owned(),
        value: header.value.map(Bytes::copy_from_slice),
    };
    ConsumedRecord {
        topic: message.topic().into(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        timestamp_type: TimestampType::default(),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
    }
}

fn partitions(client: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or_else(|| format!("there is no topic {topic}"))?;
    Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
}

/// How far readers of committed records get in a topic, and where it ends.
///
/// # Errors
/// Kafka does not answer.
pub fn stable(bootstrap: &[String], topic: &str) -> Result<Vec<Stable>> {
    let (committed, all) = (client(bootstrap, "chaos-reader", "read_committed")?, client(bootstrap, "chaos-reader", "read_uncommitted")?);
    let stable = partitions(&all, topic)?.into_iter().map(|partition| {
        let (_, end) = all.fetch_watermarks(topic, partition, PATIENCE)?;
        let (_, stable) = committed.fetch_watermarks(topic, partition, PATIENCE)?;
        Ok(Stable { topic: topic.to_owned(), partition, stable, end })
    });
    stable.collect()
}

/// How far a group has come in topics.
///
/// # Errors
/// Kafka does not answer.
pub fn progress(bootstrap: &[String], group: &str, topics: &[&str]) -> Result<BTreeMap<(String, i32), Progress>> {
    let client = client(bootstrap, group, "read_uncommitted")?;
    topics.iter().try_fold(BTreeMap::new(), |mut all, topic| {
        all.extend(progress_in(&client, topic)?);
        Ok(all)
    })
}

fn progress_in(client: &BaseConsumer, topic: &str) -> Result<BTreeMap<(String, i32), Progress>> {
    let partitions = partitions(client, topic)?;
    let mut asked = TopicPartitionList::new();
    for partition in &partitions {
        asked.add_partition(topic, *partition);
    }
    let committed = client.committed_offsets(asked, PATIENCE)?;
    let progress = partitions.into_iter().map(|partition| {
        let (start, end) = client.fetch_watermarks(topic, partition, PATIENCE)?;
        let committed = committed.find_partition(topic, partition).and_then(|found| match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        });
        Ok(((topic.to_owned(), partition), Progress { committed, start, end }))
    });
    progress.collect()
}

/// All transactions that are neither committed nor aborted.
///
/// # Errors
/// A broker does not answer.
pub async fn open_transactions(brokers: &[String]) -> Result<Vec<OpenTransaction>> {
    let mut open = Vec::new();
    for broker in brokers {
        open.extend(wire::open_transactions(broker).await?);
    }
    Ok(open)
}
