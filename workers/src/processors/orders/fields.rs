//! The fields of a JSON object that we know, each as the text that stood there. Pure.
//!
//! Nothing is converted, so a number keeps every digit, and a field of the wrong type does not hide the faults of the others.
//! Unknown fields are skipped. Values are skipped without recursion: nesting depth costs no stack.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Text that is not one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// The known fields of one JSON object.
#[derive(Debug)]
pub struct Fields<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Reads the fields of those names out of a JSON object.
    ///
    /// # Errors
    /// When the text is not JSON, is another value than an object, or gives one of these fields twice.
    pub fn parse(text: &'a str, names: &'static [&'static str; N]) -> Result<Self, Malformed> {
        let mut json = serde_json::Deserializer::from_str(text);
        let values = json.deserialize_map(Object(names)).and_then(|values| json.end().map(|()| values));
        values.map(|values| Self { names, values }).map_err(|e| Malformed(e.to_string()))
    }

    /// The text of a field; none if it is absent or null.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.names.iter().zip(self.values).find(|(known, _)| **known == name)?;
        value.filter(|value| value.get() != "null")
    }

    /// A field that is a string; none if it is anything else.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        string(self.raw(name)?)
    }
}

/// The string that a JSON value is; none if it is anything else.
pub fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(value.get()).ok().map(|Text(text)| text)
}

/// An object, of which the values of these names are kept.
struct Object<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Object<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(known) = map.next_key_seed(Name(self.0))? {
            let Some((slot, name)) = known.and_then(|at| Some((values.get_mut(at)?, self.0.get(at)?))) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if slot.is_some() {
                return Err(A::Error::custom(format_args!("`{name}` is given twice")));
            }
            *slot = Some(map.next_value()?);
        }
        Ok(values)
    }
}

/// The name of a field: which of these it is.
struct Name<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Name<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Name<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str; 2] = &["a", "b"];

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
