//! What is wrong with a request, and where in it. Pure.

use serde::Serialize;

/// Something that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// What is asked of it.
    pub detail: String,
}

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A header.
    Header(String),
    /// A value in a JSON body, as a JSON Pointer (RFC 6901) from the root of the body.
    Pointer(String),
}

impl Fault {
    /// A fault in a header.
    pub fn in_header(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: Place::Header(name.into()), detail: detail.into() }
    }

    /// A fault in a JSON body.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: Place::Pointer(pointer.into()), detail: detail.into() }
    }

    /// How much of an answer it takes, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let (Place::Header(place) | Place::Pointer(place)) = &self.place;
        place.len() + self.detail.len()
    }
}

/// Adds faults at places that have none yet: what could not be read is at fault for that, and not missing.
pub(crate) fn add_new(faults: &mut Vec<Fault>, more: impl Iterator<Item = Fault>) {
    for fault in more {
        if faults.iter().all(|known| known.place != fault.place) {
            faults.push(fault);
        }
    }
}

/// The pointer to a member of the object at `parent`.
#[must_use]
pub fn pointer(parent: &str, member: &str) -> String {
    format!("{parent}/{}", member.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_are_told_by_header_or_pointer() {
        for (fault, expected) in [
            (Fault::in_header("ce-id", "is missing"), json!({"header": "ce-id", "detail": "is missing"})),
            (Fault::at(pointer("/data", "a/b~c"), "is wrong"), json!({"pointer": "/data/a~1b~0c", "detail": "is wrong"})),
        ] {
            assert_eq!(serde_json::to_value(fault).unwrap(), expected);
        }
    }
}
