//! Problem details (RFC 9457): the one shape of every answer that is an error, whatever the front.
//!
//! A program tells problems apart by `type`, which never changes; `title` and `detail` are for people. Nothing of our inside
//! (addresses, topics, Kafka's words) is told; that goes to the log.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{auth::Stranger, body::BodyError, fault::Fault, frame::Mishap};

/// The media type of every problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What stands before the name of a kind in `type`. A tag (RFC 4151): it names, and leads nowhere.
const TAG: &str = "tag:penstock.dev,2026:";
/// The most faults that [`Problem::with_first_errors`] tells.
const MAX_TOLD: usize = 100;
/// The most bytes that are spent on them, but for the first.
const MAX_TOLD_BYTES: usize = 16 << 10;
/// The most characters of what is said about one.
const MAX_DETAIL: usize = 256;

/// One fault more than is told: who looks for more looks in vain.
pub const MORE_THAN_IS_TOLD: usize = MAX_TOLD + 1;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name in `type`.
    pub name: &'static str,
    /// The status of its answer.
    pub status: StatusCode,
    /// What it is, the same for each that occurs.
    pub title: &'static str,
}

impl Kind {
    /// A kind of problem that is answered with that status.
    #[must_use]
    pub const fn new(name: &'static str, status: StatusCode, title: &'static str) -> Self {
        Self { name, status, title }
    }

    /// What stands in `type`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{TAG}{}", self.name)
    }
}

/// The body is not in the form that it is said to be in.
pub static MALFORMED: Kind = Kind::new("malformed", StatusCode::BAD_REQUEST, "The body cannot be read");
/// What is shown as a token cannot be read as one.
pub static UNCLEAR_TOKEN: Kind = Kind::new("unclear-token", StatusCode::BAD_REQUEST, "What was shown is not one token");
/// No token was shown, or none that is good.
pub static UNAUTHORIZED: Kind = Kind::new("unauthorized", StatusCode::UNAUTHORIZED, "No good token was shown");
/// There is no such address.
pub static NOT_FOUND: Kind = Kind::new("not-found", StatusCode::NOT_FOUND, "There is nothing at this address");
/// The address takes other methods.
pub static METHOD_NOT_ALLOWED: Kind =
    Kind::new("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "This address does not take this method");
/// The body did not come in time.
pub static BODY_TIMEOUT: Kind = Kind::new("body-timeout", StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time");
/// The body is too large.
pub static BODY_TOO_LARGE: Kind = Kind::new("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
/// The body is in a form that is not taken.
pub static UNSUPPORTED_MEDIA_TYPE: Kind =
    Kind::new("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is in a form that is not taken");
/// Kafka or the topic gives one record less room.
pub static RECORD_TOO_LARGE: Kind = Kind::new("record-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The event is too large to be stored");
/// It is our fault, and not a matter of time.
pub static INTERNAL: Kind = Kind::new("internal", StatusCode::INTERNAL_SERVER_ERROR, "The request could not be handled");
/// Too many requests at once.
pub static OVERLOADED: Kind = Kind::new("overloaded", StatusCode::SERVICE_UNAVAILABLE, "Too many requests at once");
/// Kafka did not acknowledge it in time: what became of it is unknown.
pub static UNACKNOWLEDGED: Kind =
    Kind::new("unacknowledged", StatusCode::SERVICE_UNAVAILABLE, "Kafka did not acknowledge everything in time");
/// It was not sent, because too many before it were not acknowledged.
pub static NOT_SENT: Kind = Kind::new("not-sent", StatusCode::SERVICE_UNAVAILABLE, "Kafka does not acknowledge anything at the moment");
/// Not everything has been read yet that the answer depends on.
pub static NOT_CAUGHT_UP: Kind = Kind::new("not-caught-up", StatusCode::SERVICE_UNAVAILABLE, "Not everything has been read yet");

/// There are no keys yet that tokens could be checked with.
pub static TOKENS_NOT_CHECKED: Kind = Kind::new("tokens-not-checked", StatusCode::SERVICE_UNAVAILABLE, "Tokens cannot be checked yet");

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    kind: &'static Kind,
    status: StatusCode,
    detail: String,
    errors: Vec<Fault>,
    more: Map<String, Value>,
    retry_after: Option<u16>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

impl Problem {
    /// One of that kind; `detail` says what holds here, and what to do.
    #[must_use]
    pub fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, status: kind.status, detail: detail.into(), errors: Vec::new(), more: Map::new(), retry_after: None }
    }

    /// Answered with this status, and not with the usual one of its kind.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// With every place of the request that is at fault.
    #[must_use]
    pub fn with_errors(self, errors: Vec<Fault>) -> Self {
        Self { errors, ..self }
    }

    /// With the first places of the request that are at fault, so that no request brings an answer that is much longer than itself.
    #[must_use]
    pub fn with_first_errors(mut self, mut faults: Vec<Fault>) -> Self {
        let told = fitting(&faults);
        if told < faults.len() {
            self.detail.push_str("; not all errors are listed");
        }
        faults.truncate(told);
        for fault in &mut faults {
            fault.detail = cut(&fault.detail);
        }
        self.with_errors(faults)
    }

    /// With a member of its own.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.more.insert(member.to_owned(), value);
        self
    }

    /// It may be tried again after so long: whole seconds, and one at least.
    #[must_use]
    pub fn with_retry_in(self, pause: Duration) -> Self {
        let seconds = pause.as_millis().div_ceil(1_000).max(1);
        self.with_retry_after(u16::try_from(seconds).unwrap_or(u16::MAX))
    }

    /// It may be tried again after so many seconds.
    #[must_use]
    pub fn with_retry_after(self, seconds: u16) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The body is not in the form that it is said to be in; `why` goes after "the body".
    #[must_use]
    pub fn malformed(why: &str) -> Self {
        Self::new(&MALFORMED, cut(&format!("the body {why}")))
    }

    /// A body was not read; `limit` is how large it may be.
    #[must_use]
    pub fn of_body(why: BodyError, limit: usize) -> Self {
        match why {
            BodyError::TooLarge => Self::new(&BODY_TOO_LARGE, format!("the body may have at most {limit} bytes")),
            BodyError::Slow => Self::new(&BODY_TIMEOUT, "send the whole body without pauses"),
            BodyError::Broken(why) => Self::malformed(&format!("broke off: {why}")),
            BodyError::Overloaded => Self::new(&OVERLOADED, "nothing was written; try again"),
        }
    }

    /// It is our fault. What happened stands in the log only.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(&INTERNAL, "the log tells more under the answer's x-request-id")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { kind, status, detail, errors, more, retry_after } = &self;
        let body = Body { r#type: kind.uri(), title: kind.title, status: status.as_u16(), detail, errors, more };
        let mut response = axum::Json(body).into_response();
        *response.status_mut() = *status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
        }
        response
    }
}

impl From<Mishap> for Problem {
    fn from(mishap: Mishap) -> Self {
        match mishap {
            Mishap::UnknownRoute => Self::new(&NOT_FOUND, "GET /openapi.json tells all addresses"),
            Mishap::WrongMethod => Self::new(&METHOD_NOT_ALLOWED, "the Allow header names the methods of this address"),
            Mishap::Stranger(why) => Self::new(kind_of(why), why.words()).with_status(why.status()),
            Mishap::Panic => Self::internal(),
        }
    }
}

fn kind_of(stranger: Stranger) -> &'static Kind {
    match stranger {
        Stranger::Nobody | Stranger::Refused(_) => &UNAUTHORIZED,
        Stranger::Unclear => &UNCLEAR_TOKEN,
        Stranger::NoKeys => &TOKENS_NOT_CHECKED,
    }
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
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_shape_of_a_problem() {
        let bare = Problem::new(&OVERLOADED, "try again");
        let rich = Problem::new(&MALFORMED, "look")
            .with_status(StatusCode::IM_A_TEAPOT)
            .with_errors(vec![Fault::at("/a", "is required"), Fault::in_header("ce-id", "is required")])
            .with("events", json!([1]));
        for (problem, expected) in [
            (
                bare,
                json!({"type": "tag:penstock.dev,2026:overloaded", "title": "Too many requests at once", "status": 503,
                    "detail": "try again"}),
            ),
            (
                rich,
                json!({"type": "tag:penstock.dev,2026:malformed", "title": "The body cannot be read", "status": 418, "detail": "look",
                    "errors": [{"pointer": "/a", "detail": "is required"}, {"header": "ce-id", "detail": "is required"}],
                    "events": [1]}),
            ),
        ] {
            let response = problem.into_response();
            assert_eq!(Some(u64::from(response.status().as_u16())), expected["status"].as_u64());
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
            let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap();
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn a_stranger_is_answered_as_the_kind_says() {
        for stranger in [Stranger::Nobody, Stranger::Unclear, Stranger::NoKeys] {
            assert_eq!(kind_of(stranger).status, stranger.status(), "{stranger:?}");
        }
    }

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
            let problem = Problem::new(&MALFORMED, "").with_first_errors(faults.clone());
            assert_eq!(problem.detail.contains("not all"), expected < faults.len(), "{sizes:?}");
            assert_eq!(problem.errors.len(), expected, "{sizes:?}");
        }
        assert_eq!(cut(&"ü".repeat(MAX_DETAIL + 1)), format!("{}…", "ü".repeat(MAX_DETAIL)));
    }
}
