//! What the benchmarks share: topics of their own, plain clients that send, read and look on, and a steady load.

mod client;
mod progress;
mod steady;
mod topics;

pub use client::{Acknowledged, LIMIT, Reader, Sender, Watcher, config};
pub use progress::{megabytes, wait_for};
pub use steady::{Latency, Steady};
pub use topics::{PARTITIONS, Topics};
