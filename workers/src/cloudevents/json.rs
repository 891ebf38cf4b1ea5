//! The JSON format: one event in structured mode, many in batched mode.
//!
//! An attribute that is null counts as absent; data that is null is the JSON value null (section 3.1.1). A member that is given
//! twice is refused, since readers differ on which of the two counts.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::event::{CloudEvent, DATA_CONTENT_TYPE, DEFINED, Incomplete, MAX_ATTRIBUTES};
use crate::http::{Fault, MediaType, add_new, pointer};

const DATA: &str = "data";
const DATA_BASE64: &str = "data_base64";
/// What data is where nothing is said (section 2.4 of the format).
const IMPLIED: &str = "application/json";

/// Why a body is no batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// It is not a JSON array; the text is for people.
    Malformed(String),
    /// It has more events than it may.
    TooMany,
    /// Events at fault.
    Faulty(Vec<Fault>),
}

/// Reads an event. `at` points to it in the body: nothing where it is the body.
///
/// # Errors
/// Everything that is wrong with it.
pub fn event_of_json(text: &str, at: &str) -> Result<CloudEvent, Vec<Fault>> {
    let members = members(text).map_err(|why| vec![Fault::at(at, format!("is not a JSON object: {why}"))])?;
    if members.len() > MAX_ATTRIBUTES {
        return Err(vec![Fault::at(at, format!("an event may have at most {MAX_ATTRIBUTES} attributes"))]);
    }
    let (mut event, mut faults) = (Incomplete::default(), Vec::new());
    for (name, value) in members.iter().filter(|(name, _)| ![DATA, DATA_BASE64].contains(&name.as_ref())) {
        match attribute(name, value) {
            Ok(Some(value)) => drop(event.attributes.insert(name.to_string(), value)),
            Ok(None) => {}
            Err(rule) => faults.push(Fault::at(pointer(at, name), rule)),
        }
    }
    match data(&members, event.attributes.get(DATA_CONTENT_TYPE).map(String::as_str)) {
        Ok(data) => event.data = data,
        Err((member, rule)) => faults.push(Fault::at(pointer(at, member), rule)),
    }
    if event.data.is_some() {
        event.attributes.entry(DATA_CONTENT_TYPE.to_owned()).or_insert_with(|| IMPLIED.to_owned());
    }
    match event.complete() {
        Ok(event) if faults.is_empty() => Ok(event),
        Ok(_) => Err(faults),
        Err(broken) => {
            add_new(&mut faults, broken.into_iter().map(|broken| Fault::at(pointer(at, &broken.attribute), broken.rule)));
            Err(faults)
        }
    }
}

/// Reads a batch of at most `most` events.
///
/// # Errors
/// See [`BatchError`]. Of a batch with very many faults not all are told.
pub fn batch_of_json(text: &str, most: usize) -> Result<Vec<CloudEvent>, BatchError> {
    /// Who sends so many faults learns from the first ones.
    const ENOUGH: usize = 1_000;
    let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|why| BatchError::Malformed(why.to_string()))?;
    if values.len() > most {
        return Err(BatchError::TooMany);
    }
    let (mut events, mut faults) = (Vec::with_capacity(values.len()), Vec::new());
    for (n, value) in values.iter().enumerate() {
        match event_of_json(value.get(), &format!("/{n}")) {
            Ok(event) => events.push(event),
            Err(more) => faults.extend(more),
        }
        if faults.len() >= ENOUGH {
            break;
        }
    }
    if faults.is_empty() { Ok(events) } else { Err(BatchError::Faulty(faults)) }
}

/// An attribute as text (section 2.2 of the format); none if it is null.
fn attribute(name: &str, value: &RawValue) -> Result<Option<String>, &'static str> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => serde_json::from_str(text).map(Some).map_err(|_| "is not text in Unicode"),
        _ if DEFINED.contains(&name) => Err("must be a string"),
        Some(b't' | b'f') => Ok(Some(text.to_owned())),
        _ => whole(text).map(Some).ok_or("must be a string, a boolean or a whole number of 32 bits"),
    }
}

/// A whole number of 32 bits, in digits. As in JSON Schema it may also be written as `1.0` or `1e0`.
fn whole(text: &str) -> Option<String> {
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)).then(|| format!("{}", number + 0.0))
}

/// The data as it stands, or why not and in which member.
fn data(members: &BTreeMap<Cow<'_, str>, &RawValue>, media: Option<&str>) -> Result<Option<Bytes>, (&'static str, &'static str)> {
    let member = |name| members.get(name).map(|value| value.get());
    match (member(DATA), member(DATA_BASE64).filter(|text| *text != "null")) {
        (Some(_), Some(_)) => Err((DATA_BASE64, "stands beside data: give one of the two")),
        (None, Some(text)) => {
            let encoded: String = serde_json::from_str(text).map_err(|_| (DATA_BASE64, "must be a string"))?;
            let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| (DATA_BASE64, "is not Base64 (RFC 4648, section 4)"))?;
            Ok(Some(bytes.into()))
        }
        (Some(json), None) if media.is_none_or(|media| MediaType::parse(media).declares_json()) => {
            Ok(Some(Bytes::copy_from_slice(json.as_bytes())))
        }
        (Some(json), None) => {
            let text: String = serde_json::from_str(json).map_err(|_| (DATA, "must be a string where datacontenttype is not JSON"))?;
            Ok(Some(text.into()))
        }
        (None, None) => Ok(None),
    }
}

/// The members of a JSON object, each as the text that stood there.
fn members(text: &str) -> Result<BTreeMap<Cow<'_, str>, &RawValue>, serde_json::Error> {
    struct Object;

    impl<'de> Visitor<'de> for Object {
        type Value = BTreeMap<Cow<'de, str>, &'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = BTreeMap::new();
            while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                if members.insert(name.clone(), value).is_some() {
                    return Err(A::Error::custom(format_args!("`{name}` is given twice")));
                }
            }
            Ok(members)
        }
    }

    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Object).and_then(|members| json.end().map(|()| members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Place;

    const HEAD: &str = r#""specversion":"1.0","id":"1","source":"/orders","type":"order.placed""#;

    fn with(more: &str) -> Result<CloudEvent, Vec<Fault>> {
        event_of_json(&format!("{{{HEAD}{more}}}"), "")
    }

    #[test]
    fn attributes_become_text() {
        for (more, name, expected) in [
            ("", "id", Some("1")),
            (r#","subject":"Gr\u00fc\u00dfe""#, "subject", Some("Grüße")),
            (r#","n":-17"#, "n", Some("-17")),
            (r#","n":2147483647"#, "n", Some("2147483647")),
            (r#","yes":true"#, "yes", Some("true")),
            (r#","subject":null"#, "subject", None),
            (r#","data":{}"#, "datacontenttype", Some("application/json")),
            (r#","data":"<a/>","datacontenttype":"text/xml""#, "datacontenttype", Some("text/xml")),
            ("", "datacontenttype", None),
        ] {
            assert_eq!(with(more).unwrap().attribute(name), expected, "{more}");
        }
    }

    #[test]
    fn data_stays_as_it_was_written() {
        for (more, data) in [
            (r#","data":{"b": 1.10,  "a":[1e3]}"#, Some("{\"b\": 1.10,  \"a\":[1e3]}")),
            (r#","data":"text""#, Some("\"text\"")),
            (r#","data":7,"datacontenttype":"application/vnd.shop+json""#, Some("7")),
            (r#","data":"a\nb","datacontenttype":"text/plain""#, Some("a\nb")),
            (r#","data_base64":"aGFsbG8=""#, Some("hallo")),
            (r#","data_base64":"""#, Some("")),
            (r#","data":null"#, Some("null")),
            (r#","data":"text","datacontenttype":"text/json""#, Some("\"text\"")),
            (r#","data_base64":null"#, None),
            ("", None),
        ] {
            assert_eq!(with(more).unwrap().data.as_deref(), data.map(str::as_bytes), "{more}");
        }
    }

    #[test]
    fn each_member_at_fault_is_pointed_to() {
        for (text, at, part) in [
            (format!("{{{HEAD},\"n\":1.5}}"), "/n", "32 bits"),
            (format!("{{{HEAD},\"n\":2147483648}}"), "/n", "32 bits"),
            (format!("{{{HEAD},\"n\":{{}}}}"), "/n", "32 bits"),
            (format!("{{{HEAD},\"subject\":1}}"), "/subject", "must be a string"),
            (format!("{{{HEAD},\"time\":\"now\"}}"), "/time", "RFC 3339"),
            (format!("{{{HEAD},\"a/b\":\"x\"}}"), "/a~1b", "name of an attribute"),
            (format!("{{{HEAD},\"data\":1,\"data_base64\":\"\"}}"), "/data_base64", "one of the two"),
            (format!("{{{HEAD},\"data_base64\":\"%\"}}"), "/data_base64", "Base64"),
            (format!("{{{HEAD},\"data_base64\":1}}"), "/data_base64", "must be a string"),
            (format!("{{{HEAD},\"data\":1,\"datacontenttype\":\"text/plain\"}}"), "/data", "must be a string"),
            (HEAD.replace("\"1\"", "1").replace("\"specv", "{\"specv") + "}", "/id", "must be a string"),
            (format!("{{{HEAD},\"id\":\"2\"}}"), "", "`id` is given twice"),
            ("[]".to_owned(), "", "not a JSON object"),
            ("{".to_owned(), "", "not a JSON object"),
            (format!("{{{HEAD}}} {{}}"), "", "not a JSON object"),
        ] {
            let faults = event_of_json(&text, "").unwrap_err();
            let [fault] = faults.as_slice() else { panic!("{text}: {faults:?}") };
            assert!(fault.place == Place::Pointer(at.to_owned()) && fault.detail.contains(part), "{text}: {fault:?}");
        }
        assert_eq!(event_of_json("{}", "").unwrap_err().len(), 4);
    }

    #[test]
    fn the_number_of_attributes_is_bounded() {
        let more: String = (0..MAX_ATTRIBUTES).map(|n| format!(",\"x{n}\":1")).collect();
        assert!(with(&more).unwrap_err()[0].detail.contains("at most 64"));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(with(&format!(",\"data\":{deep}")).unwrap().data.unwrap().len(), 200_000);
    }

    #[test]
    fn batches() {
        let event = |id: u8| format!("{{{HEAD}}}").replace("\"1\"", &format!("\"{id}\""));
        let ids = |text: &str| batch_of_json(text, 3).map(|events| events.iter().map(|e| e.id().to_owned()).collect::<Vec<_>>());
        assert_eq!(ids(&format!("[{}, {}]", event(4), event(5))).unwrap(), ["4", "5"]);
        assert_eq!(ids("[]").unwrap(), [""; 0]);
        assert_eq!(ids(&format!("[{}]", [event(1), event(2), event(3), event(4)].join(","))), Err(BatchError::TooMany));
        for text in ["", "{}", "[", "[{}", &event(1)] {
            assert!(matches!(batch_of_json(text, 3), Err(BatchError::Malformed(_))), "{text}");
        }
        let Err(BatchError::Faulty(faults)) = batch_of_json(&format!("[{}, 7, {{{HEAD},\"time\":\"now\"}}]", event(1)), 3) else {
            panic!("taken")
        };
        let places: Vec<_> = faults.into_iter().map(|fault| fault.place).collect();
        assert_eq!(places, [Place::Pointer("/1".into()), Place::Pointer("/2/time".into())]);
    }
}
