//! The one task that works on records: takes them in batches, calls the processor, writes what follows and commits.
//!
//! Everything that changes the books happens here, one thing after the other, so there is no lock and no order but the one
//! that is written down. A processor that answers at once costs neither a task nor a wake-up.

mod places;

use std::{
    collections::VecDeque,
    future::Future,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use penstock_crds::worker::RetryPolicy;
use penstock_kafka::{ConsumedRecord, Consumer, Error, Received};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    books::{Assignment, Books, Ticket, Token},
    counters::Counters,
    dead_letter::Extent,
    handover::{Consent, Rebalance},
    lookup::{Found, Lookup},
    outbox::{Answers, Outbox},
    parked::{Parked, Spot},
    retry::{self, Burial, Next, Standing},
    session::{Breakdown, Needs},
    tiers::Level,
    verdict::{Letter, Verdict},
    writing::Addresses,
};
use crate::{
    metrics::{OutcomeKind, RebalanceKind},
    processor::{DynProcessor, Failure, Outcome},
};
use places::Places;

/// How many records are taken at once. Between two batches the group's decisions and Kafka's answers are looked at.
const BATCH: usize = 256;
/// The pause between two attempts to write a dead letter: the first, and the longest.
const BURIAL_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A partition that waits stands still at least that long: what becomes due shortly after is taken together.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
/// The pause before another attempt to go back to a record.
const SEEK_AGAIN: Duration = Duration::from_secs(1);

/// What the task works with.
pub(crate) struct Parts<O> {
    pub processor: Arc<dyn DynProcessor>,
    pub books: Books,
    pub outbox: O,
    pub addresses: Addresses,
    pub retry: RetryPolicy,
    /// How many records may be in process at once.
    pub concurrency: usize,
    pub consumer: Arc<Consumer>,
    pub lookup: Arc<Lookup>,
    pub decisions: UnboundedReceiver<Rebalance>,
    pub counters: Counters,
    pub needs: Needs,
}

/// One attempt: what the processor answered, or the words of its panic.
struct Attempt {
    ticket: Ticket,
    number: u16,
    begun: Instant,
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
    /// It was found out where partitions begin.
    Found(Found),
    /// Partitions were told so.
    Begun(Result<(), Error>),
}

/// What the task waited for.
enum Happened {
    Told,
    Decided(Rebalance),
    Tried(Attempt),
    Woken(Wake),
    Received(Result<Vec<Received>, Error>),
    Answered,
}

/// The task's state.
pub(crate) struct Engine<O> {
    parts: Parts<O>,
    /// The partitions of retry topics that stand still.
    parked: Parked,
    /// The partitions that have not begun, or cannot go on.
    places: Places,
    /// What the group decided while something else had to be finished first.
    deferred: VecDeque<Rebalance>,
    running: FuturesUnordered<BoxFuture<'static, Attempt>>,
    pauses: FuturesUnordered<BoxFuture<'static, Wake>>,
}

impl<O: Outbox> Engine<O> {
    pub fn new(parts: Parts<O>) -> Self {
        Self {
            parts,
            parked: Parked::default(),
            places: Places::default(),
            deferred: VecDeque::new(),
            running: FuturesUnordered::new(),
            pauses: FuturesUnordered::new(),
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
        if !self.finish(None, deadline).await? {
            tracing::warn!("not everything was finished in time: the rest will be handled again");
        }
        self.parts.outbox.commit(&mut self.parts.books, None, deadline).await
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
            match timeout_at(deadline.into(), self.happened(false, std::future::pending())).await {
                Ok(Happened::Decided(decision)) => self.deferred.push_back(decision),
                Ok(happened) => self.react(happened).await?,
                Err(_) => return Ok(false),
            }
        }
    }

    /// Waits until there is something to do. Cancel-safe.
    async fn happened(&mut self, may_take: bool, told: impl Future<Output = ()>) -> Happened {
        let Self { parts, running, pauses, .. } = self;
        tokio::select! {
            // A partition's records come after the decision that it is ours.
            biased;
            () = told => Happened::Told,
            Some(decision) = parts.decisions.recv() => Happened::Decided(decision),
            happened = async {
                tokio::select! {
                    Some(attempt) = running.next(), if !running.is_empty() => Happened::Tried(attempt),
                    Some(wake) = pauses.next(), if !pauses.is_empty() => Happened::Woken(wake),
                    received = parts.consumer.recv_all(BATCH), if may_take => Happened::Received(received),
                    () = parts.outbox.wait() => Happened::Answered,
                }
            } => happened,
        }
    }

    async fn react(&mut self, happened: Happened) -> Result<(), Breakdown> {
        match happened {
            Happened::Received(received) => self.received(received).await,
            Happened::Tried(attempt) => {
                self.tried(attempt);
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
            Happened::Woken(Wake::Resumed) => Ok(()),
            Happened::Woken(Wake::Found(found)) => {
                self.found(found);
                Ok(())
            }
            Happened::Woken(Wake::Begun(begun)) => begun.map_err(Breakdown::Consume),
            Happened::Told | Happened::Decided(_) | Happened::Answered => Ok(()),
        }
    }

    /// Starts what may start, writes what may be written, and takes in what Kafka answered.
    async fn work(&mut self) -> Result<(), Breakdown> {
        while self.running.len() < self.parts.concurrency
            && let Some(ticket) = self.parts.books.next_startable()
        {
            self.start(ticket).await;
        }
        let answers = self.parts.outbox.act(&mut self.parts.books)?;
        self.take_in(answers)?;
        self.write().await?;
        self.parts.counters.in_flight(self.parts.books.records());
        Ok(())
    }

    async fn received(&mut self, received: Result<Vec<Received>, Error>) -> Result<(), Breakdown> {
        let batch = match received {
            Ok(batch) => batch,
            Err(error) if error.is_fatal() => return Err(Breakdown::Consume(error)),
            Err(error) => {
                self.parts.needs.source.missing(error.to_string());
                return Ok(());
            }
        };
        self.parts.needs.source.met();
        let backlog = batch.len() >= BATCH;
        for received in batch {
            let record = match received {
                Received::Record(record) => record,
                Received::End { partition, offset } => {
                    if !self.parked.holds_up(&partition) {
                        self.parts.books.reach_end(&partition, offset);
                    }
                    continue;
                }
                Received::OutOfRange { partition, reason } => {
                    self.strand(partition, reason);
                    continue;
                }
            };
            if self.is_early(&record) {
                continue;
            }
            self.parts.counters.consumed(&record.topic);
            if let Some(ticket) = self.parts.books.take(record, &self.parts.addresses.tiers) {
                self.start(ticket).await;
            }
        }
        self.parts.counters.flush();
        self.parts.outbox.moved(backlog);
        Ok(())
    }

    /// Whether a record of a retry topic must wait. Then its partition stands still, and nothing of it is kept: it is read
    /// again once the record is due.
    fn is_early(&mut self, record: &ConsumedRecord) -> bool {
        if self.parked.is_parked(record) {
            return true;
        }
        let Some(due) = self.parts.addresses.tiers.due(record) else { return false };
        let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        if left.is_zero() {
            return false;
        }
        let Some(assignment) = self.parts.books.current(&record.topic, record.partition) else { return true };
        let spot = self.parked.park(record, assignment);
        let consumer = Arc::clone(&self.parts.consumer);
        let waited = async move {
            if let Err(error) = consumer.pause(std::slice::from_ref(&spot.partition)).await {
                tracing::debug!(%error, partition = %spot.partition, "a partition that waits was not paused");
            }
            tokio::time::sleep(left.max(SHORTEST_WAIT)).await;
            Wake::Due(spot)
        };
        self.pauses.push(waited.boxed());
        true
    }

    /// Goes back to the record that a partition waited for.
    fn due(&mut self, spot: Spot) {
        if !self.parked.holds(&spot) {
            return;
        }
        let consumer = Arc::clone(&self.parts.consumer);
        let sought = async move {
            match consumer.seek(&spot.partition, spot.offset).await {
                Ok(()) => Wake::Sought(spot),
                Err(error) => {
                    tracing::debug!(%error, partition = %spot.partition, "a partition that waited was not taken up; trying again");
                    tokio::time::sleep(SEEK_AGAIN).await;
                    Wake::Due(spot)
                }
            }
        };
        self.pauses.push(sought.boxed());
    }

    /// What was read before is dropped by now: from here on the records of the partition count again.
    fn sought(&mut self, spot: Spot) {
        if !self.parked.release(&spot) {
            return;
        }
        let consumer = Arc::clone(&self.parts.consumer);
        let resumed = async move {
            if let Err(error) = consumer.resume(std::slice::from_ref(&spot.partition)).await {
                tracing::debug!(%error, partition = %spot.partition, "a partition that waited is gone");
            }
            Wake::Resumed
        };
        self.pauses.push(resumed.boxed());
    }

    /// Gives a record to the processor, or puts it off while too many are in process.
    async fn start(&mut self, ticket: Ticket) {
        if self.running.len() >= self.parts.concurrency {
            return self.parts.books.put_off(ticket);
        }
        let Some(event) = self.parts.books.begin(ticket) else { return };
        let (number, begun) = (event.attempt, Instant::now());
        let mut answer = AssertUnwindSafe(Arc::clone(&self.parts.processor).handle(event)).catch_unwind();
        match futures::poll!(&mut answer) {
            Poll::Ready(answer) => self.tried(Attempt { ticket, number, begun, answer: answer.map_err(words_of) }),
            Poll::Pending => {
                self.parts.books.hold_lane(ticket);
                let attempt = async move { Attempt { ticket, number, begun, answer: answer.await.map_err(words_of) } };
                self.running.push(attempt.boxed());
            }
        }
    }

    /// Decides what follows from an attempt.
    fn tried(&mut self, Attempt { ticket, number, begun, answer }: Attempt) {
        self.parts.counters.processing.observe(begun.elapsed().as_secs_f64());
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
        let (level, levels) = self.level(ticket);
        let at = Standing { attempt: number, level, levels };
        let verdict = match retry::next(outcome, at, &self.parts.retry, rand::random()) {
            Next::Emit(outputs) => Verdict::Emit(outputs),
            Next::Bury(failure, burial) => Verdict::Bury(Letter::new(failure, burial, Timestamp::now())),
            Next::Wait(level, failure) => {
                tracing::debug!(error = failure.error_type, level, "a record waits for another attempt");
                self.parts.counters.delayed.inc();
                Verdict::Wait(level)
            }
            Next::Again(pause) => return self.pause(ticket, pause),
        };
        self.parts.books.decide(ticket, verdict);
    }

    /// How far the record has come, and how far it can.
    fn level(&mut self, ticket: Ticket) -> (Level, Level) {
        let Parts { books, addresses, .. } = &mut self.parts;
        let levels = books.event(ticket).map_or(0, |event| addresses.tiers.levels_of(&event.topic));
        (books.level(ticket), levels)
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

    async fn write(&mut self) -> Result<(), Breakdown> {
        self.parts.outbox.write_first().await?;
        while self.parts.outbox.is_open()
            && let Some((ticket, verdict)) = self.parts.books.next_emittable()
        {
            let Some(event) = self.parts.books.event(ticket) else { continue };
            let verdict = self.parts.addresses.checked(verdict, Timestamp::now);
            if !self.parts.outbox.takes(&event, &verdict) {
                self.parts.books.put_back(ticket, verdict);
                self.parts.outbox.hurry();
                return Ok(());
            }
            let written = self.parts.outbox.write(ticket, &event, &verdict).await?;
            let letter = match verdict {
                Verdict::Bury(letter) => Some(letter),
                Verdict::Emit(_) | Verdict::Wait(_) => None,
            };
            self.parts.books.emitted(ticket, written.records, letter);
            if let Some((token, error)) = written.refused {
                self.undelivered(token, error)?;
            }
        }
        Ok(())
    }

    fn take_in(&mut self, answers: Answers) -> Result<(), Breakdown> {
        let Parts { books, counters, needs, .. } = &mut self.parts;
        let (mut outputs, mut letters) = (0, 0);
        for token in answers.acknowledged {
            if !token.is_letter {
                outputs += 1;
            } else if let Some(letter) = books.letter(token.ticket) {
                counters.buried(letter.burial);
                letters += 1;
            }
            books.acknowledged(token);
        }
        counters.produced.inc_by(outputs);
        if outputs > 0 {
            needs.sink.met();
        }
        if letters > 0 {
            needs.dead_letter.met();
        }
        counters.produced.inc_by(answers.committed.outputs);
        for burial in answers.committed.burials {
            counters.buried(burial);
        }
        for (token, error) in answers.failed {
            self.undelivered(token, error)?;
        }
        Ok(())
    }

    /// Kafka does not have a record that it should have.
    fn undelivered(&mut self, token: Token, error: Error) -> Result<(), Breakdown> {
        if !self.parts.books.is_awaited(token) {
            return Ok(());
        }
        match self.parts.books.letter(token.ticket) {
            Some(letter) => self.unburied(token.ticket, letter, error),
            None => self.refused(token.ticket, error),
        }
    }

    /// The sink does not have an output: the record is at fault and goes to the dead letter topic, or the sink is, and no
    /// record gets past it.
    fn refused(&mut self, ticket: Ticket, error: Error) -> Result<(), Breakdown> {
        self.parts.counters.produce_failures.inc();
        let error_type = match &error {
            Error::RecordTooLarge { .. } => "OutputTooLarge",
            Error::InvalidRequest { .. } | Error::PolicyViolation { .. } => "OutputRefused",
            _ => {
                self.parts.needs.sink.missing(error.to_string());
                return Err(Breakdown::Produce(error));
            }
        };
        let failure = Failure::new(error_type, error.to_string());
        self.parts.books.bury(ticket, Letter::new(failure, Burial::Rejected, Timestamp::now()));
        Ok(())
    }

    /// A dead letter is not written: it is tried again, however long that takes.
    fn unburied(&mut self, ticket: Ticket, mut letter: Letter, error: Error) -> Result<(), Breakdown> {
        if matches!(error, Error::RecordTooLarge { .. }) && letter.extent == Extent::Whole {
            letter.extent = Extent::Pointer;
            self.parts.books.bury(ticket, letter);
            return Ok(());
        }
        self.parts.counters.dead_letter_failures.inc();
        self.parts.needs.dead_letter.missing(error.to_string());
        if error.is_fatal() {
            return Err(Breakdown::Produce(error));
        }
        letter.failures = letter.failures.saturating_add(1);
        let (initial, max) = BURIAL_BACKOFF;
        let pause = retry::pause(initial, max, letter.failures, rand::random());
        tracing::debug!(%error, topic = self.parts.addresses.dead_letter.topic, ?pause, "a dead letter was not written");
        self.parts.books.rest(ticket);
        self.wake_after(pause, Wake::Letter(ticket, letter));
        Ok(())
    }

    /// Does what the group decided.
    async fn obey(&mut self, decision: Rebalance) -> Result<(), Breakdown> {
        // A group without partitions for this worker is well, too.
        self.parts.needs.source.met();
        let (kind, gone) = match &decision {
            Rebalance::Assigned(partitions) => {
                self.parts.books.assign(partitions);
                self.place(partitions);
                (RebalanceKind::Assigned, Vec::new())
            }
            Rebalance::Revoked(partitions, _) => (RebalanceKind::Revoked, self.parts.books.close(partitions)),
            Rebalance::Lost(partitions) => (RebalanceKind::Lost, self.parts.books.close(partitions)),
        };
        self.parts.counters.rebalance(kind);
        if let Rebalance::Revoked(_, consent) = &decision {
            self.hand_over(&gone, consent).await?;
        }
        self.parts.books.forget(&gone);
        self.parked.forget(&gone);
        self.forget_places(&gone);
        self.parts.counters.assigned(self.parts.books.assigned());
        if let Rebalance::Lost(_) = decision { self.parts.outbox.lost() } else { Ok(()) }
    }

    async fn hand_over(&mut self, closed: &[Assignment], consent: &Consent) -> Result<(), Breakdown> {
        if !self.finish(Some(closed), consent.deadline).await? {
            tracing::warn!("records were still under way when their partitions had to go: they will be handled again");
            if self.parts.books.is_writing(closed) {
                // What the client still holds would come after what the next owner writes.
                return Err(Breakdown::Unwritten);
            }
        }
        self.parts.outbox.commit(&mut self.parts.books, Some(closed), consent.deadline).await
    }
}

/// What a panic said.
fn words_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the processor panicked: {}", words.unwrap_or("without a message"))
}
