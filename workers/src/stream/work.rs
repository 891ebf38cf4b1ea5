//! The records in flight, shared between the tasks that handle them and the thread that polls the consumer.
//!
//! A record that was taken is settled or given up, whatever becomes of its task: that is what dropping it does.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use penstock_kafka::GroupOffset;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::in_flight::{Epoch, InFlight, Ticket, Turn};
use crate::processor::Event;

/// The records in flight.
pub(crate) struct Work {
    state: Mutex<State>,
    /// For the polling thread, which must not await.
    progress: Condvar,
    /// For the session: there may be room, or everything may be done.
    changed: Notify,
    gauge: Gauge,
    /// A record's task ended without a decision: only a new session can read the record again.
    broken: CancellationToken,
}

struct State {
    books: InFlight,
    committing: bool,
}

impl Work {
    pub fn new(books: InFlight, gauge: Gauge) -> Arc<Self> {
        gauge.set(0);
        Arc::new(Self {
            state: Mutex::new(State { books, committing: false }),
            progress: Condvar::new(),
            changed: Notify::new(),
            gauge,
            broken: CancellationToken::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the books without telling anybody: for a change that nobody waits for.
    pub fn with_quietly<T>(&self, change: impl FnOnce(&mut InFlight) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state.books);
        self.gauge.set(i64::try_from(state.books.records()).unwrap_or(i64::MAX));
        result
    }

    /// Works on the books; everybody who waits for a change looks again.
    pub fn with<T>(&self, change: impl FnOnce(&mut InFlight) -> T) -> T {
        let result = self.with_quietly(change);
        self.progress.notify_all();
        self.changed.notify_one();
        result
    }

    /// Something may have changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether one more record may be taken.
    pub fn has_room(&self) -> bool {
        self.state().books.has_room()
    }

    /// Whether no record has effects any more.
    pub fn is_idle(&self) -> bool {
        self.state().books.running_in_all() == 0
    }

    /// Cancelled once a record was given up in a partition that goes on.
    pub fn broken(&self) -> &CancellationToken {
        &self.broken
    }

    /// Blocks until no record of these epochs has effects and no commit is under way, at most that long. True if so.
    pub fn wait_idle(&self, epochs: &[Epoch], longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let mut state = self.state();
        loop {
            if state.books.running(epochs) == 0 && !state.committing {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What to commit now, if anything. Partitions do not go away until the answer is in the books.
    pub fn begin_commit(self: &Arc<Self>) -> Option<PendingCommit> {
        let mut state = self.state();
        let offsets = state.books.to_commit(None);
        if offsets.is_empty() {
            return None;
        }
        state.committing = true;
        Some(PendingCommit { offsets, work: Arc::clone(self) })
    }
}

/// A commit whose answer is awaited. Dropped, it is over, whatever the answer.
pub(crate) struct PendingCommit {
    offsets: Vec<(Epoch, GroupOffset)>,
    work: Arc<Work>,
}

impl PendingCommit {
    pub fn offsets(&self) -> Vec<GroupOffset> {
        self.offsets.iter().map(|(_, offset)| offset.clone()).collect()
    }

    /// Kafka has acknowledged it.
    pub fn acknowledged(self) {
        self.work.with(|books| books.committed(&self.offsets));
    }
}

impl Drop for PendingCommit {
    fn drop(&mut self) {
        self.work.state().committing = false;
        self.work.progress.notify_all();
    }
}

/// A record whose turn it is, in the hands of one task.
pub(crate) struct Taken {
    pub event: Event,
    ticket: Ticket,
    closing: CancellationToken,
    work: Arc<Work>,
    settled: bool,
}

impl Taken {
    pub fn new(turn: Turn, work: &Arc<Work>) -> Self {
        let Turn { event, ticket, closing } = turn;
        Self { event, ticket, closing, work: Arc::clone(work), settled: false }
    }

    /// Cancelled when the record's partition goes away.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// See [`InFlight::enter`].
    pub fn enter(&mut self) -> bool {
        self.work.with(|books| books.enter(&mut self.ticket))
    }

    /// See [`InFlight::leave`].
    pub fn leave(&mut self) {
        self.work.with(|books| books.leave(&mut self.ticket));
    }

    /// See [`InFlight::holds`].
    pub fn is_held(&self) -> bool {
        self.work.state().books.holds(&self.ticket)
    }

    /// See [`InFlight::release_lane`].
    pub fn release_lane(&mut self) -> Option<Taken> {
        let turn = self.work.with(|books| books.release_lane(&mut self.ticket))?;
        Some(Taken::new(turn, &self.work))
    }

    /// Kafka has everything that the record caused.
    pub fn settle(mut self) {
        self.settled = true;
        self.work.with(|books| books.settle(&mut self.ticket));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.settled && self.work.with(|books| books.give_up(&mut self.ticket)) {
            self.work.broken.cancel();
        }
    }
}
