//! The `enrich` processor: a JSON event and what is known about it, under another key.
//!
//! What it adds is one member of the event, `metadata` unless told otherwise: when it was processed, where it was read, and, if asked
//! for, the session it belongs to. All else stays as it was, to the byte, with all headers. An event that has that member already, or
//! lacks a field that is asked for, is rejected as `ValidationError`; what is no JSON object as `ParseError`.

use bytes::Bytes;
use jiff::Timestamp;
use penstock_crds::processor::Options;
use serde::Serialize;

use super::{pointed::scalar, unambiguous::Unambiguous};
use crate::{
    error::ConfigError,
    processor::{Event, Failure, Outcome, Output, Processor},
};

/// The processor.
#[derive(Debug)]
pub struct Enrich {
    member: String,
    key: Option<String>,
    session: Option<String>,
}

/// What is added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    /// RFC 3339.
    processed_at: String,
    source: Source<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session<'a>>,
}

/// Where the event was read.
#[derive(Debug, Serialize)]
struct Source<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    /// Of the record, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

/// The session that the event belongs to.
#[derive(Debug, Serialize)]
struct Session<'a> {
    id: &'a str,
    /// The partition of the event, which has the other events of the session too, as long as the topic has as many partitions; none if
    /// the record's key is not the session's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
}

impl Enrich {
    /// Reads the processor's options.
    ///
    /// # Errors
    /// When one is missing, which checked options never are.
    pub fn new(options: &Options) -> Result<Self, ConfigError> {
        let text = |name: &str| options.text(name).map(str::to_owned);
        let member = text("member").ok_or_else(|| ConfigError::invalid("option member is missing"))?;
        Ok(Self { member, key: text("key"), session: text("session") })
    }

    fn enrich(&self, event: &Event, now: Timestamp) -> Result<Output, Failure> {
        let text = text_of(event.payload.as_deref()).map_err(|why| Failure::new("ParseError", why))?;
        let Unambiguous(value) =
            serde_json::from_str(text).map_err(|why| Failure::new("ParseError", format!("the value is not JSON: {why}")))?;
        let Some(members) = value.as_object() else { return Err(Failure::new("ParseError", "the value is not a JSON object")) };
        let mut problems = Vec::new();
        if members.contains_key(&self.member) {
            problems.push(format!("/{}: is there already; have it called otherwise with the option member", self.member));
        }
        let [key, session] = [&self.key, &self.session].map(|pointer| {
            let pointer = pointer.as_deref()?;
            let found = scalar(value.pointer(pointer));
            if found.is_none() {
                problems.push(format!("{pointer}: must be text, a whole number or a boolean"));
            }
            found
        });
        if !problems.is_empty() {
            return Err(Failure::new("ValidationError", problems.join("; ")));
        }
        let metadata = Metadata {
            processed_at: format!("{now:.3}"),
            source: Source {
                topic: &event.topic,
                partition: event.partition,
                offset: event.offset,
                timestamp: event.timestamp_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|at| format!("{at:.3}")),
            },
            session: session.as_ref().map(|id| {
                let is_whole = event.key.as_deref() == Some(id.as_bytes());
                Session { id, partition: is_whole.then_some(event.partition) }
            }),
        };
        let payload = with_member(text, members.is_empty(), &self.member, &metadata)
            .map_err(|why| Failure::new("SerializationError", why.to_string()))?;
        let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes())).or_else(|| event.key.clone());
        Ok(Output { key, payload: Some(payload.into()), headers: event.headers.clone() })
    }
}

impl Processor for Enrich {
    async fn process(&self, event: &Event) -> Outcome {
        match self.enrich(event, Timestamp::now()) {
            Ok(output) => Outcome::Emit(vec![output]),
            Err(failure) => Outcome::Reject(failure),
        }
    }
}

fn text_of(payload: Option<&[u8]>) -> Result<&str, String> {
    let payload = payload.ok_or("the record has no value")?;
    std::str::from_utf8(payload).map_err(|why| format!("the value is not UTF-8: {why}"))
}

/// A JSON object with one more member at its end.
fn with_member(object: &str, is_empty: bool, name: &str, value: &impl Serialize) -> Result<String, serde_json::Error> {
    let (open, close) = object.split_at(object.trim_end().len().saturating_sub(1));
    let comma = if is_empty { "" } else { "," };
    Ok(format!("{open}{comma}{}:{}{close}", serde_json::to_string(name)?, serde_json::to_string(value)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use penstock_crds::processor;
    use serde_json::{Value, json};

    use super::*;
    use crate::processor::{Header, TimestampType};

    fn enrich(options: &[(&str, &str)]) -> Enrich {
        let given = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
        Enrich::new(&processor::find("enrich").unwrap().options(&given, "p").unwrap()).unwrap()
    }

    fn record(key: &'static str, payload: Option<&'static [u8]>) -> Event {
        Event {
            topic: "raw".into(),
            partition: 2,
            offset: 7,
            key: Some(Bytes::from_static(key.as_bytes())),
            payload: payload.map(Bytes::from_static),
            headers: vec![Header { name: "h".to_owned(), value: None }],
            timestamp_ms: Some(1_000),
            timestamp_type: TimestampType::default(),
            attempt: 1,
        }
    }

    const COMMERCE: [(&str, &str); 2] = [("key", "/event_type"), ("session", "/user_id")];

    #[test]
    fn what_is_known_is_added_and_all_else_stays() {
        let source = json!({"topic": "raw", "partition": 2, "offset": 7, "timestamp": "1970-01-01T00:00:01.000Z"});
        for (options, key, payload, new_key, kept, session) in [
            (
                &COMMERCE[..],
                "u-1",
                "{\"user_id\": \"u-1\",  \"event_type\": \"view\", \"price\": 1.10} \n",
                "view",
                "{\"user_id\": \"u-1\",  \"event_type\": \"view\", \"price\": 1.10",
                json!({"id": "u-1", "partition": 2}),
            ),
            (&COMMERCE, "k", "{\"user_id\": 5, \"event_type\": true}", "true", "{\"user_id\": 5, \"event_type\": true", json!({"id": "5"})),
            (&[], "k", " {}", "k", " {", Value::Null),
            (&[("key", "/a/0/b~1c")], "k", "{\"a\": [{\"b/c\": \"x\"}]}", "x", "{\"a\": [{\"b/c\": \"x\"}]", Value::Null),
        ] {
            let output = enrich(options).enrich(&record(key, Some(payload.as_bytes())), Timestamp::UNIX_EPOCH).unwrap();
            let text = String::from_utf8(output.payload.unwrap().to_vec()).unwrap();
            assert!(text.starts_with(kept), "{text}");
            assert_eq!((output.key.as_deref(), output.headers.len()), (Some(new_key.as_bytes()), 1));
            let metadata = serde_json::from_str::<Value>(&text).unwrap()["metadata"].take();
            assert_eq!((&metadata["processedAt"], &metadata["source"]), (&json!("1970-01-01T00:00:00.000Z"), &source));
            assert_eq!(metadata["session"], session, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_enriched_is_rejected() {
        for (options, payload, word, part) in [
            (&COMMERCE[..], None, "ParseError", "no value"),
            (&COMMERCE, Some(&b"{\"a\": "[..]), "ParseError", "not JSON"),
            (&COMMERCE, Some(b"\xff"), "ParseError", "not UTF-8"),
            (&COMMERCE, Some(b"[]"), "ParseError", "not a JSON object"),
            (&COMMERCE, Some(b"{\"user_id\": \"a\", \"user_id\": \"b\", \"event_type\": \"view\"}"), "ParseError", "given twice"),
            (&COMMERCE, Some(b"{\"user_id\": 12345678901234567890123, \"event_type\": \"view\"}"), "ValidationError", "/user_id: must be"),
            (&COMMERCE, Some(b"{\"user_id\": \"u\"}"), "ValidationError", "/event_type: must be text"),
            (&COMMERCE, Some(b"{\"user_id\": null, \"event_type\": {}}"), "ValidationError", "; /user_id: must be text"),
            (&[], Some(b"{\"metadata\": 1}"), "ValidationError", "/metadata: is there already"),
        ] {
            let failure = enrich(options).enrich(&record("k", payload), Timestamp::UNIX_EPOCH).unwrap_err();
            assert!(failure.error_type == word && failure.message.contains(part), "{failure:?}");
        }
        let renamed = enrich(&[("member", "of\"us")]).enrich(&record("k", Some(b"{\"metadata\": 1}")), Timestamp::UNIX_EPOCH).unwrap();
        assert!(String::from_utf8_lossy(&renamed.payload.unwrap()).starts_with("{\"metadata\": 1,\"of\\\"us\":{"));
    }

    #[test]
    fn deep_nesting_is_refused_and_breaks_nothing() {
        let deep = format!("{{\"a\": {}}}", "[".repeat(100_000));
        let event = Event { payload: Some(Bytes::from(deep)), ..record("k", None) };
        assert_eq!(enrich(&[]).enrich(&event, Timestamp::UNIX_EPOCH).unwrap_err().error_type, "ParseError");
    }
}
