//! What a JSON Pointer of an option points to in an event. Pure.

use std::borrow::Cow;

use serde_json::Value;

/// What can be a key, as text: text, a whole number of up to 64 bits or a boolean. Nothing of anything else: other numbers are read as
/// the nearest that a computer has, so that two could become one key.
pub fn scalar(value: Option<&Value>) -> Option<Cow<'_, str>> {
    match value? {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) if !number.is_f64() => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Owned(truth.to_string())),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
