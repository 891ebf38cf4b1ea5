//! What was received: it is taken record by record, as long as a spell lasts.

use std::collections::VecDeque;

use penstock_kafka::{Error, Received, TopicPartition};
use tokio::time::Instant;

use super::{BATCH, Engine};
use crate::stream::{outbox::Outbox, session::Breakdown, world::World};

/// After how many records what follows from them is written. The allocator of glibc keeps seven pieces of a size at hand.
const RUN: usize = 4;

/// What is received and not looked at yet.
#[derive(Default)]
pub(super) struct Batch {
    rest: VecDeque<Received>,
    /// More records were waiting to be received.
    has_more: bool,
}

impl Batch {
    fn new(received: Vec<Received>) -> Self {
        Self { has_more: received.len() >= BATCH, rest: received.into() }
    }

    pub fn is_taken(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was received of these partitions counts no more.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.rest.retain(|received| match received {
            Received::Record(record) => !partitions.iter().any(|gone| gone.partition == record.partition && gone.topic == *record.topic),
            Received::End { partition, .. } | Received::OutOfRange { partition, .. } => !partitions.contains(partition),
        });
    }
}

impl<W: World, O: Outbox> Engine<W, O> {
    pub(super) async fn received(&mut self, received: Result<Vec<Received>, Error>) -> Result<(), Breakdown> {
        let batch = match received {
            Ok(batch) => batch,
            Err(error) if error.is_fatal() => return Err(Breakdown::Consume(error)),
            Err(error) => {
                self.parts.needs.source.missing(error.to_string());
                return Ok(());
            }
        };
        self.parts.needs.source.met();
        self.batch = Batch::new(batch);
        self.take_batch().await
    }

    /// Takes what was received, until the spell is over.
    ///
    /// What follows is written every few records: so few outputs at once are in memory that the allocator gives, and takes back, from
    /// its list of those that the processor's caches hold still.
    pub(super) async fn take_batch(&mut self) -> Result<(), Breakdown> {
        let begun = Instant::now();
        self.clock = begun;
        let mut unwritten = 0;
        while !self.is_over(begun)
            && let Some(received) = self.batch.rest.pop_front()
        {
            let record = match received {
                Received::Record(record) => record,
                Received::End { partition, offset } => {
                    if !self.parked.holds_up(&partition) {
                        self.parts.books.reach_end(&partition, offset);
                    }
                    continue;
                }
                Received::OutOfRange { partition, reason, cut_at } => {
                    self.strand(partition, reason, cut_at);
                    continue;
                }
            };
            if self.stands_still(&record) {
                continue;
            }
            self.parts.counters.consumed(&record.topic, record.partition);
            if let Some(ticket) = self.parts.books.take(record, &self.parts.addresses.tiers) {
                self.start(ticket).await;
                unwritten += 1;
            }
            if unwritten >= RUN {
                self.write().await?;
                (unwritten, self.clock) = (0, Instant::now());
            }
        }
        self.parts.counters.flush();
        self.parts.outbox.moved(self.batch.has_more || !self.batch.is_taken());
        Ok(())
    }
}
