//! Consumers that nobody asks for records for a long time: they keep their place in the group, and hold no more than they may.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use penstock_kafka::{
    CommitOffsets, ConnectionSettings, ConsumedRecord, Consumer, ConsumerSettings, GroupOffset, GroupProtocol, NewTopic, Producer,
    ProducerSettings, RebalanceListener, Record, TopicPartition,
};
use penstock_tests::scene::{LIMIT, Result, Waiting, until};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use tokio::time::timeout;

use crate::{shared, topic::make};

const TOPIC: &str = "unasked";
const RECORDS: i64 = 1_000;
/// How many may wait to be taken.
const BUFFER: usize = 10;
/// Short, but long enough for heartbeats on a busy machine.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// What was taken away from a member.
#[derive(Default)]
struct Taken(Mutex<Vec<TopicPartition>>);

impl Taken {
    fn add(&self, partitions: &[TopicPartition]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(partitions);
    }

    fn all(&self) -> Vec<TopicPartition> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RebalanceListener for Taken {
    fn on_revoked(&self, partitions: &[TopicPartition], _: &dyn CommitOffsets) {
        self.add(partitions);
    }

    fn on_lost(&self, partitions: &[TopicPartition]) {
        self.add(partitions);
    }
}

/// The only member of its group, with the record that it works on for so long.
struct Member {
    consumer: Consumer,
    taken: Arc<Taken>,
    first: ConsumedRecord,
}

impl Member {
    async fn join(connection: &ConnectionSettings, name: &str, protocol: GroupProtocol) -> Result<Self> {
        let mut settings = ConsumerSettings::new(format!("{TOPIC}-{name}-{protocol:?}"));
        settings.group_protocol = protocol;
        settings.session_timeout = MAX_POLL_INTERVAL;
        settings.max_poll_interval = MAX_POLL_INTERVAL;
        settings.buffer_records = BUFFER;
        let taken = Arc::new(Taken::default());
        let consumer = Consumer::subscribe(connection, &settings, &[TOPIC], Arc::clone(&taken))?;
        let first = timeout(LIMIT, consumer.recv()).await??;
        Ok(Self { consumer, taken, first })
    }

    /// The offsets of all records up to that one.
    async fn read(&self, last: i64) -> Result<Vec<i64>> {
        let mut offsets = vec![self.first.offset];
        while offsets.last() != Some(&last) {
            let records = timeout(LIMIT, self.consumer.recv_batch(100)).await??;
            offsets.extend(records.iter().map(|record| record.offset));
        }
        Ok(offsets)
    }
}

async fn delete_all(connection: &ConnectionSettings) -> Result {
    let servers = connection.bootstrap_servers().join(",");
    let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", servers).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(TOPIC, 0, Offset::Offset(RECORDS))?;
    client.delete_records(&offsets, &AdminOptions::new()).await?;
    Ok(())
}

#[tokio::test]
async fn a_member_that_is_not_asked_keeps_its_partitions_and_reads_no_further() -> Result {
    let brokers = shared::broker().await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    make(&connection, &[NewTopic::new(TOPIC).with_partitions(1)]).await?;
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    try_join_all((0..RECORDS).map(|_| producer.send(Record::to(TOPIC).with_payload("x")))).await?;

    let (mut whole, mut late) = (Vec::new(), Vec::new());
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        whole.push(Member::join(&connection, "whole", protocol).await?);
        late.push(Member::join(&connection, "late", protocol).await?);
    }
    let begun = Instant::now();
    until("nobody asks for longer than max_poll_interval", LIMIT, async || {
        if begun.elapsed() > MAX_POLL_INTERVAL * 3 / 2 { Ok(()) } else { Err(Waiting::from("it is not over")) }
    })
    .await?;
    for Member { consumer, taken, first } in whole.iter().chain(&late) {
        consumer.commit(&[GroupOffset::after(first)]).await?;
        assert_eq!((taken.all(), consumer.assignment()), (vec![], vec![TopicPartition::new(TOPIC, 0)]));
    }
    for member in &whole {
        assert_eq!(member.read(RECORDS - 1).await?, (0..RECORDS).collect::<Vec<_>>());
    }

    // What a member has not read by now, it cannot read any more: up to the record after it comes only what it holds.
    delete_all(&connection).await?;
    producer.send(Record::to(TOPIC).with_payload("last")).await?;
    for member in &late {
        let offsets = member.read(RECORDS).await?;
        let held = i64::try_from(offsets.len())? - 1;
        assert!(offsets.iter().copied().eq((0..held).chain([RECORDS])), "{offsets:?}");
        assert!(offsets.len() <= 2 * BUFFER, "{held} records were held");
    }
    for Member { consumer, .. } in whole.iter().chain(&late) {
        consumer.close().await;
    }
    Ok(())
}
