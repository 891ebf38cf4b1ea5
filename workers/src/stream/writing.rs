//! Makes the records that follow from a verdict. Pure.

use std::sync::Arc;

use penstock_crds::worker::DeadLetterTarget;
use penstock_kafka::Record;

use super::{
    dead_letter::DeadLetter,
    retry::Burial,
    verdict::{Letter, Verdict},
};
use crate::processor::{Event, Failure, Output};

/// Where verdicts go.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub sink: Option<Arc<str>>,
    pub dead_letter: DeadLetterTarget,
    /// The pipeline, as `namespace/name`.
    pub pipeline: String,
}

impl Addresses {
    /// The dead letter as it goes to its topic.
    pub fn letter(&self, event: &Event, letter: &Letter) -> Record {
        let Letter { failure, failed_at, extent, .. } = letter;
        let whole = DeadLetter { event, failure, failed_at: *failed_at, pipeline: &self.pipeline };
        whole.write(&self.dead_letter.topic, self.dead_letter.format, *extent)
    }

    /// What becomes of a verdict that cannot be written as it is: an output without a sink, or one that no topic takes.
    pub fn checked(&self, verdict: Verdict, max_record_bytes: usize, now: impl FnOnce() -> jiff::Timestamp) -> Verdict {
        let Verdict::Emit(outputs) = &verdict else { return verdict };
        let failure = match (&self.sink, outputs.iter().map(size).max()) {
            (None, Some(_)) => Failure::new("NoSink", "the processor produced, but the pipeline has no sink"),
            (Some(_), Some(largest)) if largest > max_record_bytes => output_too_large(largest),
            _ => return verdict,
        };
        Verdict::Bury(Letter::new(failure, Burial::Rejected, now()))
    }
}

fn output_too_large(size: usize) -> Failure {
    Failure::new("OutputTooLarge", format!("the processor produced a record of {size} bytes, more than Kafka takes"))
}

fn size(output: &Output) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers: usize = output.headers.iter().map(|header| header.name.len() + length(&header.value)).sum();
    length(&output.key) + length(&output.payload) + headers
}
