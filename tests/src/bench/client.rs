//! The plain clients of the benchmarks themselves: they send records, read what became of them, and ask what was committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::scene::Result;

/// How long a client waits for an answer.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What becomes of the records of a producer.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<[AtomicU64; 2]>);

impl Acknowledged {
    /// How many records Kafka has acknowledged.
    pub fn count(&self) -> u64 {
        let [stored, _] = &*self.0;
        stored.load(Ordering::Relaxed)
    }

    /// An error if one was not taken.
    ///
    /// # Errors
    /// How many.
    pub fn check(&self) -> Result {
        let [_, failed] = &*self.0;
        match failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(format!("Kafka did not take {failed} records").into()),
        }
    }
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let [stored, failed] = &*self.0;
        let told = if result.is_err() { failed } else { stored };
        told.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all clients are told.
pub fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// Sends records.
pub struct Sender {
    producer: ThreadedProducer<Acknowledged>,
    topic: String,
}

impl Sender {
    /// `linger` in milliseconds: how long a record may wait for others.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(brokers: &str, topic: &str, linger: u32) -> Result<Self> {
        let mut config = config(brokers);
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", linger.to_string());
        Ok(Self { producer: config.create_with_context(Acknowledged::default())?, topic: topic.to_owned() })
    }

    /// Sends one record.
    ///
    /// # Errors
    /// The client refuses it.
    pub fn send(&self, key: &[u8], value: &[u8]) -> Result {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value);
        while let Err((error, rejected)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = rejected;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until Kafka has acknowledged all of them.
    ///
    /// # Errors
    /// It has not.
    pub fn finish(&self) -> Result {
        self.producer.flush(LIMIT)?;
        self.producer.context().check()
    }
}

/// Reads topics from their beginning, only what is committed.
pub struct Reader {
    consumer: BaseConsumer,
    partitions: usize,
}

impl Reader {
    /// Starts at the first record of each partition.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(brokers: &str, topics: &[&str], partitions: i32) -> Result<Self> {
        let mut config = config(brokers);
        config.set("group.id", "bench-reader").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true").set("fetch.queue.backoff.ms", "5");
        let consumer: BaseConsumer = config.create()?;
        let mut all = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..partitions {
                all.add_partition_offset(topic, partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&all)?;
        Ok(Self { consumer, partitions: all.count() })
    }

    /// The next record, if one comes within `wait`.
    ///
    /// # Errors
    /// Kafka's.
    pub fn next(&self, wait: Duration) -> Result<Option<BorrowedMessage<'_>>> {
        match self.consumer.poll(wait) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => Ok(None),
            Some(message) => Ok(Some(message?)),
        }
    }

    /// Reads all that is there.
    ///
    /// # Errors
    /// Kafka's, or nothing comes any more.
    pub fn to_the_end(&self, mut each: impl FnMut(&BorrowedMessage<'_>)) -> Result {
        let mut ended = 0;
        while ended < self.partitions {
            match self.consumer.poll(LIMIT) {
                None => return Err(format!("Kafka sent nothing for {} s", LIMIT.as_secs()).into()),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(message) => each(&message?),
            }
        }
        Ok(())
    }
}

/// Looks at the commits of a group from outside.
pub struct Watcher {
    consumer: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Watcher {
    /// Never becomes a member of the group.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(brokers: &str, group: &str, topic: &str, partitions: i32) -> Result<Self> {
        let mut config = config(brokers);
        // A commit counts once its transaction has ended; asking for stable offsets only would make this client wait.
        config.set("group.id", group).set("isolation.level", "read_uncommitted").set("enable.auto.commit", "false");
        let mut all = TopicPartitionList::new();
        all.add_partition_range(topic, 0, partitions - 1);
        Ok(Self { consumer: config.create()?, partitions: all })
    }

    /// How many records the group has committed.
    ///
    /// # Errors
    /// Kafka does not tell.
    pub fn committed(&self) -> Result<i64> {
        let offsets = self.consumer.committed_offsets(self.partitions.clone(), LIMIT)?;
        let mut sum = 0;
        for element in offsets.elements() {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                sum += offset;
            }
        }
        Ok(sum)
    }

    /// How many records there are.
    ///
    /// # Errors
    /// Kafka does not tell.
    pub fn available(&self) -> Result<i64> {
        let mut sum = 0;
        for element in self.partitions.elements() {
            sum += self.consumer.fetch_watermarks(element.topic(), element.partition(), LIMIT)?.1;
        }
        Ok(sum)
    }
}
