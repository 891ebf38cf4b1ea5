//! The access log and the request metrics.
//!
//! Labels take values from fixed sets only, so that no request can grow the metrics. What a request brings is logged in part only.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tracing::Instrument;

use super::{auth::Subject, connections::ConnectionCounts, frame::REQUEST_ID, memory::BodyCounts};

/// Upper bounds of the duration's buckets, in seconds: from a lookup to the longest wait for Kafka.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// The most bytes of a path or a request's id that are logged.
const MAX_LOGGED: usize = 128;

/// Counts requests, and what they are made of.
#[derive(Clone, Debug)]
pub struct Traffic {
    requests: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram>,
    /// Connections.
    pub connections: ConnectionCounts,
    /// Bodies.
    pub bodies: BodyCounts,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

impl Default for Traffic {
    fn default() -> Self {
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { requests: Family::default(), seconds, connections: ConnectionCounts::default(), bodies: BodyCounts::default() }
    }
}

impl Traffic {
    /// Adds the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests answered", self.requests.clone());
        registry.register_with_unit("http_request_duration", "Time to answer", Unit::Seconds, self.seconds.clone());
        let ConnectionCounts { open, displaced, refused } = self.connections.clone();
        registry.register("http_connections", "Connections that are open", open);
        registry.register("http_connections_displaced", "Connections that were closed to make room for others", displaced);
        registry.register("http_connections_refused", "Connections that were closed at once, for want of room", refused);
        let BodyCounts { held, displaced } = self.bodies.clone();
        registry.register_with_unit("http_body", "Memory that request bodies take", Unit::Bytes, held);
        registry.register("http_bodies_displaced", "Request bodies that were given up to make room for others", displaced);
    }
}

/// Logs and counts one request, and puts its id on all that is logged meanwhile.
pub async fn observe(State(traffic): State<Traffic>, request: Request, next: Next) -> Response {
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let id = bounded(request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default());
    let span = tracing::info_span!("request", id, method, route);
    let path = bounded(request.uri().path()).to_owned();
    let begun = Instant::now();
    async {
        let response = next.run(request).await;
        let (status, elapsed) = (response.status().as_u16(), begun.elapsed());
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        // Probes come every few seconds and say nothing while they succeed.
        if route == "/health" && response.status().is_success() {
            tracing::debug!(status, milliseconds, "answered");
        } else {
            let subject = response.extensions().get::<Subject>().map(|Subject(subject)| bounded(subject));
            tracing::info!(path, status, milliseconds, subject, "answered");
        }
        traffic.seconds.get_or_create(&Asked { method, route: route.clone() }).observe(elapsed.as_secs_f64());
        traffic.requests.get_or_create(&Answered { method, route, status }).inc();
        response
    }
    .instrument(span)
    .await
}

/// What a stranger wrote, short enough for a log line.
fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_LOGGED)).unwrap_or_default()
}

fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
