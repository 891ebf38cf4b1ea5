//! The fields of a JSON object that we know, each as the text that stood there. Pure.
//!
//! Nothing is converted, so a number keeps every digit, and a field of the wrong type does not hide the faults of the others.
//! Unknown fields are skipped. Values are skipped without recursion: nesting depth costs no stack.

use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Text that is not one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// The known fields of one JSON object.
#[derive(Debug)]
pub struct Fields<'a> {
    found: Vec<(&'static str, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of those names out of a JSON object.
    ///
    /// # Errors
    /// When the text is not JSON, is another value than an object, or gives one of these fields twice.
    pub fn parse(text: &'a str, names: &'static [&'static str]) -> Result<Self, Malformed> {
        let mut json = serde_json::Deserializer::from_str(text);
        let found = json.deserialize_map(Known(names)).and_then(|found| json.end().map(|()| found));
        found.map(|found| Self { found }).map_err(|e| Malformed(e.to_string()))
    }

    /// The text of a field; none if it is absent or null.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.found.iter().find(|(n, _)| *n == name).map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// A field that is a string; none if it is anything else.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }
}

struct Known(&'static [&'static str]);

impl<'de> Visitor<'de> for Known {
    type Value = Vec<(&'static str, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: Self::Value = Vec::with_capacity(self.0.len());
        while let Some(key) = map.next_key::<String>()? {
            let Some(name) = self.0.iter().find(|name| **name == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if found.iter().any(|(n, _)| n == name) {
                return Err(A::Error::custom(format_args!("`{name}` is given twice")));
            }
            found.push((name, map.next_value()?));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["a", "b"];

    #[test]
    fn values_keep_their_text() {
        let fields = Fields::parse(r#" {"b": 10.10, "x": {"a": 1}, "a": "t\u00e4xt"} "#, NAMES).unwrap();
        assert_eq!(fields.raw("b").unwrap().get(), "10.10");
        assert_eq!(fields.string("a").unwrap(), "täxt");
        assert_eq!(fields.string("b"), None);
        assert!(Fields::parse(r#"{"a":null}"#, NAMES).unwrap().raw("a").is_none());
    }

    #[test]
    fn malformed_text_is_refused() {
        for (text, part) in [
            ("", "EOF"),
            ("nope", "expected"),
            ("[]", "expected a JSON object"),
            ("1", "expected a JSON object"),
            (r#"{"a":1"#, "EOF"),
            (r#"{"a":1}}"#, "trailing"),
            (r#"{"a":01}"#, "invalid number"),
            (r#"{"a":NaN}"#, "expected"),
            (r#"{"a":1,"a":2}"#, "`a` is given twice"),
        ] {
            let why = Fields::parse(text, NAMES).unwrap_err();
            assert!(why.0.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!(r#"{{"a":{0}{1},"x":{0}{1}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert!(Fields::parse(&deep, NAMES).unwrap().raw("a").is_some());
        assert!(Fields::parse(&deep[..300_000], NAMES).is_err());
    }
}
