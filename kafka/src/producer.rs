//! Writes records and tells for each whether Kafka has it.
//!
//! A delivery is `Ok` only once all in-sync replicas have the record (`acks=all`); retries inside the client neither
//! duplicate nor reorder (idempotence). A full buffer makes the caller wait; it is never an error.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header as NativeHeader, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout_at;

use crate::connection::{ConnectionSettings, InvalidSettings};
use crate::detached::Detached;
use crate::error::{Error, Result};
use crate::ffi;
use crate::health::{Health, HealthSource, client_context};
use crate::record::{Record, RecordPosition};
use crate::topic::validate_topic_name;

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// zlib's gzip.
    Gzip,
    /// LZ4: fast, a fair ratio.
    #[default]
    Lz4,
    /// Zstandard: the best ratio, needs Kafka 2.1.
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// How a [`Producer`] batches and how long it tries.
///
/// ```
/// use penstock_kafka::ProducerSettings;
/// use std::time::Duration;
///
/// let mut settings = ProducerSettings::default();
/// settings.delivery_timeout = Duration::from_secs(5);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSettings {
    /// How long a record may wait for company in a batch. 0 to 1 s; default 5 ms.
    pub linger: Duration,
    /// How large a batch may get, in bytes. 1 KiB to 16 MiB; default 1 MiB.
    pub batch_bytes: u32,
    /// How batches are compressed. Default LZ4.
    pub compression: Compression,
    /// How long a record is tried, from `enqueue` to the acknowledgement; then it fails. 1 s to 1 h and more than
    /// `linger`; default 30 s.
    pub delivery_timeout: Duration,
    /// The largest record that is accepted, in bytes with key and headers. 1 KiB to 100 MiB; default 1,000,000, somewhat
    /// less than Kafka's own default limit.
    pub max_record_bytes: u32,
    /// How many records may wait for their acknowledgement before callers wait. 1 to 10 million; default 100,000.
    pub buffer_records: u32,
    /// How many bytes may wait. 1 MiB to 1 GiB; default 32 MiB.
    pub buffer_bytes: u32,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            batch_bytes: 1 << 20,
            compression: Compression::default(),
            delivery_timeout: Duration::from_secs(30),
            max_record_bytes: 1_000_000,
            buffer_records: 100_000,
            buffer_bytes: 32 << 20,
        }
    }
}

impl ProducerSettings {
    fn validate(&self) -> std::result::Result<(), InvalidSettings> {
        let wrong = |message: &str| Err(InvalidSettings::new(message));
        if self.linger > Duration::from_secs(1) {
            return wrong("linger must be at most 1 s");
        }
        if !(1 << 10..=16 << 20).contains(&self.batch_bytes) {
            return wrong("batch_bytes must be between 1 KiB and 16 MiB");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.delivery_timeout) {
            return wrong("delivery_timeout must be between 1 s and 1 h");
        }
        if self.delivery_timeout <= self.linger {
            return wrong("delivery_timeout must be longer than linger");
        }
        if !(1 << 10..=100 << 20).contains(&self.max_record_bytes) {
            return wrong("max_record_bytes must be between 1 KiB and 100 MiB");
        }
        if !(1..=10_000_000).contains(&self.buffer_records) {
            return wrong("buffer_records must be between 1 and 10,000,000");
        }
        if !(1 << 20..=1 << 30).contains(&self.buffer_bytes) {
            return wrong("buffer_bytes must be between 1 MiB and 1 GiB");
        }
        Ok(())
    }

    fn apply(&self, config: &mut ClientConfig) {
        // One request may take a third of the time, so that a lost one leaves time for another try.
        let request = (self.delivery_timeout / 3).min(Duration::from_secs(30));
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("batch.size", self.batch_bytes.to_string())
            .set("compression.type", self.compression.name())
            .set("delivery.timeout.ms", self.delivery_timeout.as_millis().to_string())
            .set("request.timeout.ms", request.as_millis().to_string())
            .set("message.max.bytes", self.max_record_bytes.to_string())
            .set("queue.buffering.max.messages", self.buffer_records.to_string())
            .set("queue.buffering.max.kbytes", (self.buffer_bytes >> 10).to_string())
            // How long a topic may stay unknown, counted from its first record, before its records fail.
            .set("topic.metadata.propagation.max.ms", request.as_millis().to_string());
    }
}

type Outcome = Result<RecordPosition>;

struct Context {
    health: HealthSource,
    in_flight: AtomicUsize,
    progress: Notify,
}

client_context!(Context);

impl Context {
    fn settle(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.progress.notify_waiters();
    }
}

/// What librdkafka keeps with each record until its fate is known.
struct Shared(Arc<Context>);

impl ProducerContext for Shared {
    type DeliveryOpaque = Box<oneshot::Sender<Outcome>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => {
                self.0.health.connected();
                Ok(RecordPosition { partition: message.partition(), offset: message.offset() })
            }
            Err((error, message)) => Err(self.failure(error, message)),
        };
        // The caller may not care about the outcome.
        let _ = sender.send(outcome);
        self.0.settle();
    }
}

impl Shared {
    fn failure(&self, error: &KafkaError, message: &BorrowedMessage<'_>) -> Error {
        let reason = || match self.0.health.reason() {
            Some(reason) => format!("the record was not acknowledged in time: {reason}"),
            None => "the record was not acknowledged in time".to_owned(),
        };
        match error.rdkafka_error_code() {
            Some(Code::PurgeQueue | Code::PurgeInflight) => Error::Closed,
            Some(Code::MessageTimedOut) if ffi::possibly_stored(message) => Error::Timeout { reason: reason() },
            Some(Code::MessageTimedOut) => Error::Unreachable { reason: reason() },
            _ => Error::from_rdkafka(error, Some(message.topic())),
        }
    }
}

impl rdkafka::ClientContext for Shared {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        self.0.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

/// Writes records to Kafka. Clones share one client; the last one to go drops what is not yet acknowledged, so
/// [`Producer::flush`] first.
///
/// ```no_run
/// # async fn example() -> penstock_kafka::Result<()> {
/// use penstock_kafka::{ConnectionSettings, Producer, ProducerSettings, Record};
///
/// let producer = Producer::new(&ConnectionSettings::parse("localhost:9092")?, &ProducerSettings::default())?;
/// let position = producer.send(Record::to("orders").with_key("o-1").with_payload("{}")).await?;
/// println!("stored at {}/{}", position.partition, position.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    client: Detached<ThreadedProducer<Shared>>,
    context: Arc<Context>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Producer {
    /// Starts a client. Does not wait for Kafka.
    ///
    /// # Errors
    /// [`Error::InvalidSettings`] names the setting that is out of its bounds.
    pub fn new(connection: &ConnectionSettings, settings: &ProducerSettings) -> Result<Self> {
        settings.validate()?;
        let mut config = connection.client_config();
        settings.apply(&mut config);
        let context = Arc::new(Context { health: HealthSource::new(), in_flight: AtomicUsize::new(0), progress: Notify::new() });
        let client = config.create_with_context(Shared(Arc::clone(&context))).map_err(|error| Error::from_rdkafka(&error, None))?;
        Ok(Self { client: Detached::new(client), context })
    }

    /// Writes one record and waits until Kafka has acknowledged it.
    ///
    /// # Errors
    /// As [`Producer::enqueue`] and [`Delivery`].
    pub async fn send(&self, record: Record) -> Result<RecordPosition> {
        self.enqueue(record).await?.await
    }

    /// Hands one record to the client and returns its [`Delivery`] to be awaited later. Waits only while the buffer is
    /// full. Records that are enqueued one after the other stay in this order within a partition.
    ///
    /// # Errors
    /// The record can never be sent (invalid topic name, too large, unknown partition), or the client has failed for
    /// good ([`Error::is_fatal`]).
    pub async fn enqueue(&self, record: Record) -> Result<Delivery> {
        validate_topic_name(&record.topic)?;
        if record.headers.iter().any(|header| header.name.contains('\0')) {
            let message = "a header name contains a zero byte".to_owned();
            return Err(Error::InvalidRequest { code: Code::InvalidArgument as i32, message });
        }
        let client = self.client.get()?;
        let (mut sender, receiver) = oneshot::channel();
        loop {
            let progress = self.context.progress.notified();
            tokio::pin!(progress);
            // From here on no acknowledgement is missed, so a full buffer cannot be waited for in vain.
            progress.as_mut().enable();
            self.context.in_flight.fetch_add(1, Ordering::AcqRel);
            match client.send(native_record(&record, sender)) {
                Ok(()) => return Ok(Delivery { receiver }),
                Err((error, rejected)) => {
                    self.context.settle();
                    if error.rdkafka_error_code() != Some(Code::QueueFull) {
                        return Err(self.refusal(client, &error, &record.topic));
                    }
                    sender = *rejected.delivery_opaque;
                }
            }
            progress.await;
        }
    }

    fn refusal(&self, client: &ThreadedProducer<Shared>, error: &KafkaError, topic: &str) -> Error {
        match client.client().fatal_error() {
            Some((code, message)) => Error::Fatal { message: format!("{code}: {message}") },
            None => Error::from_rdkafka(error, Some(topic)),
        }
    }

    /// Waits until every record enqueued so far is acknowledged or has failed.
    ///
    /// # Errors
    /// [`Error::Timeout`] if records are still on their way then; they stay in the client.
    pub async fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let progress = self.context.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let left = self.in_flight();
            if left == 0 {
                return Ok(());
            }
            if timeout_at(deadline, progress).await.is_err() {
                return Err(Error::Timeout { reason: format!("{left} records are not acknowledged yet") });
            }
        }
    }

    /// How many records wait for their acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.context.in_flight.load(Ordering::Acquire)
    }

    /// Watches the connection.
    pub fn health(&self) -> Health {
        self.context.health.watch()
    }
}

fn native_record<'a>(record: &'a Record, sender: oneshot::Sender<Outcome>) -> BaseRecord<'a, [u8], [u8], Box<oneshot::Sender<Outcome>>> {
    let headers = (!record.headers.is_empty()).then(|| {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        record
            .headers
            .iter()
            .fold(headers, |headers, header| headers.insert(NativeHeader { key: &header.name, value: header.value.as_deref() }))
    });
    BaseRecord {
        topic: &record.topic,
        partition: record.partition,
        payload: record.payload.as_deref(),
        key: record.key.as_deref(),
        timestamp: record.timestamp_ms,
        headers,
        delivery_opaque: Box::new(sender),
    }
}

/// Resolves once Kafka has acknowledged the record or will not. Dropping it does not take the record back.
///
/// [`Error::Unreachable`] means that the record is not stored, [`Error::Timeout`] that it may be. [`Error::Closed`] means
/// that the producer was dropped before.
#[derive(Debug)]
#[must_use = "a record counts only once its delivery was awaited"]
pub struct Delivery {
    receiver: oneshot::Receiver<Outcome>,
}

impl Future for Delivery {
    type Output = Result<RecordPosition>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|outcome| outcome.unwrap_or(Err(Error::Closed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        type Change = fn(&mut ProducerSettings);
        let table: [(&str, Change, bool); 9] = [
            ("default", |_| {}, true),
            ("linger", |s| s.linger = Duration::from_secs(2), false),
            ("batch", |s| s.batch_bytes = 1, false),
            ("timeout", |s| s.delivery_timeout = Duration::from_millis(1), false),
            ("linger and timeout", |s| (s.linger, s.delivery_timeout) = (Duration::from_secs(1), Duration::from_secs(1)), false),
            ("record", |s| s.max_record_bytes = 0, false),
            ("records", |s| s.buffer_records = 0, false),
            ("bytes", |s| s.buffer_bytes = 0, false),
            ("no linger", |s| s.linger = Duration::ZERO, true),
        ];
        for (name, change, valid) in table {
            let mut settings = ProducerSettings::default();
            change(&mut settings);
            assert_eq!(settings.validate().is_ok(), valid, "{name}");
        }
    }

    #[tokio::test]
    async fn what_librdkafka_accepts_is_what_we_set() {
        for compression in [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let settings = ProducerSettings { compression, ..ProducerSettings::default() };
            let connection = ConnectionSettings::parse("localhost:1").unwrap();
            assert!(Producer::new(&connection, &settings).is_ok(), "{compression:?}");
        }
    }
}
