//! Brokers and workers as processes of this machine, really started: what `penstock_tests::local` promises.
//!
//! Needs Java and a compiled worker, but no cluster: `cargo test -p penstock-tests --test local`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod brokers;
mod events;
mod examples;
mod floods;
mod front;
mod groups;
mod held_back;
mod idempotency;
mod import;
mod likeness;
mod openapi;
mod orders;
mod pauses;
mod peeks;
mod pipeline;
mod policies;
mod positions;
mod readiness;
mod reassignments;
mod refusals;
mod replica_health;
mod retry_topics;
mod series;
mod shared;
mod small_topics;
mod sweeps;
mod tokens;
mod topic;
mod transactions;
mod unasked;
