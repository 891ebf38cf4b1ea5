//! `POST` of events. The answer comes once Kafka has answered for all of them.
//!
//! What is on its way to Kafka cannot be called back: a client that goes away leaves its events to be decided, and to be counted.

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
use penstock_crds::worker::PipelineId;
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    intake::Taken,
    options::EventsOptions,
    problem::{self, Written},
};
use crate::{
    front::Publish,
    http::{Admitted, Gate, Problem, Subject},
    idempotency::{self, KeyId, Once, key_of},
};

/// What requests are answered from.
pub struct Desk {
    /// What is taken, and how it is answered.
    pub events: EventsOptions,
    /// Writes to the sink.
    pub sink: Arc<dyn Publish>,
    /// Writes what comes with a key, where keys are kept.
    pub once: Option<Arc<Once>>,
    /// The pipeline whose keys these are.
    pub pipeline: PipelineId,
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
    let once = match (key_of(&headers)?, &desk.once) {
        (None, _) => None,
        (Some(key), Some(once)) => {
            let subject = request.extensions().get::<Subject>();
            Some((KeyId::new(&desk.pipeline.namespace, &desk.pipeline.name, subject, &key), once))
        }
        (Some(_), None) => return Err(problem::keys_not_kept()),
    };
    let admitted = desk.gate.admit(request).await.map_err(|why| Problem::of_body(why, desk.gate.max_body_bytes()))?;
    let ids = match once {
        None => {
            let events = desk.events.intake.read(&headers, admitted.clone(), Uuid::new_v4(), Timestamp::now())?;
            desk.write(events, admitted).await?
        }
        Some((key, once)) => {
            let request = idempotency::Request::new(&headers, &admitted);
            let events = desk.events.intake.read(&headers, admitted.clone(), request.event_id(key), Timestamp::now())?;
            desk.write_once(once, key, request, events, admitted).await?
        }
    };
    let status = desk.events.accepted;
    Ok(if status == StatusCode::NO_CONTENT { status.into_response() } else { (status, Json(json!({"ids": ids}))).into_response() })
}

impl Desk {
    /// Writes events unless they are written, and gives their ids. They keep their place until that is decided.
    async fn write_once(
        &self,
        once: &Arc<Once>,
        key: KeyId,
        request: idempotency::Request,
        events: Vec<Taken>,
        admitted: Admitted,
    ) -> Result<Vec<String>, Problem> {
        let ids = events.iter().map(|taken| taken.event.id().to_owned()).collect();
        let outputs = events.into_iter().map(|Taken { event, key }| event.into_output(key)).collect();
        once.write(key, request, outputs, admitted).await.map(|_| ids).map_err(|why| {
            tracing::warn!(?why, "a request with a key was not written");
            problem::of_key(&why, self.events.failure)
        })
    }

    /// Writes events and gives their ids. They are handed over in their order, and keep their place until all are decided, whether or
    /// not the client still waits.
    async fn write(self: &Arc<Self>, events: Vec<Taken>, admitted: Admitted) -> Result<Vec<String>, Problem> {
        let ids: Vec<String> = events.iter().map(|taken| taken.event.id().to_owned()).collect();
        let this = Arc::clone(self);
        let work = async move {
            let written = join_all(events.into_iter().map(|Taken { event, key }| this.sink.publish(event.into_output(key)))).await;
            drop(admitted);
            let problem = problem::unwritten(&ids, &written, this.events.failure);
            if problem.is_some() {
                tracing::warn!(events = ids.len(), why = words(&written), "events not written");
            }
            problem.map_or(Ok(ids), Err)
        };
        tokio::spawn(work.in_current_span()).await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "request failed");
            Err(Problem::internal())
        })
    }
}

/// What Kafka said of the first that failed; the others mostly failed for the same reason.
fn words(written: &[Written]) -> String {
    written.iter().find_map(|written| written.as_ref().err()).map(ToString::to_string).unwrap_or_default()
}
