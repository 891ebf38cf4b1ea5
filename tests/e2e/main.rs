//! End-to-end tests on a kind cluster: `make e2e`. They run side by side, in the order of their names; what disturbs others is in `tests/faults`.

#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod bearer;
mod broker_stopped;
mod chart;
mod coffee;
mod commerce;
mod custom_worker;
mod events;
mod handlers;
mod idempotency;
mod kafka_package;
mod orders;
mod pipelines;
mod scaling;
mod topics;
mod worker_killed;
