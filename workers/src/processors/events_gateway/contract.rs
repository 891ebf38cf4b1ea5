//! The front's OpenAPI document. Pure.
//!
//! Events in binary mode are an operation of their own, since only they need the headers `ce-…`. OpenAPI has one operation for each
//! method and address, so that one stands under the address with `#binary` behind it, which no client sends.

use http::StatusCode;
use penstock_crds::cloudevents::MAX_ATTRIBUTE_NAME;
use serde_json::{Value, json};

use super::{
    intake::{Intake, MAX_BATCH},
    key::KeyOf,
    options::EventsOptions,
    problem::{INVALID_DATA, NO_EVENT, TOO_MANY_EVENTS},
    schema::Schema,
};
use crate::{
    cloudevents::{MAX_ATTRIBUTES, SPEC_VERSION},
    http::{
        HttpOptions,
        openapi::{Answer, Document, Operation, carry},
        problem::{
            BODY_TIMEOUT, BODY_TOO_LARGE, MALFORMED, NOT_CAUGHT_UP, NOT_SENT, OVERLOADED, RECORD_TOO_LARGE, UNACKNOWLEDGED,
            UNSUPPORTED_MEDIA_TYPE,
        },
    },
    idempotency::{
        HEADER, parameter_schema,
        problem::{INVALID_KEY, KEY_IN_USE, KEY_REUSED, KEYS_NOT_KEPT},
    },
};

/// Text without what CloudEvents call control characters.
const TEXT: &str = r"^[^\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]*$";
/// The same as the value of a header: whatever else there is, is percent-encoded.
const HEADER_TEXT: &str = "^[!#$&-~]+$";
/// A URI reference as the value of a header, where a percent sign is encoded itself.
const HEADER_REFERENCE: &str =
    r"^([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%25[0-9A-Fa-f]{2})*(#([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%25[0-9A-Fa-f]{2})*)?$";
const URI_REFERENCE: &str =
    r"^([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(#([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?$";
const URI: &str = r"^[A-Za-z][A-Za-z0-9+.-]*:([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(#([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?$";
const MEDIA: &str = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+(;[ -~]*)?$";
const JSON_MEDIA: &str = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+/([A-Za-z0-9!#$%&'*+.^_`|~-]+\+)?[Jj][Ss][Oo][Nn](;[ -~]*)?$";
const EVENTS_MEDIA: &str = "^[Aa][Pp][Pp][Ll][Ii][Cc][Aa][Tt][Ii][Oo][Nn]/[Cc][Ll][Oo][Uu][Dd][Ee][Vv][Ee][Nn][Tt][Ss]";
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

const SCHEMA_AT: &str = "#/components/schemas/Schema";

/// The document of a front with these options.
pub fn document(service: &str, http: &HttpOptions, events: &EventsOptions, keeps_keys: bool, guarded: bool) -> Document {
    let demanding = demands_json(&events.intake);
    let fate = json!({
        "type": "object",
        "required": ["id", "acknowledged"],
        "properties": {"id": {"type": "string"}, "acknowledged": {"type": "boolean"}, "detail": {"type": "string"}},
    });
    let document = Document::new(service, "Takes CloudEvents 1.0, and writes them to Kafka.", guarded)
        .schema("Event", event(demanding, events.intake.attributes.as_ref()))
        .schema("Data", data(&events.intake))
        .problem_member(
            "events",
            json!({"type": "array", "description": "What became of each event, in the order of the request.", "items": fate}),
        )
        .operation(&events.path, "post", post(http, events, demanding, keeps_keys))
        .operation(&format!("{}#binary", events.path), "post", post_binary(http, events, demanding, keeps_keys));
    match &events.intake.schema {
        Some(schema) => document.schema("Schema", carried(schema.source())),
        None => document,
    }
}

/// Whether data must be there, and be JSON.
fn demands_json(intake: &Intake) -> bool {
    intake.schema.is_some() || matches!(intake.key, KeyOf::Data(_))
}

fn carried(schema: &Value) -> Value {
    carry(schema, SCHEMA_AT).unwrap_or_else(|| {
        json!({
            "description": "Data must satisfy the JSON Schema in `x-json-schema`, which refers to parts of itself in a way that has no \
                place in this document.",
            "x-json-schema": schema,
        })
    })
}

fn data(intake: &Intake) -> Value {
    let schema = intake.schema.as_ref().map(|_| json!({"$ref": SCHEMA_AT}));
    let keyed = match &intake.key {
        KeyOf::Data(pointer) => Some(having(&pointer.split('/').skip(1).map(unescaped).collect::<Vec<_>>())),
        KeyOf::Attribute(_) => None,
    };
    match (schema, keyed) {
        (Some(schema), Some(keyed)) => json!({"allOf": [schema, keyed]}),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => json!({}),
    }
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// What has a value at that path which can be a key.
fn having(path: &[String]) -> Value {
    let Some((name, rest)) = path.split_first() else {
        return json!({"type": ["string", "integer", "boolean"], "minimum": i64::MIN, "maximum": u64::MAX});
    };
    let object = json!({"type": "object", "required": [name], "properties": {name: having(rest)}});
    let is_index = name == "0" || (!name.starts_with('0') && !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()));
    match name.parse::<usize>().ok().filter(|n| is_index && *n < MAX_BATCH) {
        Some(n) => {
            let mut before = vec![json!({}); n];
            before.push(having(rest));
            json!({"anyOf": [object, {"type": "array", "minItems": n + 1, "prefixItems": before}]})
        }
        None => object,
    }
}

/// The operation, but for what it takes.
fn common(operation: Operation, events: &EventsOptions, demanding: bool, keeps_keys: bool) -> Operation {
    let accepted = Answer::new(events.accepted, "Kafka has every event of the request.");
    let ids = json!({"type": "object", "required": ["ids"], "properties": {"ids": {"type": "array", "items": {"type": "string"}}}});
    let accepted = if events.accepted == StatusCode::NO_CONTENT { accepted } else { accepted.with_json(ids) };
    let operation = operation
        .answer(accepted)
        .problems(&[&MALFORMED, &NO_EVENT, &BODY_TIMEOUT, &BODY_TOO_LARGE, &RECORD_TOO_LARGE, &UNSUPPORTED_MEDIA_TYPE])
        .problem(&UNACKNOWLEDGED, events.failure)
        .problem(&NOT_SENT, events.failure)
        .problems(&[&OVERLOADED]);
    let is_judged = demanding || events.intake.attributes.is_some();
    let operation = if is_judged { operation.problems(&[&INVALID_DATA]) } else { operation };
    let operation = operation.problems(&[&INVALID_KEY]);
    if !keeps_keys {
        return operation.problems(&[&KEYS_NOT_KEPT]);
    }
    operation
        .parameter("header", HEADER.as_str(), false, "The same request with the same key is written once.", parameter_schema())
        .problems(&[&KEY_REUSED, &KEY_IN_USE])
        .problem(&NOT_CAUGHT_UP, events.failure)
}

fn limits(http: &HttpOptions) -> String {
    format!(
        "Success means that Kafka has every event; of a request with a fault nothing is written. A body has at most {} bytes, Kafka has \
         {} ms to answer, and {} requests are taken in at once.",
        http.gate.body_bytes,
        http.produce_timeout.as_millis(),
        http.gate.requests,
    )
}

fn post(http: &HttpOptions, events: &EventsOptions, demanding: bool, keeps_keys: bool) -> Operation {
    let one = json!({"$ref": "#/components/schemas/Event"});
    let many = json!({"type": "array", "description": format!("At most {MAX_BATCH} events."), "items": one});
    let mut media = vec![("application/cloudevents+json", one), ("application/cloudevents-batch+json", many)];
    let mut about = limits(http);
    if let Some(bare) = &events.intake.bare {
        media.push(("application/json", json!({"$ref": "#/components/schemas/Data"})));
        about.push_str(&format!(
            " JSON without headers `ce-…` is the data of an event of type `{}` and source `{}`; sent again it is another event.",
            bare.kind, bare.source
        ));
    }
    if demanding {
        about.push_str(" `data_base64` is taken in place of `data` where it decodes to JSON that satisfies the same rules.");
    }
    common(Operation::new("postEvents", "Post events", about).body(true, &media), events, demanding, keeps_keys)
        .problems(&[&TOO_MANY_EVENTS])
}

fn post_binary(http: &HttpOptions, events: &EventsOptions, demanding: bool, keeps_keys: bool) -> Operation {
    let bare = events.intake.bare.is_some();
    let about = format!(
        "The same address. Each attribute of the event is a header `ce-…`, percent-encoded where it is more than plain ASCII; any other \
         attribute may be given the same way. The body is the data, and `Content-Type` says what it is{}. {}",
        if bare { "; `application/json` is taken, too, and without headers `ce-…` is bare JSON" } else { "" },
        limits(http)
    );
    let text = json!({"type": "string", "minLength": 1, "pattern": HEADER_TEXT});
    let reference = json!({"type": "string", "minLength": 1, "pattern": HEADER_REFERENCE});
    let mut operation = Operation::new("postEvent", "Post an event in binary mode", about)
        .parameter("header", "ce-specversion", true, "The version of CloudEvents.", json!({"type": "string", "enum": [SPEC_VERSION]}))
        .parameter("header", "ce-id", true, "With `ce-source` the event's own: sent again, it is the same event.", text.clone())
        .parameter("header", "ce-source", true, "Where it comes from, a URI reference.", reference)
        .parameter("header", "ce-type", true, "What it is.", text.clone());
    if let KeyOf::Attribute(name) = &events.intake.key
        && !["specversion", "id", "source", "type", "time", "dataschema", "datacontenttype"].contains(&name.as_str())
    {
        operation = operation.parameter("header", &format!("ce-{name}"), false, "It becomes the key of the record.", text);
    }
    // A request of `application/json` that lacks the headers is taken as bare JSON: no tool must expect that it is refused.
    let json_media = if bare { "text/json" } else { "application/json" };
    let mut body = vec![(json_media, json!({"$ref": "#/components/schemas/Data"}))];
    if !demanding {
        body.push(("text/plain", json!({"type": "string"})));
    }
    common(operation.body(demanding, &body), events, demanding, keeps_keys)
}

/// An event in the JSON format, as far as JSON Schema can say it.
fn event(demanding: bool, attributes: Option<&Schema>) -> Value {
    let text = |optional: bool| {
        let kind = if optional { json!(["string", "null"]) } else { json!("string") };
        json!({"type": kind, "minLength": 1, "pattern": TEXT})
    };
    let media = json!({
        "type": ["string", "null"], "pattern": if demanding { JSON_MEDIA } else { MEDIA }, "not": {"type": "string", "pattern": EVENTS_MEDIA},
    });
    let words = format!("A CloudEvent in the JSON format. It has at most {MAX_ATTRIBUTES} members.");
    let mut event = json!({
        "type": "object",
        "description": words,
        "maxProperties": MAX_ATTRIBUTES,
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": SPEC_VERSION},
            "id": text(false),
            "source": {"type": "string", "minLength": 1, "pattern": URI_REFERENCE},
            "type": text(false),
            "subject": text(true),
            "time": {"type": ["string", "null"], "format": "date-time"},
            "dataschema": {"type": ["string", "null"], "pattern": URI},
            "datacontenttype": media,
            "partitionkey": text(true),
            "data": {"$ref": "#/components/schemas/Data"},
            "data_base64": {"type": if demanding { json!("null") } else { json!(["string", "null"]) }, "pattern": BASE64},
        },
        "patternProperties": {
            format!("^(?!data$)[a-z0-9]{{1,{MAX_ATTRIBUTE_NAME}}}$"): {
                "description": "An attribute.",
                "type": ["string", "boolean", "integer", "null"],
                "pattern": TEXT,
                "minimum": i32::MIN,
                "maximum": i32::MAX,
            },
        },
        "additionalProperties": false,
    });
    if let Some(event) = event.as_object_mut() {
        if demanding {
            event.insert("required".to_owned(), json!(["specversion", "id", "source", "type", "data"]));
        } else {
            event.insert("anyOf".to_owned(), forms());
        }
        if let Some(schema) = attributes {
            let words = format!("{words} Its attributes, as texts, must satisfy the JSON Schema in `x-attribute-schema`.");
            event.insert("description".to_owned(), words.into());
            event.insert("x-attribute-schema".to_owned(), schema.source().clone());
        }
    }
    event
}

/// The three forms of data: JSON, bytes, and text of another type.
fn forms() -> Value {
    json!([
        {"properties": {"datacontenttype": {"pattern": JSON_MEDIA}, "data_base64": {"type": "null"}}},
        {"required": ["data_base64"], "properties": {"data": false, "data_base64": {"type": "string"}}},
        {
            "required": ["datacontenttype"],
            "properties": {
                "datacontenttype": {"type": "string", "not": {"pattern": JSON_MEDIA}},
                "data": {"type": "string"},
                "data_base64": {"type": "null"},
            },
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudevents::event_of_json;

    fn with(changes: &Value) -> Value {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.placed"});
        for (name, value) in changes.as_object().unwrap() {
            event.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        event
    }

    #[test]
    fn the_schema_of_an_event_is_the_rules_of_the_format() {
        let mut schema = event(false, None);
        schema.as_object_mut().unwrap().insert("components".to_owned(), json!({"schemas": {"Data": {}}}));
        let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        for changes in [
            json!({}),
            json!({"id": ""}),
            json!({"id": null}),
            json!({"id": 7}),
            json!({"id": "a\u{85}"}),
            json!({"id": "Grüße 🍺"}),
            json!({"specversion": "0.3"}),
            json!({"source": "a b"}),
            json!({"source": "a%2"}),
            json!({"source": "https://shop.example/a?b=c#d"}),
            json!({"source": "a#b#c"}),
            json!({"subject": null}),
            json!({"subject": ""}),
            json!({"time": "2026-01-31T12:00:00Z"}),
            json!({"time": "2026-02-31T12:00:00Z"}),
            json!({"time": "now"}),
            json!({"dataschema": "/a"}),
            json!({"dataschema": "urn:a"}),
            json!({"datacontenttype": "json"}),
            json!({"datacontenttype": "text/plain; charset=utf-8"}),
            json!({"datacontenttype": "text/plain", "data": "x"}),
            json!({"datacontenttype": "text/plain", "data": {}}),
            json!({"datacontenttype": "application/vnd.shop+json; v=1", "data": {}}),
            json!({"datacontenttype": "Application/CloudEvents+json"}),
            json!({"data": null}),
            json!({"data": [1], "data_base64": null}),
            json!({"data": 1, "data_base64": ""}),
            json!({"data_base64": "aGFsbG8="}),
            json!({"data_base64": "aGFsbG9="}),
            json!({"data_base64": "aGFsbG8"}),
            json!({"data_base64": "aGFsbG8=", "datacontenttype": "text/plain"}),
            json!({"data_base64": 1}),
            json!({"tenant": true}),
            json!({"tenant": -7}),
            json!({"tenant": ""}),
            json!({"tenant": 2_147_483_648_u64}),
            json!({"tenant": 1.5}),
            json!({"tenant": {}}),
            json!({"Tenant": "x"}),
            json!({"my-tenant": "x"}),
        ] {
            let event = with(&changes);
            assert_eq!(schema.is_valid(&event), event_of_json(&event.to_string(), "").is_ok(), "{changes}");
        }
    }

    #[test]
    fn data_with_a_key_has_it() {
        for (path, data, expected) in [
            (&["user", "id"][..], json!({"user": {"id": "u"}}), true),
            (&["user", "id"], json!({"user": {"id": 1.5}}), false),
            (&["user", "id"], json!({"user": {}}), false),
            (&["user", "id"], json!([]), false),
            (&["a", "1"], json!({"a": [0, true]}), true),
            (&["a", "1"], json!({"a": {"1": 7}}), true),
            (&["a", "1"], json!({"a": [0]}), false),
            (&["a", "01"], json!({"a": [0, 1]}), false),
        ] {
            let path: Vec<String> = path.iter().map(|token| (*token).to_owned()).collect();
            assert_eq!(jsonschema::is_valid(&having(&path), &data), expected, "{path:?} {data}");
        }
    }
}
