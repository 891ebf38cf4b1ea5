//! The gateway's routes with everything around them: limits, errors as JSON, security headers, CORS, request ids, access log, metrics.
//!
//! Every answer, an error or a panic too, passes through all of it.

use std::sync::Arc;

use axum::{
    BoxError, Router,
    error_handling::HandleErrorLayer,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use http::{
    HeaderName, HeaderValue, Method,
    header::{self, CONTENT_TYPE, RETRY_AFTER},
};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
};

use super::{
    observe::{Traffic, observe},
    problem::{Problem, answer_panic},
    routes::{Desk, place, show},
};

/// The most orders that are taken in at once; more are refused at once with 503. Bounds the memory for bodies, and keeps requests
/// from piling up while Kafka is away.
pub const MAX_ORDERS_AT_ONCE: usize = 256;

/// The header of the request's id, taken from the request or made up.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Tells a browser to do nothing with an answer but hand it to the script that asked; the set that the helmet library sends.
const SECURITY_HEADERS: [(HeaderName, &str); 12] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("origin-agent-cluster"), "?1"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("x-dns-prefetch-control"), "off"),
    (HeaderName::from_static("x-download-options"), "noopen"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), "none"),
    (header::X_XSS_PROTECTION, "0"),
];

/// Puts everything together; `health` are the routes that the runtime gives.
pub fn router(desk: Arc<Desk>, health: Router, origin: AllowOrigin, traffic: Traffic) -> Router {
    let limit = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(|_: BoxError| async { Problem::Overloaded }))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(MAX_ORDERS_AT_ONCE));
    let body_limit = DefaultBodyLimit::max(desk.max_body_bytes);
    let app = Router::new()
        .route("/orders", post(place).layer(limit))
        .route("/orders/{id}", get(show))
        .with_state(desk)
        .merge(health)
        .fallback(|| async { Problem::UnknownRoute })
        .method_not_allowed_fallback(|| async { Problem::WrongMethod })
        .layer(body_limit)
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(cors(origin))
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    let app = SECURITY_HEADERS
        .into_iter()
        .fold(app, |app, (name, value)| app.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))));
    app.layer(
        ServiceBuilder::new()
            .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
            .layer(from_fn_with_state(traffic, observe))
            .layer(PropagateRequestIdLayer::new(REQUEST_ID)),
    )
}

fn cors(origin: AllowOrigin) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE, REQUEST_ID])
        .expose_headers([REQUEST_ID, RETRY_AFTER])
        .max_age(std::time::Duration::from_secs(600))
}
