//! What every front needs around its routes: a server with bounds, limits, headers, request ids, an access log and metrics.
//!
//! Nothing here knows what a front takes or answers. What goes wrong before a route sees the request is a [`Mishap`] or a
//! [`BodyError`]; it becomes a [`Problem`], as does whatever the front itself refuses.

mod auth;
mod body;
mod connections;
mod fault;
mod frame;
mod media;
mod memory;
mod observe;
pub mod openapi;
mod options;
mod patience;
mod places;
pub mod problem;
mod server;

pub(crate) use self::fault::add_new;
pub use self::{
    auth::{Auth, Guard, Stranger, Subject},
    body::{Admitted, BodyError, Gate, GateBounds},
    connections::ConnectionCounts,
    fault::{Fault, Place, pointer},
    frame::{Frame, Mishap, REQUEST_ID, cors},
    media::{MediaType, is_compressed},
    observe::Traffic,
    options::HttpOptions,
    problem::Problem,
    server::{ServerBounds, serve},
};
