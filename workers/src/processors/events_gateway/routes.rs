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
use penstock_kafka::RecordPosition;
use serde_json::json;
use uuid::Uuid;

use super::{
    intake::Taken,
    options::EventsOptions,
    problem::{Fate, Problem},
};
use crate::{
    front::{Publish, PublishError},
    http::Gate,
};

/// What requests are answered from.
pub struct Desk {
    /// What is taken, and how it is answered.
    pub events: EventsOptions,
    /// Writes to the sink.
    pub sink: Arc<dyn Publish>,
    /// Lets requests in.
    pub gate: Gate,
}

/// All routes.
pub fn routes(desk: Desk) -> Router {
    let path = desk.events.path.clone();
    Router::new().route(&path, post(take)).with_state(Arc::new(desk))
}

async fn take(State(desk): State<Arc<Desk>>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let admitted = desk.gate.admit(request).await.map_err(|why| Problem::of_body(why, desk.gate.max_body_bytes()))?;
    let events = desk.events.intake.read(&headers, admitted.clone(), Uuid::new_v4(), Timestamp::now())?;
    let ids = desk.write(events).await?;
    let status = desk.events.accepted;
    Ok(if status == StatusCode::NO_CONTENT { status.into_response() } else { (status, Json(json!({"ids": ids}))).into_response() })
}

impl Desk {
    /// Writes events and gives their ids. They are handed over in their order.
    async fn write(&self, events: Vec<Taken>) -> Result<Vec<String>, Problem> {
        let ids: Vec<String> = events.iter().map(|taken| taken.event.id().to_owned()).collect();
        let written = join_all(events.into_iter().map(|Taken { event, key }| self.sink.publish(event.into_output(key)))).await;
        match failure_status(&written, self.events.failure) {
            None => Ok(ids),
            Some(status) => {
                let fate = |(id, written): (String, &Result<_, _>)| Fate { id, acknowledged: written.is_ok(), detail: detail(written) };
                let events: Vec<Fate> = ids.into_iter().zip(&written).map(fate).collect();
                tracing::warn!(events = events.len(), why = words(&written), "events not written");
                Err(Problem::Unwritten { status, events })
            }
        }
    }
}

/// What weighs most: what may work the next time, then what somebody must change, then what never will.
fn failure_status(written: &[Result<RecordPosition, PublishError>], failure: StatusCode) -> Option<StatusCode> {
    let weight = |why: &PublishError| match why {
        PublishError::Unavailable(_) | PublishError::NotSent(_) => (0, failure),
        PublishError::Refused(_) => (1, StatusCode::INTERNAL_SERVER_ERROR),
        PublishError::TooLarge(_) => (2, StatusCode::PAYLOAD_TOO_LARGE),
    };
    written.iter().filter_map(|written| written.as_ref().err()).map(weight).min_by_key(|(weight, _)| *weight).map(|(_, status)| status)
}

fn detail(written: &Result<RecordPosition, PublishError>) -> Option<&'static str> {
    match written.as_ref().err()? {
        PublishError::Unavailable(_) => Some("was not acknowledged in time: it may or may not be written"),
        PublishError::NotSent(_) => Some("was not sent, since too many before it were not acknowledged: it is not written"),
        PublishError::Refused(_) => Some("was refused, and is not written; the log tells more under the answer's x-request-id"),
        PublishError::TooLarge(_) => Some("is too large to be stored, and is not written"),
    }
}

/// What Kafka said of the first that failed; the others mostly failed for the same reason.
fn words(written: &[Result<RecordPosition, PublishError>]) -> String {
    written.iter().find_map(|written| written.as_ref().err()).map(ToString::to_string).unwrap_or_default()
}
