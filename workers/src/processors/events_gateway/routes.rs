//! `POST` of events. The answer comes once Kafka has answered for all of them.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::future::join_all;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{
    intake::Taken,
    options::EventsOptions,
    problem::{self, Written},
};
use crate::{
    front::Publish,
    http::{Problem, limited, read_body},
};

/// The most requests that are taken in at once; more are refused at once with 503.
pub const MAX_REQUESTS_AT_ONCE: usize = 256;

/// What requests are answered from.
pub struct Desk {
    /// What is taken, and how it is answered.
    pub events: EventsOptions,
    /// Writes to the sink.
    pub sink: Arc<dyn Publish>,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
}

/// All routes.
pub fn routes(desk: Desk) -> Router {
    let path = desk.events.path.clone();
    Router::new().route(&path, limited::<Problem, _>(MAX_REQUESTS_AT_ONCE, post(take))).with_state(Arc::new(desk))
}

async fn take(State(desk): State<Arc<Desk>>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let body = read_body(request).await.map_err(|why| Problem::of_body(why, desk.max_body_bytes))?;
    let events = desk.events.intake.read(&headers, body, Uuid::new_v4(), Timestamp::now())?;
    let ids = desk.write(events).await?;
    let status = desk.events.accepted;
    Ok(if status == StatusCode::NO_CONTENT { status.into_response() } else { (status, Json(json!({"ids": ids}))).into_response() })
}

impl Desk {
    /// Writes events and gives their ids. They are handed over in their order.
    async fn write(&self, events: Vec<Taken>) -> Result<Vec<String>, Problem> {
        let ids: Vec<String> = events.iter().map(|taken| taken.event.id().to_owned()).collect();
        let written = join_all(events.into_iter().map(|Taken { event, key }| self.sink.publish(event.into_output(key)))).await;
        match problem::unwritten(&ids, &written, self.events.failure) {
            None => Ok(ids),
            Some(problem) => {
                tracing::warn!(events = ids.len(), why = words(&written), "events not written");
                Err(problem)
            }
        }
    }
}

/// What Kafka said of the first that failed; the others mostly failed for the same reason.
fn words(written: &[Written]) -> String {
    written.iter().find_map(|written| written.as_ref().err()).map(ToString::to_string).unwrap_or_default()
}
