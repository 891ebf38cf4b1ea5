//! The code that handles an event: a built-in processor, one for each type of event, a handler that is called over HTTP, or a
//! worker of one's own.

use std::{collections::BTreeMap, time::Duration};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Resources;
use crate::{
    duration,
    processor::{Choice, Configured, HttpCall},
};

/// How long an answer of a handler is waited for, where a pipeline does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may be.
const TIMEOUT_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The lowest port that a process without rights may listen on.
const LOWEST_PORT: u16 = 1024;

/// The code that handles an event.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.builtin), has(self.byType), has(self.http), has(self.image)].exists_one(given, given)")
        .message("processor needs exactly one of builtin, byType, http and image"),
    validation = Rule::new("has(self.builtin) || has(self.image) || !has(self.options)")
        .message("processor.options goes with processor.builtin and processor.image: each handler of byType has options of its own"),
)]
pub struct Processor {
    /// A processor that is compiled into the worker.
    #[schemars(schema_with = "crate::schema::builtin")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// The processor's own options. Each built-in processor says which it takes, and the operator refuses others; a worker of
    /// your own checks them itself.
    #[schemars(schema_with = "crate::schema::options")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// A processor for each type of event (CloudEvents). Only with `source.kafka`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_type: Option<ByType>,
    /// A container of your own, in any language, that gets each record as an HTTP request. Only with `source.kafka`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHandler>,
    /// A container image with a worker that was built with Penstock's Rust crate, run instead of the stock worker. Only with
    /// `source.kafka`.
    #[schemars(schema_with = "crate::schema::image")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

impl Processor {
    /// The one that is chosen, as a worker reads it.
    ///
    /// # Errors
    /// A rule that the schema has too, for objects that are older than the schema.
    pub fn choice(&self) -> Result<Choice, String> {
        let taken = self.builtin.is_some() || self.image.is_some();
        if !taken && !self.options.is_empty() {
            return Err("processor.options goes with processor.builtin and processor.image: handlers have options of their own".to_owned());
        }
        match (&self.builtin, &self.by_type, &self.http, &self.image) {
            (Some(name), None, None, None) => Ok(Choice::builtin(name, self.options.clone())),
            (None, Some(by_type), None, None) => by_type.choice().map_err(str::to_owned),
            (None, None, Some(handler), None) => handler.call().map(Choice::Http),
            (None, None, None, Some(_)) => Ok(Choice::Image { options: self.options.clone() }),
            _ => Err("processor needs exactly one of builtin, byType, http and image".to_owned()),
        }
    }
}

/// A processor for each type of event. A record of another type, or of none, goes to the dead letter topic.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByType {
    /// The processors.
    #[schemars(schema_with = "crate::schema::handlers")]
    pub handlers: Vec<Handler>,
}

impl ByType {
    fn choice(&self) -> Result<Choice, &'static str> {
        let configured = |h: &Handler| (h.kind.clone(), Configured { builtin: h.builtin.clone(), options: h.options.clone() });
        let by_type: BTreeMap<_, _> = self.handlers.iter().map(configured).collect();
        if by_type.is_empty() || by_type.len() < self.handlers.len() {
            return Err("processor.byType.handlers needs at least one handler, and one for each type");
        }
        Ok(Choice::ByType { by_type })
    }
}

/// The processor of one type.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handler {
    /// The type, such as `user.created`: the attribute `type` of CloudEvents, in a record the header `ce_type`.
    #[serde(rename = "type")]
    #[schemars(schema_with = "crate::schema::event_type")]
    pub kind: String,
    /// A processor that is compiled into the worker and handles records.
    #[schemars(schema_with = "crate::schema::builtin_handler")]
    pub builtin: String,
    /// The processor's own options.
    #[schemars(schema_with = "crate::schema::options")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// A container that gets each record as an HTTP request, beside the worker in its pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHandler {
    /// Its image, such as `registry.example/shop/handler:1`. It is run as user 65532 with a read-only file system but `/tmp`.
    #[schemars(schema_with = "crate::schema::image")]
    pub image: String,
    /// The port that it listens on, on all addresses; it finds it in the variable `PORT`. Not that of `admin.port`.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u16,
    /// The path that records are posted to, such as `/events`. Default: `/`.
    #[schemars(schema_with = "crate::schema::handler_path")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How long an answer is waited for, such as `10s`, before the record is tried again. From 1s to 5m. Default: 10s.
    #[schemars(schema_with = "crate::schema::handler_timeout")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// What it may use. Default: as for the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

impl HttpHandler {
    fn call(&self) -> Result<HttpCall, String> {
        if self.port < LOWEST_PORT {
            return Err(format!("processor.http.port is {}: it must be from {LOWEST_PORT} to 65535", self.port));
        }
        let path = self.path.clone().unwrap_or_else(|| "/".to_owned());
        if !is_plain_path(&path) {
            return Err(format!("processor.http.path: `{path}` is not a path such as /events"));
        }
        let (shortest, longest) = TIMEOUT_BOUNDS;
        let parsed = self.timeout.as_deref().map_or(Ok(DEFAULT_TIMEOUT), |text| duration::parse_bounded(text, shortest, longest));
        let timeout = parsed.map_err(|why| format!("processor.http.timeout: {why}"))?;
        Ok(HttpCall { port: self.port, path, timeout })
    }
}

/// What the schema says by a pattern: it can be sent as it is.
fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains("//")
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn choice(spec: Value) -> Result<Choice, String> {
        serde_json::from_value::<Processor>(spec).unwrap().choice()
    }

    #[test]
    fn what_is_chosen() {
        let http = |spec: Value| json!({"http": spec});
        let call =
            |path: &str, seconds| Ok(Choice::Http(HttpCall { port: 9000, path: path.to_owned(), timeout: Duration::from_secs(seconds) }));
        let options = || BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        for (spec, expected) in [
            (json!({"image": "w:1"}), Ok(Choice::Image { options: BTreeMap::new() })),
            (json!({"image": "w:1", "options": {"a": "b"}}), Ok(Choice::Image { options: options() })),
            (json!({"builtin": "log", "options": {"a": "b"}}), Ok(Choice::builtin("log", options()))),
            (http(json!({"image": "h:1", "port": 9000})), call("/", 10)),
            (http(json!({"image": "h:1", "port": 9000, "path": "/a/b", "timeout": "5m"})), call("/a/b", 300)),
            (http(json!({"image": "h:1", "port": 80})), Err("port is 80: it must be from 1024")),
            (http(json!({"image": "h:1", "port": 9000, "path": "a"})), Err("`a` is not a path")),
            (http(json!({"image": "h:1", "port": 9000, "path": "/a b"})), Err("is not a path")),
            (http(json!({"image": "h:1", "port": 9000, "timeout": "999ms"})), Err("processor.http.timeout: `999ms` is out of bounds")),
            (json!({"http": {"image": "h:1", "port": 9000}, "options": {"a": "b"}}), Err("processor.options goes with")),
            (json!({"http": {"image": "h:1", "port": 9000}, "image": "w:1"}), Err("exactly one of")),
            (json!({"builtin": "log", "image": "w:1"}), Err("exactly one of")),
            (json!({}), Err("exactly one of")),
        ] {
            match (choice(spec.clone()), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{spec}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{spec}: {why}"),
                (found, _) => panic!("{spec}: {found:?}"),
            }
        }
    }
}
