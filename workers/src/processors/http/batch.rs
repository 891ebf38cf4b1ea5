//! An answer that is a batch of events (CloudEvents' JSON batch format): each becomes a record, in their order. Pure.

use bytes::Bytes;

use super::response::{Answer, PARTITION_KEY};
use crate::{
    cloudevents::{BatchError, CloudEvent, batch_of_json},
    http::{Fault, MediaType, Place},
    processor::{Failure, Output},
};

const BATCH: &str = "application/cloudevents-batch+json";
/// The most events of an answer.
pub const MAX_EVENTS: usize = 1_000;
/// How many faults are told.
const TOLD: usize = 3;

/// Whether an answer says that it is a batch.
#[must_use]
pub fn is_one(answer: &Answer) -> bool {
    MediaType::of(&answer.headers).essence() == BATCH
}

/// The records of a batch, with that key where an event has no `partitionkey`.
///
/// # Errors
/// What is wrong with it. Of a batch in which an event is wrong nothing is produced.
pub fn outputs(answer: &Answer, key: Option<&Bytes>) -> Result<Vec<Output>, Failure> {
    let invalid = |why: String| Failure::new("InvalidAnswer", format!("the handler answered with a batch that is none: {why}"));
    let text = std::str::from_utf8(&answer.body).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
    let events = batch_of_json(text, MAX_EVENTS).map_err(|why| invalid(words(why)))?;
    let output = |event: CloudEvent| {
        let own = event.attribute(PARTITION_KEY).map(|own| Bytes::copy_from_slice(own.as_bytes()));
        event.into_output(own.or_else(|| key.cloned()))
    };
    Ok(events.into_iter().map(output).collect())
}

fn words(why: BatchError) -> String {
    match why {
        BatchError::Malformed(why) => why,
        BatchError::TooMany => format!("it has more than {MAX_EVENTS} events"),
        BatchError::Faulty(faults) => faults.iter().take(TOLD).map(told).collect::<Vec<_>>().join("; "),
    }
}

fn told(Fault { place, detail }: &Fault) -> String {
    let (Place::Header(place) | Place::Pointer(place)) = place;
    format!("{place} {detail}")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};

    use super::*;

    fn batch(body: &str) -> Answer {
        let media = HeaderValue::from_static("Application/CloudEvents-Batch+JSON; charset=utf-8");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media)]);
        Answer { status: StatusCode::OK, headers, body: Bytes::copy_from_slice(body.as_bytes()), is_whole: true }
    }

    fn event(more: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{more}}}"#)
    }

    #[test]
    fn each_event_is_a_record() {
        let body = format!("[{},{},{}]", event(r#","data":{"a": 1.0}"#), event(r#","partitionkey":"p","data":[]"#), event(""));
        let answer = batch(&body);
        assert!(is_one(&answer));
        let outputs = outputs(&answer, Some(&"own".into())).unwrap();
        let found: Vec<_> = outputs.iter().map(|output| (output.key.as_deref().unwrap(), output.payload.as_deref())).collect();
        assert_eq!(found, [(&b"own"[..], Some(&b"{\"a\": 1.0}"[..])), (b"p", Some(b"[]")), (b"own", None)]);
        let names: Vec<_> = outputs[0].headers.iter().map(|header| header.name.as_str()).collect();
        assert_eq!(names, ["content-type", "ce_id", "ce_source", "ce_specversion", "ce_type"]);
        assert_eq!(super::outputs(&batch("[]"), None).unwrap(), []);
    }

    #[test]
    fn a_batch_counts_as_a_whole_or_not_at_all() {
        let many = format!("[{}]", vec![event(""); MAX_EVENTS + 1].join(","));
        let one_wrong = format!("[{},{{}}]", event(""));
        for (body, part) in [
            ("{}".to_owned(), "expected a sequence"),
            (one_wrong, "/1/specversion is required; /1/id is required; /1/source is required"),
            (many, "it has more than 1000 events"),
        ] {
            let failure = outputs(&batch(&body), None).unwrap_err();
            assert!(failure.error_type == "InvalidAnswer" && failure.message.contains(part), "{failure:?}");
        }
        let no_text = Answer { body: Bytes::from_static(b"[\xff]"), ..batch("") };
        assert!(outputs(&no_text, None).unwrap_err().message.contains("it is not UTF-8"));
    }
}
