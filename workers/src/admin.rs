//! What a worker tells about itself over HTTP: `/health`, `/healthz`, `/readyz` and `/metrics`.
//!
//! Liveness says that the process answers, and nothing about Kafka: a restart brings no broker back.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::json;

use crate::readiness::Readiness;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Service {
    name: Arc<str>,
    readiness: Readiness,
}

/// `GET /health`: what a user of the service asks.
pub(crate) fn health_route(service: &str, readiness: &Readiness) -> Router {
    let service = Service { name: service.into(), readiness: readiness.clone() };
    Router::new().route("/health", get(health)).with_state(service)
}

/// All routes of the admin port.
pub(crate) fn routes(service: &str, readiness: &Readiness, registry: Registry) -> Router {
    health_route(service, readiness)
        .merge(Router::new().route("/healthz", get(alive)))
        .merge(Router::new().route("/readyz", get(ready)).with_state(readiness.clone()))
        .merge(Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry)))
}

async fn health(State(service): State<Service>) -> Response {
    let complaints = service.readiness.complaints();
    let timestamp = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    if complaints.is_empty() {
        return Json(json!({"status": "healthy", "service": &*service.name, "timestamp": timestamp})).into_response();
    }
    let reason = complaints.join("; ");
    let body = json!({"status": "unhealthy", "service": &*service.name, "timestamp": timestamp, "reason": reason});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn alive() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let obstacles = readiness.obstacles();
    if obstacles.is_empty() {
        return Json(json!({"status": "ready"})).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready", "reasons": obstacles}))).into_response()
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
