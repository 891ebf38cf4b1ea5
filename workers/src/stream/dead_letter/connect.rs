//! The headers of Kafka Connect with `errors.deadletterqueue.context.headers.enable` (KIP-298): everything as text.
//!
//! A pipeline stands for a connector with one task, its processor for the class that was at work.

use penstock_kafka::Header;

use super::{Death, Step};

/// What their names begin with.
pub(super) const HEADER_PREFIX: &str = "__connect.errors.";

/// Connect counts the tasks of a connector; workers have no numbers.
const TASK: &str = "0";

pub(super) fn headers(death: &Death<'_>) -> Vec<Header> {
    let event = death.event;
    let facts = [
        ("topic", event.topic.to_string()),
        ("partition", event.partition.to_string()),
        ("offset", event.offset.to_string()),
        ("connector.name", death.sender.pipeline.clone()),
        ("task.id", TASK.to_owned()),
        ("stage", stage(death.step).to_owned()),
        ("class.name", death.sender.processor.clone()),
        ("exception.class.name", death.error_type.clone()),
        ("exception.message", death.message.clone()),
        ("exception.stacktrace", death.stack.clone()),
    ];
    facts.into_iter().map(|(name, value)| super::header(HEADER_PREFIX, name, value)).collect()
}

/// By the names of Connect's own stages.
fn stage(step: Step) -> &'static str {
    match step {
        Step::Processing => "TASK_PUT",
        Step::Producing => "KAFKA_PRODUCE",
    }
}
