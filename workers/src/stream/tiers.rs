//! Retry topics: where a record waits for another attempt, and how it finds back to what it was. Pure.
//!
//! When a record may be tried again, how often it was, and where it was read from first stand in its headers, so that
//! neither a restart nor a rebalance begins anew. Its key, value and own headers stay as they were.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use penstock_crds::worker;
use penstock_kafka::{ConsumedRecord, Header, Record, TimestampType};

use crate::processor::Event;

/// What the headers of a waiting record begin with.
pub const HEADER_PREFIX: &str = "penstock-retry-";

/// What the headers of a waiting record weigh at most, in bytes: a topic's name has up to 249.
pub const MAX_HEADERS: usize = 640;

/// How far a record has come: 0 is the source topic, 1 the first retry topic.
pub type Level = u8;

/// All retry topics of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    delays: Vec<Duration>,
    /// The retry topics of each source topic, in the order of the delays.
    topics: HashMap<String, Vec<String>>,
    levels: HashMap<String, Level>,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// What the processor gets: the record as it was in the source topic.
    pub event: Event,
    /// How far it has come.
    pub level: Level,
}

impl Tiers {
    /// The tiers of a configuration.
    #[must_use]
    pub fn new(tiers: &[worker::Tier]) -> Self {
        let mut all = Self { delays: tiers.iter().map(|tier| tier.delay).collect(), ..Self::default() };
        for (level, tier) in (1..).zip(tiers) {
            for (source, topic) in &tier.topics {
                all.topics.entry(source.clone()).or_default().push(topic.clone());
                all.levels.insert(topic.clone(), level);
            }
        }
        all
    }

    /// Every retry topic.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.levels.keys().map(String::as_str)
    }

    /// How many retry topics there are for records of that source topic. None for what somebody put on a retry topic himself:
    /// it comes from no source topic.
    #[must_use]
    pub fn levels_of(&self, source: &str) -> Level {
        self.topics.get(source).map_or(0, |topics| Level::try_from(topics.len()).unwrap_or(Level::MAX))
    }

    /// When a record of a retry topic may be tried; None: at once.
    #[must_use]
    pub fn due(&self, record: &ConsumedRecord) -> Option<Timestamp> {
        self.level(record)?;
        number(&record.headers, "not-before").and_then(|ms| Timestamp::from_millisecond(ms).ok())
    }

    fn level(&self, record: &ConsumedRecord) -> Option<Level> {
        if self.levels.is_empty() { None } else { self.levels.get(&*record.topic).copied() }
    }

    /// Reads a record: one of a retry topic becomes what it was in the source topic.
    #[must_use]
    pub fn read(&self, record: ConsumedRecord) -> Incoming {
        let level = self.level(&record);
        let mut event = Event::from(record);
        // In a source topic such headers are somebody else's.
        let Some(level) = level else { return Incoming { event, level: 0 } };
        let headers = std::mem::take(&mut event.headers);
        event.attempt = number(&headers, "attempts").and_then(|attempts| u16::try_from(attempts).ok()).unwrap_or(0).saturating_add(1);
        if let (Some(topic), Some(partition), Some(offset)) =
            (text(&headers, "topic"), number(&headers, "partition"), number(&headers, "offset"))
            && let Ok(partition) = i32::try_from(partition)
        {
            (event.topic, event.partition, event.offset) = (topic, partition, offset);
            event.timestamp_ms = number(&headers, "timestamp");
            let by_broker = value(&headers, "timestamp-type") == Some(TimestampType::LogAppendTime.name());
            event.timestamp_type = if by_broker { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        }
        event.headers = headers.into_iter().filter(|header| !header.name.starts_with(HEADER_PREFIX)).collect();
        Incoming { event, level }
    }

    /// The record that waits at this level, from 1; None: there is no such level for its topic.
    #[must_use]
    pub fn waiting(&self, event: &Event, level: Level, now: Timestamp) -> Option<Record> {
        let tier = usize::from(level).checked_sub(1)?;
        let (topic, delay) = (self.topics.get(&*event.topic)?.get(tier)?, *self.delays.get(tier)?);
        let not_before = now.as_millisecond().saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
        let mut record = Record {
            key: event.key.clone(),
            payload: event.payload.clone(),
            headers: event.headers.clone(),
            ..Record::to(topic).with_partition(event.partition)
        };
        let facts = [
            ("not-before", not_before.to_string()),
            ("attempts", event.attempt.to_string()),
            ("topic", event.topic.to_string()),
            ("partition", event.partition.to_string()),
            ("offset", event.offset.to_string()),
        ];
        let timestamp = event.timestamp_ms.map(|ms| ("timestamp", ms.to_string()));
        // Without it the producer has set the timestamp, as it mostly is.
        let by_broker = event.timestamp_type == TimestampType::LogAppendTime;
        let timestamp_type = by_broker.then(|| ("timestamp-type", event.timestamp_type.name().to_owned()));
        for (name, value) in facts.into_iter().chain(timestamp).chain(timestamp_type) {
            record = record.with_header(format!("{HEADER_PREFIX}{name}"), value);
        }
        Some(record)
    }
}

fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let is_it = |header: &&Header| header.name.strip_prefix(HEADER_PREFIX) == Some(name);
    std::str::from_utf8(headers.iter().rev().find(is_it)?.value.as_ref()?).ok()
}

fn number(headers: &[Header], name: &str) -> Option<i64> {
    value(headers, name)?.parse().ok()
}

fn text(headers: &[Header], name: &str) -> Option<Arc<str>> {
    value(headers, name).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tiers() -> Tiers {
        let tier = |seconds, n| worker::Tier {
            delay: Duration::from_secs(seconds),
            topics: ["a", "b"].map(|source| (source.to_owned(), format!("{source}.retry.{n}"))).into_iter().collect::<BTreeMap<_, _>>(),
        };
        Tiers::new(&[tier(10, 1), tier(60, 2)])
    }

    fn event() -> Event {
        Event {
            topic: "b".into(),
            partition: 3,
            offset: 42,
            key: Some("k".into()),
            payload: None,
            headers: vec![Header { name: "own".into(), value: Some("x".into()) }],
            timestamp_ms: Some(7),
            timestamp_type: TimestampType::LogAppendTime,
            attempt: 4,
        }
    }

    fn read_back(record: Record, level: Level) -> (Incoming, Option<i64>) {
        let Record { topic, partition, key, payload, headers, .. } = record;
        assert!(topic.ends_with(&level.to_string()), "{topic}");
        let partition = partition.unwrap();
        let timestamp_type = TimestampType::CreateTime;
        let record =
            ConsumedRecord { topic: topic.into(), partition, offset: 0, timestamp_ms: Some(99), timestamp_type, key, payload, headers };
        let due = tiers().due(&record).map(Timestamp::as_millisecond);
        (tiers().read(record), due)
    }

    #[test]
    fn a_record_finds_back_to_what_it_was_and_counts_its_attempts() {
        let now = Timestamp::from_millisecond(1_000).unwrap();
        let (first, due) = read_back(tiers().waiting(&event(), 1, now).unwrap(), 1);
        assert_eq!((&first, due), (&Incoming { event: Event { attempt: 5, ..event() }, level: 1 }, Some(11_000)));
        let (second, due) = read_back(tiers().waiting(&first.event, 2, now).unwrap(), 2);
        assert_eq!((&second, due), (&Incoming { event: Event { attempt: 6, ..event() }, level: 2 }, Some(61_000)));
        assert_eq!(tiers().waiting(&second.event, 3, now), None);
        assert_eq!(tiers().waiting(&Event { topic: "c".into(), ..event() }, 1, now), None);
        assert_eq!(tiers().waiting(&event(), 0, now), None);
        assert_eq!((tiers().levels_of("b"), tiers().levels_of("b.retry.1"), tiers().levels_of("c")), (2, 0, 0));
    }

    #[test]
    fn what_others_write_into_such_headers_does_no_harm() {
        let header = |name: &str, value: &'static str| Header { name: format!("{HEADER_PREFIX}{name}"), value: Some(value.into()) };
        let headers = vec![header("not-before", "soon"), header("attempts", "-1"), header("partition", "9999999999"), header("offset", "")];
        let record = |topic: &str| ConsumedRecord {
            topic: topic.into(),
            partition: 1,
            offset: 2,
            timestamp_ms: None,
            timestamp_type: TimestampType::LogAppendTime,
            key: None,
            payload: None,
            headers: headers.clone(),
        };
        let source = tiers().read(record("a"));
        assert_eq!((source.level, source.event.headers.len(), source.event.attempt), (0, 4, 1));
        let waiting = tiers().read(record("a.retry.1"));
        assert_eq!((waiting.level, waiting.event.headers.len(), waiting.event.attempt), (1, 0, 1));
        assert_eq!((tiers().due(&record("a")), tiers().due(&record("a.retry.1"))), (None, None));
        assert_eq!((&*waiting.event.topic, waiting.event.partition, waiting.event.offset), ("a.retry.1", 1, 2));
    }
}
