//! Where a record waits for another attempt, or behind one that does, and how it finds back to what it was. Pure.
//!
//! When a record may be tried again, how often it was, and where it was read from first stand in its headers, so that
//! neither a restart nor a rebalance begins anew. Its key, value and own headers stay as they were.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use penstock_crds::worker;
use penstock_kafka::{ConsumedRecord, Header, Record, TimestampType};

use super::retry::MAX_RETRY_AFTER;
use crate::processor::Event;

/// What the headers of a waiting record begin with.
pub const HEADER_PREFIX: &str = worker::RETRY_HEADERS;

/// What the headers of a waiting record weigh at most, in bytes: a topic's name has up to 249.
pub const MAX_HEADERS: usize = 640;

/// How far a record has come: 0 is the source topic, 1 the first retry topic.
pub type Level = u8;

/// A kind of topic that a record is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// A source topic.
    Source,
    /// The retry topic of this level, from 1.
    Tier(Level),
    /// The topic of those that wait behind others.
    Held,
}

impl Station {
    /// How far a record has come that is read there.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::Source | Self::Held => 0,
            Self::Tier(level) => level,
        }
    }
}

/// What a topic is.
#[derive(Clone, Debug)]
struct Role {
    source: Arc<str>,
    station: Station,
}

/// The topics beside each source topic of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    delays: Vec<Duration>,
    /// The retry topics of each source topic, in the order of the delays.
    tiers: HashMap<String, Vec<String>>,
    /// The topic of what is held back, by source topic.
    held: HashMap<String, String>,
    /// The topics beside source topics, and those source topics.
    roles: HashMap<String, Role>,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// What the processor gets: the record as it was in the source topic.
    pub event: Event,
    /// Where it was read.
    pub station: Station,
}

impl Tiers {
    /// Those of a configuration.
    #[must_use]
    pub fn new(input: &worker::KafkaInput) -> Self {
        let mut all = Self { delays: input.tiers.iter().map(|tier| tier.delay).collect(), ..Self::default() };
        for (level, tier) in (1..).zip(&input.tiers) {
            for (source, topic) in &tier.topics {
                all.tiers.entry(source.clone()).or_default().push(topic.clone());
                all.add(topic, source, Station::Tier(level));
            }
        }
        for (source, topic) in &input.held {
            all.held.insert(source.clone(), topic.clone());
            all.add(topic, source, Station::Held);
        }
        all
    }

    fn add(&mut self, topic: &str, source: &str, station: Station) {
        let source: Arc<str> = source.into();
        self.roles.insert(source.to_string(), Role { source: Arc::clone(&source), station: Station::Source });
        self.roles.insert(topic.to_owned(), Role { source, station });
    }

    /// Every topic beside a source topic.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().filter(|(_, role)| role.station != Station::Source).map(|(topic, _)| topic.as_str())
    }

    /// The topics beside a source topic from which records are held back; none where they are not.
    pub fn beside(&self, source: &str) -> impl Iterator<Item = &str> {
        let held = self.held.get(source).into_iter();
        held.flat_map(|held| self.tiers.get(source).into_iter().flatten().chain([held])).map(String::as_str)
    }

    /// The topics beside the source topic that this one is, or is beside of: a record of a partition may have to wait in the partition
    /// of the same number of each.
    pub fn written_for(&self, topic: &str) -> impl Iterator<Item = &str> {
        let source = self.source_of(topic).map(|source| &**source);
        let tiers = source.and_then(|source| self.tiers.get(source)).into_iter().flatten();
        tiers.chain(source.and_then(|source| self.held.get(source))).map(String::as_str)
    }

    /// Whether records are held back behind others of their key.
    #[must_use]
    pub fn hold_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// The source topic that a topic is, or is beside of; none where nothing is beside it.
    #[must_use]
    pub fn source_of(&self, topic: &str) -> Option<&Arc<str>> {
        self.roles.get(topic).map(|role| &role.source)
    }

    /// How many retry topics there are for records of that source topic. None for what somebody put on a retry topic himself:
    /// it comes from no source topic.
    #[must_use]
    pub fn levels_of(&self, source: &str) -> Level {
        self.tiers.get(source).map_or(0, |topics| Level::try_from(topics.len()).unwrap_or(Level::MAX))
    }

    /// When a record of a retry topic may be tried; None: at once. However late a stranger's header says that this is, it is no later
    /// than a record that was written at the same time can have to wait.
    #[must_use]
    pub fn due(&self, record: &ConsumedRecord) -> Option<Timestamp> {
        let Station::Tier(level) = self.station(&record.topic) else { return None };
        let delay = usize::from(level).checked_sub(1).and_then(|tier| self.delays.get(tier)).copied().unwrap_or_default();
        let longest = i64::try_from(delay.max(MAX_RETRY_AFTER).as_millis()).unwrap_or(i64::MAX);
        let latest = record.timestamp_ms.map_or(i64::MAX, |written| written.saturating_add(longest));
        Timestamp::from_millisecond(number(&record.headers, worker::NOT_BEFORE)?.min(latest)).ok()
    }

    /// What kind of topic that is.
    #[must_use]
    pub fn station(&self, topic: &str) -> Station {
        if self.roles.is_empty() { Station::Source } else { self.roles.get(topic).map_or(Station::Source, |role| role.station) }
    }

    /// Reads a record: one that waited becomes what it was in the source topic. What somebody put beside a source topic himself
    /// comes from no source topic, whatever its headers say.
    #[must_use]
    pub fn read(&self, record: ConsumedRecord) -> Incoming {
        let role = if self.roles.is_empty() { None } else { self.roles.get(&*record.topic) };
        let mut event = Event::from(record);
        // In a source topic such headers are somebody else's.
        let Some(Role { source, station }) = role.filter(|role| role.station != Station::Source) else {
            return Incoming { event, station: Station::Source };
        };
        let headers = std::mem::take(&mut event.headers);
        event.attempt = number(&headers, "attempts").and_then(|attempts| u16::try_from(attempts).ok()).unwrap_or(0).saturating_add(1);
        if let (Some(topic), Some(partition), Some(offset)) =
            (value(&headers, "topic"), number(&headers, "partition"), number(&headers, "offset"))
            && (topic, partition) == (&**source, i64::from(event.partition))
        {
            (event.topic, event.offset) = (Arc::clone(source), offset);
            event.timestamp_ms = number(&headers, "timestamp");
            let by_broker = value(&headers, "timestamp-type") == Some(TimestampType::LogAppendTime.name());
            event.timestamp_type = if by_broker { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        }
        event.headers = headers.into_iter().filter(|header| !header.name.starts_with(HEADER_PREFIX)).collect();
        Incoming { event, station: *station }
    }

    /// The record that waits at this station, in a retry topic at least until `not_before`; None: its topic has no such.
    #[must_use]
    pub fn waiting(&self, event: &Event, station: Station, not_before: Option<Timestamp>, now: Timestamp) -> Option<Record> {
        let (topic, due, attempts) = match station {
            Station::Source => return None,
            Station::Held => (self.held.get(&*event.topic)?, None, event.attempt.saturating_sub(1)),
            Station::Tier(level) => {
                let tier = usize::from(level).checked_sub(1)?;
                let delay = i64::try_from(self.delays.get(tier)?.as_millis()).unwrap_or(i64::MAX);
                let topic = self.tiers.get(&*event.topic)?.get(tier)?;
                let delayed = now.as_millisecond().saturating_add(delay);
                // Up to the next millisecond: never too soon.
                let asked = not_before.map_or(delayed, |at| at.as_millisecond().saturating_add(1));
                (topic, Some(delayed.max(asked)), event.attempt)
            }
        };
        let mut record = Record {
            key: event.key.clone(),
            payload: event.payload.clone(),
            headers: event.headers.clone(),
            ..Record::to(topic).with_partition(event.partition)
        };
        let facts = [
            ("attempts", attempts.to_string()),
            ("topic", event.topic.to_string()),
            ("partition", event.partition.to_string()),
            ("offset", event.offset.to_string()),
        ];
        let times = [(worker::NOT_BEFORE, due), ("timestamp", event.timestamp_ms)];
        let times = times.into_iter().filter_map(|(name, ms)| Some((name, ms?.to_string())));
        // Without it the producer has set the timestamp, as it mostly is.
        let by_broker = event.timestamp_type == TimestampType::LogAppendTime;
        let timestamp_type = by_broker.then(|| ("timestamp-type", event.timestamp_type.name().to_owned()));
        for (name, value) in facts.into_iter().chain(times).chain(timestamp_type) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tiers() -> Tiers {
        let both = |suffix: &str| {
            ["a", "b"].map(|source| (source.to_owned(), format!("{source}.{suffix}"))).into_iter().collect::<BTreeMap<_, _>>()
        };
        let tier = |seconds, n| worker::Tier { delay: Duration::from_secs(seconds), topics: both(&format!("retry.{n}")) };
        Tiers::new(&worker::KafkaInput { tiers: vec![tier(10, 1), tier(60, 2)], held: both("held"), ..input() })
    }

    fn input() -> worker::KafkaInput {
        let text = r#"{"topics": ["a", "b"], "group": "g", "startFrom": "Earliest", "delivery": "ExactlyOnce", "ordering": "Key", "concurrency": 1,
            "retry": {"attempts": 1, "initialBackoff": "1s", "maxBackoff": "1s"}, "deadLetter": {"topic": "d", "format": "Record"}}"#;
        serde_json::from_str(text).unwrap()
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

    fn read_back(record: Record, suffix: &str) -> (Incoming, Option<i64>) {
        let Record { topic, partition, key, payload, headers, .. } = record;
        assert!(topic.ends_with(suffix), "{topic}");
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
        let waiting = |event: &Event, station| tiers().waiting(event, station, None, now);
        let (held, due) = read_back(waiting(&event(), Station::Held).unwrap(), "b.held");
        assert_eq!((&held, due), (&Incoming { event: event(), station: Station::Held }, None));
        let (first, due) = read_back(waiting(&held.event, Station::Tier(1)).unwrap(), "b.retry.1");
        assert_eq!((&first, due), (&Incoming { event: Event { attempt: 5, ..event() }, station: Station::Tier(1) }, Some(11_000)));
        let (second, due) = read_back(waiting(&first.event, Station::Tier(2)).unwrap(), "b.retry.2");
        assert_eq!((&second, due), (&Incoming { event: Event { attempt: 6, ..event() }, station: Station::Tier(2) }, Some(61_000)));
        for (not_before, expected) in [(9_000, 11_000), (11_000, 11_001), (99_000, 99_001)] {
            let asked = Timestamp::from_millisecond(not_before).unwrap();
            let (_, due) = read_back(tiers().waiting(&event(), Station::Tier(1), Some(asked), now).unwrap(), "b.retry.1");
            assert_eq!(due, Some(expected));
        }
        for (topic, station) in
            [("b", Station::Tier(3)), ("b", Station::Tier(0)), ("b", Station::Source), ("c", Station::Tier(1)), ("c", Station::Held)]
        {
            assert_eq!(waiting(&Event { topic: topic.into(), ..event() }, station), None, "{topic} {station:?}");
        }
        assert_eq!((tiers().levels_of("b"), tiers().levels_of("b.retry.1"), tiers().levels_of("c")), (2, 0, 0));
    }

    #[test]
    fn a_source_topic_has_a_family_where_records_are_held_back() {
        let (with, without) = (tiers(), Tiers::new(&worker::KafkaInput { held: BTreeMap::new(), ..input() }));
        assert_eq!(with.beside("b").collect::<Vec<_>>(), ["b.retry.1", "b.retry.2", "b.held"]);
        for (topic, source) in [("b", Some("b")), ("b.retry.2", Some("b")), ("a.held", Some("a")), ("c", None)] {
            assert_eq!(with.source_of(topic).map(|source| &**source), source, "{topic}");
        }
        assert_eq!((without.beside("b").count(), without.hold_back(), with.hold_back()), (0, false, true));
        assert_eq!((with.topics().count(), without.topics().count()), (6, 0));
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
        assert_eq!((source.station, source.event.headers.len(), source.event.attempt), (Station::Source, 4, 1));
        let waiting = tiers().read(record("a.retry.1"));
        assert_eq!((waiting.station, waiting.event.headers.len(), waiting.event.attempt), (Station::Tier(1), 0, 1));
        assert_eq!((tiers().due(&record("a")), tiers().due(&record("a.retry.1"))), (None, None));
        assert_eq!((&*waiting.event.topic, waiting.event.partition, waiting.event.offset), ("a.retry.1", 1, 2));
        let headers_of = |ms: &'static str| vec![header("not-before", ms)];
        for (ms, due) in [("5000", Some(5_000)), ("32503680000000", Some(7 + 300_000)), ("-9223372036854775808", None)] {
            let record = ConsumedRecord { headers: headers_of(ms), timestamp_ms: Some(7), ..record("a.retry.1") };
            assert_eq!(tiers().due(&record).map(Timestamp::as_millisecond), due, "{ms}");
        }
        // Of another topic or partition than it says.
        for (topic, partition) in [("b", "1"), ("a", "0"), ("x", "1")] {
            let headers = vec![header("topic", topic), header("partition", partition), header("offset", "7")];
            let waiting = tiers().read(ConsumedRecord { headers, ..record("a.held") });
            assert_eq!((&*waiting.event.topic, waiting.event.offset), ("a.held", 2), "{topic}/{partition}");
        }
    }
}
