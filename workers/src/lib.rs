//! The worker of Penstock: it runs one processor between Kafka, or an HTTP port, and Kafka.
//!
//! A record counts as done only once Kafka has everything that it caused: its outputs, or the dead letter that holds it,
//! with its offset in one transaction or before its offset. After a crash a record may be handled again, and none is lost.
//!
//! | Module | Holds |
//! |---|---|
//! | [`processor`] | the SDK: what a processor gets and what it may answer |
//! | [`front`] | the SDK for pipelines with an HTTP source |
//! | [`http`] | what every front needs around its routes |
//! | [`cloudevents`] | events as they come over HTTP and as they lie in Kafka |
//! | [`table`] | the SDK for state that is read from whole topics |
//! | [`runtime`] | runs a worker: `run(config, processor)` |
//! | [`stream`] | a pipeline with a Kafka source: order, retries, dead letters, commits |
//! | [`processors`] | the built-in processors |
//! | [`config`] | reads and checks the configuration |
//! | [`readiness`], [`metrics`], `admin` | what a worker tells about itself |
//! | [`error`] | everything that can end a worker |

mod admin;
mod clients;
pub mod cloudevents;
pub mod config;
mod connection;
pub mod error;
pub mod front;
pub mod http;
pub mod metrics;
pub mod processor;
pub mod processors;
pub mod readiness;
pub mod runtime;
mod shutdown;
mod sink;
pub mod stream;
pub mod table;
