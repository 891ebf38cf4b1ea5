//! A dead letter as one JSON object, with the original in it.
//!
//! The object is put together field by field: a value that is JSON already is read once, to see that any parser will read it,
//! and then copied as it is. Of an envelope that dies again the next one has the original, not the envelope.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Death, own};

/// Deeper JSON is embedded as text: many parsers refuse more than about 128 levels, and the envelope adds its own.
const MAX_DEPTH: usize = 100;

/// The envelope of a death.
pub(super) fn json(death: &Death<'_>) -> Vec<u8> {
    let event = death.event;
    let mut object = Object(Vec::with_capacity(512 + death.payload.map_or(0, Bytes::len)));
    object.field("originalTopic", &*event.topic);
    object.field("originalPartition", &event.partition);
    object.field("originalOffset", &event.offset.to_string());
    object.embed("originalKey", death.key.map(|key| Embedded::text(key)));
    match death.payload.filter(|_| own::is_letter(event)).and_then(|payload| Earlier::read(payload)) {
        Some(earlier) => object.pass_on(&earlier),
        None => object.embed("originalValue", death.payload.map(|payload| Embedded::value(payload))),
    }
    if let Some(words) = &death.dropped {
        object.field("originalValueDropped", words);
    }
    object.field("errorType", &death.error_type);
    object.field("errorMessage", &death.message);
    object.field("errorStack", &death.stack);
    object.field("failedAt", &death.failed_at);
    object.field("retryCount", &death.retries());
    object.end()
}

/// A JSON object that is being written.
struct Object(Vec<u8>);

impl Object {
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.value(name);
        self.0.push(b':');
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        // Texts and numbers always serialise, and a vector takes everything.
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.name(name);
        self.value(value);
    }

    fn embed(&mut self, name: &str, embedded: Option<Embedded<'_>>) {
        self.name(name);
        match embedded {
            None => self.0.extend_from_slice(b"null"),
            Some(Embedded::Json(json)) => self.0.extend_from_slice(json),
            Some(Embedded::Text(text)) => self.value(text),
            Some(Embedded::Bytes(bytes)) => {
                self.value(&BASE64_STANDARD.encode(bytes));
                self.field(&format!("{name}Encoding"), "base64");
            }
        }
    }

    /// What an earlier envelope says of its original.
    fn pass_on(&mut self, earlier: &Earlier<'_>) {
        self.embed("originalValue", Some(Embedded::value(earlier.original_value.get().as_bytes())));
        let more = [("originalValueEncoding", &earlier.original_value_encoding), ("originalValueDropped", &earlier.original_value_dropped)];
        for (name, said) in more {
            if let Some(said) = said {
                self.field(name, said);
            }
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// An envelope of ours, as far as the next one is concerned. With a field more or less it is somebody else's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Earlier<'a> {
    #[serde(borrow)]
    original_value: &'a RawValue,
    original_value_encoding: Option<String>,
    original_value_dropped: Option<String>,
    #[serde(rename = "originalTopic")]
    _topic: String,
    #[serde(rename = "originalPartition")]
    _partition: i32,
    #[serde(rename = "originalOffset")]
    _offset: String,
    #[serde(rename = "originalKey")]
    _key: Option<String>,
    #[serde(rename = "originalKeyEncoding")]
    _key_encoding: Option<String>,
    #[serde(rename = "errorType")]
    _error_type: String,
    #[serde(rename = "errorMessage")]
    _message: String,
    #[serde(rename = "errorStack")]
    _stack: String,
    #[serde(rename = "failedAt")]
    _failed_at: String,
    #[serde(rename = "retryCount")]
    _retries: u16,
}

impl<'a> Earlier<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Bytes as a part of a JSON document.
enum Embedded<'a> {
    /// JSON as it is, to the byte, so that no number loses digits.
    Json(&'a [u8]),
    /// A string.
    Text(&'a str),
    /// No text: a string that is base64.
    Bytes(&'a [u8]),
}

impl<'a> Embedded<'a> {
    /// JSON, where that is what it is; otherwise as [`Embedded::text`].
    fn value(bytes: &'a [u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(Depth(depth)) if depth <= MAX_DEPTH => Self::Json(bytes.trim_ascii()),
            _ => Self::text(bytes),
        }
    }

    fn text(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes).map_or(Self::Bytes(bytes), Self::Text)
    }
}

/// How deep a JSON value is nested. Read as a whole value would be, with all that a parser refuses, and nothing of it is kept.
struct Depth(usize);

impl<'de> Deserialize<'de> for Depth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Depth(0))
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        let mut inner = 0;
        while let Some(Depth(depth)) = items.next_element()? {
            inner = inner.max(depth);
        }
        Ok(Self(inner + 1))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        let mut inner = 0;
        while let Some((Depth(_), Depth(depth))) = fields.next_entry()? {
            inner = inner.max(depth);
        }
        Ok(Self(inner + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn is_json(text: &[u8]) -> bool {
        matches!(Embedded::value(&Bytes::copy_from_slice(text)), Embedded::Json(_))
    }

    #[test]
    fn what_a_parser_would_refuse_is_no_json() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (text, expected) in [
            ("{}", true),
            (" [1, 2.50, -3, 1e9, true, null, \"x\\u00e4\"]\n", true),
            (r#"{"a":{"b":[]}}"#, true),
            (&nested(MAX_DEPTH), true),
            (&nested(MAX_DEPTH + 1), false),
            (&nested(127), false),
            (&nested(100_000), false),
            ("", false),
            (" ", false),
            ("{}{}", false),
            (r#"{"a":1,}"#, false),
            ("1e999", false),
            (r#""\ud800""#, false),
            (r#"{"\ud800":1}"#, false),
            ("\"\0\"", false),
            ("\u{feff}{}", false),
            ("\u{c}{}", false),
        ] {
            assert_eq!(is_json(text.as_bytes()), expected, "{text}");
        }
        assert!(!is_json(b"\"\xff\""));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(".*", inner, 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_value_is_embedded(value in any_json()) {
            prop_assert!(is_json(value.to_string().as_bytes()));
        }

        #[test]
        fn what_is_embedded_is_what_a_parser_takes(text in r#"[\[\]{}",:0-9eE.+\-tfn\\u a-f]{0,24}"#) {
            prop_assert_eq!(is_json(text.as_bytes()), serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
