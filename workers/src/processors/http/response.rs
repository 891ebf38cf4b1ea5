//! Reads what becomes of a record out of the handler's answer. Pure: the time is an argument.
//!
//! What the handler says is bounded before it gets here; `docs/handlers.md` has the whole in tables.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use jiff::Timestamp;

use super::{batch, request::TRACE, retry_after};
use crate::{
    cloudevents::text_of,
    processor::{Event, Failure, Header, Outcome, Output},
};

/// The largest body that is read, in bytes: somewhat more than what topics take by default.
pub const MAX_BODY: usize = 1 << 20;
/// How much of a body becomes part of a failure's message, in bytes.
const MAX_MESSAGE: usize = 2 << 10;
/// The attribute that is the record's key.
pub const PARTITION_KEY: &str = "partitionkey";

/// What the handler answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`MAX_BODY`].
    pub body: Bytes,
    /// Whether that is all of the body.
    pub is_whole: bool,
}

/// What becomes of the record. Without a sink nothing is produced, whatever the handler answers.
#[must_use]
pub fn outcome(answer: &Answer, event: &Event, has_sink: bool, now: Timestamp) -> Outcome {
    match answer.status {
        status if status.is_success() => match outputs(answer, event) {
            Ok(outputs) if has_sink && !outputs.is_empty() => Outcome::Emit(outputs),
            Ok(_) => Outcome::Drop,
            Err(failure) => Outcome::Reject(failure),
        },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Outcome::Retry(asking(answer, now)),
        status if status.is_server_error() => Outcome::Retry(asking(answer, now)),
        _ => Outcome::Reject(failure(answer)),
    }
}

/// What is to be produced.
fn outputs(answer: &Answer, event: &Event) -> Result<Vec<Output>, Failure> {
    if !answer.is_whole {
        return Err(Failure::new("AnswerTooLarge", format!("the handler answered with more than {MAX_BODY} bytes")));
    }
    if answer.body.is_empty() || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        return Ok(vec![]);
    }
    let mut outputs = if batch::is_one(answer) { batch::outputs(answer, event.key.as_ref())? } else { vec![output(answer, event)?] };
    for output in &mut outputs {
        output.headers.extend(trace(answer, event));
    }
    Ok(outputs)
}

/// The body as it is.
fn output(answer: &Answer, event: &Event) -> Result<Output, Failure> {
    let mut headers: Vec<Header> = Vec::new();
    let mut add = |name: &str, value: Bytes| headers.push(Header { name: name.to_owned(), value: Some(value) });
    if let Some(media) = answer.headers.get(header::CONTENT_TYPE) {
        add(header::CONTENT_TYPE.as_str(), Bytes::copy_from_slice(media.as_bytes()));
    }
    let mut key = event.key.clone();
    for name in answer.headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let value = Bytes::from(text(answer, name.as_str())?);
        if attribute == PARTITION_KEY {
            key = Some(value.clone());
        }
        add(&format!("ce_{attribute}"), value);
    }
    Ok(Output { key, payload: Some(answer.body.clone()), headers })
}

/// The trace of the answer, else of the record.
fn trace(answer: &Answer, event: &Event) -> Vec<Header> {
    let header = |name: &HeaderName| {
        let own = answer.headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let value = own.or_else(|| event.header(name.as_str()).cloned())?;
        Some(Header { name: name.as_str().to_owned(), value: Some(value) })
    };
    TRACE.iter().filter_map(header).collect()
}

fn text(answer: &Answer, name: &str) -> Result<String, Failure> {
    let mut values = answer.headers.get_all(name).iter();
    let text = values.next().and_then(|value| text_of(value.as_bytes())).filter(|_| values.next().is_none());
    text.ok_or_else(|| Failure::new("InvalidAnswer", format!("the header {name} of the handler's answer is not UTF-8, or is there twice")))
}

/// The failure that it speaks of, with the pause that it asks for.
fn asking(answer: &Answer, now: Timestamp) -> Failure {
    let pause = answer.headers.get(header::RETRY_AFTER).and_then(|value| retry_after::pause(value.as_bytes(), now));
    let failure = failure(answer);
    match pause {
        Some(pause) => failure.with_retry_after(pause),
        None => failure,
    }
}

/// The failure that it speaks of, in its own words.
fn failure(answer: &Answer) -> Failure {
    let mut message = format!("the handler answered {}", answer.status);
    if answer.status.is_redirection() {
        message += ", and redirects are not followed";
    }
    let said = beginning(&answer.body);
    if !said.is_empty() {
        message = format!("{message}: {said}");
    }
    Failure::new(format!("Http{}", answer.status.as_u16()), message)
}

/// The beginning of a text, cut between two characters.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..MAX_MESSAGE).unwrap_or(body));
    // What is cut off in the middle of a character reads as one that is none.
    let text = if body.len() > MAX_MESSAGE { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text };
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::processor::TimestampType;

    fn event() -> Event {
        Event {
            topic: "orders".into(),
            partition: 0,
            offset: 0,
            key: Some("own".into()),
            payload: None,
            headers: vec![Header { name: "traceparent".into(), value: Some("00-a".into()) }],
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            attempt: 1,
        }
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect();
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::copy_from_slice(body), is_whole: true }
    }

    fn outcome_of(answer: &Answer) -> Outcome {
        outcome(answer, &event(), true, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_body_is_the_output() {
        type Row = (u16, &'static [(&'static str, &'static str)], &'static str, &'static [(&'static str, &'static str)]);
        let rows: [Row; 5] = [
            (200, &[], "own", &[("traceparent", "00-a")]),
            (
                201,
                &[("content-type", "text/plain"), ("ce-type", "paid"), ("x-other", "1"), ("ce-subject", "Gr%C3%B6%C3%9Fe%207")],
                "own",
                &[("content-type", "text/plain"), ("ce_type", "paid"), ("ce_subject", "Größe 7"), ("traceparent", "00-a")],
            ),
            (202, &[("ce-partitionkey", "a%20b")], "a b", &[("ce_partitionkey", "a b"), ("traceparent", "00-a")]),
            (200, &[("traceparent", "00-b"), ("tracestate", "x=1")], "own", &[("traceparent", "00-b"), ("tracestate", "x=1")]),
            (
                200,
                &[("content-type", "application/cloudevents+json")],
                "own",
                &[("content-type", "application/cloudevents+json"), ("traceparent", "00-a")],
            ),
        ];
        for (status, headers, key, expected) in rows {
            let Outcome::Emit(outputs) = outcome_of(&answer(status, headers, b"{\0}")) else { panic!("{status} {headers:?}") };
            let [Output { key: found_key, payload, headers: found }] = outputs.as_slice() else { panic!("{outputs:?}") };
            assert_eq!((found_key.as_deref(), payload.as_deref()), (Some(key.as_bytes()), Some(&b"{\0}"[..])));
            let found: Vec<(&str, &str)> =
                found.iter().map(|h| (h.name.as_str(), std::str::from_utf8(h.value.as_ref().unwrap()).unwrap())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_batch_is_as_many_outputs() {
        let media = ("content-type", "application/cloudevents-batch+json");
        let one = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        let Outcome::Emit(outputs) = outcome_of(&answer(200, &[media], format!("[{one},{one}]").as_bytes())) else { panic!("no outputs") };
        let last: Vec<_> = outputs.iter().map(|output| (output.key.as_deref(), output.headers.last().map(|h| h.name.as_str()))).collect();
        assert_eq!(last, [(Some(&b"own"[..]), Some("traceparent")); 2]);
        assert_eq!(outcome_of(&answer(200, &[media], b"[]")), Outcome::Drop);
        assert!(
            matches!(outcome_of(&answer(200, &[media], one.as_bytes())), Outcome::Reject(failure) if failure.error_type == "InvalidAnswer")
        );
    }

    #[test]
    fn nothing_is_produced_without_a_body_or_a_sink() {
        for (status, body) in [(200, ""), (202, ""), (204, ""), (205, "x")] {
            assert_eq!(outcome_of(&answer(status, &[("content-type", "a/b")], body.as_bytes())), Outcome::Drop, "{status}");
        }
        assert_eq!(outcome(&answer(200, &[], b"x"), &event(), false, Timestamp::UNIX_EPOCH), Outcome::Drop);
    }

    #[test]
    fn what_may_work_later_is_retried() {
        let after = |text: &'static str| vec![("retry-after", text)];
        for (status, headers, expected) in [
            (408, vec![], None),
            (425, vec![], None),
            (429, after("7"), Some(7)),
            (500, vec![], None),
            (503, after("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60)),
            (503, after("soon"), None),
            (599, vec![], None),
        ] {
            let Outcome::Retry(failure) = outcome_of(&answer(status, &headers, b"busy")) else { panic!("{status}") };
            assert_eq!((failure.error_type, failure.retry_after), (format!("Http{status}"), expected.map(Duration::from_secs)));
            assert!(failure.message.ends_with(": busy"), "{}", failure.message);
        }
    }

    #[test]
    fn what_will_never_work_is_rejected() {
        let cut = format!("{}…", "a".repeat(MAX_MESSAGE - 1));
        let whole = Answer { is_whole: false, ..answer(200, &[], b"x") };
        for (answer, word, message) in [
            (
                answer(422, &[("retry-after", "7")], b" no amount\n"),
                "Http422",
                "the handler answered 422 Unprocessable Entity: no amount".to_owned(),
            ),
            (answer(404, &[], b""), "Http404", "the handler answered 404 Not Found".to_owned()),
            (answer(400, &[], cut.as_bytes()), "Http400", format!("the handler answered 400 Bad Request: {}", "a".repeat(MAX_MESSAGE - 1))),
            (answer(400, &[], b"\xff!"), "Http400", "the handler answered 400 Bad Request: \u{fffd}!".to_owned()),
            (
                answer(302, &[("location", "http://elsewhere")], b""),
                "Http302",
                "the handler answered 302 Found, and redirects are not followed".to_owned(),
            ),
            (answer(101, &[], b""), "Http101", "the handler answered 101 Switching Protocols".to_owned()),
            (whole, "AnswerTooLarge", "the handler answered with more than 1048576 bytes".to_owned()),
            (
                answer(200, &[("ce-subject", "%ff")], b"x"),
                "InvalidAnswer",
                "the header ce-subject of the handler's answer is not UTF-8, or is there twice".to_owned(),
            ),
        ] {
            let Outcome::Reject(failure) = outcome_of(&answer) else { panic!("{answer:?}") };
            assert_eq!((failure.error_type.as_str(), failure.message, failure.retry_after), (word, message, None));
        }
    }
}
