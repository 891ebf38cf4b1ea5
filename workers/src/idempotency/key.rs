//! What a key and a request are, as far as they must be told apart. Pure.

use http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::http::{Fault, Problem, Subject, problem::Kind};

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key as it is sent, in characters.
const MAX_KEY: usize = 255;

/// What can be wrong with a key.
pub mod problem {
    use super::{Kind, StatusCode};

    /// It is no key.
    pub static INVALID_KEY: Kind = Kind::new("invalid-idempotency-key", StatusCode::BAD_REQUEST, "The Idempotency-Key cannot be used");
    /// This address keeps no keys.
    pub static KEYS_NOT_KEPT: Kind = Kind::new("idempotency-keys-not-kept", StatusCode::BAD_REQUEST, "This address keeps no keys");
    /// Another request came with this key.
    pub static KEY_REUSED: Kind = Kind::new("idempotency-key-reused", StatusCode::CONFLICT, "Another request came with this key");
    /// A request with this key is under way.
    pub static KEY_IN_USE: Kind = Kind::new("idempotency-key-in-use", StatusCode::CONFLICT, "A request with this key is under way");
}

/// A key among all of its pipeline and of who sends it, so that pipelines which share a topic do not share keys, and nobody is told
/// what became of another's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 16]);

/// What distinguishes a request from another with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request(Uuid);

impl KeyId {
    /// The key of a request to that pipeline; `subject` is who sends it, where that is known.
    #[must_use]
    pub fn new(namespace: &str, pipeline: &str, subject: Option<&Subject>, key: &str) -> Self {
        let subject = subject.map(|Subject(subject)| subject.as_bytes());
        let pipeline = [&b"key"[..], namespace.as_bytes(), pipeline.as_bytes()];
        Self(digest(pipeline.into_iter().chain(subject).chain([key.as_bytes()])))
    }

    /// As it stands in a record.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From a record.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Request {
    /// A request: how its body is to be read, its attributes, and the body to the byte.
    #[must_use]
    pub fn new(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut said: Vec<(&str, &[u8])> = headers
            .iter()
            .filter(|(name, _)| *name == http::header::CONTENT_TYPE || name.as_str().starts_with("ce-"))
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        said.sort_unstable();
        let said = said.iter().flat_map(|(name, value)| [name.as_bytes(), *value]);
        Self(Uuid::from_bytes(digest([&b"request"[..], body].into_iter().chain(said))))
    }

    /// A request of which nothing counts but these parts.
    #[must_use]
    pub fn of(parts: &[String]) -> Self {
        Self(Uuid::from_bytes(digest([&b"parts"[..]].into_iter().chain(parts.iter().map(String::as_bytes)))))
    }

    /// The id of an event that brings none: the same for the same request with the same key.
    #[must_use]
    pub fn event_id(&self, key: KeyId) -> Uuid {
        uuid::Builder::from_custom_bytes(digest([&b"event"[..], &key.0[..], &self.0.as_bytes()[..]])).into_uuid()
    }
}

/// Every part with its length before it, so that no two lists of parts are one text.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut short = [0; 16];
    short.iter_mut().zip(hash.finalize()).for_each(|(short, byte)| *short = byte);
    short
}

/// What the header may be, for an OpenAPI document.
#[must_use]
pub fn parameter_schema() -> Value {
    let quoted = r#""([ !#-\[\]-~]|\\["\\])+""#;
    let token = r"[!#-+\--:<-\[\]-~]+";
    json!({"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": format!("^({quoted}|{token})$")})
}

/// The key that a request brings, if any: a string in quotes (RFC 9651), or the same without them, as many clients send it.
///
/// # Errors
/// It is empty, too long, given twice, or not plain ASCII.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |why: &str| {
        let detail = format!("send one Idempotency-Key of 1 to {MAX_KEY} characters of plain ASCII, such as a UUID; nothing was written");
        Err(Problem::new(&problem::INVALID_KEY, detail).with_errors(vec![Fault::in_header(HEADER.as_str(), why)]))
    };
    if values.next().is_some() {
        return wrong("is given more than once");
    }
    let Ok(text) = value.to_str() else { return wrong("is not plain ASCII") };
    if text.len() > MAX_KEY {
        return wrong("is too long");
    }
    let key = match text.strip_prefix('"') {
        Some(rest) => match unquoted(rest) {
            Some(key) => key,
            None => return wrong("begins with a quote and is no string in quotes"),
        },
        None if text.contains(['"', '\\', ',', ';', ' ', '\t']) => {
            return wrong("must be in quotes where it has other characters than a token");
        }
        None => text.to_owned(),
    };
    if key.is_empty() { wrong("is empty") } else { Ok(Some(key)) }
}

/// What stands in a string of RFC 9651, without the quote that it begins with.
fn unquoted(rest: &str) -> Option<String> {
    let (mut key, mut escaped) = (String::new(), false);
    for (at, c) in rest.char_indices() {
        match c {
            '"' | '\\' if escaped => {
                key.push(c);
                escaped = false;
            }
            _ if escaped => return None,
            '\\' => escaped = true,
            '"' => return (at + 1 == rest.len()).then_some(key),
            _ => key.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn keys() {
        let long = "k".repeat(256);
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["\"a-1\""], Ok(Some("a-1"))),
            (&["a-1"], Ok(Some("a-1"))),
            (&[r#""say \"hi\" \\""#], Ok(Some(r#"say "hi" \"#))),
            (&[&long[1..]], Ok(Some(&long[1..]))),
            (&[""], Err("is empty")),
            (&["\"\""], Err("is empty")),
            (&[long.as_str()], Err("too long")),
            (&["a", "b"], Err("more than once")),
            (&["a, b"], Err("in quotes")),
            (&["\"a"], Err("no string")),
            (&["\"a\";x"], Err("no string")),
            (&["\"\\a\""], Err("no string")),
        ] {
            let pairs: Vec<_> = values.iter().map(|value| ("idempotency-key", *value)).collect();
            match (key_of(&headers(&pairs)), expected) {
                (Ok(key), Ok(expected)) => assert_eq!(key.as_deref(), expected, "{values:?}"),
                (Err(problem), Err(part)) => assert!(format!("{problem:?}").contains(part), "{values:?}: {problem:?}"),
                (got, _) => panic!("{values:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_is_another_key_or_another_request() {
        let keys = [
            ("n", "p", None, "k"),
            ("n", "p", None, "l"),
            ("n", "q", None, "k"),
            ("m", "p", None, "k"),
            ("np", "", None, "k"),
            ("n", "p", Some("alice"), "k"),
            ("n", "p", Some("bob"), "k"),
            ("n", "p", Some(""), "k"),
            ("n", "p", Some("k"), "alice"),
        ];
        let id = |(n, p, subject, k): &(&str, &str, Option<&str>, &str)| {
            let subject = subject.map(|subject| Subject(subject.into()));
            KeyId::new(n, p, subject.as_ref(), k)
        };
        let ids: std::collections::BTreeSet<KeyId> = keys.iter().map(id).collect();
        assert_eq!(ids.len(), keys.len());
        let json = ("content-type", "application/json");
        let first = Request::new(&headers(&[json, ("ce-id", "1"), ("date", "now")]), b"{}");
        for (pairs, body, same) in [
            (&[("ce-id", "1"), json, ("date", "later")][..], "{}", true),
            (&[json, ("ce-id", "1")], "{ }", false),
            (&[json, ("ce-id", "2")], "{}", false),
            (&[json], "{}", false),
            (&[("content-type", "text/plain"), ("ce-id", "1")], "{}", false),
        ] {
            assert_eq!(Request::new(&headers(pairs), body.as_bytes()) == first, same, "{pairs:?} {body}");
        }
        let key = KeyId::new("n", "p", None, "k");
        assert_eq!(first.event_id(key), first.event_id(key));
        assert_ne!(first.event_id(key), Request::new(&headers(&[]), b"").event_id(key));
    }
}
