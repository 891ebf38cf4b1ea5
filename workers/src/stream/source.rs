//! The consumer of a session, and what a rebalance does to the records in flight.
//!
//! A record is taken from the consumer and booked in one step under one lock, so that a partition that goes away takes
//! with it either a record that is booked or one that nobody has seen.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use penstock_kafka::{CommitOffsets, ConsumedRecord, Consumer, Error, GroupOffset, RebalanceListener, TopicPartition};

use super::work::{Taken, Work};
use crate::{
    metrics::{Metrics, RebalanceKind, TopicLabel},
    readiness::Need,
};

/// The next record that may start at once. None: one was booked behind another, or belongs to nobody any more.
pub(crate) async fn take(consumer: &Consumer, work: &Arc<Work>, metrics: &Metrics) -> Result<Option<Taken>, Error> {
    let mut received = pin!(consumer.recv());
    let turn = poll_fn(|context| {
        work.with_quietly(|books| match received.as_mut().poll(context) {
            Poll::Ready(Ok(record)) => {
                count(metrics, &record);
                Poll::Ready(Ok(books.take(record)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        })
    })
    .await?;
    Ok(turn.map(|turn| Taken::new(turn, work)))
}

fn count(metrics: &Metrics, record: &ConsumedRecord) {
    metrics.consumed.get_or_create(&TopicLabel { topic: record.topic.to_string() }).inc();
}

/// Hands partitions over: what is under way is finished and committed, the rest is left to the next worker.
pub(crate) struct Handover {
    pub work: Arc<Work>,
    pub metrics: Metrics,
    pub source: Need,
    /// How long one handover may take, and until when all of them must be done.
    pub patience: Patience,
}

/// How long to wait for what is under way.
#[derive(Clone)]
pub(crate) struct Patience {
    longest: Duration,
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl Patience {
    pub fn new(longest: Duration) -> Self {
        Self { longest, deadline: Arc::default() }
    }

    /// From now on nobody waits longer than until then.
    pub fn end_at(&self, deadline: Instant) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
    }

    fn left(&self) -> Duration {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        deadline.map_or(self.longest, |deadline| deadline.saturating_duration_since(Instant::now()).min(self.longest))
    }
}

impl RebalanceListener for Handover {
    fn on_assigned(&self, partitions: &[TopicPartition]) {
        self.work.with(|books| books.assign(partitions));
        self.metrics.count_rebalance(RebalanceKind::Assigned);
        self.metrics.assigned_partitions.inc_by(count_of(partitions));
        self.source.met();
    }

    fn on_revoked(&self, partitions: &[TopicPartition], commits: &dyn CommitOffsets) {
        self.metrics.count_rebalance(RebalanceKind::Revoked);
        self.metrics.assigned_partitions.dec_by(count_of(partitions));
        let epochs = self.work.with(|books| books.close(partitions));
        if !self.work.wait_idle(&epochs, self.patience.left()) {
            tracing::warn!("records were still under way when their partitions had to go: they will be handled again");
        }
        let offsets: Vec<GroupOffset> =
            self.work.with(|books| books.to_commit(Some(&epochs))).into_iter().map(|(_, offset)| offset).collect();
        if !offsets.is_empty() {
            let committed = commits.commit(&offsets);
            self.metrics.count_commit(committed.is_ok());
            if let Err(error) = committed {
                tracing::warn!(%error, "offsets were not committed: the next worker handles these records again");
            }
        }
        self.work.with(|books| books.forget(&epochs));
    }

    fn on_lost(&self, partitions: &[TopicPartition]) {
        tracing::warn!("the group went on without this worker: what was under way will be handled again");
        self.metrics.count_rebalance(RebalanceKind::Lost);
        self.metrics.assigned_partitions.dec_by(count_of(partitions));
        self.work.with(|books| {
            let epochs = books.close(partitions);
            books.forget(&epochs);
        });
    }
}

fn count_of(partitions: &[TopicPartition]) -> i64 {
    i64::try_from(partitions.len()).unwrap_or(i64::MAX)
}
