//! What every front needs around its routes: a server with bounds, limits, headers, request ids, an access log and metrics.
//!
//! Nothing here knows what a front takes or answers. What goes wrong before a route sees the request is a [`Mishap`] or a
//! [`BodyError`], and the front answers it in its own words.

mod auth;
mod body;
mod connections;
mod frame;
mod media;
mod memory;
mod observe;
mod options;
mod patience;
mod server;

pub use self::{
    auth::{Auth, Guard, Stranger, Subject},
    body::{Admitted, BodyError, Gate, GateBounds},
    connections::ConnectionCounts,
    frame::{Frame, Mishap, REQUEST_ID, cors},
    media::{MediaType, is_compressed},
    observe::Traffic,
    options::HttpOptions,
    server::{ServerBounds, serve},
};
