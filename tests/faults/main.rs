//! Fault tests on a kind cluster: `make e2e` runs them after the others, because they disturb all. What takes away more than the operator
//! runs alone (`play_alone`); the others may run side by side, and take turns in killing the operator.

#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod chart;
mod kafka_down;
mod malformed;
mod operator;
mod operator_restart;
mod replication;
mod scaling;
mod strimzi;
