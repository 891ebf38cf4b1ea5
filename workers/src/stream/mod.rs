//! A pipeline with a Kafka source: records are taken, handled in the promised order, and their offsets committed once
//! Kafka has everything that they caused.
//!
//! | Module | Holds | pure |
//! |---|---|---|
//! | [`ledger`] | which offset of a partition may be committed | yes |
//! | [`lanes`] | which records wait for one another | yes |
//! | [`retry`] | what follows from an outcome, and how long to pause | yes |
//! | [`dead_letter`] | how a dead letter is written | yes |
//! | `in_flight` | every record that was taken and is not settled | yes |
//! | `work` | the same, shared between tasks and the polling thread | |
//! | `source` | the consumer, and what a rebalance does to the work | |
//! | `handle` | one record's way from the processor to Kafka's acknowledgement | |
//! | `commit` | commits as records settle | |
//! | `session` | one consumer and one producer, until told to stop or broken | |

pub(crate) mod commit;
pub mod dead_letter;
pub(crate) mod handle;
pub(crate) mod in_flight;
pub mod lanes;
pub mod ledger;
pub mod retry;
pub(crate) mod session;
pub(crate) mod source;
pub(crate) mod work;
