//! What a schema of attributes asks of each of them, as far as a document can say it of that one alone. Pure.
//!
//! The schema is of texts. In JSON an attribute that is not one of CloudEvents' own texts may be a number or a boolean, too, and no
//! keyword speaks of the text of these: of such a one it is said only whether it must be there.

use std::collections::{BTreeMap, BTreeSet};

use penstock_crds::cloudevents::MAX_ATTRIBUTE_NAME;
use serde_json::{Map, Value, json};

/// The attributes that are any text.
const TEXTS: [&str; 5] = ["id", "source", "type", "subject", "partitionkey"];
/// What is asked of a text, whatever else is asked of it.
const KEYWORDS: [&str; 4] = ["pattern", "minLength", "maxLength", "enum"];

/// What is asked.
#[derive(Debug, Default)]
pub struct Asked {
    required: BTreeSet<String>,
    bounds: BTreeMap<String, Map<String, Value>>,
}

impl Asked {
    /// What such a schema asks; without one nothing.
    #[must_use]
    pub fn by(schema: Option<&Value>) -> Self {
        // Beside a reference an older draft says nothing.
        let Some(schema) = schema.and_then(Value::as_object).filter(|schema| !schema.contains_key("$ref")) else { return Self::default() };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        Self {
            required: required.filter(|name| is_name(name)).map(str::to_owned).collect(),
            bounds: properties.filter_map(|(name, schema)| Some((name.clone(), bounds(name, schema)?))).collect(),
        }
    }

    /// The names of those that must be there.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.required.iter().map(String::as_str)
    }

    /// The names of those of which something is said.
    pub fn names(&self) -> BTreeSet<&str> {
        self.required().chain(self.bounds.keys().map(String::as_str)).collect()
    }

    /// Whether an event must have it.
    #[must_use]
    pub fn requires(&self, name: &str) -> bool {
        self.required.contains(name)
    }

    /// What an attribute is in JSON, where null stands for none, with what is asked of it.
    #[must_use]
    pub fn in_json(&self, name: &str, mut schema: Value) -> Value {
        if self.requires(name) {
            if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
                kinds.retain(|kind| kind != "null");
            }
            return self.in_header(name, schema);
        }
        let mut schema = self.in_header(name, schema);
        if let Some(values) = schema.pointer_mut("/allOf/0/enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        }
        schema
    }

    /// What an attribute is as the value of a header, with what is asked of it: nothing is encoded in what the document tells of.
    #[must_use]
    pub fn in_header(&self, name: &str, mut schema: Value) -> Value {
        if let (Some(bounds), Some(object)) = (self.bounds.get(name), schema.as_object_mut()) {
            object.insert("allOf".to_owned(), json!([bounds]));
        }
        schema
    }
}

fn bounds(name: &str, schema: &Value) -> Option<Map<String, Value>> {
    let schema = schema.as_object().filter(|schema| TEXTS.contains(&name) && !schema.contains_key("$ref"))?;
    let asked: Map<String, Value> =
        schema.iter().filter(|(keyword, _)| KEYWORDS.contains(&keyword.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    (!asked.is_empty()).then_some(asked)
}

/// Whether an event can have an attribute of that name.
fn is_name(name: &str) -> bool {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    is_plain && (1..=MAX_ATTRIBUTE_NAME).contains(&name.len()) && name != "data"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_said_of_one_attribute_alone() {
        let mail = json!({"pattern": "@", "minLength": 3, "description": "an address", "format": "email"});
        for (schema, names, required) in [
            (json!({"required": ["subject", "tenant", "data", "My", ""]}), &["subject", "tenant"][..], &["subject", "tenant"][..]),
            (json!({"properties": {"subject": mail, "type": {"enum": ["a"]}, "tenant": {"maxLength": 1}}}), &["subject", "type"], &[]),
            // What depends on others, or stands elsewhere.
            (json!({"anyOf": [{"required": ["subject"]}], "properties": {"subject": {"$ref": "#/x", "maxLength": 1}}}), &[], &[]),
            (json!({"$ref": "#/x", "required": ["subject"]}), &[], &[]),
            (json!({"required": true, "properties": {"subject": true, "id": {"not": {"pattern": "x"}}}}), &[], &[]),
            (json!(true), &[], &[]),
        ] {
            let asked = Asked::by(Some(&schema));
            let found: Vec<&str> = asked.names().into_iter().collect();
            assert_eq!((&found[..], &asked.required().collect::<Vec<_>>()[..]), (names, required), "{schema}");
        }
    }

    #[test]
    fn null_stands_for_an_attribute_that_is_not_there() {
        let text = || json!({"type": ["string", "null"], "minLength": 1});
        let schema = json!({"required": ["subject"], "properties": {"subject": {"maxLength": 3}, "partitionkey": {"enum": ["a", "b"]}}});
        let asked = Asked::by(Some(&schema));
        let subject = json!({"type": ["string"], "minLength": 1, "allOf": [{"maxLength": 3}]});
        let key = json!({"type": ["string", "null"], "minLength": 1, "allOf": [{"enum": ["a", "b", null]}]});
        assert_eq!((asked.in_json("subject", text()), asked.in_json("partitionkey", text())), (subject, key));
        let key = json!({"type": "string", "allOf": [{"enum": ["a", "b"]}]});
        assert_eq!(asked.in_header("partitionkey", json!({"type": "string"})), key);
        assert_eq!(asked.in_json("id", json!({"type": "string"})), json!({"type": "string"}));
    }
}
