//! Follows whole topics without a group, from their first record on, for state that is kept in memory.
//!
//! Every partition is read, also those that are added later; nothing is ever committed. What a follower must know
//! (caught up, a topic recreated, records lost) is an event in its place between the records.

mod following;
mod progress;
mod span;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::buffer::Buffer;
use crate::connection::{ConnectionSettings, InvalidSettings, tell};
use crate::consumer::reading;
use crate::error::{Error, Result};
use crate::ffi::Native;
use crate::health::Health;
use crate::record::{ConsumedRecord, TopicPartition};
use crate::thread::Thread;
use crate::topic::validate_topic_name;

use following::Following;
use progress::Progress;

pub use span::read_span;

/// The library's settings that are told when a reader starts.
const TOLD: [&str; 3] = ["isolation.level", "fetch.max.bytes", "fetch.wait.max.ms"];

/// How a [`TopicReader`] reads ahead and looks for changes.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderSettings {
    /// How often to look for new partitions and recreated topics. 1 s to 1 h; default 10 s.
    pub refresh_interval: Duration,
    /// How many records may wait to be taken by `next`. 1 to 1 million; default 1,000.
    pub buffer_records: usize,
    /// How many bytes the client reads ahead, over all partitions. 1 MiB to 1 GiB; default 16 MiB.
    pub prefetch_bytes: u32,
    /// How long the broker may hold a fetch open while there is nothing to read. 1 ms to 30 s; default 500 ms.
    pub fetch_wait: Duration,
}

impl Default for ReaderSettings {
    fn default() -> Self {
        Self {
            refresh_interval: Duration::from_secs(10),
            buffer_records: 1000,
            prefetch_bytes: 16 << 20,
            fetch_wait: Duration::from_millis(500),
        }
    }
}

impl ReaderSettings {
    pub(crate) fn validate(&self) -> std::result::Result<(), InvalidSettings> {
        let wrong = |field, rule| Err(InvalidSettings::field_must(field, rule));
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.refresh_interval) {
            return wrong("refresh_interval", "must be between 1 s and 1 h");
        }
        if !(1..=1_000_000).contains(&self.buffer_records) {
            return wrong("buffer_records", "must be between 1 and 1,000,000");
        }
        if !(1 << 20..=1 << 30).contains(&self.prefetch_bytes) {
            return wrong("prefetch_bytes", "must be between 1 MiB and 1 GiB");
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(30)).contains(&self.fetch_wait) {
            return wrong("fetch_wait", "must be between 1 ms and 30 s");
        }
        Ok(())
    }
}

/// What a [`TopicReader`] has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderEvent {
    /// The next record of some partition, in order within each.
    Record(ConsumedRecord),
    /// Everything that was there when following started (or started again) has been handed out. Comes again after one
    /// of the events below, and after partitions were added.
    CaughtUp,
    /// The topic was deleted and created again: what was read of it no longer exists. It is read from its beginning now.
    TopicRecreated {
        /// The topic.
        topic: String,
    },
    /// Records were deleted before they could be read. The partition is read from its first remaining record now, so
    /// records may come a second time.
    RecordsLost {
        /// The partition.
        partition: TopicPartition,
    },
}

/// Follows all partitions of some topics from their first record on. Share it in an `Arc` for use from several tasks.
///
/// ```no_run
/// # async fn example() -> penstock_kafka::Result<()> {
/// use penstock_kafka::{ConnectionSettings, ReaderEvent, ReaderSettings, TopicReader};
///
/// let connection = ConnectionSettings::parse("localhost:9092")?;
/// let reader = TopicReader::start(&connection, &ReaderSettings::default(), &["orders"])?;
/// loop {
///     match reader.next().await? {
///         ReaderEvent::Record(record) => println!("{:?}", record.payload),
///         ReaderEvent::CaughtUp => println!("ready"),
///         ReaderEvent::TopicRecreated { topic } => println!("forget what came from {topic}"),
///         ReaderEvent::RecordsLost { partition } => println!("{partition} starts over"),
///     }
/// }
/// # }
/// ```
pub struct TopicReader {
    events: Arc<Buffer<Result<ReaderEvent>>>,
    caught_up: AtomicBool,
    health: Health,
    thread: Thread,
}

impl fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReader").field("caught_up", &self.is_caught_up()).finish_non_exhaustive()
    }
}

impl TopicReader {
    /// Starts to follow. Does not wait for Kafka, nor for topics that are not there yet.
    ///
    /// # Errors
    /// [`Error::InvalidSettings`] or [`Error::InvalidTopicName`].
    pub fn start(connection: &ConnectionSettings, settings: &ReaderSettings, topics: &[impl AsRef<str>]) -> Result<Self> {
        settings.validate()?;
        if topics.is_empty() {
            return Err(InvalidSettings::new("give at least one topic to follow").into());
        }
        topics.iter().try_for_each(|topic| validate_topic_name(topic.as_ref()))?;
        let mut config = reading_client(connection, settings.prefetch_bytes, settings.fetch_wait);
        // A position that no longer exists is reported instead of silently skipped.
        config.set("auto.offset.reset", "error");
        let own = format!("buffer_records={} refresh_interval={:?}", settings.buffer_records, settings.refresh_interval);
        tell("reader", &config, &TOLD, Some(own));
        let native = Native::for_reading(&config)?;
        let health = native.health();
        let events = Arc::new(Buffer::new(settings.buffer_records, settings.prefetch_bytes as usize));
        let progress = Progress::new(topics.iter().map(|topic| topic.as_ref().to_owned()));
        let following = Following::new(native, Arc::clone(&events), progress, settings.refresh_interval);
        let thread = Thread::start("kafka-reader", move |stop| following.run(&stop))?;
        Ok(Self { events, caught_up: AtomicBool::new(false), health, thread })
    }

    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// After an error the reader goes on by itself. A topic that is not there is reported once as
    /// [`Error::UnknownTopic`] and followed as soon as it is. [`Error::Closed`] ends the stream.
    pub async fn next(&self) -> Result<ReaderEvent> {
        let event = self.events.pop().await.unwrap_or(Err(Error::Closed))?;
        match event {
            ReaderEvent::CaughtUp => self.caught_up.store(true, Ordering::Release),
            ReaderEvent::TopicRecreated { .. } | ReaderEvent::RecordsLost { .. } => {
                self.caught_up.store(false, Ordering::Release);
            }
            ReaderEvent::Record(_) => {}
        }
        Ok(event)
    }

    /// True if `next` has handed out [`ReaderEvent::CaughtUp`], and no topic had to be started over since.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    /// Watches the connection.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Stops and waits until the client is gone. `next` ends with [`Error::Closed`].
    pub async fn close(&self) {
        self.thread.stop().await;
    }
}

/// What every client has that reads partitions without a group.
fn reading_client(connection: &ConnectionSettings, prefetch_bytes: u32, fetch_wait: Duration) -> ClientConfig {
    let mut config = connection.client_config();
    reading(&mut config, prefetch_bytes, fetch_wait);
    config
        .set("isolation.level", "read_committed")
        // librdkafka assigns partitions only to clients that name a group. This one is neither joined nor written to.
        .set("group.id", format!("{}-reader", connection.client_id()))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true");
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        type Change = fn(&mut ReaderSettings);
        let table: [(&str, Change, bool); 5] = [
            ("default", |_| {}, true),
            ("refresh", |s| s.refresh_interval = Duration::ZERO, false),
            ("records", |s| s.buffer_records = 0, false),
            ("bytes", |s| s.prefetch_bytes = 0, false),
            ("wait", |s| s.fetch_wait = Duration::ZERO, false),
        ];
        for (name, change, valid) in table {
            let mut settings = ReaderSettings::default();
            change(&mut settings);
            assert_eq!(settings.validate().is_ok(), valid, "{name}");
        }
    }
}
