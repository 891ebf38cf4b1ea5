//! Records as they go to Kafka and come from it; none borrows from the client. Pure.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A header. Names may repeat within a record; their order is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name. One that is not UTF-8 is read with replacement characters, and one with a zero byte only up to that: the client
    /// library does not tell how long a name is.
    pub name: String,
    /// The value; `None` is Kafka's null, which differs from empty.
    pub value: Option<Bytes>,
}

/// A record to be produced.
///
/// ```
/// use penstock_kafka::Record;
///
/// let record = Record::to("orders").with_key("o-1").with_payload(r#"{"id":"o-1"}"#).with_header("trace", "abc");
/// assert_eq!(record.headers.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic it goes to.
    pub topic: String,
    /// The partition; `None` lets the key decide (murmur2 as the Java client), or chance where there is no key.
    pub partition: Option<i32>,
    /// The key; `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone on a compacted topic.
    pub payload: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// Milliseconds since the Unix epoch; `None` means now.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// An empty record for a topic.
    pub fn to(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), partition: None, key: None, payload: None, headers: Vec::new(), timestamp_ms: None }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Appends a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { name: name.into(), value: Some(value.into()) });
        self
    }

    /// Chooses the partition instead of the key.
    #[must_use]
    pub fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn with_timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }
}

/// A record to be produced, whose parts belong to the caller: the client copies them.
///
/// ```
/// use penstock_kafka::{Record, RecordRef};
///
/// let record = RecordRef { key: Some(b"o-1"), payload: Some(br#"{"id":"o-1"}"#), ..RecordRef::to("orders") };
/// let owned = Record::to("orders").with_key("o-1").with_payload(r#"{"id":"o-1"}"#);
/// assert_eq!(record, RecordRef::from(&owned));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The topic it goes to.
    pub topic: &'a str,
    /// The partition; `None` lets the key decide, as in [`Record::partition`].
    pub partition: Option<i32>,
    /// The key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The payload; `None` is a tombstone on a compacted topic.
    pub payload: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [Header],
    /// Milliseconds since the Unix epoch; `None` means now.
    pub timestamp_ms: Option<i64>,
}

impl<'a> RecordRef<'a> {
    /// An empty record for a topic.
    pub fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, payload: None, headers: &[], timestamp_ms: None }
    }

    /// How many bytes its key, payload and headers have.
    pub fn size(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize = self.headers.iter().map(|header| header.name.len() + length(header.value.as_deref())).sum();
        length(self.key) + length(self.payload) + headers
    }
}

impl<'a> From<&'a Record> for RecordRef<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            topic: &record.topic,
            partition: record.partition,
            key: record.key.as_deref(),
            payload: record.payload.as_deref(),
            headers: &record.headers,
            timestamp_ms: record.timestamp_ms,
        }
    }
}

/// Where Kafka has stored an acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPosition {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// Who has set a record's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// Its producer.
    #[default]
    CreateTime,
    /// The broker, when it took the record (`message.timestamp.type` of the topic).
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's own name for it.
    pub fn name(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

/// A record read from Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// The topic it was read from.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, if the record has a timestamp.
    pub timestamp_ms: Option<i64>,
    /// Who has set that timestamp.
    pub timestamp_type: TimestampType,
    /// The key; `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone on a compacted topic.
    pub payload: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

impl ConsumedRecord {
    /// The partition it was read from.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(&*self.topic, self.partition)
    }

    /// How many bytes its key, payload and headers have.
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|header| header.name.len() + length(&header.value)).sum();
        length(&self.key) + length(&self.payload) + headers
    }

    /// The last header of this name: with repeated names the last one counts, as in Kafka's own `lastHeader`.
    pub fn header(&self, name: &str) -> Option<&Header> {
        self.headers.iter().rev().find(|header| header.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_header_of_a_name_counts() {
        let record = ConsumedRecord {
            topic: "t".into(),
            partition: 0,
            offset: 1,
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            key: None,
            payload: None,
            headers: Record::to("t").with_header("a", "1").with_header("b", "2").with_header("a", "3").headers,
        };
        assert_eq!(record.header("a").and_then(|header| header.value.clone()), Some(Bytes::from("3")));
        assert_eq!(record.header("c"), None);
        assert_eq!(record.topic_partition().to_string(), "t/0");
    }
}
