//! Makes the records that follow from a verdict. Pure.

use std::{collections::HashMap, sync::Arc};

use penstock_crds::worker::DeadLetterTarget;
use penstock_kafka::Record;

use super::{
    dead_letter::{DeadLetter, Extent},
    retry::Burial,
    tiers::Tiers,
    verdict::{Letter, RecordId, Verdict},
};
use crate::{
    connection::MAX_RECORD_BYTES,
    processor::{Event, Failure, Output},
};

/// What of a record's consequences no topic took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// An output.
    Output,
    /// Its dead letter.
    Letter,
}

/// Where verdicts go.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub sink: Option<Arc<str>>,
    /// What was refused as too large when it was written as part of a transaction.
    pub refused: HashMap<RecordId, Refused>,
    pub dead_letter: DeadLetterTarget,
    pub tiers: Arc<Tiers>,
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

    /// What becomes of a verdict that cannot be written as it is: an output without a sink, or a record that its topic does
    /// not take.
    pub fn checked(&self, event: &Event, verdict: Verdict, now: impl FnOnce() -> jiff::Timestamp) -> Verdict {
        let refused = if self.refused.is_empty() { None } else { self.refused.get(&RecordId::of(event)) };
        let outputs = match verdict {
            Verdict::Bury(letter) if refused == Some(&Refused::Letter) => {
                return Verdict::Bury(Letter { extent: Extent::Pointer, ..letter });
            }
            Verdict::Bury(_) | Verdict::Wait(_) => return verdict,
            Verdict::Emit(outputs) => outputs,
        };
        let largest = outputs.iter().map(size).max();
        let failure = match (&self.sink, largest) {
            (None, Some(_)) => Failure::new("NoSink", "the processor produced, but the pipeline has no sink"),
            (Some(_), Some(largest)) if largest > MAX_RECORD_BYTES as usize || refused.is_some() => output_too_large(largest),
            _ => return Verdict::Emit(outputs),
        };
        let extent = if refused == Some(&Refused::Letter) { Extent::Pointer } else { Extent::Whole };
        Verdict::Bury(Letter { extent, ..Letter::new(failure, Burial::Rejected, now()) })
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

#[cfg(test)]
mod tests {
    use penstock_crds::worker::DeadLetterFormat;

    use super::*;

    fn event() -> Event {
        Event { topic: "t".into(), partition: 0, offset: 7, key: None, payload: None, headers: vec![], timestamp_ms: None, attempt: 1 }
    }

    #[test]
    fn what_cannot_be_written_becomes_a_letter() {
        let output = |size: usize| Output { payload: Some(vec![0; size].into()), ..Output::default() };
        let letter = Letter::new(Failure::new("Bad", "no"), Burial::Rejected, jiff::Timestamp::UNIX_EPOCH);
        let large = MAX_RECORD_BYTES as usize + 1;
        // (sink, refused, outputs; None: a letter) -> error type and extent; None: the outputs
        type Row = (bool, Option<Refused>, Option<Vec<Output>>, Option<(&'static str, Extent)>);
        let rows: Vec<Row> = vec![
            (true, None, Some(vec![output(1)]), None),
            (true, None, Some(vec![]), None),
            (false, None, Some(vec![]), None),
            (false, None, Some(vec![output(1)]), Some(("NoSink", Extent::Whole))),
            (true, None, Some(vec![output(1), output(large)]), Some(("OutputTooLarge", Extent::Whole))),
            (true, Some(Refused::Output), Some(vec![output(1)]), Some(("OutputTooLarge", Extent::Whole))),
            (true, Some(Refused::Letter), Some(vec![output(1)]), Some(("OutputTooLarge", Extent::Pointer))),
            (true, None, None, Some(("Bad", Extent::Whole))),
            (true, Some(Refused::Output), None, Some(("Bad", Extent::Whole))),
            (true, Some(Refused::Letter), None, Some(("Bad", Extent::Pointer))),
        ];
        for (sink, refused, outputs, expected) in rows {
            let addresses = Addresses {
                sink: sink.then(|| "s".into()),
                refused: refused.map(|refused| (RecordId::of(&event()), refused)).into_iter().collect(),
                dead_letter: DeadLetterTarget { topic: "d".into(), format: DeadLetterFormat::Record },
                tiers: Arc::default(),
                pipeline: "shop/payments".into(),
            };
            let verdict = outputs.map_or_else(|| Verdict::Bury(letter.clone()), Verdict::Emit);
            let found = match addresses.checked(&event(), verdict, || jiff::Timestamp::UNIX_EPOCH) {
                Verdict::Emit(_) | Verdict::Wait(_) => None,
                Verdict::Bury(letter) => Some((letter.failure.error_type, letter.extent)),
            };
            assert_eq!(found, expected.map(|(error, extent)| (error.to_owned(), extent)), "{sink} {refused:?}");
        }
    }
}
