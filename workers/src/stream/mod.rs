//! A pipeline with a Kafka source: records are taken, handled in the promised order, and their offsets committed together
//! with, or after, everything that they caused.
//!
//! | Module | Holds | pure |
//! |---|---|---|
//! | `partition` | the records of one partition, and the offset that may be committed | yes |
//! | [`lanes`] | which records wait for one another | yes |
//! | `ticket` | numbers for records and for what goes to Kafka | yes |
//! | `bounds` | how much is in memory, and may be | yes |
//! | `shells` | the memory of events that are settled | yes |
//! | `books` | every record that was taken and is not settled | yes |
//! | [`retry`] | what follows from an outcome, and how long to pause | yes |
//! | [`tiers`] | the topics in which records wait | yes |
//! | `verdict` | what follows from a record | yes |
//! | [`dead_letter`] | how a dead letter is written | yes |
//! | `holds` | which records wait behind others that wait in retry topics | yes |
//! | `precedence` | which records may be put beside a source topic already | yes |
//! | `parked` | the partitions that stand still | yes |
//! | `unread` | reads what waits in retry topics | |
//! | `positions` | where a group begins in a partition | yes |
//! | `lookup` | asks Kafka for what decides that | |
//! | `refused` | what topics have refused for what it is | yes |
//! | `writing` | the records that follow from a verdict | yes |
//! | `outbox` | writes verdicts and commits offsets: at least once, or exactly once | |
//! | `handover` | the group's decisions, from the polling thread to the task that works | |
//! | `engine` | the task that works | |
//! | `causes` | the causes of dead letters, for the log | |
//! | `counters` | the metrics of a stream | |
//! | `progress` | how far the worker has come in each partition, for the metrics | |
//! | `world` | what a session asks of Kafka, the clock and chance | |
//! | `kafka` | the real one | |
//! | `session` | one consumer and one producer, until told to stop or broken | |

pub(crate) mod books;
pub(crate) mod bounds;
pub(crate) mod causes;
pub(crate) mod counters;
pub mod dead_letter;
pub(crate) mod engine;
pub(crate) mod handover;
pub(crate) mod holds;
pub(crate) mod kafka;
pub mod lanes;
pub(crate) mod lookup;
pub(crate) mod outbox;
pub(crate) mod parked;
pub(crate) mod partition;
pub(crate) mod positions;
pub(crate) mod precedence;
pub(crate) mod progress;
pub(crate) mod refused;
pub mod retry;
pub(crate) mod session;
pub(crate) mod shells;
pub(crate) mod ticket;
pub mod tiers;
pub(crate) mod unread;
pub(crate) mod verdict;
pub(crate) mod world;
pub(crate) mod writing;
