//! Penstock's end-to-end tests and the harness that they stand on.
//!
//! * [`cluster`]: brings a real kind cluster and real Kafka brokers up and down, and is the typed handle by which a test
//!   reaches them. The binary `cluster` is its command line.
//! * [`scene`]: what a test stands on: a namespace of its own, acting like a user, waiting on conditions, and a report
//!   when it fails.

pub mod cluster;
pub mod scene;
