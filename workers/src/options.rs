//! Reads `processor.options`, which are all text, into a type of one's own. Pure.
//!
//! ```
//! use std::{collections::BTreeMap, time::Duration};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "camelCase")]
//! struct Options {
//!     max_amount: f64,
//!     #[serde(with = "penstock_workers::options::duration", default = "patience")]
//!     lookup_timeout: Duration,
//!     note: Option<String>,
//! }
//!
//! fn patience() -> Duration {
//!     Duration::from_secs(2)
//! }
//!
//! let given = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
//! let options: Options = penstock_workers::options::read(&given("maxAmount", "1000"))?;
//! assert_eq!((options.max_amount, options.lookup_timeout, options.note), (1000.0, patience(), None));
//! let why = penstock_workers::options::read::<Options>(&given("speed", "9")).err().map(|error| error.to_string());
//! assert!(why.is_some_and(|why| why.contains("`speed` is not an option: this worker takes maxAmount, lookupTimeout, note")));
//! # Ok::<(), penstock_workers::error::ConfigError>(())
//! ```

use std::{cell::Cell, collections::BTreeMap, fmt, str::FromStr};

/// For `#[serde(with = "penstock_workers::options::duration")]`: text with a unit, such as `250ms` or `1m30s`.
pub use penstock_crds::duration::text as duration;
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{BytesDeserializer, StringDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::error::ConfigError;

/// Reads options. Text becomes what the type asks for: numbers, `true` and `false`, the name of a variant, text. An option that
/// is not given is `None`, or has its `#[serde(default)]`. One that the type does not know is refused, without
/// `deny_unknown_fields` too. Without options to read, take `()`; to see them all, a `BTreeMap<String, String>`.
///
/// Fields that come in by `#[serde(flatten)]` must take text, or read it themselves as durations do: serde hands on what stands there.
///
/// # Errors
/// Which option is at fault, and what it takes.
pub fn read<O: DeserializeOwned>(given: &BTreeMap<String, String>) -> Result<O, ConfigError> {
    let is_checked = Cell::new(false);
    let all = |unreadable| All { given, unreadable, is_checked: &is_checked };
    let wrong = |Fault(why): Fault| ConfigError::invalid(format!("processor.options: {why}"));
    let options = O::deserialize(all(None)).map_err(wrong)?;
    // A type with flattened fields takes whatever there is, and does not say which of it it knows: those of which it does not
    // notice that they cannot be read.
    match given.keys().find(|name| !is_checked.get() && O::deserialize(all(Some(name.as_str()))).is_ok()) {
        Some(unknown) => Err(wrong(Fault(format!("`{unknown}` is not an option of this worker")))),
        None => Ok(options),
    }
}

/// Bytes that are no UTF-8.
const NO_TEXT: &[u8] = b"\xff";

/// What is wrong.
#[derive(Debug)]
struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("`{field}` is missing"))
    }
}

/// All options.
#[derive(Clone, Copy)]
struct All<'a> {
    given: &'a BTreeMap<String, String>,
    /// The value of this one is nothing that any type takes.
    unreadable: Option<&'a str>,
    /// Whether the type has told what it knows.
    is_checked: &'a Cell<bool>,
}

impl All<'_> {
    fn check(&self, known: &[&str]) -> Result<(), Fault> {
        self.is_checked.set(true);
        let takes = || if known.is_empty() { "takes none".to_owned() } else { format!("takes {}", known.join(", ")) };
        match self.given.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(Fault(format!("`{unknown}` is not an option: this worker {}", takes()))),
            None => Ok(()),
        }
    }
}

impl<'de> Deserializer<'de> for All<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let entries = self.given.iter();
        visitor.visit_map(Entries { entries, value: None, unreadable: self.unreadable })
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.check(fields)?;
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.check(&[])?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option seq tuple tuple_struct map enum
        identifier ignored_any
    }
}

struct Entries<'a> {
    entries: std::collections::btree_map::Iter<'a, String, String>,
    value: Option<Value<'a>>,
    unreadable: Option<&'a str>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((name, text)) = self.entries.next() else { return Ok(None) };
        self.value = Some(Value { name, text });
        let name: StringDeserializer<Fault> = name.clone().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let value = self.value.take().ok_or_else(|| Fault::custom("an option without a value"))?;
        let name = value.name;
        if self.unreadable == Some(name) {
            return seed.deserialize(BytesDeserializer::new(NO_TEXT));
        }
        seed.deserialize(value).map_err(|Fault(why)| Fault(format!("{name}: {why}")))
    }
}

/// The value of one option.
struct Value<'a> {
    name: &'a str,
    text: &'a str,
}

impl Value<'_> {
    fn parse<T: FromStr>(&self, what: &str) -> Result<T, Fault> {
        self.text.parse().map_err(|_| Fault(format!("`{}` is not {what}", self.text)))
    }
}

macro_rules! parsed {
    ($($deserialize:ident $visit:ident $what:literal,)*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.parse($what)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Fault;

    parsed! {
        deserialize_bool visit_bool "true or false",
        deserialize_i8 visit_i8 "a whole number from -128 to 127",
        deserialize_i16 visit_i16 "a whole number from -32768 to 32767",
        deserialize_i32 visit_i32 "a whole number of 32 bits",
        deserialize_i64 visit_i64 "a whole number of 64 bits",
        deserialize_i128 visit_i128 "a whole number",
        deserialize_u8 visit_u8 "a whole number from 0 to 255",
        deserialize_u16 visit_u16 "a whole number from 0 to 65535",
        deserialize_u32 visit_u32 "a whole number from 0 to 4294967295",
        deserialize_u64 visit_u64 "a whole number from 0",
        deserialize_u128 visit_u128 "a whole number from 0",
        deserialize_f32 visit_f32 "a number",
        deserialize_f64 visit_f64 "a number",
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        let variant: StringDeserializer<Fault> = self.text.to_owned().into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("is not an option of this worker"))
    }

    forward_to_deserialize_any! { char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Options {
        ratio: f64,
        #[serde(default)]
        limit: u16,
        is_strict: Option<bool>,
        #[serde(default, with = "super::duration")]
        timeout: Duration,
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    enum Mode {
        Fast,
        Safe,
    }

    fn given(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn text_becomes_what_the_type_asks_for() {
        let all = [("ratio", "0.5"), ("limit", "7"), ("isStrict", "true"), ("timeout", "1m30s"), ("mode", "Safe")];
        let expected = Options { ratio: 0.5, limit: 7, is_strict: Some(true), timeout: Duration::from_secs(90), mode: Some(Mode::Safe) };
        assert_eq!(read::<Options>(&given(&all)).unwrap(), expected);
        let least = Options { ratio: 1.0, limit: 0, is_strict: None, timeout: Duration::ZERO, mode: None };
        assert_eq!(read::<Options>(&given(&[("ratio", "1")])).unwrap(), least);
        assert_eq!(read::<BTreeMap<String, String>>(&given(&all)).unwrap(), given(&all));
        read::<()>(&given(&[])).unwrap();
    }

    #[test]
    fn what_is_wrong_says_which_option_and_what_it_takes() {
        for (options, part) in [
            (&[][..], "`ratio` is missing"),
            (&[("ratio", "half")], "ratio: `half` is not a number"),
            (&[("ratio", "1"), ("limit", "70000")], "limit: `70000` is not a whole number from 0 to 65535"),
            (&[("ratio", "1"), ("isStrict", "yes")], "isStrict: `yes` is not true or false"),
            (&[("ratio", "1"), ("timeout", "5")], "timeout: `5` is not a duration"),
            (&[("ratio", "1"), ("mode", "Slow")], "mode: unknown variant `Slow`, expected `Fast` or `Safe`"),
            (&[("ratio", "1"), ("speed", "9")], "`speed` is not an option: this worker takes ratio, limit, isStrict, timeout, mode"),
        ] {
            let why = read::<Options>(&given(options)).unwrap_err().to_string();
            assert!(why.contains(&format!("processor.options: {part}")), "{part}: {why}");
        }
        assert!(read::<()>(&given(&[("speed", "9")])).unwrap_err().to_string().contains("this worker takes none"));
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Whole {
        name: String,
        #[serde(default)]
        limit: u16,
        #[serde(flatten)]
        part: Part,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Part {
        mode: Option<Mode>,
        #[serde(default, with = "super::duration")]
        timeout: Duration,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Open {
        limit: u16,
        #[serde(flatten)]
        rest: BTreeMap<String, String>,
    }

    #[test]
    fn an_unknown_option_is_found_beside_flattened_ones_too() {
        let all = [("name", "a"), ("limit", "7"), ("mode", "Safe"), ("timeout", "1m30s")];
        let part = Part { mode: Some(Mode::Safe), timeout: Duration::from_secs(90) };
        assert_eq!(read::<Whole>(&given(&all)).unwrap(), Whole { name: "a".to_owned(), limit: 7, part });
        for unknown in ["speed", "Mode", "part"] {
            let why = read::<Whole>(&given(&[("name", "a"), (unknown, "9")])).unwrap_err().to_string();
            assert!(why.contains(&format!("processor.options: `{unknown}` is not an option of this worker")), "{why}");
        }
        let open = Open { limit: 7, rest: given(&[("speed", "9")]) };
        assert_eq!(read::<Open>(&given(&[("limit", "7"), ("speed", "9")])).unwrap(), open);
    }
}
