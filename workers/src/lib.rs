//! Workers for Penstock's pipelines in Rust: write a [`Processor`], give it to [`serve`], and name the image in
//! `spec.processor.image` of an `EventPipeline`. The folder `examples/custom-worker` is a whole one, to be copied.
//!
//! A processor decides what an event means. When it is called, in which order, how often, and that its answer lasts, is the
//! worker's: a record counts as done only once Kafka has everything that it caused, its outputs or the dead letter that holds
//! it, with its offset in one transaction (`ExactlyOnce`) or before its offset (`AtLeastOnce`). After a crash a record may be
//! handled again, and none is lost.
//!
//! ```no_run
//! use penstock_workers::{Event, Failure, Outcome, Output, Processor};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "camelCase")]
//! struct Options {
//!     max_bytes: usize,
//! }
//!
//! /// Lets through what is short enough.
//! struct Sieve(Options);
//!
//! impl Processor for Sieve {
//!     async fn process(&self, event: &Event) -> Outcome {
//!         let Some(payload) = &event.payload else { return Outcome::Drop };
//!         if payload.len() > self.0.max_bytes {
//!             return Outcome::Reject(Failure::new("TooLong", format!("{} bytes", payload.len())));
//!         }
//!         Outcome::Emit(vec![Output { key: event.key.clone(), payload: Some(payload.clone()), ..Output::default() }])
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     penstock_workers::serve(penstock_workers::about!(), async |options: Options| Ok::<_, std::io::Error>(Sieve(options)))
//! }
//! ```
//!
//! | for a worker of one's own | holds |
//! |---|---|
//! | [`serve`], [`about!`] | the whole of `main` |
//! | [`processor`] | what a processor gets and what it may answer; all of it is here at the root, too |
//! | [`options`] | `processor.options` as a type of one's own |
//! | `testing`, with the feature `testing` | runs a processor in tests as a worker would, without Kafka |
//! | [`cloudevents`] | events as they come over HTTP and as they lie in Kafka |
//!
//! The other public modules are those of the stock worker (`penstock-worker`) and of this project's own tests. They change
//! without notice.

mod admin;
mod circuits;
mod clients;
pub mod cloudevents;
#[doc(hidden)]
pub mod config;
mod connection;
mod descriptors;
pub mod error;
#[doc(hidden)]
pub mod front;
#[doc(hidden)]
pub mod http;
mod idempotency;
#[doc(hidden)]
pub mod metrics;
pub mod options;
pub mod processor;
#[doc(hidden)]
pub mod processors;
#[doc(hidden)]
pub mod readiness;
#[doc(hidden)]
pub mod runtime;
mod serve;
mod shutdown;
mod sink;
#[doc(hidden)]
pub mod stream;
#[doc(hidden)]
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[doc(hidden)]
pub use serve::serve_builtins;

/// The versions that this crate is built with, for what its types hold.
pub use {bytes, prometheus_client};

pub use crate::{
    processor::{Event, Failure, Header, Outcome, Output, Processor, TimestampType, unbegun},
    serve::{About, serve},
};
