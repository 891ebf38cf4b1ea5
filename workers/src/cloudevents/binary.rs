//! Binary content mode of the HTTP binding (section 3.1): an attribute in each `ce-` header, the data in the body.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use super::event::{CloudEvent, DATA_CONTENT_TYPE, Incomplete, MAX_ATTRIBUTES};
use crate::http::{Fault, add_new};

const PREFIX: &str = "ce-";

/// Whether there is an attribute in the headers.
#[must_use]
pub fn speaks_of_events(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// Reads an event out of a request in binary mode. An empty body is no data.
///
/// # Errors
/// Every header at fault.
pub fn of_headers(headers: &HeaderMap, body: Bytes) -> Result<CloudEvent, Vec<Fault>> {
    let mut event = Incomplete { data: Some(body).filter(|body| !body.is_empty()), ..Incomplete::default() };
    let mut faults = Vec::new();
    for header in headers.keys() {
        let Some(attribute) = header.as_str().strip_prefix(PREFIX) else { continue };
        let mut values = headers.get_all(header).iter();
        match (attribute, values.next().map(|value| text_of(value.as_bytes())), values.next()) {
            (DATA_CONTENT_TYPE, ..) => faults.push(Fault::in_header(header.as_str(), "is said by Content-Type, and nowhere else")),
            (_, _, Some(_)) => faults.push(Fault::in_header(header.as_str(), "is given more than once")),
            (_, Some(Some(value)), _) => drop(event.attributes.insert(attribute.to_owned(), value)),
            _ => faults.push(Fault::in_header(header.as_str(), "is not UTF-8")),
        }
    }
    if headers.get_all(CONTENT_TYPE).iter().nth(1).is_some() {
        faults.push(Fault::in_header(CONTENT_TYPE.as_str(), "is given more than once"));
    } else if let Some(media) = headers.get(CONTENT_TYPE) {
        match media.to_str() {
            Ok(media) => drop(event.attributes.insert(DATA_CONTENT_TYPE.to_owned(), media.to_owned())),
            Err(_) => faults.push(Fault::in_header(CONTENT_TYPE.as_str(), "is not text")),
        }
    }
    if event.attributes.len() > MAX_ATTRIBUTES {
        faults.push(Fault::in_header("ce-*", format!("an event may have at most {MAX_ATTRIBUTES} attributes")));
        return Err(faults);
    }
    match event.complete() {
        Ok(event) if faults.is_empty() => Ok(event),
        Ok(_) => Err(faults),
        Err(broken) => {
            add_new(&mut faults, broken.into_iter().map(|broken| Fault::in_header(header_of(&broken.attribute), broken.rule)));
            Err(faults)
        }
    }
}

fn header_of(attribute: &str) -> String {
    if attribute == DATA_CONTENT_TYPE { CONTENT_TYPE.as_str().to_owned() } else { format!("{PREFIX}{attribute}") }
}

/// What stays as it is in the value of a header: printable ASCII but space, quote and percent (section 3.1.3.2).
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The value of a header for the value of an attribute, percent-encoded.
#[must_use]
pub fn encoded(value: &str) -> String {
    utf8_percent_encode(value, ENCODED).to_string()
}

/// The value of an attribute: without the quotes that older senders put around it, then percent-decoded (section 3.1.3.2). None: it
/// is not UTF-8.
#[must_use]
pub fn text_of(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let plain = quoted.map_or(Cow::Borrowed(value), |inner| Cow::Owned(unescaped(inner)));
    String::from_utf8(percent_decode(&plain).collect()).ok()
}

fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let mut bytes = quoted.iter().copied();
    std::iter::from_fn(|| bytes.next().map(|byte| if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte })).collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const WHOLE: [(&str, &str); 4] = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/orders"), ("ce-type", "order.placed")];

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect()
    }

    fn read(more: &[(&str, &str)], body: &'static str) -> Result<CloudEvent, Vec<Fault>> {
        let mut headers = headers(&WHOLE);
        for (name, value) in more {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        of_headers(&headers, Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn an_event_is_read_and_its_data_is_not_touched() {
        let event =
            read(&[("content-type", "Text/Plain; charset=UTF-8"), ("ce-subject", "s"), ("accept", "*/*")], " {\"a\": 1.0} ").unwrap();
        assert_eq!((event.id(), event.attribute("source"), event.attribute("type")), ("1", Some("/orders"), Some("order.placed")));
        assert_eq!((event.attribute("subject"), event.attribute("datacontenttype")), (Some("s"), Some("Text/Plain; charset=UTF-8")));
        assert_eq!((event.attribute("accept"), event.data.as_deref()), (None, Some(&b" {\"a\": 1.0} "[..])));
        assert_eq!(read(&[], "").unwrap().data, None);
    }

    #[test]
    fn values_are_decoded() {
        for (value, expected) in [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%22quoted%22", "\"quoted\""),
            ("100%", "100%"),
            ("\"with space\"", "with space"),
            ("\"say \\\"hi\\\" \\\\\"", "say \"hi\" \\"),
            ("\"a%20b\"", "a b"),
            ("gr\u{fc}n", "grün"),
        ] {
            assert_eq!(read(&[("ce-subject", value)], "").unwrap().attribute("subject"), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_encoded_reads_back() {
        for (value, expected) in [
            ("plain~!", "plain~!"),
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("100% \"sure\"", "100%25%20%22sure%22"),
            ("a\nb\u{7f}", "a%0Ab%7F"),
        ] {
            assert_eq!((encoded(value).as_str(), text_of(encoded(value).as_bytes()).as_deref()), (expected, Some(value)));
        }
    }

    #[test]
    fn each_header_at_fault_is_named() {
        for (more, header, part) in [
            (&[("ce-id", "2")][..], "ce-id", "more than once"),
            (&[("ce-time", "now")], "ce-time", "RFC 3339"),
            (&[("ce-subject", "%ff")], "ce-subject", "UTF-8"),
            (&[("ce-subject", "a%0Ab")], "ce-subject", "control"),
            (&[("ce-my-tenant", "x")], "ce-my-tenant", "name of an attribute"),
            (&[("ce-data", "x")], "ce-data", "name of an attribute"),
            (&[("ce-datacontenttype", "text/plain")], "ce-datacontenttype", "Content-Type"),
            (&[("content-type", "json")], "content-type", "media type"),
        ] {
            let faults = read(more, "{}").unwrap_err();
            let [fault] = faults.as_slice() else { panic!("{more:?}: {faults:?}") };
            assert!(fault.place == crate::http::Place::Header(header.to_owned()) && fault.detail.contains(part), "{more:?}: {fault:?}");
        }
        let faults = of_headers(&headers(&[("ce-id", "1")]), Bytes::new()).unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn the_number_of_attributes_is_bounded() {
        let more: Vec<String> = (0..MAX_ATTRIBUTES).map(|n| format!("ce-x{n}")).collect();
        let more: Vec<(&str, &str)> = more.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(read(&more[..MAX_ATTRIBUTES - 4], "").is_ok());
        assert!(read(&more[..MAX_ATTRIBUTES - 3], "").unwrap_err()[0].detail.contains("at most 64"));
    }

    #[test]
    fn whether_there_is_an_attribute() {
        for (pairs, expected) in [(&[("ce-id", "1")][..], true), (&[("CE-Id", "1")], true), (&[("accept", "ce-")], false), (&[], false)] {
            assert_eq!(speaks_of_events(&headers(pairs)), expected, "{pairs:?}");
        }
    }
}
