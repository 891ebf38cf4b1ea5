//! Every way in which a request can fail, and the problem details (RFC 9457) that it is answered with. The one place that makes
//! error answers.
//!
//! Nothing of our inside (addresses, topics, Kafka's words) is told; that goes to the log. A long list is cut, so that no request
//! brings an answer that is much longer than itself.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;

use crate::{
    cloudevents::Fault,
    http::{BodyError, Mishap, Stranger},
};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The most faults that are told.
const MAX_TOLD: usize = 100;
/// The most bytes that are spent on them, but for the first.
const MAX_TOLD_BYTES: usize = 16 << 10;
/// The most characters of what is said about one.
const MAX_DETAIL: usize = 256;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The body is not in the form that it is said to be in; the text goes after "the body".
    Malformed(String),
    /// Attributes break the rules of CloudEvents, or are not there.
    NotEvents(Vec<Fault>),
    /// Data breaks the schema.
    Violations(Vec<Fault>),
    /// The body is in a form that is not taken.
    WrongMedia {
        /// Whether bare JSON would be.
        bare: bool,
    },
    /// The body is larger than this many bytes.
    TooLarge(usize),
    /// The batch has more than this many events.
    TooManyEvents(usize),
    /// The body did not come in time.
    SlowBody,
    /// There is no such address.
    UnknownRoute,
    /// The address takes other methods.
    WrongMethod,
    /// Kafka has not acknowledged every event.
    Unwritten {
        /// The status that says so.
        status: StatusCode,
        /// What became of each event, in the order of the request.
        events: Vec<Fate>,
    },
    /// Too many requests at once.
    Overloaded,
    /// Who asks has shown no good token.
    Stranger(Stranger),
    /// It is our fault, and not a matter of time.
    Internal,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fate {
    /// Its id.
    pub id: String,
    /// Whether Kafka has it.
    pub acknowledged: bool,
    /// Why not, and what holds then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

#[derive(Serialize)]
struct Body {
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<Fault>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Fate>>,
}

impl Problem {
    /// One fault more than is told: who looks for more looks in vain.
    pub const MORE_THAN_IS_TOLD: usize = MAX_TOLD + 1;

    /// The problem with a body that was not read; `limit` is how large it may be.
    #[must_use]
    pub fn of_body(why: BodyError, limit: usize) -> Self {
        match why {
            BodyError::TooLarge => Self::TooLarge(limit),
            BodyError::Slow => Self::SlowBody,
            BodyError::Broken(why) => Self::Malformed(format!("broke off: {why}")),
            BodyError::Overloaded => Self::Overloaded,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::NotEvents(_) => StatusCode::BAD_REQUEST,
            Self::Violations(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::WrongMedia { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) | Self::TooManyEvents(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unwritten { status, .. } => *status,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Stranger(why) => why.status(),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Malformed(why) => cut(&format!("the body {why}")),
            Self::NotEvents(faults) => told("what was sent is no CloudEvent 1.0", faults),
            Self::Violations(faults) => told("the data does not satisfy the schema of this address", faults),
            Self::WrongMedia { bare } => {
                let bare = if *bare { ", or JSON with Content-Type: application/json" } else { "" };
                format!(
                    "send CloudEvents in UTF-8, not compressed: with ce- headers, as application/cloudevents+json or \
                     application/cloudevents-batch+json{bare}"
                )
            }
            Self::TooLarge(limit) => format!("the body may have at most {limit} bytes"),
            Self::TooManyEvents(limit) => format!("a batch may have at most {limit} events; nothing was written"),
            Self::SlowBody => "the body did not arrive in time".to_owned(),
            Self::UnknownRoute => "there is nothing at this address".to_owned(),
            Self::WrongMethod => "the Allow header names the methods of this address".to_owned(),
            Self::Unwritten { events, .. } => {
                let acknowledged = events.iter().filter(|event| event.acknowledged).count();
                format!("{acknowledged} of {} events are acknowledged", events.len())
            }
            Self::Overloaded => "too many requests at once; try again".to_owned(),
            Self::Stranger(why) => why.words().to_owned(),
            Self::Internal => "the request could not be handled; the log tells more under its x-request-id".to_owned(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, detail) = (self.status(), self.detail());
        let (errors, events) = match self {
            Self::NotEvents(faults) | Self::Violations(faults) => (Some(bounded(faults)), None),
            Self::Unwritten { events, .. } => (None, Some(events)),
            _ => (None, None),
        };
        let title = status.canonical_reason().unwrap_or("Error");
        let mut response = axum::Json(Body { title, status: status.as_u16(), detail, errors, events }).into_response();
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        response
    }
}

impl From<Mishap> for Problem {
    fn from(mishap: Mishap) -> Self {
        match mishap {
            Mishap::UnknownRoute => Self::UnknownRoute,
            Mishap::WrongMethod => Self::WrongMethod,
            Mishap::Overloaded => Self::Overloaded,
            Mishap::Stranger(why) => Self::Stranger(why),
            Mishap::Panic => Self::Internal,
        }
    }
}

fn told(what: &str, faults: &[Fault]) -> String {
    if fitting(faults) < faults.len() {
        format!("{what}; nothing was written; not all errors are listed")
    } else {
        format!("{what}; nothing was written")
    }
}

fn bounded(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.truncate(fitting(&faults));
    for fault in &mut faults {
        fault.detail = cut(&fault.detail);
    }
    faults
}

/// How many faults are told: one at least.
fn fitting(faults: &[Fault]) -> usize {
    let sizes = faults.iter().scan(0, |sum, fault| {
        *sum += fault.size();
        Some(*sum)
    });
    sizes.take(MAX_TOLD).take_while(|sum| *sum <= MAX_TOLD_BYTES).count().max(1).min(faults.len())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL).and_then(|(end, _)| text.get(..end)) {
        Some(start) => format!("{start}…"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let fault = |bytes: usize| Fault::at("p".repeat(bytes), "");
        for (sizes, expected) in [
            (vec![], 0),
            (vec![1; 3], 3),
            (vec![1; MAX_TOLD + 1], MAX_TOLD),
            (vec![MAX_TOLD_BYTES + 1, 1], 1),
            (vec![MAX_TOLD_BYTES / 2; 3], 2),
        ] {
            let faults: Vec<Fault> = sizes.iter().map(|bytes| fault(*bytes)).collect();
            let problem = Problem::Violations(faults.clone());
            assert_eq!(problem.detail().contains("not all"), expected < faults.len(), "{sizes:?}");
            assert_eq!(bounded(faults).len(), expected, "{sizes:?}");
        }
        assert_eq!(cut(&"ü".repeat(MAX_DETAIL + 1)), format!("{}…", "ü".repeat(MAX_DETAIL)));
    }
}
