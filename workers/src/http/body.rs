//! Reads the body of a request, within the frame's limit and in bounded time.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use http::StatusCode;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than [`super::Frame::max_body_bytes`].
    TooLarge,
    /// It did not come in time.
    Slow,
    /// It broke off; the text is for people.
    Broken(String),
}

/// Reads a body.
///
/// # Errors
/// See [`BodyError`].
pub async fn read_body(request: Request) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(BodyError::TooLarge),
        Ok(Err(rejection)) => Err(BodyError::Broken(rejection.body_text())),
        Err(_) => Err(BodyError::Slow),
    }
}
