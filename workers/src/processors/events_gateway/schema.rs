//! The JSON Schemas that the data and the attributes of every event must satisfy. Pure.
//!
//! It is compiled without access to files or the network, and its patterns run in linear time: neither who writes a schema nor who
//! posts an event can make the worker fetch anything or stand still.

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value};

use crate::{
    cloudevents::{CloudEvent, DATA_CONTENT_TYPE},
    http::{Fault, MediaType, Place, pointer},
    processors::unambiguous::Unambiguous,
};

/// The most violations that are looked for in one event.
const MAX_VIOLATIONS: usize = 64;
/// The most memory of one compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    source: Value,
    compiled: Validator,
}

impl Schema {
    /// Compiles a schema of any draft; without `$schema` of 2020-12.
    ///
    /// # Errors
    /// Why it is no schema, or uses what is not there: for people.
    pub fn compile(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|why| format!("is not JSON: {why}"))?;
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES);
        let compiled = jsonschema::options().offline().with_pattern_options(patterns).build(&schema);
        match compiled {
            Ok(compiled) => Ok(Self { source: schema, compiled }),
            Err(why) => Err(format!("is not a JSON Schema that can be used: {}: {why}", place(&why))),
        }
    }

    /// The schema as it was given.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// What the attributes of an event break, each a text in an object. `at` says where one stands.
    #[must_use]
    pub fn attribute_violations(&self, event: &CloudEvent, at: impl Fn(&str) -> Place) -> Vec<Fault> {
        let attributes: Map<String, Value> = event.attributes().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let attributes = Value::Object(attributes);
        let faults = self.compiled.iter_errors(&attributes).flat_map(|error| faults(&error, "")).take(MAX_VIOLATIONS);
        // The name of an attribute needs no escapes. What is about all of them is told of the type, which says what the event is.
        let placed = |fault: Fault| {
            let Place::Pointer(member) = &fault.place else { return fault };
            let name = member.strip_prefix('/').unwrap_or("type").to_owned();
            Fault { place: at(&name), ..fault }
        };
        faults.map(placed).collect()
    }

    /// What the data of an event breaks. `at` points to the data in the request's body.
    #[must_use]
    pub fn violations(&self, event: &CloudEvent, at: &str) -> Vec<Fault> {
        if event.attribute(DATA_CONTENT_TYPE).is_some_and(|media| !MediaType::parse(media).declares_json()) {
            return vec![Fault::at(at, "must be JSON, and be said to be")];
        }
        match event.data.as_deref().map(serde_json::from_slice) {
            None => vec![Fault::at(at, "is required")],
            Some(Err(why)) => vec![Fault::at(at, format!("cannot be read as JSON: {why}"))],
            // Much cheaper than to look for every violation.
            Some(Ok(Unambiguous(data))) if self.compiled.is_valid(&data) => Vec::new(),
            Some(Ok(Unambiguous(data))) => {
                self.compiled.iter_errors(&data).flat_map(|error| faults(&error, at)).take(MAX_VIOLATIONS).collect()
            }
        }
    }
}

fn place(error: &ValidationError<'_>) -> String {
    match error.instance_path().as_str() {
        "" => "at its root".to_owned(),
        path => format!("at {path}"),
    }
}

/// A property that is missing or too much is pointed to itself, and not only the object that it is or should be in. No value is
/// repeated: it may be long, or nobody else's business.
fn faults(error: &ValidationError<'_>, at: &str) -> Vec<Fault> {
    let at = format!("{at}{}", error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => vec![Fault::at(pointer(&at, name), "is required")],
        ValidationErrorKind::AdditionalProperties { unexpected } | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().take(MAX_VIOLATIONS).map(|name| Fault::at(pointer(&at, name), "is not allowed")).collect()
        }
        _ => vec![Fault::at(at, error.masked_with("it").to_string())],
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::{cloudevents::Incomplete, http::Place};

    fn event(data: Option<&str>, media: &str) -> CloudEvent {
        let mut event = Incomplete::made("1".to_owned(), "/orders", "order.placed", Timestamp::UNIX_EPOCH);
        event.attributes.insert(DATA_CONTENT_TYPE.to_owned(), media.to_owned());
        event.data = data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
        event.complete().unwrap()
    }

    fn found(schema: &str, data: &str) -> Vec<(String, String)> {
        let faults = Schema::compile(schema).unwrap().violations(&event(Some(data), "application/json"), "/data");
        faults
            .into_iter()
            .map(|fault| if let Place::Pointer(at) = fault.place { (at, fault.detail) } else { panic!("{fault:?}") })
            .collect()
    }

    #[test]
    fn each_value_at_fault_is_pointed_to() {
        let schema = r#"{
            "type": "object", "required": ["name", "kind"], "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "minLength": 1, "pattern": "^\\S"},
                "kind": {"enum": ["a", "b"]},
                "items": {"type": "array", "items": {"type": "integer", "minimum": 1}}
            }
        }"#;
        for (data, expected) in [
            (r#"{"name":"n","kind":"a","items":[1,2]}"#, &[][..]),
            ("{}", &[("/data/name", "is required"), ("/data/kind", "is required")]),
            (
                r#"{"name":"","kind":"a"}"#,
                &[("/data/name", "it is shorter than 1 character"), ("/data/name", "it does not match \"^\\S\"")],
            ),
            (
                r#"{"name":7,"kind":"c"}"#,
                &[("/data/name", "it is not of type \"string\""), ("/data/kind", "it is not one of \"a\" or \"b\"")],
            ),
            (r#"{"name":"n","kind":"a","x/y":1,"z":2}"#, &[("/data/x~1y", "is not allowed"), ("/data/z", "is not allowed")]),
            (
                r#"{"name":"n","kind":"a","items":[1,0,"x"]}"#,
                &[("/data/items/1", "it is less than the minimum of 1"), ("/data/items/2", "it is not of type \"integer\"")],
            ),
            ("[]", &[("/data", "it is not of type \"object\"")]),
            ("{", &[("/data", "cannot be read as JSON: EOF while parsing an object at line 1 column 1")]),
            (r#"{"name":"","name":"n","kind":"a"}"#, &[("/data", "cannot be read as JSON: `name` is given twice at line 1 column 17")]),
        ] {
            let mut found = found(schema, data);
            let mut expected: Vec<_> = expected.iter().map(|(at, why)| ((*at).to_owned(), (*why).to_owned())).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{data}");
        }
    }

    #[test]
    fn attributes_are_held_to_a_schema_of_their_own() {
        let schema = r#"{"required": ["subject"], "properties": {"subject": {"pattern": "@"}, "type": {"enum": ["a", "order.placed"]}}}"#;
        let found = |changed: &[(&str, &str)], schema: &str| {
            let mut own = Incomplete::made("1".to_owned(), "/orders", "order.placed", Timestamp::UNIX_EPOCH);
            own.attributes.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            let event = own.complete().unwrap();
            let faults = Schema::compile(schema).unwrap().attribute_violations(&event, |name| Place::Header(format!("ce-{name}")));
            faults
                .into_iter()
                .map(|fault| if let Place::Header(at) = fault.place { (at, fault.detail) } else { panic!() })
                .collect::<Vec<_>>()
        };
        for (changed, schema, expected) in [
            (&[("subject", "a@b")][..], schema, None),
            (&[], schema, Some(("ce-subject", "is required"))),
            (&[("subject", "ab")], schema, Some(("ce-subject", "it does not match \"@\""))),
            (&[("subject", "a@b"), ("type", "c")], schema, Some(("ce-type", "it is not one of \"a\" or \"order.placed\""))),
            (&[], r#"{"minProperties": 9}"#, Some(("ce-type", "it has less than 9 properties"))),
        ] {
            let expected: Vec<_> = expected.map(|(at, why)| (at.to_owned(), why.to_owned())).into_iter().collect();
            assert_eq!(found(changed, schema), expected, "{changed:?}");
        }
    }

    #[test]
    fn data_that_is_absent_or_not_json_satisfies_no_schema() {
        let schema = Schema::compile("true").unwrap();
        for (data, media, part) in [
            (None, "application/json", Some("is required")),
            (Some("{}"), "text/plain", Some("must be JSON")),
            (Some("{}"), "application/vnd.shop+json", None),
        ] {
            let faults = schema.violations(&event(data, media), "");
            assert_eq!(faults.first().map(|fault| fault.detail.contains(part.unwrap_or("?"))), part.map(|_| true), "{data:?} {media}");
        }
        assert_eq!(Schema::compile("false").unwrap().violations(&event(Some("1"), "application/json"), "").len(), 1);
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for (schema, part) in [
            ("{", "is not JSON"),
            (r#"{"type": "text"}"#, "at /type"),
            (r#"{"minLength": -1}"#, "at /minLength"),
            (r#"{"$ref": "https://shop.example/order.json"}"#, "shop.example"),
            (r#"{"$ref": "file:///etc/passwd"}"#, "passwd"),
            (r##"{"$ref": "#/$defs/order"}"##, "$defs"),
            (r#"{"pattern": "("}"#, "pattern"),
            (r#"{"pattern": "(?=a)b"}"#, "pattern"),
            (r#"{"pattern": "((a{100}){100}){100}"}"#, "pattern"),
        ] {
            let why = Schema::compile(schema).unwrap_err();
            assert!(why.contains(part), "{schema}: {why}");
        }
    }

    #[test]
    fn no_schema_and_no_data_brings_the_worker_down() {
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for (schema, data) in [
            (r##"{"$ref": "#"}"##, "{}"),
            (r##"{"allOf": [{"$ref": "#"}]}"##, "{}"),
            (r##"{"items": {"$ref": "#"}}"##, nested.as_str()),
            (r#"{"pattern": "^(a+)+$"}"#, &format!("\"{}b\"", "a".repeat(100_000))),
            (r#"{"uniqueItems": true}"#, &format!("[{}]", vec!["0"; 1_000].join(","))),
        ] {
            let _ = Schema::compile(schema).map(|schema| schema.violations(&event(Some(data), "application/json"), ""));
        }
    }
}
