//! Lets through who shows a token (JWT) of the issuer that a front trusts, checked with public keys from a file.
//!
//! Whatever is missing, broken or unclear lets nobody in. A token is never logged, nor handed on.

mod crypto;
mod follow;
mod keys;
mod presented;
mod token;

use std::{fmt::Write, path::PathBuf, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use penstock_crds::worker::{TokenCheck, WorkerSource};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio_util::sync::CancellationToken;

use self::{
    follow::{FileCounts, Follower, Keys},
    presented::{Presented, presented},
    token::{Expected, check},
};
use super::frame::Mishap;
use crate::readiness::Readiness;

pub use self::token::{Fault, Subject};

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stranger {
    /// No token was shown.
    Nobody,
    /// What was shown cannot be read as one token.
    Unclear,
    /// The token is not good.
    Refused(Fault),
    /// There are no keys yet that tokens could be checked with.
    NoKeys,
}

/// Why a request was turned away, for the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Stranger,
}

/// What is asked of requests, before it is.
#[derive(Debug)]
pub struct Guard {
    check: TokenCheck,
    refused: Family<ReasonLabel, Counter>,
    file: FileCounts,
}

/// Lets through who shows a good token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Auth {
    keys: Keys,
    expected: Arc<Expected>,
    refused: Family<ReasonLabel, Counter>,
}

impl Stranger {
    /// The status that says so.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Nobody | Self::Refused(_) => StatusCode::UNAUTHORIZED,
            Self::Unclear => StatusCode::BAD_REQUEST,
            Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// In words for who asked.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Nobody => "send a token with Authorization: Bearer",
            Self::Unclear => "send one token, in one header Authorization: Bearer",
            Self::Refused(fault) => fault.words(),
            Self::NoKeys => "tokens cannot be checked yet; try again",
        }
    }

    /// RFC 6750, section 3: who shows nothing is told no error.
    fn challenge(self) -> Option<HeaderValue> {
        let error = match self {
            Self::Nobody => return Some(HeaderValue::from_static("Bearer")),
            Self::Unclear => "invalid_request",
            Self::Refused(_) => "invalid_token",
            Self::NoKeys => return None,
        };
        HeaderValue::from_str(&format!("Bearer error=\"{error}\", error_description=\"{}\"", self.words())).ok()
    }
}

impl EncodeLabelValue for Stranger {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(fault) => fault.encode(encoder),
            other => write!(encoder, "{other:?}"),
        }
    }
}

impl Guard {
    /// What a source asks of requests; none: nothing.
    #[must_use]
    pub fn of(source: &WorkerSource) -> Option<Self> {
        match source {
            WorkerSource::Http { auth: Some(check), .. } => {
                Some(Self { check: check.clone(), refused: Family::default(), file: FileCounts::default() })
            }
            _ => None,
        }
    }

    /// Adds the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("http_unauthorized", "Requests that showed no good token", self.refused.clone());
        registry.register("http_jwks_loads", "Times that the file of the keys was read since it had changed", self.file.loads.clone());
        registry.register("http_jwks_keys", "Keys that tokens are checked with", self.file.keys.clone());
    }

    /// Reads the keys, and follows them from then on until `shutdown`.
    pub async fn start(self, readiness: &Readiness, shutdown: CancellationToken) -> Auth {
        crypto::install();
        let Self { check: TokenCheck { issuer, audience, leeway, jwks }, refused, file } = self;
        let keys = Keys::default();
        let mut follower = Follower::new(PathBuf::from(jwks), keys.clone(), file, readiness.need_at_start("jwks"));
        follower.look().await;
        tokio::spawn(async move { shutdown.run_until_cancelled(follower.run()).await });
        Auth { keys, expected: Arc::new(Expected { issuer, audience, leeway }), refused }
    }
}

impl Auth {
    fn admit(&self, request: &Request) -> Result<Option<Subject>, Stranger> {
        let token = match presented(request.headers()) {
            Presented::Nothing => return Err(Stranger::Nobody),
            Presented::Unclear => return Err(Stranger::Unclear),
            Presented::Token(token) => token,
        };
        let keys = self.keys.now().ok_or(Stranger::NoKeys)?;
        check(token, &keys, &self.expected).map_err(Stranger::Refused)
    }
}

/// Lets a request through, or answers it. What it showed goes no further; whose it is goes with it and with its answer.
pub async fn require<P>(State(auth): State<Auth>, mut request: Request, next: Next) -> Response
where
    P: From<Mishap> + IntoResponse,
{
    match auth.admit(&request) {
        Ok(subject) => {
            request.headers_mut().remove(AUTHORIZATION);
            if let Some(subject) = &subject {
                request.extensions_mut().insert(subject.clone());
            }
            let mut response = next.run(request).await;
            if let Some(subject) = subject {
                response.extensions_mut().insert(subject);
            }
            response
        }
        Err(stranger) => {
            auth.refused.get_or_create(&ReasonLabel { reason: stranger }).inc();
            let mut response = P::from(Mishap::Stranger(stranger)).into_response();
            if let Some(challenge) = stranger.challenge() {
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

#[cfg(test)]
mod tests;
