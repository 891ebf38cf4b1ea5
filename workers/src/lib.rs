//! The worker of Penstock: it runs one processor between Kafka, or an HTTP port, and Kafka.
//!
//! A record counts as done only once Kafka has acknowledged everything that it caused: its outputs, or the dead letter
//! that holds it. After a crash a record may be handled again, and none is lost.
//!
//! | Module | Holds |
//! |---|---|
//! | [`processor`] | the SDK: what a processor gets and what it may answer |
//! | [`front`] | the SDK for pipelines with an HTTP source |
//! | [`table`] | the SDK for state that is read from whole topics |
//! | [`readiness`] | what a worker needs before it takes part, and whether it has it |
//! | [`processors`] | the built-in processors |
//! | [`error`] | everything that can end a worker |

pub mod error;
pub mod front;
pub mod processor;
pub mod processors;
pub mod readiness;
pub mod table;
