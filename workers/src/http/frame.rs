//! What stands around a front's routes: tokens, security headers, CORS, request ids, the access log, metrics, and an answer to what
//! no route sees.
//!
//! Every answer, an error or a panic too, passes through all of it.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{self, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
};

use super::{
    auth::{Auth, Stranger, require},
    observe::{Traffic, observe},
};

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

/// What goes wrong around the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// There is no such address.
    UnknownRoute,
    /// The address takes other methods; the answer names them in its header `Allow`.
    WrongMethod,
    /// Who asks has shown no good token.
    Stranger(Stranger),
    /// The handler panicked, which is logged.
    Panic,
}

/// What stands around the routes of a front.
pub struct Frame {
    /// The routes that everybody may use: those that the runtime gives, and the front's document.
    pub open: Router,
    /// Who may use the other routes; none: everybody.
    pub auth: Option<Auth>,
    /// Who may call from a browser: see [`cors`].
    pub cors: CorsLayer,
    /// Counts requests.
    pub traffic: Traffic,
}

impl Frame {
    /// Puts everything around the routes. `P` says how a [`Mishap`] is answered.
    pub fn around<P>(self, routes: Router) -> Router
    where
        P: From<Mishap> + IntoResponse + Send + 'static,
    {
        let Self { open, auth, cors, traffic } = self;
        let routes = match auth {
            Some(auth) => routes.route_layer(from_fn_with_state(auth, require::<P>)),
            None => routes,
        };
        let app = routes
            .merge(open)
            .fallback(|| async { P::from(Mishap::UnknownRoute) })
            .method_not_allowed_fallback(|| async { P::from(Mishap::WrongMethod) })
            .layer(CatchPanicLayer::custom(answer_panic::<P>))
            .layer(cors)
            .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
            .layer(SetResponseHeaderLayer::if_not_present(RETRY_AFTER, retry_after));
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
}

/// Who may call from a browser: pages of that origin, with these headers.
pub fn cors(origin: AllowOrigin, headers: impl Into<AllowHeaders>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(headers)
        .expose_headers([REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE])
        .max_age(Duration::from_secs(600))
}

/// Who is turned away for a while is told when to come back, in seconds.
fn retry_after<B>(response: &http::Response<B>) -> Option<HeaderValue> {
    (response.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| HeaderValue::from_static("1"))
}

fn answer_panic<P: From<Mishap> + IntoResponse>(panic: Box<dyn Any + Send>) -> Response {
    let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(why = why.unwrap_or("unknown"), "a request handler panicked");
    P::from(Mishap::Panic).into_response()
}
