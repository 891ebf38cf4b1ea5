//! The one task that works on records: takes them in batches, calls the processor, writes what follows and commits.
//!
//! Everything that changes the books happens here, one thing after the other, so there is no lock and no order but the one
//! that is written down. A processor that answers at once costs neither a task nor a wake-up.

mod batch;
mod delivery;
mod places;
mod running;
mod standstill;
mod waiting;

use std::{collections::VecDeque, future::Future, panic::AssertUnwindSafe, sync::Arc, task::Poll, time::Duration};

use futures::{FutureExt, future::BoxFuture, stream::FuturesUnordered};
use penstock_crds::worker::{Ordering, RetryPolicy};
use penstock_kafka::{Error, TopicPartition};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    books::Books,
    bounds::Bounds,
    causes::Causes,
    counters::Counters,
    handover::{Consent, Rebalance},
    holds::{Holds, Limits, Look, Start},
    lookup::{Found, Lookup},
    outbox::Outbox,
    parked::{Parked, Spot},
    progress::Progress,
    retry::{self, Next, Standing},
    session::{Breakdown, Needs},
    ticket::{Assignment, Ticket},
    tiers::Station,
    unread::Unread,
    verdict::{Letter, Verdict},
    world::World,
    writing::Addresses,
};
use crate::{
    metrics::{OutcomeKind, RebalanceKind},
    processor::{DynProcessor, Failure, Outcome},
};
use batch::Batch;
use places::Places;
use running::{Ended, Running};
use waiting::Happened;

/// How many records are taken at once. Between two batches the group's decisions and Kafka's answers are looked at.
const BATCH: usize = 256;
/// The same is looked at after that long within a batch, and at most one record later: a processor that computes for long must
/// neither let a transaction grow old nor keep the group waiting.
const SPELL: Duration = Duration::from_millis(20);
/// What waits behind others may take that much memory besides everything else, which must have room for those that it waits for.
const HOLD_LIMITS: Limits = Limits { held: Bounds { records: 4_096, bytes: 2 << 20 }, waiting_bytes: 16 << 20 };

/// What the task works with.
pub(crate) struct Parts<W: World, O> {
    pub world: W,
    pub processor: Arc<dyn DynProcessor>,
    pub books: Books,
    pub outbox: O,
    pub addresses: Addresses,
    pub ordering: Ordering,
    pub retry: RetryPolicy,
    /// How many records may be in process at once.
    pub concurrency: usize,
    pub member: Arc<W::Member>,
    pub lookup: Arc<Lookup<W>>,
    pub decisions: UnboundedReceiver<Rebalance>,
    pub counters: Counters,
    pub progress: Progress,
    pub needs: Needs,
}

/// One attempt: what the processor answered, or the words of its panic.
struct Attempt {
    ticket: Ticket,
    number: u16,
    took: Duration,
    answer: Result<Outcome, String>,
}

/// A pause that is over.
enum Wake {
    /// Another attempt.
    Attempt(Ticket),
    /// The letter is tried again.
    Letter(Ticket, Letter),
    /// The record that a partition waits for may be tried.
    Due(Spot),
    /// The reader is back at that record.
    Sought(Spot),
    /// The partition goes on.
    Resumed,
    /// What waits in families, or why that is not known.
    Seen(Vec<Look>, Result<Unread, Error>),
    /// It was found out where partitions begin.
    Found(Found),
    /// Partitions were told so.
    Begun(Result<(), Error>),
}

/// The task's state.
pub(crate) struct Engine<W: World, O> {
    parts: Parts<W, O>,
    /// The partitions that stand still.
    parked: Parked,
    /// Which records wait behind others.
    holds: Holds,
    /// Why records went to the dead letter topic lately.
    causes: Causes,
    /// The partitions that have not begun, or cannot go on.
    places: Places,
    /// What the group decided while something else had to be finished first.
    deferred: VecDeque<Rebalance>,
    running: FuturesUnordered<Running>,
    pauses: FuturesUnordered<BoxFuture<'static, Wake>>,
    /// What was received and not looked at yet.
    batch: Batch,
    /// The clock as it was read last, which is whenever the processor has answered.
    clock: Instant,
    /// Something may start, but the spell was over.
    is_behind: bool,
    /// What is looked at first.
    turn: u8,
}

impl<W: World, O: Outbox> Engine<W, O> {
    pub fn new(parts: Parts<W, O>) -> Self {
        let holds = Holds::new(parts.ordering, Arc::clone(&parts.addresses.tiers), HOLD_LIMITS);
        Self {
            parts,
            parked: Parked::default(),
            holds,
            causes: Causes::default(),
            places: Places::default(),
            deferred: VecDeque::new(),
            running: FuturesUnordered::new(),
            pauses: FuturesUnordered::new(),
            batch: Batch::default(),
            clock: Instant::now(),
            is_behind: false,
            turn: 0,
        }
    }

    /// Works until it is told to stop, or until a partition is read as far as it can be and must be begun anew
    /// ([`Engine::stranded`]).
    ///
    /// # Errors
    /// The clients cannot go on: what is under way is not settled, and comes again.
    pub async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), Breakdown> {
        while !shutdown.is_cancelled() && self.stranded().is_none() {
            self.work().await?;
            // What was put off comes first: who was late in letting go has more than one decision before him.
            if let Some(decision) = self.deferred.pop_front() {
                self.obey(decision).await?;
                continue;
            }
            let may_take = self.parts.books.has_room() && self.running.len() < self.parts.concurrency;
            match self.happened(may_take, shutdown.cancelled()).await {
                Happened::Decided(decision) => self.obey(decision).await?,
                happened => self.react(happened).await?,
            }
        }
        Ok(())
    }

    /// Takes nothing more, and waits until what is in process is settled and committed, at most until then.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn drain(&mut self, deadline: Instant) -> Result<(), Breakdown> {
        self.parts.books.close_all();
        self.end_unbegun(None);
        if !self.finish(None, deadline).await? {
            tracing::warn!("not everything was finished in time: the rest will be handled again");
        }
        self.commit(None, deadline).await?;
        // The partitions go once this worker has left, and what the client still holds goes before them.
        if self.parts.books.is_writing_any() { Err(Breakdown::Unwritten) } else { Ok(()) }
    }

    /// Lets partitions go while the consumer leaves the group.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn leave(&mut self, left: impl Future<Output = ()>) -> Result<(), Breakdown> {
        let mut left = std::pin::pin!(left);
        while let Some(decision) = self.deferred.pop_front() {
            self.obey(decision).await?;
        }
        loop {
            tokio::select! {
                () = &mut left => return Ok(()),
                Some(decision) = self.parts.decisions.recv() => self.obey(decision).await?,
            }
        }
    }

    /// Works until no record of these assignments, or of any, has effects any more. False: the time was over before.
    async fn finish(&mut self, only: Option<&[Assignment]>, deadline: Instant) -> Result<bool, Breakdown> {
        loop {
            self.work().await?;
            let is_idle = only.map_or_else(|| self.parts.books.is_idle(), |only| self.parts.books.are_idle(only));
            if is_idle {
                return Ok(true);
            }
            match timeout_at(deadline, self.happened(false, std::future::pending())).await {
                // Another worker has the partitions by now, and does what is still under way here: the group would take the offsets
                // of a member that has joined it again, whichever partitions that one was given.
                Ok(Happened::Decided(Rebalance::Lost(_))) => {
                    self.parts.counters.rebalance(RebalanceKind::Lost);
                    return Err(Breakdown::Lost);
                }
                Ok(Happened::Decided(decision)) => self.deferred.push_back(decision),
                Ok(happened) => self.react(happened).await?,
                Err(_) => return Ok(false),
            }
        }
    }

    async fn react(&mut self, happened: Happened) -> Result<(), Breakdown> {
        match happened {
            Happened::Received(received) => self.received(received).await,
            Happened::Unfinished => self.take_batch().await,
            Happened::Ended(Ended::Tried(attempt)) => {
                self.tried(attempt);
                Ok(())
            }
            Happened::Ended(Ended::Unbegun(ticket)) => {
                self.parts.books.give_back(ticket);
                Ok(())
            }
            Happened::Woken(Wake::Attempt(ticket)) => {
                self.parts.books.put_off(ticket);
                Ok(())
            }
            Happened::Woken(Wake::Letter(ticket, letter)) => {
                self.parts.books.wake(ticket, letter);
                Ok(())
            }
            Happened::Woken(Wake::Due(spot)) => {
                self.due(spot);
                Ok(())
            }
            Happened::Woken(Wake::Sought(spot)) => {
                self.sought(spot);
                Ok(())
            }
            Happened::Woken(Wake::Seen(looks, seen)) => {
                self.seen(looks, seen);
                Ok(())
            }
            Happened::Woken(Wake::Resumed) => Ok(()),
            Happened::Woken(Wake::Found(found)) => {
                self.found(found);
                Ok(())
            }
            Happened::Woken(Wake::Begun(begun)) => begun.map_err(Breakdown::Consume),
            Happened::Told | Happened::Decided(_) | Happened::Answered | Happened::Behind => Ok(()),
        }
    }

    /// Starts what may start, writes what may be written, and takes in what Kafka answered.
    async fn work(&mut self) -> Result<(), Breakdown> {
        let begun = Instant::now();
        self.clock = begun;
        self.start_waiting(begun).await;
        let answers = self.parts.outbox.take_in(&mut self.parts.books)?;
        self.take_in(answers)?;
        self.write().await?;
        self.clock = Instant::now();
        // What was written may make room for more.
        while self.start_waiting(begun).await {
            self.write().await?;
            self.clock = Instant::now();
        }
        self.parts.outbox.commit_if_due(&mut self.parts.books);
        self.let_go_on();
        self.parts.counters.in_flight(self.parts.books.records());
        let progress = self.parts.books.take_progress();
        if !progress.is_empty() {
            self.parts.progress.reached(progress, self.parts.world.now().as_millisecond());
        }
        Ok(())
    }

    /// Starts what waits for a place in process, as far as there is one, in the spell that has begun then. Whether it has started
    /// any.
    async fn start_waiting(&mut self, begun: Instant) -> bool {
        let mut has_started = false;
        self.is_behind = false;
        while self.running.len() < self.parts.concurrency
            && let Some(ticket) = self.parts.books.next_startable()
        {
            if self.is_over(begun) {
                self.parts.books.put_first(ticket);
                self.is_behind = true;
                break;
            }
            self.start(ticket).await;
            has_started = true;
        }
        has_started
    }

    /// Whether the spell that has begun then is over.
    fn is_over(&self, begun: Instant) -> bool {
        self.clock.saturating_duration_since(begun) >= SPELL
    }

    /// Gives a record to the processor, or puts it off while too many are in process or too much is decided.
    async fn start(&mut self, ticket: Ticket) {
        if self.running.len() >= self.parts.concurrency || !self.parts.books.may_start(ticket) {
            return self.parts.books.put_off(ticket);
        }
        let start = self.may_start(ticket);
        if start == Start::Later {
            return self.parts.books.hold_lane(ticket);
        }
        let Some(event) = self.parts.books.begin(ticket) else { return };
        if start == Start::HoldBack {
            return self.decide(ticket, Verdict::Wait { at: Station::Held, not_before: None });
        }
        let (number, begun) = (event.attempt, self.clock);
        let mut answer = AssertUnwindSafe(Arc::clone(&self.parts.processor).handle(event)).catch_unwind();
        let polled = futures::poll!(&mut answer);
        self.clock = Instant::now();
        match polled {
            Poll::Ready(answer) => {
                self.tried(Attempt { ticket, number, took: self.clock - begun, answer: answer.map_err(words_of) });
            }
            Poll::Pending => {
                self.parts.books.hold_lane(ticket);
                let attempt = async move {
                    let answer = answer.await.map_err(words_of);
                    Attempt { ticket, number, took: begun.elapsed(), answer }
                };
                self.running.push(Running::new(ticket, attempt));
            }
        }
    }

    /// Decides what follows from an attempt.
    fn tried(&mut self, Attempt { ticket, number, took, answer }: Attempt) {
        self.parts.counters.processing.observe(took.as_secs_f64());
        let outcome = match answer {
            Ok(outcome) => {
                self.parts.counters.outcome(OutcomeKind::of(&outcome));
                outcome
            }
            Err(words) => {
                self.parts.counters.outcome(OutcomeKind::Panic);
                Outcome::Reject(Failure::new("Panic", words))
            }
        };
        let Parts { world, books, addresses, retry, counters, .. } = &mut self.parts;
        let standing = || {
            let levels = books.event(ticket).map_or(0, |event| addresses.tiers.levels_of(&event.topic));
            Standing { attempt: number, level: books.station(ticket).level(), levels }
        };
        let verdict = match retry::next(outcome, standing, retry, || world.chance()) {
            Next::Emit(outputs) => Verdict::Emit(outputs),
            Next::Bury(failure, burial) => Verdict::Bury(Box::new(Letter::new(failure, burial, world.now()))),
            Next::Wait(level, failure) => {
                tracing::debug!(error = failure.error_type, level, "a record waits for another attempt");
                counters.delayed.inc();
                let not_before = failure.retry_after.and_then(|pause| world.now().checked_add(pause).ok());
                Verdict::Wait { at: Station::Tier(level), not_before }
            }
            Next::Again(pause) => return self.pause(ticket, pause),
        };
        self.decide(ticket, verdict);
    }

    fn decide(&mut self, ticket: Ticket, verdict: Verdict) {
        if let Verdict::Wait { at, .. } = &verdict
            && let Some(event) = self.parts.books.event(ticket)
        {
            self.holds.wait(event, *at);
        }
        self.parts.books.decide(ticket, verdict);
    }

    fn pause(&mut self, ticket: Ticket, pause: Duration) {
        self.parts.counters.retries.inc();
        if self.parts.books.pause(ticket) {
            self.wake_after(pause, Wake::Attempt(ticket));
        }
    }

    fn wake_after(&self, pause: Duration, wake: Wake) {
        self.pauses.push(tokio::time::sleep(pause).map(|()| wake).boxed());
    }

    /// Does what the group decided.
    async fn obey(&mut self, decision: Rebalance) -> Result<(), Breakdown> {
        // A group without partitions for this worker is well, too.
        self.parts.needs.source.met();
        let (kind, gone) = match &decision {
            Rebalance::Assigned(partitions) => {
                self.parts.books.assign(partitions);
                self.parts.counters.begin(partitions, &self.parts.addresses.tiers);
                self.place(partitions);
                (RebalanceKind::Assigned, Vec::new())
            }
            Rebalance::Revoked(partitions, _) => (RebalanceKind::Revoked, self.close(partitions)),
            Rebalance::Lost(partitions) => (RebalanceKind::Lost, self.close(partitions)),
        };
        self.parts.counters.rebalance(kind);
        if let Rebalance::Revoked(_, consent) = &decision {
            self.hand_over(&gone, consent).await?;
        }
        let is_writing = self.parts.books.is_writing(&gone);
        self.parts.books.forget(&gone);
        self.give_up(&gone);
        self.parked.forget(&gone);
        self.forget_places(&gone);
        self.parts.progress.keep(|partition| self.parts.books.current_of(partition).is_some());
        self.parts.counters.assigned(self.parts.books.assigned());
        if let Rebalance::Lost(_) = decision { self.parts.outbox.lost(is_writing) } else { Ok(()) }
    }

    /// Nothing more of these partitions starts.
    fn close(&mut self, partitions: &[TopicPartition]) -> Vec<Assignment> {
        self.batch.forget(partitions);
        self.holds.revoke(partitions);
        let closed = self.parts.books.close(partitions);
        self.end_unbegun(Some(&closed));
        closed
    }

    async fn hand_over(&mut self, closed: &[Assignment], consent: &Consent) -> Result<(), Breakdown> {
        if !self.finish(Some(closed), consent.deadline).await? {
            tracing::warn!("records were still under way when their partitions had to go: they will be handled again");
            if self.parts.books.is_writing(closed) {
                // What the client still holds would come after what the next owner writes.
                return Err(Breakdown::Unwritten);
            }
        }
        self.commit(Some(closed), consent.deadline).await
    }

    /// Commits what is settled, of these assignments or of all, and takes in what came of it.
    async fn commit(&mut self, only: Option<&[Assignment]>, deadline: Instant) -> Result<(), Breakdown> {
        self.parts.outbox.commit(&mut self.parts.books, only, deadline).await?;
        let answers = self.parts.outbox.take_in(&mut self.parts.books)?;
        self.take_in(answers)
    }
}

/// What a panic said.
fn words_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the processor panicked: {}", words.unwrap_or("without a message"))
}
