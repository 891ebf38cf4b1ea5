//! How a group consumer behaves. Pure.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::connection::InvalidSettings;

const MAX_GROUP: usize = 255;

/// Where a group starts in a partition for which it has no committed offset, or one that no longer exists there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// With the first record there is.
    #[default]
    Earliest,
    /// With the next record written.
    Latest,
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
    /// After how long without a heartbeat the group gives this member's partitions to others. 6 s to 30 min (the
    /// brokers' default bounds); default 45 s.
    pub session_timeout: Duration,
    /// How long a callback of the listener may take before the group gives up on this member. At least
    /// `session_timeout`, at most 24 h; default 5 min.
    pub max_poll_interval: Duration,
    /// How many records may wait to be taken by `recv`. 1 to 1 million; default 1,000.
    pub buffer_records: usize,
    /// How many bytes the client fetches ahead, over all partitions; as many again may wait to be taken by `recv`. 1 MiB to
    /// 1 GiB; default 16 MiB.
    pub prefetch_bytes: u32,
    /// How long the broker may hold a fetch open while there is nothing to read. 1 ms to 30 s; default 500 ms.
    pub fetch_wait: Duration,
}

impl ConsumerSettings {
    /// The defaults for a group.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            start_from: StartFrom::default(),
            session_timeout: Duration::from_secs(45),
            max_poll_interval: Duration::from_secs(300),
            buffer_records: 1000,
            prefetch_bytes: 16 << 20,
            fetch_wait: Duration::from_millis(500),
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSettings> {
        let wrong = |message: &str| Err(InvalidSettings::new(message));
        if self.group.is_empty() || self.group.len() > MAX_GROUP || self.group.contains('\0') {
            return wrong("group must have 1 to 255 characters and no zero byte");
        }
        if !(Duration::from_secs(6)..=Duration::from_secs(1800)).contains(&self.session_timeout) {
            return wrong("session_timeout must be between 6 s and 30 min");
        }
        if !(self.session_timeout..=Duration::from_secs(86_400)).contains(&self.max_poll_interval) {
            return wrong("max_poll_interval must be between session_timeout and 24 h");
        }
        if !(1..=1_000_000).contains(&self.buffer_records) {
            return wrong("buffer_records must be between 1 and 1,000,000");
        }
        if !(1 << 20..=1 << 30).contains(&self.prefetch_bytes) {
            return wrong("prefetch_bytes must be between 1 MiB and 1 GiB");
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(30)).contains(&self.fetch_wait) {
            return wrong("fetch_wait must be between 1 ms and 30 s");
        }
        Ok(())
    }

    pub(super) fn apply(&self, config: &mut ClientConfig) {
        let heartbeat = (self.session_timeout / 3).min(Duration::from_secs(3));
        let start = match self.start_from {
            StartFrom::Earliest => "earliest",
            StartFrom::Latest => "latest",
        };
        config
            .set("group.id", &self.group)
            .set("auto.offset.reset", start)
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", heartbeat.as_millis().to_string())
            .set("max.poll.interval.ms", self.max_poll_interval.as_millis().to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Only what the caller commits is committed.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        reading(config, self.prefetch_bytes, self.fetch_wait);
    }
}

/// What every client that reads records shares.
pub(crate) fn reading(config: &mut ClientConfig, prefetch_bytes: u32, fetch_wait: Duration) {
    config
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", fetch_wait.as_millis().to_string())
        .set("queued.max.messages.kbytes", (prefetch_bytes >> 10).to_string())
        // The default of a second makes a consumer whose queue was full stand still for that long.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.error.backoff.ms", "100");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        type Change = fn(&mut ConsumerSettings);
        let table: [(&str, Change, bool); 8] = [
            ("default", |_| {}, true),
            ("group", |s| s.group.clear(), false),
            ("long group", |s| s.group = "x".repeat(256), false),
            ("session", |s| s.session_timeout = Duration::from_secs(1), false),
            ("poll", |s| s.max_poll_interval = Duration::from_secs(10), false),
            ("records", |s| s.buffer_records = 0, false),
            ("bytes", |s| s.prefetch_bytes = 0, false),
            ("wait", |s| s.fetch_wait = Duration::ZERO, false),
        ];
        for (name, change, valid) in table {
            let mut settings = ConsumerSettings::new("g");
            change(&mut settings);
            assert_eq!(settings.validate().is_ok(), valid, "{name}");
        }
    }
}
