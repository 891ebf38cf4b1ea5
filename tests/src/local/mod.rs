//! Real Kafka brokers and real workers as processes of this machine, without a cluster: for measuring and for breaking them.
//!
//! * [`Brokers`]: one or three KRaft brokers on loopback, each of which can be killed, stopped, paused and restarted.
//! * [`WorkerProcess`]: the released `penstock-worker` with a configuration of its own.
//! * [`Process`]: what both are; may be pinned to a core, and tells what it has used.
//!
//! Everything that is started here ends with the program that started it, however that ends: the kernel sees to it. Folders
//! that a killed program left behind go when the next one starts.

mod brokers;
mod classes;
mod examples;
mod folder;
mod http;
mod keeper;
pub mod ports;
mod process;
mod properties;
mod schemathesis;
mod storage;
mod usage;
mod worker;

pub use brokers::{BrokerSettings, Brokers};
pub use examples::Examples;
pub use folder::Folder;
pub use http::{Answer, get, post};
pub use keeper::{cores, pin};
pub use process::Process;
pub use schemathesis::{Findings, Schemathesis};
pub use usage::Usage;
pub use worker::{WorkerOptions, WorkerProcess, debug_worker_binary, worker_binary};
