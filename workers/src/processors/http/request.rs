//! Makes the request for a record: a CloudEvent in binary mode (HTTP binding 1.0.2, section 3.1). Pure.
//!
//! What the record cannot say in a header is left out, never guessed; `docs/handlers.md` has the whole in tables.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::Full;
use jiff::Timestamp;
use penstock_crds::cloudevents::is_attribute_name;

use crate::{
    cloudevents::{DATA_CONTENT_TYPE, SPEC_VERSION, encoded, is_of_events},
    processor::{Event, Header},
};

/// The type of a record that is no CloudEvent.
const DEFAULT_TYPE: &str = "dev.penstock.record";
/// The id that the record has as a CloudEvent: `ce-id` says where it lies.
const ORIGINAL_ID: HeaderName = HeaderName::from_static("ce-originalid");
const ID: HeaderName = HeaderName::from_static("ce-id");
const SPEC: HeaderName = HeaderName::from_static("ce-specversion");
const ATTEMPT: HeaderName = HeaderName::from_static("ce-attempt");
/// The key, where it is text.
const PARTITION_KEY: HeaderName = HeaderName::from_static("ce-partitionkey");
/// The key, where it is none.
const KEY_BASE64: HeaderName = HeaderName::from_static("ce-keybase64");
const TYPE: HeaderName = HeaderName::from_static("ce-type");
const SOURCE: HeaderName = HeaderName::from_static("ce-source");
const TIME: HeaderName = HeaderName::from_static("ce-time");
/// What the names of a record's other headers get in front, so that none is taken for one of HTTP.
const OTHER: &str = "kafka-header-";
/// How many headers of a record are carried, and how many bytes of them: many servers take a hundred in all, and 16 KiB.
const MAX_CARRIED: (usize, usize) = (80, 8 << 10);

/// The headers of W3C Trace Context, which go through as they are.
pub const TRACE: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// The request for a record.
#[must_use]
pub fn build(uri: &Uri, event: &Event) -> Request<Full<Bytes>> {
    let body = event.payload.clone().unwrap_or_default();
    let mut headers = headers(event);
    // Said also where there is no body, for servers that insist on it.
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers;
    request
}

fn headers(event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let content_type = event.header(CONTENT_TYPE.as_str()).and_then(|value| HeaderValue::from_bytes(value).ok());
    // The attributes of an event that is a value as a whole stand in there.
    let is_whole = content_type.as_ref().is_some_and(|media| is_of_events(media.as_bytes()));
    let (most, mut room) = MAX_CARRIED;
    // What the event is comes before whatever else was sent with it.
    let (attributes, others): (Vec<&Header>, Vec<&Header>) = event.headers.iter().partition(|header| is_of_event(&header.name));
    for Header { name, value } in attributes.into_iter().chain(others) {
        let Some(value) = value else { continue };
        let bytes = name.len() + encoded_len(value);
        if headers.len() < most && bytes <= room {
            room -= bytes;
            carry(&mut headers, name, value, is_whole);
        }
    }
    if let Some(media) = content_type.or_else(|| guessed_type(event.payload.as_deref())) {
        headers.insert(CONTENT_TYPE, media);
    }
    if !is_whole {
        complete(&mut headers, event);
    }
    set(&mut headers, ID, &event.id());
    headers.insert(ATTEMPT, HeaderValue::from(event.attempt));
    set_key(&mut headers, event.key.as_deref());
    headers
}

/// Whether a header of the record says what the event is, or is part of its trace.
fn is_of_event(name: &str) -> bool {
    name.starts_with("ce_") || TRACE.iter().any(|trace| *trace == name)
}

/// How many bytes a value has at most once it is percent-encoded.
fn encoded_len(value: &[u8]) -> usize {
    value.iter().map(|byte| if byte.is_ascii_graphic() { 1 } else { 3 }).sum()
}

/// Takes a header of the record over, if HTTP can carry it.
fn carry(headers: &mut HeaderMap, name: &str, value: &Bytes, is_whole: bool) {
    if let Some(trace) = TRACE.iter().find(|trace| *trace == name) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(trace, value);
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(value) else { return };
    match (name, name.strip_prefix("ce_")) {
        ("content-type", _) => {}
        (_, Some(_)) if is_whole => {}
        (_, Some("id")) => set(headers, ORIGINAL_ID, text),
        (_, Some("specversion" | DATA_CONTENT_TYPE)) => {}
        (_, Some(attribute)) if is_attribute_name(attribute) => {
            if let Ok(name) = HeaderName::try_from(format!("ce-{attribute}")) {
                set(headers, name, text);
            }
        }
        _ => {
            let (name, value) = (HeaderName::try_from(format!("{OTHER}{name}")), HeaderValue::try_from(encoded(text)));
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
    }
}

/// Sets what an event must have and the record does not say.
fn complete(headers: &mut HeaderMap, event: &Event) {
    set(headers, SPEC, SPEC_VERSION);
    let time = event.timestamp_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|at| format!("{at:.3}"));
    for (name, fallback) in [(TYPE, Some(DEFAULT_TYPE)), (SOURCE, Some(&*event.topic)), (TIME, time.as_deref())] {
        if headers.get(&name).is_none_or(HeaderValue::is_empty)
            && let Some(fallback) = fallback
        {
            set(headers, name, fallback);
        }
    }
}

/// The key of the record, if it has one, is the event's.
fn set_key(headers: &mut HeaderMap, key: Option<&[u8]>) {
    headers.remove(KEY_BASE64);
    let Some(key) = key else { return };
    headers.remove(PARTITION_KEY);
    match std::str::from_utf8(key) {
        Ok("") => {}
        Ok(text) => set(headers, PARTITION_KEY, text),
        Err(_) => set(headers, KEY_BASE64, &STANDARD.encode(key)),
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(encoded(value)) {
        headers.insert(name, value);
    }
}

/// What the value is, where the record does not say: frameworks read JSON only where it is called so.
fn guessed_type(payload: Option<&[u8]>) -> Option<HeaderValue> {
    let payload = payload?;
    let is_json =
        matches!(payload.trim_ascii_start().first(), Some(b'{' | b'[')) && serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok();
    Some(HeaderValue::from_static(if is_json { "application/json" } else { "application/octet-stream" }))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::processor::TimestampType;

    fn event(key: Option<&'static [u8]>, payload: Option<&'static [u8]>, headers: &[(&str, &'static [u8])]) -> Event {
        let header = |(name, value): &(&str, &'static [u8])| Header { name: (*name).to_owned(), value: Some(Bytes::from_static(value)) };
        Event {
            topic: "orders".into(),
            partition: 3,
            offset: 42,
            key: key.map(Bytes::from_static),
            payload: payload.map(Bytes::from_static),
            headers: headers.iter().map(header).collect(),
            timestamp_ms: Some(1_000),
            timestamp_type: TimestampType::default(),
            attempt: 2,
        }
    }

    /// The headers but for the content's length, sorted.
    fn sent(event: &Event) -> Vec<String> {
        let headers = build(&Uri::from_static("http://127.0.0.1:9000/events"), event).headers().clone();
        let mut lines: Vec<String> = headers
            .iter()
            .filter(|(name, _)| **name != CONTENT_LENGTH)
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_record_that_is_no_event() {
        let plain =
            ["ce-attempt: 2", "ce-id: orders/3/42", "ce-source: orders", "ce-specversion: 1.0", "ce-time: 1970-01-01T00:00:01.000Z"];
        let rest = "ce-type: dev.penstock.record";
        for (event, more) in [
            (event(Some(b"k-1"), Some(b" {\"a\": 1}"), &[]), vec!["ce-partitionkey: k-1", "content-type: application/json"]),
            (
                event(Some("Größe 7".as_bytes()), Some(b"{\"a\": "), &[]),
                vec!["ce-partitionkey: Gr%C3%B6%C3%9Fe%207", "content-type: application/octet-stream"],
            ),
            (event(Some(b"\xff"), Some(b"7"), &[]), vec!["ce-keybase64: /w==", "content-type: application/octet-stream"]),
            // A tombstone.
            (event(Some(b""), None, &[]), vec![]),
            // Nobody but the record's own key says what its key is.
            (event(None, None, &[("ce_keybase64", b"/w==")]), vec![]),
            (event(None, Some(b"a"), &[("content-type", b"text/plain; a=b")]), vec!["content-type: text/plain; a=b"]),
            (
                event(None, None, &[("Tenant", b"a b"), ("tenant", b"c"), ("host", b"evil"), ("b d", b"x"), ("bin", b"\xff")]),
                vec!["kafka-header-host: evil", "kafka-header-tenant: a%20b", "kafka-header-tenant: c"],
            ),
            (
                event(None, None, &[("traceparent", b"00-ab-cd-01"), ("tracestate", b"x=1,y=2"), ("tracestate", b"x=\n")]),
                vec!["traceparent: 00-ab-cd-01", "tracestate: x=1,y=2"],
            ),
        ] {
            let mut expected: Vec<&str> = plain.into_iter().chain([rest]).chain(more).collect();
            expected.sort_unstable();
            assert_eq!(sent(&event), expected);
        }
    }

    #[test]
    fn a_record_that_is_an_event_keeps_its_attributes_but_its_id() {
        let headers: &[(&str, &[u8])] = &[
            ("ce_specversion", b"1.0"),
            ("ce_id", "ä-1".as_bytes()),
            ("ce_type", b"order.placed"),
            ("ce_source", b"/shop"),
            ("ce_time", b"2026-01-31T12:00:00Z"),
            ("ce_partitionkey", b"other"),
            ("ce_tenant", b"x"),
            ("ce_attempt", b"77"),
            ("ce_my-key", b"no attribute"),
            ("content-type", b"application/json"),
        ];
        let expected = |key: &str| {
            vec![
                "ce-attempt: 2".to_owned(),
                "ce-id: orders/3/42".to_owned(),
                "ce-originalid: %C3%A4-1".to_owned(),
                format!("ce-partitionkey: {key}"),
                "ce-source: /shop".to_owned(),
                "ce-specversion: 1.0".to_owned(),
                "ce-tenant: x".to_owned(),
                "ce-time: 2026-01-31T12:00:00Z".to_owned(),
                "ce-type: order.placed".to_owned(),
                "content-type: application/json".to_owned(),
                "kafka-header-ce_my-key: no%20attribute".to_owned(),
            ]
        };
        for (key, expected) in [(None, expected("other")), (Some(&b"own"[..]), expected("own"))] {
            assert_eq!(sent(&event(key, Some(b"x"), headers)), expected);
        }
    }

    #[test]
    fn an_event_in_structured_mode_goes_as_it_is() {
        let headers: &[(&str, &[u8])] = &[("content-type", b"Application/CloudEvents+JSON; charset=utf-8"), ("ce_type", b"x")];
        assert_eq!(
            sent(&event(Some(b"k"), Some(b"{}"), headers)),
            ["ce-attempt: 2", "ce-id: orders/3/42", "ce-partitionkey: k", "content-type: Application/CloudEvents+JSON; charset=utf-8"]
        );
    }

    #[tokio::test]
    async fn the_body_is_the_value_and_its_length_is_always_said() {
        for (payload, length, body) in [(Some(&b"a\0b"[..]), "3", &b"a\0b"[..]), (Some(b""), "0", b""), (None, "0", b"")] {
            let request = build(&Uri::from_static("http://127.0.0.1:9000/events"), &event(None, payload, &[]));
            assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/events"));
            assert_eq!(request.headers()[CONTENT_LENGTH], length);
            assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), body);
        }
    }

    #[test]
    fn the_headers_of_a_record_are_bounded() {
        let names: Vec<String> = (0..40_000).map(|n| format!("h{n}")).collect();
        for (value, carried) in [(&b"x"[..], 79), (&[b'x'; 1_000], 8), (&[b' '; 1_000], 2), (&[b'x'; 10_000], 0)] {
            let mut headers: Vec<(&str, &'static [u8])> = names.iter().map(|name| (name.as_str(), value)).collect();
            headers.push(("ce_type", b"order.placed"));
            let sent = sent(&event(None, None, &headers));
            assert_eq!(sent.iter().filter(|line| line.starts_with(OTHER)).count(), carried);
            assert!(["ce-id: orders/3/42", "ce-type: order.placed"].iter().all(|line| sent.iter().any(|sent| sent == line)), "{sent:?}");
        }
    }
}
