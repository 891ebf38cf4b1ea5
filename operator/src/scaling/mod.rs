//! Decides how many workers a pipeline needs. Pure: no I/O, no clock, nothing but the standard library.
//!
//! [`History::record`] takes in what a sweep saw, [`decide`] answers from that and the [`Policy`] alone: the same history
//! gives the same decision, so that a trace can be replayed (`scaling-sim`). What was not read is never guessed: without a
//! fresh reading of every partition nothing changes, but that those wake which have something to do in one of them.
//!
//! | Module | Answers |
//! |---|---|
//! | [`observation`] | what is seen: offsets of partitions, workers |
//! | [`lag`] | how many records wait in a partition |
//! | `history`, `track` | what is kept of what was seen; how old the oldest waiting record is, how fast others come |
//! | `rates`, `span` | how fast a worker is, and by how many looks that is told |
//! | `standstill` | whether workers that have work do nothing |
//! | `need` | how many workers that takes, and whether one partition is too much for any of them |
//! | `crowd` | whether partitions with much to do have met at one worker |
//! | `effect` | whether the last step up helped, what a step costs |
//! | `calm`, `zero` | when fewer are enough; when none are, and when the offsets of those that sleep are renewed |
//! | [`decision`] | the answer, and why |

mod calm;
mod crowd;
pub mod decision;
mod effect;
mod history;
pub mod lag;
mod need;
pub mod observation;
mod policy;
mod rates;
mod span;
mod standstill;
mod track;
mod zero;

pub use decision::{Decision, Limit, Reason, decide};
pub use effect::Ceiling;
pub use history::{History, Known};
pub use observation::{Begin, Observation, PartitionKey, PartitionOffsets, Role, Workers};
pub use policy::Policy;
pub use zero::renewal_is_due;

#[cfg(test)]
mod tests;
