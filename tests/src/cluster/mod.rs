//! A real kind cluster with real Kafka, on any Linux machine.
//!
//! Where a Docker daemon is at hand the cluster is a stock `kind create cluster --config kind-config.yaml`; where none is,
//! the harness makes the daemon (in a network namespace of its own) and the node image from packages. From there on
//! everything is the same. Each cluster has a name, and all that belongs to it lies under that name, so that several can run
//! side by side; what they share is a cache outside the checkout.
//!
//! A test gets its cluster with [`Cluster::current`] and must run beside it: `cluster exec -- cargo test …`.

pub(crate) mod command;
pub(crate) mod compile;
mod daemon;
pub(crate) mod error;
pub(crate) mod files;
mod ground;
mod handle;
mod handler_images;
mod image;
mod images;
mod interpreter;
pub(crate) mod kafka;
mod kafka_image;
pub(crate) mod kafka_jars;
mod kafka_pulled;
mod kind;
pub(crate) mod layout;
mod lifecycle;
pub(crate) mod lock;
mod node_image;
pub(crate) mod orphans;
pub(crate) mod packages;
pub(crate) mod progress;
pub mod prometheus;
pub(crate) mod recipe;
mod rootfs;
mod site;
mod status;
pub(crate) mod sweep;
mod tools;

pub use error::{HarnessError, Result};
pub use ground::Ground;
pub use handle::{Brokers, Cluster, Tool};
pub use handler_images::build as handlers;
pub use images::build;
pub use kafka::{KafkaSize, kafka_down, kafka_up};
pub use lifecycle::{down, up};
pub use site::Site;
pub use status::report;
