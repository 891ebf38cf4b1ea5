//! The Kafka binding. Events are written in binary content mode (section 3.2): an attribute in each `ce_` header, the data as value.
//! Their type is read in either mode.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use penstock_kafka::Header;
use serde::Deserialize;

use super::event::{CloudEvent, DATA_CONTENT_TYPE};
use crate::processor::Output;

const PREFIX: &str = "ce_";
const TYPE: &str = "ce_type";
const TIME: &str = "ce_time";
const CONTENT_TYPE: &str = "content-type";
const STRUCTURED: &[u8] = b"application/cloudevents+json";

impl CloudEvent {
    /// The event as a record with that key. Every attribute is a header. Without data the value is null.
    #[must_use]
    pub fn into_output(self, key: Option<Bytes>) -> Output {
        let (attributes, payload) = self.into_parts();
        let headers = attributes.into_iter().map(|(attribute, value)| {
            let name = if attribute == DATA_CONTENT_TYPE { CONTENT_TYPE.to_owned() } else { format!("{PREFIX}{attribute}") };
            Header { name, value: Some(value.into()) }
        });
        Output { key, payload, headers: headers.collect() }
    }
}

/// Why a record's type cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum NoType {
    /// It is no event.
    #[error("it has no header {PREFIX}type, and is no CloudEvent in structured mode")]
    Absent,
    /// The header is no text.
    #[error("the header {PREFIX}type is not UTF-8")]
    NotText,
    /// The value says that it is an event, and is none.
    #[error("its value is not a CloudEvent: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The type of the event that a record is: in its header in binary mode, in its value in structured mode.
///
/// # Errors
/// Why it cannot be told. The other attributes are not looked at.
pub fn type_of<'a>(headers: &'a [Header], payload: Option<&'a [u8]>) -> Result<Cow<'a, str>, NoType> {
    #[derive(Deserialize)]
    struct Structured {
        r#type: String,
    }
    if last(headers, CONTENT_TYPE).is_some_and(is_structured) {
        let event: Structured = serde_json::from_slice(payload.unwrap_or_default())?;
        return Ok(Cow::Owned(event.r#type));
    }
    let kind = last(headers, TYPE).ok_or(NoType::Absent)?;
    std::str::from_utf8(kind).map(Cow::Borrowed).map_err(|_| NoType::NotText)
}

/// When the event of a record in binary mode happened, if it says so.
#[must_use]
pub fn time_of(headers: &[Header]) -> Option<Timestamp> {
    std::str::from_utf8(last(headers, TIME)?).ok()?.parse().ok()
}

fn last<'a>(headers: &'a [Header], name: &str) -> Option<&'a [u8]> {
    headers.iter().rev().find(|header| header.name == name)?.value.as_deref()
}

/// Whether a content type is that of an event in the JSON format, whatever its parameters.
fn is_structured(content_type: &[u8]) -> bool {
    let essence = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(STRUCTURED)
}

#[cfg(test)]
mod tests {
    use super::{super::event_of_json, *};

    #[test]
    fn an_event_becomes_a_record() {
        let text = r#"{"specversion":"1.0","id":"1","source":"/orders","type":"order.placed","subject":"s-1","partitionkey":"p-1",
            "ähm":null,"data":{"b": 1.10}}"#;
        for key in [Some(Bytes::from_static(b"k")), None] {
            let output = event_of_json(text, "").unwrap().into_output(key.clone());
            assert_eq!(output.key, key);
            assert_eq!(output.payload.as_deref(), Some(&b"{\"b\": 1.10}"[..]));
            let headers: Vec<_> =
                output.headers.iter().map(|h| (h.name.as_str(), std::str::from_utf8(h.value.as_ref().unwrap()).unwrap())).collect();
            let expected = [
                ("content-type", "application/json"),
                ("ce_id", "1"),
                ("ce_partitionkey", "p-1"),
                ("ce_source", "/orders"),
                ("ce_specversion", "1.0"),
                ("ce_subject", "s-1"),
                ("ce_type", "order.placed"),
            ];
            assert_eq!(headers, expected);
        }
        let empty = event_of_json(r#"{"specversion":"1.0","id":"1","source":"/orders","type":"order.placed"}"#, "").unwrap();
        assert_eq!(empty.into_output(None).payload, None);
    }

    #[test]
    fn the_time_of_an_event() {
        let header = |value: &'static str| Header { name: TIME.to_owned(), value: Some(value.into()) };
        for (headers, expected) in [
            (vec![header("2026-01-31T12:00:00.5Z")], Some("2026-01-31T12:00:00.5Z")),
            (vec![header("2026-01-31T13:00:00+01:00")], Some("2026-01-31T12:00:00Z")),
            (vec![header("now")], None),
            (vec![Header { name: TIME.to_owned(), value: None }], None),
            (vec![], None),
        ] {
            assert_eq!(time_of(&headers), expected.map(|time| time.parse().unwrap()), "{headers:?}");
        }
    }

    #[test]
    fn the_type_of_a_record() {
        let header = |name: &str, value: &'static [u8]| Header { name: name.to_owned(), value: Some(Bytes::from_static(value)) };
        let structured = || header("content-type", b"Application/CloudEvents+JSON ; charset=utf-8");
        for (headers, payload, expected) in [
            (vec![header("ce_type", b"a"), header("ce_type", b"b")], None, Ok("b")),
            (vec![header("ce_type", b"a"), header("content-type", b"application/json")], Some("{\"type\": \"b\"}"), Ok("a")),
            (vec![header("ce_type", b"a"), structured()], Some("{\"id\": 1, \"type\": \"b\"}"), Ok("b")),
            (vec![structured()], None, Err("EOF")),
            (vec![structured()], Some("{}"), Err("missing field `type`")),
            (vec![structured()], Some("{\"type\": \"a\", \"type\": \"b\"}"), Err("duplicate field")),
            (vec![header("ce_type", b"\xff")], None, Err("not UTF-8")),
            (vec![Header { name: "ce_type".to_owned(), value: None }], None, Err("no header ce_type")),
            (vec![], Some("{\"type\": \"a\"}"), Err("no header ce_type")),
        ] {
            match (type_of(&headers, payload.map(str::as_bytes)), expected) {
                (Ok(kind), Ok(expected)) => assert_eq!(kind, expected),
                (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{why}"),
                (got, expected) => panic!("{headers:?}: {got:?}, not {expected:?}"),
            }
        }
    }
}
