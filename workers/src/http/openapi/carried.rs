//! Carries a JSON Schema into a document: its references, which lead from its own root, lead from its new place. Pure.
//!
//! Only what is a schema is looked at. A property may have any name, also that of a keyword, and what stands below `default`, `enum`
//! or `const` is data, whatever it looks like.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::http::pointer;

/// Keywords whose value is a schema, or a list of them.
const SCHEMAS: [&str; 16] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value has a schema under each name.
const NAMED_SCHEMAS: [&str; 6] = ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// Keywords that depend on more than the place of their target.
const TOO_MUCH: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

/// The schema as it reads at `place`, such as `#/components/schemas/Data`. None: it names parts of itself by URI, refers dynamically,
/// or is of a draft whose keywords mean something else in OpenAPI 3.1 (draft 4).
#[must_use]
pub fn carry(schema: &Value, place: &str) -> Option<Value> {
    if schema.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04")) {
        return None;
    }
    let mut found = Found::default();
    let base = schema.get("$id").and_then(Value::as_str).unwrap_or_default().trim_end_matches('#').to_owned();
    let mut waiting = vec![String::new()];
    loop {
        while let Some(at) = waiting.pop() {
            if found.seen.insert(at.clone()) {
                found.look(schema, &at, &base, &mut waiting)?;
            }
        }
        // A reference may lead to what stands in no keyword that has schemas.
        waiting
            .extend(found.references.values().filter_map(|fragment| found.target(fragment)).filter(|target| !found.seen.contains(target)));
        if waiting.is_empty() {
            break;
        }
    }
    let mut carried = schema.clone();
    for (at, fragment) in &found.references {
        let target = found.target(fragment)?;
        let object = carried.pointer_mut(at)?.as_object_mut()?;
        object.insert("$ref".to_owned(), Value::String(format!("{place}{}", escaped(&target))));
    }
    if let Some(root) = carried.as_object_mut() {
        root.remove("$id");
    }
    Some(carried)
}

#[derive(Default)]
struct Found {
    /// Pointers to the schemas that were looked at.
    seen: BTreeSet<String>,
    /// Where a reference stands, and the fragment that it leads to.
    references: BTreeMap<String, String>,
    /// What anchors name.
    anchors: BTreeMap<String, String>,
}

impl Found {
    /// Looks at the schema there, and finds those in it. None: it cannot be carried.
    fn look(&mut self, root: &Value, at: &str, base: &str, waiting: &mut Vec<String>) -> Option<()> {
        let Some(schema) = root.pointer(at)?.as_object() else { return Some(()) };
        if (!at.is_empty() && schema.contains_key("$id")) || TOO_MUCH.iter().any(|keyword| schema.contains_key(*keyword)) {
            return None;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
            if !document.is_empty() && document != base {
                return None;
            }
            self.references.insert(at.to_owned(), percent_decode_str(fragment).decode_utf8().ok()?.into_owned());
        }
        for anchor in ["$anchor", "$dynamicAnchor"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_str()) {
            self.anchors.insert(anchor.to_owned(), at.to_owned());
        }
        for (keyword, value) in schema {
            let below = pointer(at, keyword);
            match value {
                Value::Array(list) if SCHEMAS.contains(&keyword.as_str()) => {
                    waiting.extend((0..list.len()).map(|n| format!("{below}/{n}")))
                }
                _ if SCHEMAS.contains(&keyword.as_str()) => waiting.push(below),
                Value::Object(named) if NAMED_SCHEMAS.contains(&keyword.as_str()) => {
                    waiting.extend(named.keys().map(|name| pointer(&below, name)));
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Where a fragment leads to, as a pointer. None: to an anchor that is not known.
    fn target(&self, fragment: &str) -> Option<String> {
        match fragment {
            "" => Some(String::new()),
            path if path.starts_with('/') => Some(path.to_owned()),
            anchor => self.anchors.get(anchor).cloned(),
        }
    }
}

/// A pointer as a fragment of a URI.
fn escaped(pointer: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'~').remove(b'-').remove(b'.').remove(b'_').remove(b'$');
    utf8_percent_encode(pointer, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_lead_from_the_new_place() {
        for (schema, expected) in [
            (json!(true), json!(true)),
            (json!({"$ref": "#"}), json!({"$ref": "#/c/D"})),
            (json!({"$ref": "#/$defs/a%20b", "$defs": {"a b": {}}}), json!({"$ref": "#/c/D/$defs/a%20b", "$defs": {"a b": {}}})),
            (
                json!({"$id": "https://shop.example/o", "items": {"$ref": "https://shop.example/o#/$defs/a"}, "$defs": {"a": {}}}),
                json!({"items": {"$ref": "#/c/D/$defs/a"}, "$defs": {"a": {}}}),
            ),
            (
                json!({"$ref": "#it", "definitions": {"a": {"$anchor": "it"}}}),
                json!({"$ref": "#/c/D/definitions/a", "definitions": {"a": {"$anchor": "it"}}}),
            ),
            // What is named like a keyword is a property, and what is no schema stays as it is.
            (
                json!({"properties": {"default": {"$ref": "#/$defs/a"}, "enum": {"items": [{"$ref": "#"}]}, "$ref": {"type": "string"}},
                    "default": {"$ref": "#/x"}, "enum": [{"$ref": "#/x"}], "const": {"properties": {"a": {"$ref": "#/x"}}}, "$defs": {"a": {}}}),
                json!({"properties": {"default": {"$ref": "#/c/D/$defs/a"}, "enum": {"items": [{"$ref": "#/c/D"}]}, "$ref": {"type": "string"}},
                    "default": {"$ref": "#/x"}, "enum": [{"$ref": "#/x"}], "const": {"properties": {"a": {"$ref": "#/x"}}}, "$defs": {"a": {}}}),
            ),
            // A reference makes a schema of what it leads to, wherever that stands.
            (
                json!({"$ref": "#/x/0", "x": [{"not": {"$ref": "#/y"}}, {"$ref": "#/y"}], "y": false}),
                json!({"$ref": "#/c/D/x/0", "x": [{"not": {"$ref": "#/c/D/y"}}, {"$ref": "#/y"}], "y": false}),
            ),
        ] {
            assert_eq!(carry(&schema, "#/c/D"), Some(expected), "{schema}");
        }
    }

    #[test]
    fn what_cannot_be_carried() {
        for schema in [
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            json!({"$defs": {"a": {"$id": "a"}}}),
            json!({"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a"}}}),
            json!({"$ref": "https://shop.example/o"}),
            json!({"$ref": "#nowhere"}),
            json!({"$ref": "#/nowhere"}),
        ] {
            assert_eq!(carry(&schema, "#/c/D"), None, "{schema}");
        }
    }
}
