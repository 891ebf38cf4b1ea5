//! What becomes the key of an event's record. Pure.

use bytes::Bytes;

use crate::{
    cloudevents::CloudEvent,
    http::Fault,
    processors::{pointed::scalar, unambiguous::Unambiguous},
};

/// Where the key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOf {
    /// In this attribute; an event without it has no key.
    Attribute(String),
    /// In this field of the data, as a JSON Pointer.
    Data(String),
}

impl KeyOf {
    /// The key of an event. `at` points to the data in the request's body.
    ///
    /// # Errors
    /// The data has nothing there that can be a key.
    pub fn of(&self, event: &CloudEvent, at: &str) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Attribute(name) => Ok(event.attribute(name).map(|value| Bytes::copy_from_slice(value.as_bytes()))),
            Self::Data(pointer) => {
                let data = event.data.as_deref().ok_or_else(|| Fault::at(at, "is required"))?;
                let Unambiguous(data) =
                    serde_json::from_slice(data).map_err(|why| Fault::at(at, format!("cannot be read as JSON: {why}")))?;
                let key = scalar(data.pointer(pointer));
                let key =
                    key.ok_or_else(|| Fault::at(format!("{at}{pointer}"), "is the key: it must be text, a whole number or a boolean"))?;
                Ok(Some(Bytes::copy_from_slice(key.as_bytes())))
            }
        }
    }
}
