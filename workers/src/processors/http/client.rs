//! Calls the handler: one request for a record, over a connection that is kept for the next one.
//!
//! It tells apart what decides whether an attempt was made: a request that was never sent, and one that was sent and got no whole
//! answer.

use std::{
    error::Error as _,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{Uri, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        self,
        connect::{HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use penstock_crds::processor::HttpCall;
use tokio::time::timeout;

use super::{
    metrics::{HandlerMetrics, ResultKind},
    request,
    response::{Answer, MAX_BODY},
};
use crate::{
    error::ConfigError,
    processor::{Event, Failure, unbegun},
};

/// How long a connection may take: it is one within the pod.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a connection is kept that nothing is sent over: shorter than common servers keep theirs, so that a request does not
/// meet one that is just being closed.
const IDLE: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The handler took no connection, or closed it before anything was sent.
    #[error("{0}")]
    NotSent(String),
    /// The connection broke after the request was sent, before the answer was whole.
    #[error("the connection broke after the record was sent: {0}")]
    Broken(String),
    /// What came is no HTTP.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl CallError {
    /// What is said of the attempt.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let word = match self {
            Self::NotSent(_) => "HandlerUnreachable",
            Self::Broken(_) => "HandlerGone",
            Self::NotHttp(_) => "HandlerNotHttp",
            Self::TimedOut(_) => "HandlerTimeout",
        };
        Failure::new(word, format!("the handler: {self}"))
    }

    fn kind(&self) -> Option<ResultKind> {
        match self {
            Self::NotSent(_) => None,
            Self::Broken(_) | Self::NotHttp(_) => Some(ResultKind::Broken),
            Self::TimedOut(_) => Some(ResultKind::Timeout),
        }
    }
}

/// Calls the handler.
#[derive(Debug)]
pub struct Client {
    connections: legacy::Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    timeout: Duration,
    metrics: HandlerMetrics,
}

impl Client {
    /// A client that has no connection yet.
    ///
    /// # Errors
    /// When the path is none.
    pub fn new(call: &HttpCall, metrics: HandlerMetrics) -> Result<Self, ConfigError> {
        let path = call.path.parse::<PathAndQuery>().ok().filter(|_| call.path.starts_with('/'));
        let uri = path.and_then(|path| {
            // Nothing but this port of the pod can be named in a configuration.
            Uri::builder().scheme("http").authority(format!("127.0.0.1:{}", call.port)).path_and_query(path).build().ok()
        });
        let uri = uri.ok_or_else(|| ConfigError::invalid(format!("processor.http.path: `{}` is not a path such as /events", call.path)))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let connections =
            legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector);
        Ok(Self { connections, uri, timeout: call.timeout, metrics })
    }

    /// Sends a record and waits for the answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, event: &Event) -> Result<Answer, CallError> {
        let begun = Instant::now();
        let result = self.exchange(event).await;
        let kind = match &result {
            Ok(answer) => Some(ResultKind::of(answer.status)),
            Err(error) => error.kind(),
        };
        match kind {
            Some(kind) => self.metrics.called(kind, begun.elapsed()),
            None => self.metrics.not_sent(),
        }
        result
    }

    async fn exchange(&self, event: &Event) -> Result<Answer, CallError> {
        let mut request = request::build(&self.uri, event);
        let mut connection = capture_connection(&mut request);
        let mut answering = std::pin::pin!(self.connections.request(request));
        // The time for an answer begins with the connection: as long as there is none, nothing was asked.
        let early = unbegun(async {
            tokio::select! {
                biased;
                answer = &mut answering => Some(answer),
                () = async { drop(connection.wait_for_connection_metadata().await) } => None,
            }
        })
        .await;
        let answered = async {
            let answer = match early {
                Some(answer) => answer,
                None => answering.await,
            };
            let (head, body) = answer.map_err(|error| refused(&error))?.into_parts();
            let (body, is_whole) = read(body).await.map_err(|error| CallError::Broken(chain(&error)))?;
            Ok(Answer { status: head.status, headers: head.headers, body, is_whole })
        };
        timeout(self.timeout, answered).await.unwrap_or(Err(CallError::TimedOut(self.timeout)))
    }
}

/// The body up to its bound, and whether that is all of it.
async fn read(mut body: Incoming) -> Result<(Bytes, bool), hyper::Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        let room = MAX_BODY - read.len();
        let fits = data.len() <= room;
        data.truncate(room);
        read.extend_from_slice(&data);
        if !fits {
            return Ok((read.freeze(), false));
        }
    }
    Ok((read.freeze(), true))
}

/// hyper gives a request back as cancelled only if it has written nothing of it.
fn refused(error: &legacy::Error) -> CallError {
    let cause = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    match cause {
        _ if error.is_connect() => CallError::NotSent(chain(error)),
        Some(cause) if cause.is_canceled() => CallError::NotSent(chain(error)),
        Some(cause) if cause.is_parse() => CallError::NotHttp(chain(cause)),
        _ => CallError::Broken(chain(error)),
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
