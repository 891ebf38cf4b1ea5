//! An event, and the rules that each of its attributes must keep (CloudEvents 1.0.2, section 3.1).

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use penstock_crds::cloudevents::{is_absolute_uri, is_attribute_name, is_text, is_uri_reference};

/// The version that is read and written.
pub const SPEC_VERSION: &str = "1.0";
/// The attribute that says what the data is: a header of its own in HTTP and in Kafka.
pub const DATA_CONTENT_TYPE: &str = "datacontenttype";
/// The most attributes of one event. The specification has no bound, and a record should.
pub const MAX_ATTRIBUTES: usize = 64;

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Attributes that the specification defines as text of at least one character. Any other is an extension.
pub(super) const DEFINED: [&str; 9] =
    ["specversion", "id", "source", "type", DATA_CONTENT_TYPE, "dataschema", "subject", "time", "partitionkey"];

/// An event that keeps the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    attributes: BTreeMap<String, String>,
    /// Its data; none is not the same as empty.
    pub data: Option<Bytes>,
}

/// Attributes as they were found, before they are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incomplete {
    /// By name.
    pub attributes: BTreeMap<String, String>,
    /// The data.
    pub data: Option<Bytes>,
}

/// An attribute that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub attribute: String,
    /// What is asked of it.
    pub rule: &'static str,
}

impl Incomplete {
    /// An event of that type and source, made here and now.
    #[must_use]
    pub fn made(id: String, source: &str, kind: &str, at: Timestamp) -> Self {
        let own = [("specversion", SPEC_VERSION.to_owned()), ("id", id), ("source", source.to_owned()), ("type", kind.to_owned())];
        let time = ("time", format!("{at:.3}"));
        Self { attributes: own.into_iter().chain([time]).map(|(name, value)| (name.to_owned(), value)).collect(), data: None }
    }

    /// Checks every attribute.
    ///
    /// # Errors
    /// All that break a rule.
    pub fn complete(self) -> Result<CloudEvent, Vec<Broken>> {
        let missing = REQUIRED.into_iter().filter(|name| !self.attributes.contains_key(*name)).map(|name| (name, "is required"));
        let wrong = self.attributes.iter().filter_map(|(name, value)| rule_broken(name, value).map(|rule| (name.as_str(), rule)));
        let broken: Vec<Broken> = missing.chain(wrong).map(|(name, rule)| Broken { attribute: name.to_owned(), rule }).collect();
        if broken.is_empty() { Ok(CloudEvent { attributes: self.attributes, data: self.data }) } else { Err(broken) }
    }
}

impl CloudEvent {
    /// An attribute, if the event has it.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// All that it has, by name.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.attribute("id").unwrap_or_default()
    }

    pub(super) fn into_parts(self) -> (BTreeMap<String, String>, Option<Bytes>) {
        (self.attributes, self.data)
    }
}

fn rule_broken(name: &str, value: &str) -> Option<&'static str> {
    if !is_attribute_name(name) {
        return Some("is not the name of an attribute: it has 1 to 64 characters of a-z and 0-9");
    }
    if !is_text(value) {
        return Some("must not have control characters");
    }
    if value.is_empty() && DEFINED.contains(&name) {
        return Some("must not be empty");
    }
    match name {
        "specversion" if value != SPEC_VERSION => Some("must be 1.0"),
        "source" if !is_uri_reference(value) => Some("must be a URI reference"),
        "dataschema" if !is_absolute_uri(value) => Some("must be a URI"),
        "time" if !is_rfc3339(value) => Some("must be a time such as 2026-01-31T12:00:00Z (RFC 3339)"),
        // A reader of the record would take the data for the event (Kafka binding, section 3).
        DATA_CONTENT_TYPE if is_of_events(value.as_bytes()) => Some("must not be that of CloudEvents: it is the type of the data"),
        DATA_CONTENT_TYPE if !is_media_type(value) => Some("must be a media type such as application/json"),
        _ => None,
    }
}

/// Stricter than the parser: RFC 3339 is one form of the many that ISO 8601 has.
fn is_rfc3339(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c.to_ascii_uppercase() }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let fraction = rest.strip_prefix('.').map(|rest| rest.trim_start_matches('0'));
    let offset = match fraction {
        Some(offset) if offset.len() + 1 < rest.len() => offset,
        Some(_) => return false,
        None => rest,
    };
    matches!(offset, "Z" | "+00:00" | "-00:00") && text.parse::<Timestamp>().is_ok()
}

/// Whether a media type says that something is an event as a whole, or many, in any format.
#[must_use]
pub fn is_of_events(media: &[u8]) -> bool {
    const ALL: &[u8] = b"application/cloudevents";
    media.trim_ascii_start().get(..ALL.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(ALL))
}

fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: &[(&str, Option<&str>)]) -> Incomplete {
        let mut event = Incomplete::made("1".to_owned(), "/orders", "order.placed", Timestamp::UNIX_EPOCH);
        for (name, value) in changes {
            match value {
                Some(value) => event.attributes.insert((*name).to_owned(), (*value).to_owned()),
                None => event.attributes.remove(*name),
            };
        }
        event
    }

    #[test]
    fn an_event_that_was_made_here_is_whole() {
        let event = with(&[]).complete().unwrap();
        assert_eq!((event.id(), event.attribute("time")), ("1", Some("1970-01-01T00:00:00.000Z")));
    }

    #[test]
    fn each_rule() {
        for (name, value, part) in [
            ("id", None, Some("is required")),
            ("id", Some(""), Some("not be empty")),
            ("id", Some("a\nb"), Some("control")),
            ("id", Some("Grüße"), None),
            ("source", None, Some("is required")),
            ("source", Some("a b"), Some("URI reference")),
            ("source", Some("https://shop.example/orders"), None),
            ("type", Some(""), Some("not be empty")),
            ("specversion", Some("0.3"), Some("must be 1.0")),
            ("specversion", None, Some("is required")),
            ("time", Some("2026-01-31T12:00:00Z"), None),
            ("time", Some("2026-01-31t12:00:00.123456z"), None),
            ("time", Some("2026-01-31T12:00:00.5+01:00"), None),
            ("time", Some("2026-01-31 12:00:00Z"), Some("RFC 3339")),
            ("time", Some("2026-01-31T12:00:00"), Some("RFC 3339")),
            ("time", Some("2026-01-31T12:00:00.Z"), Some("RFC 3339")),
            ("time", Some("2026-02-31T12:00:00Z"), Some("RFC 3339")),
            ("time", Some("2026-01-31T12:00:00Z[UTC]"), Some("RFC 3339")),
            ("time", Some(""), Some("not be empty")),
            ("dataschema", Some("https://shop.example/order.json"), None),
            ("dataschema", Some("/order.json"), Some("must be a URI")),
            ("datacontenttype", Some("text/plain; charset=utf-8"), None),
            ("datacontenttype", Some("json"), Some("media type")),
            ("datacontenttype", Some("a/"), Some("media type")),
            ("datacontenttype", Some("Application/CloudEvents-batch+json; x=1"), Some("that of CloudEvents")),
            ("subject", Some(""), Some("not be empty")),
            ("partitionkey", Some(""), Some("not be empty")),
            ("tenant", Some(""), None),
            ("Tenant", Some("x"), Some("name of an attribute")),
            ("my-tenant", Some("x"), Some("name of an attribute")),
        ] {
            match (with(&[(name, value)]).complete(), part) {
                (Ok(_), None) => {}
                (Err(broken), Some(part)) => {
                    assert!(
                        broken.len() == 1 && broken[0].attribute == name && broken[0].rule.contains(part),
                        "{name} {value:?}: {broken:?}"
                    );
                }
                (got, _) => panic!("{name} {value:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn every_attribute_at_fault_is_named() {
        let broken = with(&[("id", None), ("time", Some("now")), ("source", Some("a b"))]).complete().unwrap_err();
        assert_eq!(broken.iter().map(|b| b.attribute.as_str()).collect::<Vec<_>>(), ["id", "source", "time"]);
    }
}
