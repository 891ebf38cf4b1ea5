//! What values an option takes. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::{cloudevents, duration};

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// One line of 1 to `max` characters.
    Text {
        /// The most characters.
        max: usize,
    },
    /// A number from 0 to 1.
    Fraction,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A duration with a unit, within bounds.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The path of a URL, such as `/events`: of letters, digits and `-._~`, and not one that the worker answers itself.
    Path,
    /// The name of an attribute of CloudEvents.
    Attribute,
    /// A URI or a relative reference, as CloudEvents have them.
    UriReference {
        /// The most characters.
        max: usize,
    },
    /// An origin (RFC 6454) as browsers send it, such as `https://shop.example`, or `*` for any.
    Origin,
    /// A JSON Pointer (RFC 6901) to a field, such as `/user_id`.
    JsonPointer {
        /// The most characters.
        max: usize,
    },
    /// A JSON Schema: only that it is JSON, and an object or a boolean. The worker compiles it, and refuses the rest.
    JsonSchema {
        /// The most bytes.
        max: usize,
    },
}

/// The longest origin.
const MAX_ORIGIN: usize = 253;
/// The longest path.
const MAX_PATH: usize = 200;
/// The paths that a worker answers on the port of its source.
const TAKEN_PATHS: [&str; 2] = ["/health", "/openapi.json"];
/// How much of a value that is refused is repeated.
const MAX_REPEATED: usize = 64;

impl OptionKind {
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let shown = Shown(value);
        match self {
            Self::Text { max } => check_text(value, max),
            Self::Fraction => match value.parse::<f64>() {
                Ok(f) if (0.0..=1.0).contains(&f) => Ok(()),
                _ => Err(format!("`{shown}` is not a number from 0 to 1")),
            },
            Self::Integer { min, max } => match value.parse::<u64>() {
                Ok(n) if (min..=max).contains(&n) => Ok(()),
                _ => Err(format!("`{shown}` is not a whole number from {min} to {max}")),
            },
            Self::Duration { min, max } => duration::parse_bounded(value, min, max).map(drop),
            Self::OneOf(words) if words.contains(&value) => Ok(()),
            Self::OneOf(words) => Err(format!("`{shown}` is not one of {}", words.join(", "))),
            Self::Path => check_path(value),
            Self::Attribute if cloudevents::is_attribute_name(value) => Ok(()),
            Self::Attribute => {
                Err(format!("`{shown}` is not the name of an attribute: it has {} of a-z and 0-9", cloudevents::ATTRIBUTE_NAME_LENGTH))
            }
            Self::UriReference { max } => check_text(value, max).and_then(|()| {
                if cloudevents::is_uri_reference(value) { Ok(()) } else { Err(format!("`{shown}` is not a URI reference such as /orders")) }
            }),
            Self::Origin if value == "*" || (value.len() <= MAX_ORIGIN && is_origin(value)) => Ok(()),
            Self::Origin => Err(format!("`{shown}` is not an origin such as https://shop.example, or *")),
            Self::JsonPointer { max } => check_pointer(value, max),
            Self::JsonSchema { max } => check_schema(value, max),
        }
    }
}

fn check_text(value: &str, max: usize) -> Result<(), String> {
    match value.chars().count() {
        n if n == 0 || n > max => Err(format!("must have 1 to {max} characters")),
        _ if value.chars().any(char::is_control) => Err("must be one line of plain text".to_owned()),
        _ => Ok(()),
    }
}

fn check_path(value: &str) -> Result<(), String> {
    let is_plain = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    let segments = value.strip_prefix('/').filter(|_| value.len() <= MAX_PATH);
    match segments {
        Some(_) if TAKEN_PATHS.contains(&value) => Err(format!("the worker itself answers {value}: choose another path")),
        Some("") => Ok(()),
        Some(segments) if segments.split('/').all(is_plain) => Ok(()),
        _ => Err(format!(
            "`{}` is not a path such as /events: up to {MAX_PATH} letters, digits and -._~ in parts that begin with /",
            Shown(value)
        )),
    }
}

/// A scheme, a host and perhaps a port, in lower case: nothing else is ever sent, so nothing else would ever match.
fn is_origin(value: &str) -> bool {
    let Some((scheme, authority)) = value.split_once("://") else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let name = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && name(host),
    };
    let is_port = port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    scheme.starts_with(|c: char| c.is_ascii_lowercase()) && name(scheme) && is_host && is_port
}

/// The empty one, which points to the whole, is no field.
fn check_pointer(value: &str, max: usize) -> Result<(), String> {
    check_text(value, max)?;
    let mut escapes = value.split('~').skip(1);
    if value.starts_with('/') && escapes.all(|escape| escape.starts_with(['0', '1'])) {
        return Ok(());
    }
    Err(format!("`{}` is not a JSON Pointer such as /user_id (RFC 6901)", Shown(value)))
}

fn check_schema(value: &str, max: usize) -> Result<(), String> {
    if value.len() > max {
        return Err(format!("has {} bytes, and may have {max}", value.len()));
    }
    match serde_json::from_str(value) {
        Ok(Value::Object(_) | Value::Bool(_)) => Ok(()),
        Ok(_) => Err("is not a JSON Schema: that is an object, true or false".to_owned()),
        Err(why) => Err(format!("is not JSON: {why}")),
    }
}

/// A value in a message, cut if it is long.
struct Shown<'a>(&'a str);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.char_indices().nth(MAX_REPEATED).and_then(|(end, _)| self.0.get(..end)) {
            Some(start) => write!(f, "{start}…"),
            None => f.write_str(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let long = format!("/{}", "a".repeat(MAX_PATH));
        for (kind, allowed, refused) in [
            (OptionKind::Fraction, &["0", "1", "0.8"][..], &["1.01", "-0.1", "NaN", "x"][..]),
            (OptionKind::OneOf(&["None", "Json"]), &["None", "Json"], &["none", "", "Json "]),
            (
                OptionKind::Path,
                &["/", "/events", "/v1/events", "/a-b_c.d~e", "/healthy", &long[..MAX_PATH]],
                &[
                    "",
                    "events",
                    "/events/",
                    "//",
                    "/a//b",
                    "/a/../b",
                    "/.",
                    "/{id}",
                    "/:id",
                    "/*",
                    "/a b",
                    "/%20",
                    "/ä",
                    "/a?b",
                    "/health",
                    "/openapi.json",
                    &long,
                ],
            ),
            (OptionKind::Attribute, &["subject", "partitionkey", "a1"], &["", "Subject", "partition-key", "data", "ä", &long[1..]]),
            (
                OptionKind::UriReference { max: 20 },
                &["/orders", "urn:shop:orders", "shop.example"],
                &["", "a b", "%zz", "a\nb", "<x>", &long],
            ),
            (
                OptionKind::Origin,
                &["*", "https://shop.example", "http://localhost:3000", "http://[::1]:3000", "https://[::1]", "app-1://x"],
                &[
                    "",
                    "shop.example",
                    "https://",
                    "https://shop.example/",
                    "https://shop.example/app",
                    "https://shop.example?x=1",
                    "https://Shop.example",
                    "HTTPS://shop.example",
                    "https://*.example",
                    "https://a@b",
                    "https://a:b",
                    "https://a:65536",
                    "https://a:",
                    "https://[::g]",
                    "https://ä.example",
                    "://a",
                    "null",
                    "https://a,https://b",
                ],
            ),
            (
                OptionKind::JsonPointer { max: 20 },
                &["/user_id", "/a/0/b", "/a~1b~0c", "/", "/ä b"],
                &["", "user_id", "/a~2", "/a~", "/a\nb", &long],
            ),
            (
                OptionKind::JsonSchema { max: 20 },
                &["{}", "true", "false", "{\"type\": \"object\"}"],
                &["", "{", "1", "[]", "\"{}\"", "null", "{} {}", "{\"type\":  \"object\"  }"],
            ),
        ] {
            for value in allowed {
                assert_eq!(kind.check(value), Ok(()), "{kind:?} {value}");
            }
            for value in refused {
                assert!(kind.check(value).is_err(), "{kind:?} {value}");
            }
        }
    }

    #[test]
    fn a_long_value_is_not_repeated_as_a_whole() {
        for kind in [OptionKind::Fraction, OptionKind::Path, OptionKind::Attribute, OptionKind::OneOf(&["a"])] {
            let why = kind.check(&"ü".repeat(10_000)).unwrap_err();
            assert!(why.len() < 400 && why.contains('…'), "{why}");
        }
    }
}
