//! Makes the records that follow from a verdict. Pure.

use std::sync::Arc;

use penstock_crds::worker::DeadLetterTarget;
use penstock_kafka::Record;

use super::{
    dead_letter::{DeadLetter, Sender},
    refused::Refused,
    tiers::Tiers,
    verdict::{Letter, Verdict},
};
use crate::{
    clients::MAX_RECORD_BYTES,
    processor::{Event, Failure, Output},
};

/// Where verdicts go.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub sink: Option<Arc<str>>,
    pub dead_letter: DeadLetterTarget,
    pub tiers: Arc<Tiers>,
    pub sender: Sender,
    pub refused: Refused,
}

impl Addresses {
    /// The dead letter as it goes to its topic.
    pub fn letter(&self, event: &Event, letter: &Letter) -> Record {
        self.dead(event, letter).write(&self.dead_letter, letter.extent)
    }

    /// What the dead letter weighs at most, in bytes.
    pub fn letter_weight(&self, event: &Event, letter: &Letter) -> usize {
        self.dead(event, letter).weight(&self.dead_letter, letter.extent)
    }

    fn dead<'a>(&'a self, event: &'a Event, letter: &'a Letter) -> DeadLetter<'a> {
        DeadLetter { event, failure: &letter.failure, step: letter.step, failed_at: letter.failed_at, sender: &self.sender }
    }

    /// What becomes of a verdict that cannot be written as it is: an output without a sink, or one that no topic takes.
    pub fn checked(&self, event: &Event, verdict: Verdict, now: impl FnOnce() -> jiff::Timestamp) -> Verdict {
        if let Verdict::Bury(_) = &verdict {
            return verdict;
        }
        if let Some(failure) = self.refused.failure(event) {
            return Verdict::Bury(Box::new(Letter::unwritable(failure, now())));
        }
        let Verdict::Emit(outputs) = &verdict else { return verdict };
        let failure = match (&self.sink, outputs.iter().map(Output::size).max()) {
            (None, Some(_)) => Failure::new("NoSink", "the processor produced, but the pipeline has no sink"),
            (Some(_), Some(largest)) if largest > MAX_RECORD_BYTES as usize => output_too_large(largest),
            _ => return verdict,
        };
        Verdict::Bury(Box::new(Letter::unwritable(failure, now())))
    }
}

fn output_too_large(size: usize) -> Failure {
    Failure::new("OutputTooLarge", format!("the processor produced a record of {size} bytes, more than Kafka takes"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use penstock_crds::worker::DeadLetterFormat;

    use super::*;

    #[test]
    fn what_cannot_be_written_becomes_a_letter() {
        let output = |size: usize| Output { payload: Some(vec![0; size].into()), ..Output::default() };
        let large = MAX_RECORD_BYTES as usize + 1;
        let mut refused = Refused::default();
        refused.extend(vec!["t/0/7".into()], &penstock_kafka::Error::InvalidRequest { code: 87, message: "no key".into() });
        // (sink, offset, outputs) -> error type; None: the outputs
        for (sink, offset, outputs, expected) in [
            (true, 0, vec![output(1)], None),
            (true, 0, vec![], None),
            (false, 0, vec![], None),
            (false, 0, vec![output(1)], Some("NoSink")),
            (true, 0, vec![output(1), output(large)], Some("OutputTooLarge")),
            (true, 7, vec![output(1)], Some("OutputRefused")),
        ] {
            let event = Event {
                topic: "t".into(),
                partition: 0,
                offset,
                key: None,
                payload: None,
                headers: vec![],
                timestamp_ms: None,
                timestamp_type: penstock_kafka::TimestampType::default(),
                attempt: 1,
            };
            let addresses = Addresses {
                sink: sink.then(|| "s".into()),
                dead_letter: DeadLetterTarget { topic: "d".into(), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
                tiers: Arc::default(),
                sender: Sender { pipeline: "shop/payments".into(), group: "g".into(), processor: "payments".into() },
                refused: refused.clone(),
            };
            let found = match addresses.checked(&event, Verdict::Emit(outputs), || jiff::Timestamp::UNIX_EPOCH) {
                Verdict::Bury(letter) => Some(letter.failure.error_type),
                Verdict::Emit(_) | Verdict::Wait { .. } => None,
            };
            assert_eq!(found.as_deref(), expected, "{sink}");
        }
    }
}
