//! What can be wrong with a request of events, in the words of events. Pure.

use std::time::Duration;

use http::StatusCode;
use penstock_kafka::RecordPosition;
use serde::Serialize;
use serde_json::json;

use crate::{
    front::PublishError,
    http::{
        Fault, Problem,
        problem::{INTERNAL, Kind, NOT_CAUGHT_UP, NOT_SENT, RECORD_TOO_LARGE, UNACKNOWLEDGED, UNSUPPORTED_MEDIA_TYPE},
    },
    idempotency::{
        Refusal,
        problem::{KEY_IN_USE, KEY_REUSED, KEYS_NOT_KEPT},
    },
};

/// Attributes break the rules of CloudEvents, or are not there.
pub static NO_EVENT: Kind = Kind::new("no-event", StatusCode::BAD_REQUEST, "What was sent is no CloudEvent 1.0");
/// Data breaks the schema, or has no key.
pub static INVALID_DATA: Kind = Kind::new("invalid-data", StatusCode::UNPROCESSABLE_ENTITY, "The data of an event breaks the rules");
/// The batch has too many events.
pub static TOO_MANY_EVENTS: Kind = Kind::new("too-many-events", StatusCode::PAYLOAD_TOO_LARGE, "The batch has too many events");

/// What Kafka said of an event.
pub type Written = Result<RecordPosition, PublishError>;

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Fate {
    id: String,
    acknowledged: bool,
    /// Why not, and what holds then.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Attributes break the rules of CloudEvents, or are not there.
pub fn no_event(faults: Vec<Fault>) -> Problem {
    Problem::new(&NO_EVENT, "what was sent is no CloudEvent 1.0; nothing was written").with_first_errors(faults)
}

/// Data breaks the schema, or has no key.
pub fn invalid_data(faults: Vec<Fault>) -> Problem {
    Problem::new(&INVALID_DATA, "what was sent does not satisfy the schemas of this address; nothing was written").with_first_errors(faults)
}

/// The body is in a form that is not taken. `bare`: whether JSON would be.
pub fn wrong_media(bare: bool) -> Problem {
    let bare = if bare { ", or JSON with Content-Type: application/json" } else { "" };
    let detail = format!(
        "send CloudEvents in UTF-8, not compressed: with ce- headers, as application/cloudevents+json or \
         application/cloudevents-batch+json{bare}"
    );
    Problem::new(&UNSUPPORTED_MEDIA_TYPE, detail)
}

/// The batch has more than this many events.
pub fn too_many_events(limit: usize) -> Problem {
    Problem::new(&TOO_MANY_EVENTS, format!("a batch may have at most {limit} events; nothing was written"))
}

/// Kafka has not acknowledged every event; none if it has. `failure` is the status where it may work the next time.
pub fn unwritten(ids: &[String], written: &[Written], failure: StatusCode) -> Option<Problem> {
    let (kind, status) = weightiest(written, failure)?;
    let fate = |(id, written): (&String, &Written)| Fate { id: id.clone(), acknowledged: written.is_ok(), detail: fate_of(written) };
    let events: Vec<Fate> = ids.iter().zip(written).map(fate).collect();
    let acknowledged = events.iter().filter(|event| event.acknowledged).count();
    let detail = format!("{acknowledged} of {} events are acknowledged", events.len());
    let problem = Problem::new(kind, detail).with_status(status).with("events", json!(events));
    let pause = written.iter().filter_map(|written| match written {
        Err(PublishError::NotSent(pause)) => Some(*pause),
        _ => None,
    });
    Some(match pause.max() {
        Some(pause) => retry_in(problem, pause, status),
        None => problem,
    })
}

/// When to come back is told where the answer says that it may work then.
fn retry_in(problem: Problem, pause: Duration, status: StatusCode) -> Problem {
    if status == NOT_SENT.status { problem.with_retry_in(pause) } else { problem }
}

/// This address keeps no keys.
pub fn keys_not_kept() -> Problem {
    let detail = "send the request without Idempotency-Key: it would be written as often as it is sent; spec.table names the topic in \
                  which keys are kept";
    Problem::new(&KEYS_NOT_KEPT, detail)
}

/// What came with a key was not written, or maybe not. `failure` is the status where it may work the next time.
pub fn of_key(why: &Refusal, failure: StatusCode) -> Problem {
    const AGAIN: &str = "send the same request with the same key again";
    match why {
        Refusal::Reused => Problem::new(&KEY_REUSED, "a new request needs a new Idempotency-Key; nothing was written"),
        Refusal::InUse => Problem::new(&KEY_IN_USE, format!("nothing was written by this one; {AGAIN} to learn what came of the other"))
            .with_retry_after(1),
        Refusal::NotCaughtUp => Problem::new(&NOT_CAUGHT_UP, format!("nothing was written; {AGAIN}")).with_status(failure),
        Refusal::NotSent(_) => Problem::new(&NOT_SENT, format!("nothing was written; {AGAIN}")).with_status(failure),
        Refusal::Paused(pause) => {
            retry_in(Problem::new(&NOT_SENT, format!("nothing was written; {AGAIN}")).with_status(failure), *pause, failure)
        }
        Refusal::Unacknowledged(_) => {
            Problem::new(&UNACKNOWLEDGED, format!("all of it may or may not be written; {AGAIN}")).with_status(failure)
        }
        Refusal::TooLarge(_) => Problem::new(&RECORD_TOO_LARGE, "an event is too large to be stored; nothing was written"),
        Refusal::Refused(_) => Problem::internal(),
    }
}

/// What weighs most: what may work the next time, then what somebody must change, then what never will.
fn weightiest(written: &[Written], failure: StatusCode) -> Option<(&'static Kind, StatusCode)> {
    let weight = |why: &PublishError| match why {
        PublishError::Unavailable(_) => (0, &UNACKNOWLEDGED, failure),
        PublishError::NotSent(_) => (1, &NOT_SENT, failure),
        PublishError::Refused(_) => (2, &INTERNAL, INTERNAL.status),
        PublishError::TooLarge(_) => (3, &RECORD_TOO_LARGE, RECORD_TOO_LARGE.status),
    };
    let failed = written.iter().filter_map(|written| written.as_ref().err()).map(weight);
    failed.min_by_key(|(weight, ..)| *weight).map(|(_, kind, status)| (kind, status))
}

fn fate_of(written: &Written) -> Option<&'static str> {
    match written.as_ref().err()? {
        PublishError::Unavailable(_) => Some("was not acknowledged in time: it may or may not be written"),
        PublishError::NotSent(_) => Some("was not sent, since too many before it were not acknowledged: it is not written"),
        PublishError::Refused(_) => Some("was refused, and is not written; the log tells more under the answer's x-request-id"),
        PublishError::TooLarge(_) => Some("is too large to be stored, and is not written"),
    }
}
