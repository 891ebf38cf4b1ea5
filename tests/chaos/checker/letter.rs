//! Whether a dead letter holds the record that it is about, in either of its formats. Pure.

use base64::{Engine, prelude::BASE64_STANDARD};
use penstock_kafka::{ConsumedRecord, Header};
use penstock_workers::stream::dead_letter::HEADER_PREFIX;
use serde_json::Value;

use crate::{history::Position, order::OVERSIZE};

/// The place that a letter says its record came from.
pub fn origin(letter: &ConsumedRecord) -> Option<Position> {
    let place = |name: &str| text(letter, name)?.parse::<i64>().ok();
    if let (Some(partition), Some(offset)) = (place("original-partition"), place("original-offset")) {
        return Some(Position { partition: i32::try_from(partition).ok()?, offset });
    }
    let envelope = envelope(letter)?;
    let partition = envelope.get("originalPartition")?.as_i64()?;
    let offset = envelope.get("originalOffset")?.as_str()?.parse().ok()?;
    Some(Position { partition: i32::try_from(partition).ok()?, offset })
}

/// What of the record is not in its letter as it was.
pub fn faults(letter: &ConsumedRecord, record: &ConsumedRecord) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    // What is too large for the topic is left out, and the letter says so.
    let is_whole = record.payload.as_ref().is_none_or(|payload| payload.len() < OVERSIZE);
    expect(letter.key == record.key, "another key");
    if is_whole {
        let kept: Vec<&Header> = letter.headers.iter().filter(|header| !header.name.starts_with(HEADER_PREFIX)).collect();
        expect(kept == record.headers.iter().collect::<Vec<_>>(), "other headers");
    }
    if text(letter, "original-topic").is_some() {
        expect(text(letter, "original-topic") == Some(&record.topic), "another original topic");
        expect(text(letter, "error-type").is_some_and(|text| !text.is_empty()), "no error type");
        expect(text(letter, "error-message").is_some_and(|text| !text.is_empty()), "no error message");
        expect(letter.payload.as_ref() == record.payload.as_ref().filter(|_| is_whole), "another value");
        expect(text(letter, "value-dropped").is_some() != is_whole, "it does not say truly whether the value was left out");
    } else {
        let envelope = envelope(letter).unwrap_or(Value::Null);
        let field = |name: &str| envelope.get(name).and_then(Value::as_str);
        expect(field("originalTopic") == Some(&record.topic), "another original topic");
        expect(field("errorType").is_some_and(|text| !text.is_empty()), "no error type");
        expect(field("errorMessage").is_some_and(|text| !text.is_empty()), "no error message");
        expect(field("originalKey").map(str::as_bytes) == record.key.as_deref(), "another original key");
        expect(envelope.get("originalValueDropped").is_some() != is_whole, "it does not say truly whether the value was left out");
        expect(!is_whole || holds_value(&envelope, record.payload.as_deref()), "another value");
    }
    faults
}

/// A value that is JSON is embedded; other text is a string; anything else is base64, and the envelope says so.
fn holds_value(envelope: &Value, payload: Option<&[u8]>) -> bool {
    let embedded = envelope.get("originalValue").unwrap_or(&Value::Null);
    let Some(payload) = payload else { return embedded.is_null() };
    match envelope.get("originalValueEncoding").and_then(Value::as_str) {
        Some("base64") => embedded.as_str().is_some_and(|text| text == BASE64_STANDARD.encode(payload)),
        Some(_) => false,
        None => {
            embedded.as_str().map(str::as_bytes) == Some(payload)
                || serde_json::from_slice(payload).is_ok_and(|value: Value| value == *embedded)
        }
    }
}

fn text<'a>(letter: &'a ConsumedRecord, name: &str) -> Option<&'a str> {
    let header = letter.header(&format!("{HEADER_PREFIX}{name}"))?;
    std::str::from_utf8(header.value.as_deref()?).ok()
}

fn envelope(letter: &ConsumedRecord) -> Option<Value> {
    serde_json::from_slice(letter.payload.as_deref()?).ok()
}
