//! The document as a whole. Pure but for the route that serves it.

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::{Answer, Operation, operation::BEARER};

/// Where a front serves its document.
pub const PATH: &str = "/openapi.json";

/// A document under construction.
#[derive(Clone, Debug)]
pub struct Document {
    title: String,
    about: String,
    /// Whether operations that are added ask for a token.
    guarded: bool,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    problem_members: Map<String, Value>,
}

impl Document {
    /// One that describes what every front has. `guarded`: whether whatever is added asks for a token.
    #[must_use]
    pub fn new(title: &str, about: impl Into<String>, guarded: bool) -> Self {
        let (paths, schemas, problem_members) = (Map::new(), Map::new(), Map::new());
        let empty = Self { title: title.to_owned(), about: about.into(), guarded: false, paths, schemas, problem_members };
        let open = empty.schema("Health", health_schema()).operation("/health", "get", health()).operation(PATH, "get", itself());
        Self { guarded, ..open }
    }

    /// Adds a schema, to be referred to as `#/components/schemas/<name>`.
    #[must_use]
    pub fn schema(mut self, name: &str, schema: Value) -> Self {
        self.schemas.insert(name.to_owned(), schema);
        self
    }

    /// Adds a member that problems of this front may have.
    #[must_use]
    pub fn problem_member(mut self, name: &str, schema: Value) -> Self {
        self.problem_members.insert(name.to_owned(), schema);
        self
    }

    /// Adds an operation.
    #[must_use]
    pub fn operation(mut self, path: &str, method: &str, operation: Operation) -> Self {
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.to_owned(), operation.to_json(self.guarded));
        }
        self
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self { title, about, guarded, paths, schemas, problem_members } = self;
        let mut schemas = schemas.clone();
        schemas.insert("Problem".to_owned(), problem_schema(problem_members));
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {"title": title, "description": about, "version": env!("CARGO_PKG_VERSION")},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "headers": {
                    "RequestId": {
                        "description": "The request's id: the one that it brought, or one that was made for it. It stands in the log.",
                        "required": true,
                        "schema": {"type": "string"},
                    },
                    "RetryAfter": {
                        "description": "After so many seconds it may be tried again.",
                        "required": true,
                        "schema": {"type": "integer", "minimum": 0},
                    },
                },
            },
        });
        if *guarded && let Some(components) = document.get_mut("components").and_then(Value::as_object_mut) {
            components.insert("securitySchemes".to_owned(), security_schemes());
            if let Some(headers) = components.get_mut("headers").and_then(Value::as_object_mut) {
                headers.insert("WwwAuthenticate".to_owned(), www_authenticate());
            }
        }
        document
    }

    /// The route that serves it.
    pub fn into_route(self) -> Router {
        let text = Bytes::from(self.to_json().to_string());
        Router::new().route(PATH, get(async move || ([(CONTENT_TYPE, "application/json")], text)))
    }
}

fn security_schemes() -> Value {
    json!({
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A JSON Web Token of the issuer that this service trusts, for this service, in one header `Authorization`.",
        },
    })
}

fn www_authenticate() -> Value {
    json!({
        "description": "What is asked for, and what is wrong with the token that was shown (RFC 6750).",
        "required": true,
        "schema": {"type": "string"},
    })
}

fn health() -> Operation {
    let schema = || json!({"$ref": "#/components/schemas/Health"});
    Operation::new("health", "Whether the service has everything that it needs", "For people and monitors; it needs no token.")
        .answer(Answer::new(StatusCode::OK, "It has.").with_json(schema()))
        .answer(Answer::new(StatusCode::SERVICE_UNAVAILABLE, "It has not; `reason` says what is missing.").with_json(schema()))
}

fn health_schema() -> Value {
    json!({
        "type": "object",
        "required": ["status", "service", "timestamp"],
        "properties": {
            "status": {"enum": ["healthy", "unhealthy"]},
            "service": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "reason": {"type": "string"},
        },
    })
}

fn itself() -> Operation {
    Operation::new("openapi", "This document", "It is made of the options that this service runs with.")
        .answer(Answer::new(StatusCode::OK, "An OpenAPI document.").with_json(json!({"type": "object", "required": ["openapi"]})))
}

fn problem_schema(more: &Map<String, Value>) -> Value {
    let mut properties = json!({
        "type": {"type": "string", "format": "uri", "description": "The kind of problem: what a program tells it by."},
        "title": {"type": "string", "description": "What such a problem is."},
        "status": {"type": "integer", "description": "The status of the answer."},
        "detail": {"type": "string", "description": "What holds here, and what to do."},
        "errors": {
            "type": "array",
            "description": "The places of the request that are at fault.",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON Pointer (RFC 6901) into the body."},
                    "header": {"type": "string", "description": "The name of a header."},
                    "detail": {"type": "string", "description": "What is asked of it."},
                },
                "oneOf": [{"required": ["pointer"]}, {"required": ["header"]}],
            },
        },
    });
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(more.clone());
    }
    json!({
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": properties,
    })
}
