//! The sections that say what is read: as a member of a group, or as a whole. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sections::{at, check_names};
use super::{ConfigError, ConsumerConfig, ReaderConfig, duration};
use crate::consumer::{ConsumerSettings, GroupProtocol, Isolation, StartFrom};
use crate::reader::ReaderSettings;

type Result<T> = std::result::Result<T, ConfigError>;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Consuming {
    group: String,
    topics: Vec<String>,
    start_from: StartFrom,
    group_protocol: GroupProtocol,
    isolation: Isolation,
    #[serde(with = "duration::optional")]
    session_timeout: Option<Duration>,
    #[serde(with = "duration")]
    max_poll_interval: Duration,
    buffer_records: usize,
    prefetch_bytes: u32,
    partition_fetch_bytes: u32,
    fetch_min_bytes: u32,
    #[serde(with = "duration")]
    fetch_wait: Duration,
    co_partitioned: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Following {
    topics: Vec<String>,
    #[serde(with = "duration")]
    refresh_interval: Duration,
    buffer_records: usize,
    prefetch_bytes: u32,
    #[serde(with = "duration")]
    fetch_wait: Duration,
}

impl Default for Consuming {
    fn default() -> Self {
        let settings = ConsumerSettings::new("");
        Self {
            group: settings.group,
            topics: Vec::new(),
            start_from: settings.start_from,
            group_protocol: settings.group_protocol,
            isolation: settings.isolation,
            session_timeout: None,
            max_poll_interval: settings.max_poll_interval,
            buffer_records: settings.buffer_records,
            prefetch_bytes: settings.prefetch_bytes,
            partition_fetch_bytes: settings.partition_fetch_bytes,
            fetch_min_bytes: settings.fetch_min_bytes,
            fetch_wait: settings.fetch_wait,
            co_partitioned: settings.co_partitioned,
        }
    }
}

impl Consuming {
    /// With every field that there is.
    pub(super) fn complete() -> Self {
        Self { session_timeout: Some(ConsumerSettings::new("").session_timeout), ..Self::default() }
    }

    pub(super) fn check(self) -> Result<ConsumerConfig> {
        check_topics("consumer", &self.topics)?;
        if self.group_protocol == GroupProtocol::Consumer && self.session_timeout.is_some() {
            let message = "leave it out: with `groupProtocol: Consumer` the brokers decide (group.consumer.session.timeout.ms)";
            return Err(ConfigError::field("consumer.sessionTimeout", message));
        }
        let mut settings = ConsumerSettings {
            group: self.group,
            start_from: self.start_from,
            group_protocol: self.group_protocol,
            isolation: self.isolation,
            max_poll_interval: self.max_poll_interval,
            buffer_records: self.buffer_records,
            prefetch_bytes: self.prefetch_bytes,
            partition_fetch_bytes: self.partition_fetch_bytes,
            fetch_min_bytes: self.fetch_min_bytes,
            fetch_wait: self.fetch_wait,
            co_partitioned: self.co_partitioned,
            ..ConsumerSettings::new("")
        };
        if let Some(timeout) = self.session_timeout {
            settings.session_timeout = timeout;
        }
        settings.validate().map_err(|error| at("consumer", &error))?;
        Ok(ConsumerConfig { topics: self.topics, settings })
    }
}

impl Default for Following {
    fn default() -> Self {
        let ReaderSettings { refresh_interval, buffer_records, prefetch_bytes, fetch_wait } = ReaderSettings::default();
        Self { topics: Vec::new(), refresh_interval, buffer_records, prefetch_bytes, fetch_wait }
    }
}

impl Following {
    pub(super) fn check(self) -> Result<ReaderConfig> {
        let Self { topics, refresh_interval, buffer_records, prefetch_bytes, fetch_wait } = self;
        check_topics("reader", &topics)?;
        let settings = ReaderSettings { refresh_interval, buffer_records, prefetch_bytes, fetch_wait };
        settings.validate().map_err(|error| at("reader", &error))?;
        Ok(ReaderConfig { topics, settings })
    }
}

fn check_topics(section: &str, topics: &[String]) -> Result<()> {
    if topics.is_empty() {
        return Err(ConfigError::field(format!("{section}.topics"), "name at least one topic to read"));
    }
    check_names(topics.iter().enumerate().map(|(number, name)| (format!("{section}.topics[{number}]"), name.as_str())))
}
