//! Writes dead letters: the record as it was, and what went wrong. Pure.
//!
//! Any record can be written, whatever its bytes. What would make a letter too large for its topic is left out and said
//! to be missing; where the record came from always stays.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use penstock_crds::worker::DeadLetterFormat;
use penstock_kafka::{Header, Record};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::processor::{Event, Failure};

/// What the headers of the format `Record` begin with.
pub const HEADER_PREFIX: &str = "penstock-dlt-";

const MAX_MESSAGE: usize = 4 << 10;
const MAX_STACK: usize = 16 << 10;
/// A key longer than this is left out together with the value.
const MAX_POINTER_KEY: usize = 4 << 10;
/// Deeper JSON is embedded as text: many parsers refuse more than about 128 levels, and the envelope adds its own.
const MAX_DEPTH: usize = 100;

/// A record that could not be handled.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// The record, as it was at its last attempt.
    pub event: &'a Event,
    /// What went wrong then.
    pub failure: &'a Failure,
    /// When.
    pub failed_at: Timestamp,
    /// The pipeline, as `namespace/name`.
    pub pipeline: &'a str,
}

/// How much of the record a letter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Only where it lies; for records that are too large for the dead letter topic.
    Pointer,
}

impl DeadLetter<'_> {
    /// The letter, for the topic, with the key of the record.
    #[must_use]
    pub fn write(&self, topic: &str, format: DeadLetterFormat, extent: Extent) -> Record {
        match format {
            DeadLetterFormat::Record => self.record(topic, extent),
            DeadLetterFormat::Envelope => self.envelope(topic, extent),
        }
    }

    fn record(&self, topic: &str, extent: Extent) -> Record {
        let mut record = Record { payload: self.payload(extent).cloned(), ..self.addressed(topic, extent) };
        for (name, value) in self.facts() {
            record = record.with_header(format!("{HEADER_PREFIX}{name}"), value);
        }
        if extent == Extent::Pointer {
            record = record.with_header(format!("{HEADER_PREFIX}value-dropped"), self.dropped());
        }
        record
    }

    /// What happened, as text, by the names of the headers.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let event = self.event;
        let mut facts = vec![
            ("original-topic", event.topic.to_string()),
            ("original-partition", event.partition.to_string()),
            ("original-offset", event.offset.to_string()),
            ("error-type", self.failure.error_type.clone()),
            ("error-message", self.message()),
            ("error-stack", self.stack()),
            ("failed-at", iso(self.failed_at)),
            ("retry-count", self.retries().to_string()),
            ("pipeline", self.pipeline.to_owned()),
        ];
        if let Some(ms) = event.timestamp_ms {
            facts.push(("original-timestamp", ms.to_string()));
        }
        facts
    }

    fn envelope(&self, topic: &str, extent: Extent) -> Record {
        let event = self.event;
        let value = self.payload(extent).map(Embedded::value);
        let key = self.key(extent).map(Embedded::text);
        let envelope = Envelope {
            original_topic: &event.topic,
            original_partition: event.partition,
            original_offset: event.offset.to_string(),
            original_key: key.as_ref().map(|key| &*key.json),
            original_key_encoding: key.as_ref().and_then(|key| key.encoding),
            original_value: value.as_ref().map(|value| &*value.json),
            original_value_encoding: value.as_ref().and_then(|value| value.encoding),
            original_value_dropped: (extent == Extent::Pointer).then(|| self.dropped()),
            error_type: &self.failure.error_type,
            error_message: self.message(),
            error_stack: self.stack(),
            failed_at: iso(self.failed_at),
            retry_count: self.retries(),
        };
        // A struct of texts and numbers always serialises.
        let json = serde_json::to_vec(&envelope).unwrap_or_default();
        self.addressed(topic, extent).with_payload(json)
    }

    /// Key and headers as they were. Our own headers, from an earlier death, give way to the new ones.
    fn addressed(&self, topic: &str, extent: Extent) -> Record {
        let kept = |header: &&Header| extent == Extent::Whole && !header.name.starts_with(HEADER_PREFIX);
        let headers = self.event.headers.iter().filter(kept).cloned().collect();
        Record { key: self.key(extent).cloned(), headers, ..Record::to(topic) }
    }

    fn payload(&self, extent: Extent) -> Option<&Bytes> {
        self.event.payload.as_ref().filter(|_| extent == Extent::Whole)
    }

    fn key(&self, extent: Extent) -> Option<&Bytes> {
        self.event.key.as_ref().filter(|key| extent == Extent::Whole || key.len() <= MAX_POINTER_KEY)
    }

    fn dropped(&self) -> String {
        let size = self.event.payload.as_ref().map_or(0, Bytes::len);
        format!("the record is too large for this topic ({size} bytes of value); it is at {}", self.event.id())
    }

    fn retries(&self) -> u16 {
        self.event.attempt.saturating_sub(1)
    }

    fn message(&self) -> String {
        capped(&self.failure.message, MAX_MESSAGE)
    }

    fn stack(&self) -> String {
        match &self.failure.stack {
            Some(stack) => capped(stack, MAX_STACK),
            None => format!("{}: {}", self.failure.error_type, self.message()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    original_topic: &'a str,
    original_partition: i32,
    original_offset: String,
    original_key: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_key_encoding: Option<&'static str>,
    original_value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_value_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_value_dropped: Option<String>,
    error_type: &'a str,
    error_message: String,
    error_stack: String,
    failed_at: String,
    retry_count: u16,
}

/// Bytes as a part of a JSON document.
struct Embedded {
    json: Box<RawValue>,
    encoding: Option<&'static str>,
}

impl Embedded {
    /// JSON as it is, to the byte, so that no number loses digits; anything else as text.
    fn value(bytes: &Bytes) -> Self {
        let parsed = serde_json::from_slice::<Value>(bytes).ok().filter(|value| depth(value) <= MAX_DEPTH);
        match parsed.and_then(|_| serde_json::from_slice::<Box<RawValue>>(bytes).ok()) {
            Some(json) => Self { json, encoding: None },
            None => Self::text(bytes),
        }
    }

    /// A string: the text, or base64 of what is no text.
    fn text(bytes: &Bytes) -> Self {
        let (text, encoding) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (BASE64_STANDARD.encode(bytes), Some("base64")),
        };
        // A string is always JSON.
        let json = serde_json::value::to_raw_value(&text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { json, encoding }
    }
}

/// How deep a value is nested; the parser has bounded it.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or(0) + 1
}

fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// At most `max` bytes of a text, cut between characters.
fn capped(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", text.get(..text.floor_char_boundary(max)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(payload: Option<&[u8]>) -> Event {
        Event {
            topic: "orders".into(),
            partition: 2,
            offset: 41,
            key: Some("o-1".into()),
            payload: payload.map(Bytes::copy_from_slice),
            headers: vec![
                Header { name: "traceparent".into(), value: Some("00-1".into()) },
                Header { name: "traceparent".into(), value: None },
                Header { name: "penstock-dlt-error-type".into(), value: Some("Old".into()) },
            ],
            timestamp_ms: Some(1_700_000_000_000),
            timestamp_type: crate::processor::TimestampType::CreateTime,
            attempt: 3,
        }
    }

    fn write(event: &Event, format: DeadLetterFormat, extent: Extent) -> Record {
        let failure = Failure::new("ValidationError", "amount must be > 0");
        let failed_at: Timestamp = "2026-01-02T03:04:05.6789Z".parse().unwrap();
        DeadLetter { event, failure: &failure, failed_at, pipeline: "shop/payments" }.write("orders.DLT", format, extent)
    }

    fn envelope(event: &Event, extent: Extent) -> Value {
        serde_json::from_slice(write(event, DeadLetterFormat::Envelope, extent).payload.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn an_envelope_has_every_field_of_the_contract() {
        assert_eq!(
            envelope(&event(Some(br#"{"amount":0}"#)), Extent::Whole),
            json!({
                "originalTopic": "orders",
                "originalPartition": 2,
                "originalOffset": "41",
                "originalKey": "o-1",
                "originalValue": {"amount": 0},
                "errorType": "ValidationError",
                "errorMessage": "amount must be > 0",
                "errorStack": "ValidationError: amount must be > 0",
                "failedAt": "2026-01-02T03:04:05.678Z",
                "retryCount": 2,
            })
        );
    }

    #[test]
    fn an_envelope_embeds_any_value() {
        let deep = [b"[".repeat(120), b"]".repeat(120)].concat();
        let bottomless = b"[".repeat(100_000);
        for (payload, value, encoding) in [
            (Some(&b"not json"[..]), json!("not json"), json!(null)),
            (Some(b""), json!(""), json!(null)),
            (Some(b"null"), json!(null), json!(null)),
            (None, json!(null), json!(null)),
            (Some(b"\xff\xfe"), json!("//4="), json!("base64")),
            (Some(br#""\ud800""#), json!(r#""\ud800""#), json!(null)),
            (Some(&deep), json!(String::from_utf8(deep.clone()).unwrap()), json!(null)),
            (Some(&bottomless), json!(String::from_utf8(bottomless.clone()).unwrap()), json!(null)),
        ] {
            let written = envelope(&event(payload), Extent::Whole);
            assert_eq!((&written["originalValue"], &written["originalValueEncoding"]), (&value, &encoding));
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let number = br#"{"id":123456789012345678901234567890,"x":0.10}"#;
        let record = write(&event(Some(number)), DeadLetterFormat::Envelope, Extent::Whole);
        let text = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
        assert!(text.contains(std::str::from_utf8(number).unwrap()), "{text}");
    }

    #[test]
    fn a_record_keeps_its_bytes_and_gains_headers() {
        let written = write(&event(Some(b"\xff")), DeadLetterFormat::Record, Extent::Whole);
        assert_eq!((written.key, written.payload), (Some("o-1".into()), Some(Bytes::from_static(b"\xff"))));
        let headers: Vec<(String, Option<String>)> =
            written.headers.into_iter().map(|h| (h.name, h.value.map(|v| String::from_utf8(v.to_vec()).unwrap()))).collect();
        let mut expected = vec![("traceparent".to_owned(), Some("00-1".to_owned())), ("traceparent".to_owned(), None)];
        for (name, value) in [
            ("original-topic", "orders"),
            ("original-partition", "2"),
            ("original-offset", "41"),
            ("error-type", "ValidationError"),
            ("error-message", "amount must be > 0"),
            ("error-stack", "ValidationError: amount must be > 0"),
            ("failed-at", "2026-01-02T03:04:05.678Z"),
            ("retry-count", "2"),
            ("pipeline", "shop/payments"),
            ("original-timestamp", "1700000000000"),
        ] {
            expected.push((format!("{HEADER_PREFIX}{name}"), Some(value.to_owned())));
        }
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_pointer_leaves_the_value_out_and_says_so() {
        let big = event(Some(&[b'x'; 5_000]));
        let written = envelope(&big, Extent::Pointer);
        assert_eq!(written["originalValue"], json!(null));
        assert_eq!(written["originalKey"], json!("o-1"));
        let note = "the record is too large for this topic (5000 bytes of value); it is at orders/2/41";
        assert_eq!(written["originalValueDropped"], json!(note));

        let written = write(&big, DeadLetterFormat::Record, Extent::Pointer);
        assert_eq!((written.payload, written.key), (None, Some("o-1".into())));
        assert!(written.headers.iter().any(|h| h.name == "penstock-dlt-value-dropped" && h.value.as_deref() == Some(note.as_bytes())));
        assert!(written.headers.iter().all(|h| h.name.starts_with(HEADER_PREFIX)));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        for (text, max, expected) in [("abc", 3, "abc"), ("abc", 2, "ab…"), ("äöü", 3, "ä…"), ("", 0, ""), ("ä", 1, "…")] {
            assert_eq!(capped(text, max), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_record_can_be_written(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            payload in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
            message in ".*",
        ) {
            let event = Event { key: key.map(Bytes::from), payload: payload.map(Bytes::from), ..event(None) };
            let failure = Failure::new("E", message).with_stack("s".repeat(100_000));
            let letter = DeadLetter { event: &event, failure: &failure, failed_at: Timestamp::UNIX_EPOCH, pipeline: "a/b" };
            for extent in [Extent::Whole, Extent::Pointer] {
                let written = letter.write("t", DeadLetterFormat::Envelope, extent);
                let json: Value = serde_json::from_slice(&written.payload.unwrap()).unwrap();
                prop_assert_eq!(json["originalOffset"].as_str(), Some("41"));
                prop_assert!(json["errorStack"].as_str().unwrap().len() < 17_000);
                prop_assert_eq!(letter.write("t", DeadLetterFormat::Record, extent).key, event.key.clone());
            }
        }
    }
}
