//! How a group consumer behaves. Pure.

use std::time::Duration;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::connection::InvalidSettings;

const MAX_GROUP: usize = 255;

/// Where a group starts in a partition for which it has no committed offset, or one that no longer exists there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFrom {
    /// With the first record there is.
    #[default]
    #[serde(alias = "earliest")]
    Earliest,
    /// With the next record written.
    #[serde(alias = "latest")]
    Latest,
    /// Where [`crate::Consumer::begin`] says, in every partition, whatever the group has committed: until then it stands still.
    /// One whose position is gone is not moved either, but reported ([`crate::Received::OutOfRange`]). Not in a configuration file: the
    /// program must know of it.
    #[serde(skip)]
    AsTold,
}

/// How a group shares its partitions among its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupProtocol {
    /// The members agree among themselves, by the cooperative-sticky strategy: a rebalance moves only what has to move.
    #[default]
    #[serde(alias = "classic")]
    Classic,
    /// The brokers decide (KIP-848, Kafka 4.0 and newer): members never wait for each other. A group that has members with
    /// `Classic` can be moved over one member after the other.
    #[serde(alias = "consumer")]
    Consumer,
}

/// Which records a consumer sees of those that were written in transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Those of committed transactions. A transaction that is still open holds up what was written behind it.
    #[default]
    #[serde(alias = "read_committed")]
    ReadCommitted,
    /// All, those of aborted transactions too.
    #[serde(alias = "read_uncommitted")]
    ReadUncommitted,
}

/// How a [`crate::Consumer`] joins its group and how much it reads ahead.
///
/// ```
/// use penstock_kafka::{ConsumerSettings, StartFrom};
///
/// let mut settings = ConsumerSettings::new("billing");
/// settings.start_from = StartFrom::Latest;
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The consumer group's id, 1 to 255 characters.
    pub group: String,
    /// Where to start without a committed offset. Default `Earliest`.
    pub start_from: StartFrom,
    /// How the group shares its partitions. Default `Classic`.
    pub group_protocol: GroupProtocol,
    /// Which records of transactions are handed out. Default `ReadCommitted`.
    pub isolation: Isolation,
    /// After how long without a heartbeat the group gives this member's partitions to others. 6 s to 30 min (the
    /// brokers' default bounds); default 45 s. With [`GroupProtocol::Consumer`] the brokers' own setting decides that
    /// (`group.consumer.session.timeout.ms`).
    pub session_timeout: Duration,
    /// How long a callback of the listener may take before the group gives up on this member. At least
    /// `session_timeout`, at most 24 h; default 5 min.
    pub max_poll_interval: Duration,
    /// How many records may wait to be taken by `recv`. 1 to 1 million; default 1,000.
    pub buffer_records: usize,
    /// How many bytes the client fetches ahead, over all partitions, and at most in one answer of a broker; as many again may
    /// wait to be taken by `recv`. 1 MiB to 1 GiB; default 16 MiB.
    pub prefetch_bytes: u32,
    /// How many bytes of one partition a broker puts into one answer; a larger batch of records comes whole. 1 KiB to
    /// 100 MiB; default 1 MiB.
    pub partition_fetch_bytes: u32,
    /// How many bytes the broker waits for before it answers, for as long as `fetch_wait`. 1 B to 100 MB; default 1 B.
    pub fetch_min_bytes: u32,
    /// How long the broker may hold a fetch open while there is not enough to read. 1 ms to 30 s; default 500 ms.
    pub fetch_wait: Duration,
    /// Whether [`crate::Consumer::recv_all`] tells the ends of partitions. Default: no.
    pub report_ends: bool,
    /// Whether the member that has a partition of one topic has those with the same number of all other topics, too, as far
    /// as all members read the same topics (the `range` strategy, with `Consumer` that of the brokers). With `Classic` all
    /// members then give up all partitions in each rebalance. Default: no.
    pub co_partitioned: bool,
}

/// The library's settings that are told when a consumer starts.
pub(super) const TOLD: [&str; 10] = [
    "group.id",
    "group.protocol",
    "session.timeout.ms",
    "max.poll.interval.ms",
    "enable.auto.commit",
    "isolation.level",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
];

impl ConsumerSettings {
    /// The defaults for a group.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            start_from: StartFrom::default(),
            group_protocol: GroupProtocol::default(),
            isolation: Isolation::default(),
            session_timeout: Duration::from_secs(45),
            max_poll_interval: Duration::from_secs(300),
            buffer_records: 1000,
            prefetch_bytes: 16 << 20,
            partition_fetch_bytes: 1 << 20,
            fetch_min_bytes: 1,
            fetch_wait: Duration::from_millis(500),
            report_ends: false,
            co_partitioned: false,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidSettings> {
        let wrong = |field, rule| Err(InvalidSettings::field_must(field, rule));
        if self.group.is_empty() || self.group.len() > MAX_GROUP || self.group.contains('\0') {
            return wrong("group", "must have 1 to 255 characters and no zero byte");
        }
        if !(Duration::from_secs(6)..=Duration::from_secs(1800)).contains(&self.session_timeout) {
            return wrong("session_timeout", "must be between 6 s and 30 min");
        }
        if !(self.session_timeout..=Duration::from_secs(86_400)).contains(&self.max_poll_interval) {
            return wrong("max_poll_interval", "must be at least the session timeout and at most 24 h");
        }
        if !(1..=1_000_000).contains(&self.buffer_records) {
            return wrong("buffer_records", "must be between 1 and 1,000,000");
        }
        if !(1 << 20..=1 << 30).contains(&self.prefetch_bytes) {
            return wrong("prefetch_bytes", "must be between 1 MiB and 1 GiB");
        }
        if !(1 << 10..=100 << 20).contains(&self.partition_fetch_bytes) {
            return wrong("partition_fetch_bytes", "must be between 1 KiB and 100 MiB");
        }
        if !(1..=100_000_000).contains(&self.fetch_min_bytes) {
            return wrong("fetch_min_bytes", "must be between 1 B and 100 MB");
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(30)).contains(&self.fetch_wait) {
            return wrong("fetch_wait", "must be between 1 ms and 30 s");
        }
        Ok(())
    }

    pub(super) fn apply(&self, config: &mut ClientConfig) {
        let start = match self.start_from {
            StartFrom::Earliest => "earliest",
            StartFrom::Latest => "latest",
            StartFrom::AsTold => "error",
        };
        config
            .set("group.id", &self.group)
            .set("auto.offset.reset", start)
            .set("max.poll.interval.ms", self.max_poll_interval.as_millis().to_string())
            .set("fetch.message.max.bytes", self.partition_fetch_bytes.to_string())
            .set("fetch.min.bytes", self.fetch_min_bytes.to_string())
            .set("isolation.level", self.isolation.level())
            .set("enable.partition.eof", self.report_ends.to_string())
            // Only what the caller commits is committed.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        reading(config, self.prefetch_bytes, self.fetch_wait);
        self.apply_protocol(config);
    }

    fn apply_protocol(&self, config: &mut ClientConfig) {
        match self.group_protocol {
            GroupProtocol::Classic => {
                let heartbeat = (self.session_timeout / 3).min(Duration::from_secs(3));
                config
                    .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
                    .set("heartbeat.interval.ms", heartbeat.as_millis().to_string())
                    .set("partition.assignment.strategy", if self.co_partitioned { "range" } else { "cooperative-sticky" });
            }
            // What the brokers decide must not be set.
            GroupProtocol::Consumer => {
                config.set("group.protocol", "consumer");
                if self.co_partitioned {
                    config.set("group.remote.assignor", "range");
                }
            }
        }
    }
}

impl Isolation {
    fn level(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// What every client that reads records shares.
pub(crate) fn reading(config: &mut ClientConfig, prefetch_bytes: u32, fetch_wait: Duration) {
    config
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", fetch_wait.as_millis().to_string())
        .set("queued.max.messages.kbytes", (prefetch_bytes >> 10).to_string())
        // One answer may not go far beyond what may be queued. The default is 50 MB.
        .set("fetch.max.bytes", prefetch_bytes.to_string())
        // The default of a second makes a consumer whose queue was full stand still for that long.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.error.backoff.ms", "100");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_accepts_every_choice() {
        for group_protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            for (isolation, start_from, co_partitioned) in [
                (Isolation::ReadCommitted, StartFrom::Earliest, true),
                (Isolation::ReadUncommitted, StartFrom::Latest, false),
                (Isolation::ReadCommitted, StartFrom::AsTold, false),
            ] {
                let settings = ConsumerSettings { group_protocol, isolation, start_from, co_partitioned, ..ConsumerSettings::new("g") };
                let connection = crate::ConnectionSettings::parse("localhost:1").unwrap();
                let consumer = crate::Consumer::subscribe(&connection, &settings, &["t"], ());
                assert!(consumer.is_ok(), "{group_protocol:?} {isolation:?} {consumer:?}");
            }
        }
    }

    #[test]
    fn each_setting_reaches_the_library() {
        let mut settings = ConsumerSettings::new("g");
        settings.session_timeout = Duration::from_secs(6);
        settings.prefetch_bytes = 2 << 20;
        settings.partition_fetch_bytes = 64 << 10;
        settings.fetch_min_bytes = 100;
        settings.fetch_wait = Duration::from_millis(20);
        let brokers = ConsumerSettings { group_protocol: GroupProtocol::Consumer, ..settings.clone() };
        // (property, with Classic, with Consumer)
        for (property, classic, consumer) in [
            ("group.id", Some("g"), Some("g")),
            ("group.protocol", None, Some("consumer")),
            ("session.timeout.ms", Some("6000"), None),
            ("heartbeat.interval.ms", Some("2000"), None),
            ("queued.max.messages.kbytes", Some("2048"), Some("2048")),
            ("fetch.max.bytes", Some("2097152"), Some("2097152")),
            ("fetch.message.max.bytes", Some("65536"), Some("65536")),
            ("fetch.min.bytes", Some("100"), Some("100")),
            ("fetch.wait.max.ms", Some("20"), Some("20")),
        ] {
            for (settings, expected) in [(&settings, classic), (&brokers, consumer)] {
                let mut config = ClientConfig::new();
                settings.apply(&mut config);
                assert_eq!(config.get(property), expected, "{property} {:?}", settings.group_protocol);
            }
        }
    }

    #[test]
    fn settings_have_bounds() {
        type Change = fn(&mut ConsumerSettings);
        let table: [(&str, Change, bool); 10] = [
            ("default", |_| {}, true),
            ("group", |s| s.group.clear(), false),
            ("long group", |s| s.group = "x".repeat(256), false),
            ("session", |s| s.session_timeout = Duration::from_secs(1), false),
            ("poll", |s| s.max_poll_interval = Duration::from_secs(10), false),
            ("records", |s| s.buffer_records = 0, false),
            ("bytes", |s| s.prefetch_bytes = 0, false),
            ("fetch", |s| s.partition_fetch_bytes = 0, false),
            ("least", |s| s.fetch_min_bytes = 0, false),
            ("wait", |s| s.fetch_wait = Duration::ZERO, false),
        ];
        for (name, change, valid) in table {
            let mut settings = ConsumerSettings::new("g");
            change(&mut settings);
            assert_eq!(settings.validate().is_ok(), valid, "{name}");
        }
    }
}
