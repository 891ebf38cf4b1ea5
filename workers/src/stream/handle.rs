//! One record's way: from its turn through the processor to Kafka's acknowledgement of what it caused.
//!
//! Its lane goes on once its outputs are on their way, so that the outputs of a lane are in the order of its records. It
//! is settled once Kafka has acknowledged them, or the dead letter.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::FutureExt;
use jiff::Timestamp;
use penstock_crds::worker::{DeadLetterTarget, RetryPolicy};
use penstock_kafka::{Error, Producer, Record};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    dead_letter::{DeadLetter, Extent},
    retry::{self, Burial, Next},
    session::Breakdown,
    work::Taken,
};
use crate::{
    metrics::{DeathKind, DeathLabel, Metrics, OutcomeKind},
    processor::{DynProcessor, Event, Failure, Outcome, Output},
    readiness::Need,
};

/// How long to pause between two attempts to write a dead letter.
const BURIAL_BACKOFF: RetryPolicy = RetryPolicy {
    attempts: u16::MAX,
    initial_backoff: std::time::Duration::from_millis(500),
    max_backoff: std::time::Duration::from_secs(30),
};

/// What all records of a session share on their way.
pub(crate) struct Handler {
    pub processor: Arc<dyn DynProcessor>,
    pub producer: Producer,
    pub sink: Option<String>,
    pub retry: RetryPolicy,
    pub dead_letter: DeadLetterTarget,
    pub pipeline: String,
    /// As many as there may be records in process at once.
    pub slots: Semaphore,
    /// Ends every task at its next await.
    pub abort: CancellationToken,
    pub breakdowns: mpsc::Sender<Breakdown>,
    pub metrics: Metrics,
    pub sink_need: Need,
    pub dead_letter_need: Need,
}

/// Why the outputs of a record are not in Kafka.
enum Undelivered {
    /// The record is at fault: it goes to the dead letter topic.
    Refused(Failure),
    /// The sink is at fault: no record gets past it, so all of them are taken again, in order, with new clients.
    Broken(Error),
}

impl Handler {
    /// Starts a record on its way.
    pub fn start(self: &Arc<Self>, taken: Taken) {
        let (handler, abort) = (Arc::clone(self), self.abort.clone());
        tokio::spawn(async move {
            // A record that is cut off is not settled: it comes again.
            let _ = abort.run_until_cancelled(handler.handle(taken)).await;
        });
    }

    async fn handle(self: &Arc<Self>, mut taken: Taken) {
        let Some(next) = self.decide(&mut taken).await else { return };
        let buried = match next {
            Decided::Emit(outputs) => match self.emit(&mut taken, outputs).await {
                Ok(()) => None,
                Err(Undelivered::Refused(failure)) => Some((failure, Burial::Rejected)),
                Err(Undelivered::Broken(error)) => return self.break_down(error),
            },
            Decided::Bury(failure, burial) => Some((failure, burial)),
        };
        self.release_lane(&mut taken);
        match buried {
            None => taken.settle(),
            Some((failure, burial)) => {
                if self.bury(&mut taken, &failure, burial).await {
                    taken.settle();
                }
            }
        }
    }

    /// Tries until there is a decision. None: the partition goes away, the record is the next worker's.
    async fn decide(&self, taken: &mut Taken) -> Option<Decided> {
        let closing = taken.closing();
        loop {
            let slot = closing.run_until_cancelled(self.slots.acquire()).await?.ok()?;
            if !taken.enter() {
                return None;
            }
            let outcome = self.attempt(&taken.event).await;
            if !taken.is_held() {
                return None;
            }
            match retry::next(outcome, taken.event.attempt, &self.retry, rand::random()) {
                Next::Emit(outputs) => return Some(Decided::Emit(outputs)),
                Next::Bury(failure, burial) => return Some(Decided::Bury(failure, burial)),
                Next::Again(pause) => {
                    taken.leave();
                    drop(slot);
                    self.metrics.retries.inc();
                    closing.run_until_cancelled(tokio::time::sleep(pause)).await?;
                    taken.event.attempt = taken.event.attempt.saturating_add(1);
                }
            }
        }
    }

    async fn attempt(&self, event: &Event) -> Outcome {
        let begun = Instant::now();
        let answer = AssertUnwindSafe(async { self.processor.process_event(event).await }).catch_unwind().await;
        self.metrics.processing.observe(begun.elapsed().as_secs_f64());
        let (kind, outcome) = match answer {
            Ok(Outcome::Emit(outputs)) if !outputs.is_empty() && self.sink.is_none() => {
                (OutcomeKind::Reject, Outcome::Reject(Failure::new("NoSink", "the processor produced, but the pipeline has no sink")))
            }
            Ok(outcome) => (kind_of(&outcome), outcome),
            Err(panic) => (OutcomeKind::Panic, Outcome::Reject(Failure::new("Panic", words_of(panic.as_ref())))),
        };
        self.metrics.count_outcome(kind);
        if let Outcome::Retry(failure) | Outcome::Reject(failure) = &outcome {
            tracing::debug!(event = event.id(), attempt = event.attempt, error = failure.error_type, "an attempt failed");
        }
        outcome
    }

    async fn emit(self: &Arc<Self>, taken: &mut Taken, outputs: Vec<Output>) -> Result<(), Undelivered> {
        let Some(sink) = &self.sink else { return Ok(()) };
        let mut deliveries = Vec::with_capacity(outputs.len());
        for Output { key, payload, headers } in outputs {
            let record = Record { key, payload, headers, ..Record::to(sink) };
            deliveries.push(self.producer.enqueue(record).await.map_err(|error| self.undelivered(error))?);
        }
        self.release_lane(taken);
        for delivery in deliveries {
            delivery.await.map_err(|error| self.undelivered(error))?;
            self.metrics.produced.inc();
            self.sink_need.met();
        }
        Ok(())
    }

    fn undelivered(&self, error: Error) -> Undelivered {
        self.metrics.produce_failures.inc();
        match error {
            Error::RecordTooLarge { .. } => Undelivered::Refused(Failure::new("OutputTooLarge", error.to_string())),
            Error::InvalidRequest { .. } | Error::PolicyViolation { .. } => {
                Undelivered::Refused(Failure::new("OutputRefused", error.to_string()))
            }
            error => {
                self.sink_need.missing(error.to_string());
                Undelivered::Broken(error)
            }
        }
    }

    fn release_lane(self: &Arc<Self>, taken: &mut Taken) {
        if let Some(next) = taken.release_lane() {
            self.start(next);
        }
    }

    /// Writes the dead letter, however long that takes. False: the partition goes away before it is written.
    async fn bury(&self, taken: &mut Taken, failure: &Failure, burial: Burial) -> bool {
        let failed_at = Timestamp::now();
        let (mut extent, mut failures) = (Extent::Whole, 0);
        loop {
            let letter = DeadLetter { event: &taken.event, failure, failed_at, pipeline: &self.pipeline };
            let record = letter.write(&self.dead_letter.topic, self.dead_letter.format, extent);
            match self.producer.send(record).await {
                Ok(_) => {
                    self.buried(&taken.event, failure, burial);
                    return true;
                }
                Err(Error::RecordTooLarge { .. }) if extent == Extent::Whole => extent = Extent::Pointer,
                Err(error) => {
                    self.metrics.dead_letter_failures.inc();
                    self.dead_letter_need.missing(error.to_string());
                    if error.is_fatal() {
                        self.break_down(error);
                        return false;
                    }
                    failures += 1;
                    if !self.pause_burial(taken, failures, &error).await {
                        return false;
                    }
                }
            }
        }
    }

    /// While it pauses, the record holds up neither a rebalance nor the end of the worker.
    async fn pause_burial(&self, taken: &mut Taken, failures: u32, error: &Error) -> bool {
        let RetryPolicy { initial_backoff, max_backoff, .. } = BURIAL_BACKOFF;
        let pause = retry::pause(initial_backoff, max_backoff, failures, rand::random());
        tracing::debug!(%error, topic = self.dead_letter.topic, event = taken.event.id(), ?pause, "a dead letter was not written");
        taken.leave();
        let closing = taken.closing();
        closing.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() && taken.enter()
    }

    fn buried(&self, event: &Event, failure: &Failure, burial: Burial) {
        let reason = match burial {
            Burial::Rejected => DeathKind::Rejected,
            Burial::Exhausted => DeathKind::Exhausted,
        };
        self.metrics.dead_letters.get_or_create(&DeathLabel { reason }).inc();
        self.dead_letter_need.met();
        tracing::info!(event = event.id(), error = failure.error_type, ?reason, "a record went to the dead letter topic");
    }

    fn break_down(&self, error: Error) {
        // Somebody who came first has ended the session already.
        let _ = self.breakdowns.try_send(Breakdown::Produce(error));
    }
}

enum Decided {
    Emit(Vec<Output>),
    Bury(Failure, Burial),
}

fn kind_of(outcome: &Outcome) -> OutcomeKind {
    match outcome {
        Outcome::Emit(_) => OutcomeKind::Emit,
        Outcome::Drop => OutcomeKind::Drop,
        Outcome::Retry(_) => OutcomeKind::Retry,
        Outcome::Reject(_) => OutcomeKind::Reject,
    }
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the processor panicked: {}", words.unwrap_or("without a message"))
}
