//! How a producer batches and how long it tries. Pure.

use std::time::Duration;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use super::breaker::BreakerSettings;
use crate::connection::InvalidSettings;

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Not at all.
    #[serde(alias = "none")]
    None,
    /// zlib's gzip.
    #[serde(alias = "gzip")]
    Gzip,
    /// Snappy: about as fast and as good as LZ4.
    #[serde(alias = "snappy")]
    Snappy,
    /// LZ4: fast, a fair ratio.
    #[default]
    #[serde(alias = "lz4")]
    Lz4,
    /// Zstandard: the best ratio, needs Kafka 2.1.
    #[serde(alias = "zstd")]
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// How a [`crate::Producer`] batches and how long it tries.
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
    /// How large a batch may get, in bytes: a broker takes or refuses it as a whole. A record of that size is alone in its
    /// batch. 1 B to 16 MiB; default 1 MiB.
    pub batch_bytes: u32,
    /// How batches are compressed. Default LZ4.
    pub compression: Compression,
    /// How long a record is tried, from `enqueue` to the acknowledgement; then it fails. 1 s to 1 h and more than
    /// `linger`; default 30 s.
    pub delivery_timeout: Duration,
    /// The largest record that is accepted, in bytes with key and headers. 1 KiB to 100 MiB; default 1,000,000, somewhat
    /// less than Kafka's own default limit.
    pub max_record_bytes: u32,
    /// How many records may wait for their acknowledgement before callers wait. 1 to 10 million; default 10,000, which keeps
    /// a broker that answers within 10 ms busy with a million a second. More only make each record dearer: those that
    /// wait for long have left the processor's caches when they are sent.
    pub buffer_records: u32,
    /// How many bytes may wait. 1 MiB to 1 GiB; default 32 MiB.
    pub buffer_bytes: u32,
    /// When the producer stops trying for a while. Only a [`crate::Producer`] does; other producers refuse the setting. Default: never.
    pub circuit_breaker: Option<BreakerSettings>,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            batch_bytes: 1 << 20,
            compression: Compression::default(),
            delivery_timeout: Duration::from_secs(30),
            max_record_bytes: 1_000_000,
            buffer_records: 10_000,
            buffer_bytes: 32 << 20,
            circuit_breaker: None,
        }
    }
}

/// The library's settings that are told when a producer starts.
pub(crate) const TOLD: [&str; 9] = [
    "acks",
    "enable.idempotence",
    "transactional.id",
    "batch.size",
    "linger.ms",
    "compression.type",
    "message.send.max.retries",
    "delivery.timeout.ms",
    "message.max.bytes",
];

impl ProducerSettings {
    pub(crate) fn validate(&self) -> std::result::Result<(), InvalidSettings> {
        let wrong = |field, rule| Err(InvalidSettings::field_must(field, rule));
        if self.linger > Duration::from_secs(1) {
            return wrong("linger", "must be at most 1 s");
        }
        if !(1..=16 << 20).contains(&self.batch_bytes) {
            return wrong("batch_bytes", "must be between 1 B and 16 MiB");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.delivery_timeout) {
            return wrong("delivery_timeout", "must be between 1 s and 1 h");
        }
        if self.delivery_timeout <= self.linger {
            return wrong("delivery_timeout", "must be longer than linger");
        }
        if !(1 << 10..=100 << 20).contains(&self.max_record_bytes) {
            return wrong("max_record_bytes", "must be between 1 KiB and 100 MiB");
        }
        if !(1..=10_000_000).contains(&self.buffer_records) {
            return wrong("buffer_records", "must be between 1 and 10,000,000");
        }
        if !(1 << 20..=1 << 30).contains(&self.buffer_bytes) {
            return wrong("buffer_bytes", "must be between 1 MiB and 1 GiB");
        }
        self.circuit_breaker.as_ref().map_or(Ok(()), BreakerSettings::validate)
    }

    /// The same for a producer that has no circuit breaker.
    pub(crate) fn validate_unbroken(&self) -> std::result::Result<(), InvalidSettings> {
        match self.circuit_breaker {
            Some(_) => Err(InvalidSettings::field_must("circuit_breaker", "must be left out: only a Producer has one")),
            None => self.validate(),
        }
    }

    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        // A broker may wait for its replicas for a third of the time, so that there is time for another try where they are slow. The
        // client itself waits for the broker until the record's time is over: one that says nothing is not asked again.
        let request = (self.delivery_timeout / 3).min(Duration::from_secs(30));
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // The time is what ends it.
            .set("message.send.max.retries", i32::MAX.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_reaches_the_library() {
        let settings = ProducerSettings {
            linger: Duration::from_millis(50),
            batch_bytes: 16 << 10,
            compression: Compression::Snappy,
            delivery_timeout: Duration::from_secs(6),
            max_record_bytes: 2_000_000,
            buffer_records: 7,
            buffer_bytes: 2 << 20,
            circuit_breaker: None,
        };
        let mut config = ClientConfig::new();
        settings.apply(&mut config);
        for (property, expected) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("message.send.max.retries", "2147483647"),
            ("linger.ms", "50"),
            ("batch.size", "16384"),
            ("compression.type", "snappy"),
            ("delivery.timeout.ms", "6000"),
            ("request.timeout.ms", "2000"),
            ("message.max.bytes", "2000000"),
            ("queue.buffering.max.messages", "7"),
            ("queue.buffering.max.kbytes", "2048"),
        ] {
            assert_eq!(config.get(property), Some(expected), "{property}");
        }
    }

    #[test]
    fn settings_have_bounds() {
        type Change = fn(&mut ProducerSettings);
        let table: [(&str, Change, bool); 10] = [
            ("default", |_| {}, true),
            ("linger", |s| s.linger = Duration::from_secs(2), false),
            ("batch", |s| s.batch_bytes = 0, false),
            ("timeout", |s| s.delivery_timeout = Duration::from_millis(1), false),
            ("linger and timeout", |s| (s.linger, s.delivery_timeout) = (Duration::from_secs(1), Duration::from_secs(1)), false),
            ("record", |s| s.max_record_bytes = 0, false),
            ("records", |s| s.buffer_records = 0, false),
            ("bytes", |s| s.buffer_bytes = 0, false),
            ("breaker", |s| s.circuit_breaker = Some(BreakerSettings { failures: 0, pause: Duration::from_secs(1) }), false),
            ("no linger", |s| s.linger = Duration::ZERO, true),
        ];
        for (name, change, valid) in table {
            let mut settings = ProducerSettings::default();
            change(&mut settings);
            assert_eq!(settings.validate().is_ok(), valid, "{name}");
        }
    }
}
