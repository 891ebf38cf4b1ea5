//! Every way in which a request can fail, and the JSON that it is answered with. The one place that makes error answers.
//!
//! The shape is `{"error": …, "message": …}`, or `{"error": "Validation failed", "details": [{"field", "message"}]}`. Nothing of
//! our inside (addresses, topics, Kafka's words) is told; that goes to the log.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::super::orders::{Fault, OrderRefusal};
use crate::http::{Mishap, Stranger};

/// Why a request failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// The body is not a JSON object.
    Malformed(String),
    /// Fields break the rules.
    Invalid(Vec<Fault>),
    /// The body is not said to be JSON.
    NotJson,
    /// The body is larger than this many bytes.
    TooLarge(usize),
    /// The order takes more room than the topic gives one record.
    RecordTooLarge,
    /// The body did not come in time.
    SlowBody,
    /// There is no such order.
    UnknownOrder,
    /// There is no such address.
    UnknownRoute,
    /// The address takes other methods.
    WrongMethod,
    /// The order's id is taken by another order.
    Taken(Uuid),
    /// Kafka did not acknowledge the order in time.
    Unacknowledged(Uuid),
    /// The order was not sent: too many before it were not acknowledged.
    NotSent,
    /// Too many requests at once.
    Overloaded,
    /// The order may exist: this replica has not read everything yet.
    NotCaughtUp,
    /// Who asks has shown no good token.
    Stranger(Stranger),
    /// It is our fault, and not a matter of time.
    Internal,
}

#[derive(Serialize)]
struct Body {
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Vec<Fault>>,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) | Self::RecordTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownOrder | Self::UnknownRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Taken(_) => StatusCode::CONFLICT,
            Self::Unacknowledged(_) | Self::NotSent | Self::Overloaded | Self::NotCaughtUp => StatusCode::SERVICE_UNAVAILABLE,
            Self::Stranger(why) => why.status(),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(self) -> Body {
        let (error, message) = match self {
            Self::Invalid(details) => return Body { error: "Validation failed", message: None, details: Some(details) },
            Self::Malformed(why) => ("Malformed JSON", format!("the body must be a JSON object: {why}")),
            Self::NotJson => {
                ("Unsupported media type", "send JSON in UTF-8 with Content-Type: application/json, not compressed".to_owned())
            }
            Self::TooLarge(limit) => ("Payload too large", format!("the body may have at most {limit} bytes")),
            Self::RecordTooLarge => ("Payload too large", "the order is too large to be stored".to_owned()),
            Self::SlowBody => ("Request timeout", "the body did not arrive in time".to_owned()),
            Self::UnknownOrder => ("Not found", "no order with this id is known".to_owned()),
            Self::UnknownRoute => ("Not found", "there are POST /orders, GET /orders/:id and GET /health".to_owned()),
            Self::WrongMethod => ("Method not allowed", "the Allow header names the methods of this address".to_owned()),
            Self::Taken(id) => ("Conflict", format!("order {id} was accepted before with other content; a new order needs a new orderId")),
            Self::Unacknowledged(id) => (
                "Service unavailable",
                format!("order {id} was not confirmed in time and may or may not appear later; send the same order again to be sure"),
            ),
            Self::NotSent => {
                ("Service unavailable", "the order was not sent, since Kafka did not confirm those before it; try again".to_owned())
            }
            Self::Overloaded => ("Service unavailable", "too many requests at once; try again".to_owned()),
            Self::NotCaughtUp => {
                ("Service unavailable", "the order is not known here yet, and not everything has been read; try again".to_owned())
            }
            Self::Stranger(why) => (why.status().canonical_reason().unwrap_or("Error"), why.words().to_owned()),
            Self::Internal => {
                ("Internal server error", "the request could not be handled; the log tells more under its x-request-id".to_owned())
            }
        };
        Body { error, message: Some(message), details: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status(), Json(self.body())).into_response()
    }
}

impl From<OrderRefusal> for Problem {
    fn from(refusal: OrderRefusal) -> Self {
        match refusal {
            OrderRefusal::Malformed(why) => Self::Malformed(why.0),
            OrderRefusal::Invalid(faults) => Self::Invalid(faults),
        }
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
