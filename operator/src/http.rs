//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The content type of what `/metrics` answers.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until the shutdown.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, context: Arc<Context>, shutdown: CancellationToken) -> std::io::Result<()> {
    let routes =
        Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics)).with_state(context);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn livez(State(context): State<Arc<Context>>) -> impl IntoResponse {
    match context.health.ended_part() {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(part) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{part} ended\n")),
    }
}

async fn readyz(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let missing = context.health.missing();
    if missing.is_empty() { (StatusCode::OK, "ready\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n") }
}

async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    match context.metrics.text(&context.watches, &context.health_of_topics) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
