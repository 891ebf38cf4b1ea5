//! Runs a processor in a test as a worker would, without Kafka.
//!
//! The part of the worker that decides is the real one: order, concurrency, retries, retry topics, dead letters, transactions,
//! commits, and what happens after a crash or a rebalance. Kafka is in memory: topics with partitions and offsets, keys that
//! go to the partitions to which the workers' producers would send them, transactions, a consumer group. The clock is wound
//! forward whenever everybody waits, so that a delay of ten minutes takes no time.
//!
//! What can happen in one order or another happens as the seed says: the same seed gives the same run, another seed another
//! one. Run a test under some hundred of them.
//!
//! What is not as in Kafka: nothing is compressed, nothing is ever deleted from a topic, brokers do not fail, and where a real
//! cluster moves as few partitions as it can in a rebalance, this one deals them out anew.
//!
//! ```
//! use penstock_workers::{
//!     Event, Outcome, Output, Processor,
//!     testing::{Pipeline, Record, TestError, TestRuntime},
//! };
//!
//! /// Writes each record's value in capitals.
//! struct Shout;
//!
//! impl Processor for Shout {
//!     async fn process(&self, event: &Event) -> Outcome {
//!         let text = String::from_utf8_lossy(event.payload.as_deref().unwrap_or_default()).to_uppercase();
//!         Outcome::Emit(vec![Output { key: event.key.clone(), payload: Some(text.into()), ..Output::default() }])
//!     }
//! }
//!
//! # fn main() -> Result<(), TestError> {
//! let pipeline = Pipeline::reading(&["words"]).writing("shouts");
//! let mut test = TestRuntime::new(pipeline, 7, async |_: ()| Ok::<_, std::io::Error>(Shout))?;
//! test.produce(Record::to("words").with_key("k").with_payload("hello"))?;
//! test.start("worker-0")?;
//! test.run_until_idle()?;
//! assert_eq!(test.records("shouts")?[0].payload.as_deref(), Some(&b"HELLO"[..]));
//! # Ok(())
//! # }
//! ```

mod cluster;
mod group;
mod log;
mod member;
mod partitioner;
mod pipeline;
mod producers;
mod runtime;
mod world;

pub use penstock_kafka::{ConsumedRecord, Record, RecordPosition};

#[cfg(test)]
pub(crate) use self::world::Memory;

#[doc(hidden)]
pub use self::pipeline::Needed;
pub use self::{
    pipeline::{DeadLetterFormat, Delivery, Ordering, Pipeline},
    runtime::{TestError, TestRuntime},
};

#[cfg(test)]
mod tests;
