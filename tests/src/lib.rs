//! Penstock's end-to-end tests and the harness that they stand on.
//!
//! * [`cluster`]: brings a real kind cluster and real Kafka brokers up and down, and is the typed handle by which a test
//!   reaches them. The binary `cluster` is its command line.
//! * [`mod@bench`]: what the benchmarks share.
//! * [`issuer`]: issues tokens, for fronts that ask for some.
//! * [`local`]: real brokers and real workers as processes of this machine, without a cluster.
//! * [`scene`]: what a test stands on: a namespace of its own, acting like a user, waiting on conditions, and a report
//!   when it fails.
//! * [`wire`]: single requests in Kafka's own protocol.

pub mod bench;
pub mod cluster;
pub mod issuer;
pub mod local;
pub mod scene;
pub mod wire;
