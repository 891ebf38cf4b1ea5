//! A text that many objects hold, kept in memory once: a fleet of topics has the same few configuration keys and values many times.
//!
//! In everything else it is a string: it compares, sorts, and is read and written as one.

use std::{
    borrow::{Borrow, Cow},
    collections::HashSet,
    fmt,
    ops::Deref,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest text that is shared; longer ones are hardly ever the same.
const LONGEST: usize = 64;
/// After so many new texts those that nobody holds any more are dropped, at the earliest.
const SWEEP_AFTER: usize = 1_024;

static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);

/// The texts that somebody holds, and perhaps some that nobody holds any more.
#[derive(Default)]
struct Shared {
    texts: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Shared {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        if self.texts.len() >= self.sweep_at {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = 2 * self.texts.len() + SWEEP_AFTER;
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }
}

/// A text, kept in memory once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.len() > LONGEST {
            return Self(text.into());
        }
        Self(SHARED.lock().unwrap_or_else(PoisonError::into_inner).get(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(|text| Self::from(&*text))
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_text_is_kept_once_and_read_and_written_as_a_string() {
        let read = || serde_json::from_value::<BTreeMap<Text, Text>>(json!({"retention.ms": "604800000"})).unwrap();
        let (one, other) = (read(), read());
        let at = |map: &BTreeMap<Text, Text>| map.first_key_value().map(|(key, value)| (key.as_ptr(), value.as_ptr())).unwrap();
        assert_eq!(at(&one), at(&other));
        assert_eq!(serde_json::to_value(&one).unwrap(), json!({"retention.ms": "604800000"}));
        assert_eq!(one.get("retention.ms").map(|value| &**value), Some("604800000"));
        let long = "v".repeat(LONGEST + 1);
        assert_ne!(Text::from(&long).as_ptr(), Text::from(&long).as_ptr());
    }

    #[test]
    fn what_nobody_holds_is_dropped() {
        let mut shared = Shared::default();
        let held = shared.get("held");
        for number in 0..10 * SWEEP_AFTER {
            shared.get(&number.to_string());
        }
        assert!(shared.texts.len() <= 2 * SWEEP_AFTER, "{}", shared.texts.len());
        assert!(Arc::ptr_eq(&held, &shared.get("held")));
    }
}
