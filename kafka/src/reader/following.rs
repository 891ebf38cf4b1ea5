//! The thread behind a topic reader: looks at the topics, assigns their partitions and passes records on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::Offset;

use super::ReaderEvent;
use super::progress::{Progress, Step};
use crate::buffer::Buffer;
use crate::error::{Error, Result};
use crate::ffi::{Copies, Edge, ErrorCode, Native, Polled};
use crate::record::TopicPartition;
use crate::thread::Stop;

const POLL: Duration = Duration::from_millis(50);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon to look again while something is missing.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Following {
    native: Native,
    events: Arc<Buffer<Result<ReaderEvent>>>,
    progress: Progress,
    /// Followers keep what they read.
    copies: Copies,
    interval: Duration,
    next_look: Instant,
}

impl Following {
    pub(super) fn new(native: Native, events: Arc<Buffer<Result<ReaderEvent>>>, progress: Progress, interval: Duration) -> Self {
        Self { native, events, progress, copies: Copies::separate(), interval, next_look: Instant::now() }
    }

    pub(super) fn run(mut self, stop: &Stop) {
        while !stop.requested() {
            if Instant::now() >= self.next_look {
                self.look();
            }
            let polled = self.native.poll_blocking(POLL, &mut self.copies);
            self.handle(polled);
            if self.progress.newly_caught_up() {
                self.events.push(Ok(ReaderEvent::CaughtUp), 0);
            }
            while !stop.requested() && !self.events.wait_for_room(POLL) {}
        }
        self.events.close();
    }

    /// Compares the topics with what is followed. Failures of the whole look are repeated soon; they show in the health.
    fn look(&mut self) {
        let result = self.try_look();
        if let Err(error) = &result {
            tracing::debug!(%error, "cannot look at the topics");
        }
        let settled = result.is_ok() && self.progress.is_complete();
        self.next_look = Instant::now() + if settled { self.interval } else { RETRY };
    }

    fn try_look(&mut self) -> Result<()> {
        let described = block_on(self.native.describe_topics(&self.progress.topics(), REQUEST_TIMEOUT))?;
        let seen = described.into_iter().map(|(name, topic)| {
            let seen = topic.map(|topic| (topic.id, topic.partitions.iter().map(|info| info.id).collect()));
            (name, seen)
        });
        for step in self.progress.look(seen.collect()) {
            match step {
                Step::Failed(error) => self.events.push(Err(error), 0),
                Step::Recreated { topic, forget } => {
                    self.forget(&forget);
                    self.events.push(Ok(ReaderEvent::TopicRecreated { topic }), 0);
                }
                Step::Follow(partitions) => self.follow(&partitions)?,
            }
        }
        Ok(())
    }

    /// Reads partitions from their first record on. One without a leader is left for the next look.
    fn follow(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let ends = block_on(self.native.list_offsets(partitions, Edge::End, REQUEST_TIMEOUT))?;
        let ends: BTreeMap<TopicPartition, Result<i64>> = ends.into_iter().collect();
        let mut failure = Ok(());
        let mut known = Vec::new();
        for (partition, end) in ends {
            match end {
                Ok(end) => known.push((partition, end)),
                Err(error) => failure = Err(error),
            }
        }
        if !known.is_empty() {
            let names: Vec<TopicPartition> = known.iter().map(|(partition, _)| partition.clone()).collect();
            self.native.assign_more(&at(&names, Offset::Beginning))?;
            for (partition, end) in known {
                self.progress.followed(&partition, end);
            }
        }
        failure
    }

    fn handle(&mut self, polled: Polled) {
        match polled {
            Polled::Nothing => {}
            Polled::Record(record) => {
                self.progress.read(&record.topic, record.partition, record.offset);
                let size = record.size();
                self.events.push(Ok(ReaderEvent::Record(record)), size);
            }
            Polled::EndOfPartition(partition, _) => self.progress.reached_end(&partition),
            Polled::Failed { partition, code, message, .. } => self.failed(partition, code, message),
        }
    }

    fn failed(&mut self, partition: Option<TopicPartition>, code: ErrorCode, message: String) {
        let topic = partition.as_ref().map(|partition| partition.topic.clone());
        tracing::debug!(?code, message, ?partition, "cannot read");
        match (code.into_error(message, topic.as_deref()), partition) {
            (Error::OffsetOutOfRange { .. }, Some(partition)) => self.start_over(partition),
            // Deleted or recreated: the next look tells which.
            (Error::UnknownTopic { .. }, _) => self.next_look = self.next_look.min(Instant::now() + RETRY),
            (error, _) if error.is_retriable() => {}
            (error, _) => {
                self.progress.doubt();
                self.events.push(Err(error), 0);
            }
        }
    }

    /// The position is gone. Either the whole topic is another one, which a look tells, or retention was faster than this
    /// reader. What cannot be done now is done by a later look, because the partition is not followed any more.
    fn start_over(&mut self, partition: TopicPartition) {
        let known = self.progress.id(&partition.topic);
        self.look();
        if known == self.progress.id(&partition.topic) {
            self.forget(std::slice::from_ref(&partition));
            // A position that was never used may be stale without any loss, for example right after a recreation.
            if self.progress.lost(&partition) {
                self.events.push(Ok(ReaderEvent::RecordsLost { partition }), 0);
            }
            self.look();
        }
    }

    fn forget(&self, partitions: &[TopicPartition]) {
        if let Err(error) = self.native.unassign(&at(partitions, Offset::Invalid)) {
            tracing::debug!(%error, "cannot take partitions back");
        }
    }
}

fn at(partitions: &[TopicPartition], offset: Offset) -> Vec<(TopicPartition, Offset)> {
    partitions.iter().map(|partition| (partition.clone(), offset)).collect()
}
