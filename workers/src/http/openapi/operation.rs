//! One operation: what it takes, and every answer that it gives. Pure.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::http::problem::{INTERNAL, Kind, PROBLEM_JSON, TOKENS_NOT_CHECKED, UNAUTHORIZED, UNCLEAR_TOKEN};

/// The name of the security scheme of operations that ask for a token.
pub(super) const BEARER: &str = "bearer";

/// What any operation of any front may be answered with.
static OF_EVERY_OPERATION: [&Kind; 1] = [&INTERNAL];
/// What any operation that asks for a token may be answered with.
static OF_EVERY_GUARDED_OPERATION: [&Kind; 3] = [&UNCLEAR_TOKEN, &UNAUTHORIZED, &TOKENS_NOT_CHECKED];

/// An operation.
#[derive(Clone, Debug)]
pub struct Operation {
    id: &'static str,
    summary: &'static str,
    about: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Vec<Answer>,
    problems: Vec<(&'static Kind, StatusCode)>,
}

/// An answer that is no problem.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    about: &'static str,
    schema: Option<Value>,
    links: Option<Value>,
}

impl Answer {
    /// One without a body.
    #[must_use]
    pub fn new(status: StatusCode, about: &'static str) -> Self {
        Self { status, about, schema: None, links: None }
    }

    /// With a body of JSON.
    #[must_use]
    pub fn with_json(self, schema: Value) -> Self {
        Self { schema: Some(schema), ..self }
    }

    /// With what can be asked next, by name (OpenAPI, "Link Object").
    #[must_use]
    pub fn with_links(self, links: Value) -> Self {
        Self { links: Some(links), ..self }
    }

    fn to_json(&self) -> Value {
        let mut answer = json!({"description": self.about, "headers": headers(self.status)});
        if let Some(schema) = &self.schema {
            insert(&mut answer, "content", json!({"application/json": {"schema": schema}}));
        }
        if let Some(links) = &self.links {
            insert(&mut answer, "links", links.clone());
        }
        answer
    }
}

impl Operation {
    /// One that takes nothing; `about` may be in Markdown.
    #[must_use]
    pub fn new(id: &'static str, summary: &'static str, about: impl Into<String>) -> Self {
        let (parameters, answers, problems) = (Vec::new(), Vec::new(), Vec::new());
        Self { id, summary, about: about.into(), parameters, body: None, answers, problems }
    }

    /// With a parameter in `place`: `path`, `query` or `header`.
    #[must_use]
    pub fn parameter(mut self, place: &str, name: &str, required: bool, about: &str, schema: Value) -> Self {
        self.parameters.push(json!({"name": name, "in": place, "required": required, "description": about, "schema": schema}));
        self
    }

    /// With a body in one of these media types, each with its schema.
    #[must_use]
    pub fn body(self, required: bool, media: &[(&str, Value)]) -> Self {
        let content: Map<String, Value> = media.iter().map(|(media, schema)| ((*media).to_owned(), json!({"schema": schema}))).collect();
        Self { body: Some(json!({"required": required, "content": content})), ..self }
    }

    /// With an answer that is no problem.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// With problems, each with its usual status.
    #[must_use]
    pub fn problems(mut self, kinds: &[&'static Kind]) -> Self {
        self.problems.extend(kinds.iter().map(|kind| (*kind, kind.status)));
        self
    }

    /// With a problem that has a status of its own here.
    #[must_use]
    pub fn problem(mut self, kind: &'static Kind, status: StatusCode) -> Self {
        self.problems.push((kind, status));
        self
    }

    /// `guarded`: whether it asks for a token.
    pub(super) fn to_json(&self, guarded: bool) -> Value {
        let mut by_status: BTreeMap<StatusCode, Vec<&Kind>> = BTreeMap::new();
        let tokens: &[&'static Kind] = if guarded { &OF_EVERY_GUARDED_OPERATION } else { &[] };
        let always = OF_EVERY_OPERATION.iter().chain(tokens).map(|kind| (*kind, kind.status));
        for (kind, status) in self.problems.iter().copied().chain(always) {
            by_status.entry(status).or_default().push(kind);
        }
        let mut responses: Map<String, Value> =
            by_status.into_iter().map(|(status, kinds)| (status.as_str().to_owned(), problem_answer(status, &kinds))).collect();
        responses.extend(self.answers.iter().map(|answer| (answer.status.as_str().to_owned(), answer.to_json())));
        let mut operation = json!({"operationId": self.id, "summary": self.summary, "description": self.about, "responses": responses});
        if !self.parameters.is_empty() {
            insert(&mut operation, "parameters", json!(self.parameters));
        }
        if let Some(body) = &self.body {
            insert(&mut operation, "requestBody", body.clone());
        }
        if guarded {
            insert(&mut operation, "security", json!([{BEARER: []}]));
        }
        operation
    }
}

/// A status that is a problem says of which kinds, so that a reader may rely on `type`.
fn problem_answer(status: StatusCode, kinds: &[&Kind]) -> Value {
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title).collect();
    let types: Vec<String> = kinds.iter().map(|kind| kind.uri()).collect();
    let own = json!({"properties": {"type": {"enum": types}, "status": {"const": status.as_u16()}}});
    let schema = json!({"allOf": [{"$ref": "#/components/schemas/Problem"}, own]});
    json!({"description": titles.join(". "), "headers": headers(status), "content": {PROBLEM_JSON: {"schema": schema}}})
}

fn headers(status: StatusCode) -> Value {
    let mut headers = json!({"x-request-id": {"$ref": "#/components/headers/RequestId"}});
    if status == StatusCode::SERVICE_UNAVAILABLE {
        insert(&mut headers, "retry-after", json!({"$ref": "#/components/headers/RetryAfter"}));
    }
    if status == StatusCode::UNAUTHORIZED {
        insert(&mut headers, "www-authenticate", json!({"$ref": "#/components/headers/WwwAuthenticate"}));
    }
    headers
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
