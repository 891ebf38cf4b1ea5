//! Exactly once: what follows from records, their dead letters and their offsets are one transaction (KIP-98, KIP-447).
//!
//! While a transaction is being committed the processor goes on, and what follows waits in the books. After an end that
//! is not a clean success the session is over, and the next one begins at the committed offsets. One end is forgiven: that
//! of a transaction whose only record its topic refuses as too large. What was refused for what it is, is named then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use penstock_kafka::{CommitError, Error, RecordRef, TopicPartition};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Answers, Outbox, Written};
use crate::{
    clients,
    processor::{Event, Failure},
    stream::{
        books::{Books, Emission, Position},
        dead_letter::{Extent, fingerprint},
        refused::error_type,
        retry::Burial,
        session::Breakdown,
        ticket::{Assignment, Origin, Ticket},
        tiers::{self, Station},
        verdict::{Letter, Verdict},
        world::{Producer, Transaction, World},
        writing::Addresses,
    },
};

/// How long a transaction stays open where nothing more waits to be taken: long enough for what arrives together.
const LINGER: Duration = Duration::from_millis(2);

/// How long a producer rests after a commit. The coordinator has answered before it has marked the end in every partition, and
/// refuses the producer's next transaction until then; the library would ask again only after 20 ms. Another producer's
/// transaction does not wait for that: two take turns.
const REST: Duration = Duration::from_millis(10);

/// When a transaction is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// At the latest after that long.
    pub interval: Duration,
    /// At the latest with so many records.
    pub records: u32,
    /// How large batches are. A record that is alone in its batch has a transaction of its own: its topic may refuse it, and with
    /// it all of its transaction.
    pub batch_bytes: u32,
}

/// What a transaction holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Records for the sink.
    pub outputs: u64,
    /// Dead letters, each with why it is one.
    pub burials: Vec<Burial>,
    records: u32,
    /// What it was written for, where it holds nothing else.
    alone: Option<Large>,
    /// It takes nothing more and will not be committed.
    has_failed: bool,
}

impl Contents {
    fn is_full(&self, cut: Cut) -> bool {
        self.records >= cut.records || self.alone.is_some() || self.has_failed
    }
}

/// What was committed and nobody was told of yet.
#[derive(Debug, Default)]
struct Committed {
    buried: Vec<Burial>,
    stored: BTreeMap<TopicPartition, u64>,
}

impl Committed {
    fn add(&mut self, buried: Vec<Burial>, stored: &BTreeMap<TopicPartition, u64>) {
        self.buried.extend(buried);
        for (partition, count) in stored {
            *self.stored.entry(partition.clone()).or_default() += count;
        }
    }
}

/// A verdict with a record that its topic may refuse.
#[derive(Debug)]
struct Large {
    event: Arc<Event>,
    verdict: Verdict,
}

type End<P> = Result<P, CommitError<P>>;

/// Where the producer is.
enum State<P: Producer> {
    Between(P),
    Open(P::Transaction),
    Committing(BoxFuture<'static, End<P>>),
    Ended(End<P>),
    /// On its way from one state to the next; or lost, because that way was not finished.
    Gone,
}

/// Writes into transactions.
pub(crate) struct ExactlyOnce<W: World> {
    world: W,
    state: State<W::Producer>,
    /// The producer whose turn is next, and until when it rests.
    next: (W::Producer, Instant),
    member: Arc<W::Member>,
    addresses: Addresses,
    cut: Cut,
    /// What is in the transaction that is open or being committed.
    contents: Contents,
    /// The positions that are being committed.
    positions: Vec<Position>,
    /// Since when there is something to commit.
    since: Option<Instant>,
    backlog: bool,
    /// The transaction is to be ended at once.
    hurried: bool,
    /// The next transaction does not begin before: its producer rests.
    rests_until: Option<Instant>,
    /// What is to be written first, in place of what its topic has refused.
    instead: Option<Large>,
    /// What was to wait, and does not.
    unwaiting: Vec<(Arc<Event>, Station)>,
    committed: Committed,
    count: Box<dyn Fn(bool, u64) + Send + Sync>,
}

impl<W: World> ExactlyOnce<W> {
    /// `count` is told of each commit whether it worked.
    pub fn new(
        world: W,
        [producer, next]: [W::Producer; 2],
        member: Arc<W::Member>,
        addresses: Addresses,
        cut: Cut,
        count: impl Fn(bool, u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            world,
            state: State::Between(producer),
            next: (next, Instant::now()),
            member,
            addresses,
            cut,
            contents: Contents::default(),
            positions: Vec::new(),
            since: None,
            backlog: false,
            hurried: false,
            rests_until: None,
            instead: None,
            unwaiting: Vec::new(),
            committed: Committed::default(),
            count: Box::new(count),
        }
    }

    /// The open transaction; begins one where there is none.
    async fn open(&mut self) -> Result<&<W::Producer as Producer>::Transaction, Error> {
        if let State::Between(_) = &self.state
            && let State::Between(producer) = std::mem::replace(&mut self.state, State::Gone)
        {
            self.state = State::Open(producer.begin().await?);
        }
        match &self.state {
            State::Open(transaction) => Ok(transaction),
            _ => Err(Error::Closed),
        }
    }

    async fn enqueue(&mut self, record: RecordRef<'_>, token: usize) -> Result<(), Error> {
        self.open().await?.enqueue(record, token).await?;
        self.contents.records += 1;
        Ok(())
    }

    /// A letter that is too large, or cannot be sent, shrinks; whatever else is refused ends the session.
    async fn bury(&mut self, event: &Event, letter: &Letter, token: usize) -> Result<(), Breakdown> {
        let whole = self.addresses.letter(event, letter);
        let buried = match self.enqueue(RecordRef::from(&whole), token).await {
            Err(Error::RecordTooLarge { .. } | Error::InvalidRequest { .. }) => {
                let pointer = self.addresses.letter(event, &Letter { extent: Extent::Pointer, ..letter.clone() });
                self.enqueue(RecordRef::from(&pointer), token).await
            }
            buried => buried,
        };
        buried.map_err(Breakdown::Bury)?;
        self.contents.burials.push(letter.burial);
        Ok(())
    }

    /// Whether what comes next can be written, or committed.
    fn is_ready(&self) -> bool {
        matches!(self.state, State::Between(_) | State::Open(_)) && self.instead.is_none() && self.rests_until.is_none()
    }

    /// When the transaction is ended.
    fn due(&self) -> Option<Instant> {
        let since = self.since?;
        if self.hurried || self.contents.is_full(self.cut) {
            return Some(since);
        }
        Some(since + if self.backlog { self.cut.interval } else { LINGER })
    }

    /// Ends the transaction with the positions of now.
    fn end(&mut self, books: &Books) {
        (self.since, self.hurried) = (None, false);
        self.positions = books.to_commit(None);
        let offsets: Vec<_> = self.positions.iter().map(|position| position.offset.clone()).collect();
        let member = Arc::clone(&self.member);
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Between(producer) if offsets.is_empty() => State::Between(producer),
            State::Between(producer) => {
                State::Committing(async move { producer.begin().await.map_err(lost)?.commit(&offsets, &member).await }.boxed())
            }
            State::Open(transaction) => State::Committing(async move { transaction.commit(&offsets, &member).await }.boxed()),
            state => state,
        };
    }

    /// Takes in how a transaction ended.
    fn conclude(&mut self, books: &mut Books) -> Result<(), Breakdown> {
        if !matches!(self.state, State::Ended(_)) {
            return Ok(());
        }
        let State::Ended(result) = std::mem::replace(&mut self.state, State::Gone) else { return Ok(()) };
        (self.count)(result.is_ok(), if result.is_ok() { 0 } else { self.contents.outputs });
        let (mut contents, positions) = (std::mem::take(&mut self.contents), std::mem::take(&mut self.positions));
        match result {
            Ok(producer) => {
                self.committed.add(contents.burials, producer.stored());
                let (next, rested) = std::mem::replace(&mut self.next, (producer, Instant::now() + REST));
                (self.state, self.rests_until) = (State::Between(next), Some(rested));
                books.committed(&positions);
                Ok(())
            }
            Err(CommitError::Aborted { reason: reason @ Error::RecordTooLarge { .. }, producer, .. }) => {
                // Nothing else was in it, so nothing else has to be read again.
                let Some(large) = contents.alone.take() else { return Err(Breakdown::TooLarge) };
                if let Verdict::Wait { at, .. } = &large.verdict {
                    self.unwaiting.push((Arc::clone(&large.event), *at));
                }
                let (event, (instead, fingerprint)) = (large.event.id(), large.shortened(&reason, self.world.now()));
                tracing::info!(event, %reason, fingerprint, "a dead letter, or a shorter one, is written in its place");
                self.instead = Some(instead);
                self.since = Some(Instant::now());
                self.state = State::Between(*producer);
                Ok(())
            }
            Err(CommitError::Aborted { reason, records, .. }) if reason.is_of_record() => Err(self.refused(books, reason, &records)),
            Err(CommitError::Aborted { reason, .. }) => Err(Breakdown::Aborted(reason)),
            Err(CommitError::ProducerLost { reason }) => Err(Breakdown::Doubt(reason)),
        }
    }

    /// Which events' outputs a topic refuses for what they are. No letter can be written in place of a letter.
    fn refused(&self, books: &Books, reason: Error, records: &[usize]) -> Breakdown {
        let origins: Vec<_> = records.iter().map(|token| Origin::from(*token)).collect();
        if origins.iter().any(|origin| origin.is_letter) {
            return Breakdown::Bury(reason);
        }
        let event = |origin: &Origin| {
            let read = books.name_of(origin.assignment)?;
            let source = self.addresses.tiers.source_of(&read.topic).map_or(read.topic.as_str(), |source| &**source);
            Some(format!("{source}/{}/{}", read.partition, origin.offset))
        };
        Breakdown::Refused { events: origins.iter().filter_map(event).collect(), reason }
    }

    async fn put(&mut self, ticket: Option<Ticket>, event: &Arc<Event>, verdict: &Verdict) -> Result<(), Breakdown> {
        let before = self.contents.records;
        let reason = match self.add(ticket, event, verdict).await {
            Err(Breakdown::Produce(reason @ (Error::RecordTooLarge { .. } | Error::InvalidRequest { .. }))) => reason,
            added => return added,
        };
        // The client does not send that. It is no part of the transaction, which can go on.
        let letter = Letter::unwritable(Failure::new(error_type(&reason), reason.to_string()), self.world.now());
        self.contents.alone = None;
        let instead = Verdict::Bury(Box::new(letter));
        if self.contents.records > before || !self.takes(event, &instead) {
            return Err(Breakdown::Refused { events: vec![event.id()], reason });
        }
        if let Verdict::Wait { at, .. } = verdict {
            self.unwaiting.push((Arc::clone(event), *at));
        }
        self.add(ticket, event, &instead).await
    }

    async fn add(&mut self, ticket: Option<Ticket>, event: &Arc<Event>, verdict: &Verdict) -> Result<(), Breakdown> {
        self.since.get_or_insert_with(Instant::now);
        let is_letter = matches!(verdict, Verdict::Bury(_));
        let origin = |ticket: Ticket| Origin { assignment: ticket.assignment, offset: event.offset, is_letter };
        let token = ticket.map_or(usize::MAX, |ticket| origin(ticket).into());
        if self.is_large(event, verdict) {
            self.contents.alone = Some(Large { event: Arc::clone(event), verdict: verdict.clone() });
        }
        match verdict {
            Verdict::Emit(outputs) => {
                let Some(sink) = self.addresses.sink.clone() else { return Ok(()) };
                for output in outputs {
                    self.enqueue(output.to_record(&sink), token).await.map_err(Breakdown::Produce)?;
                    self.contents.outputs += 1;
                }
            }
            Verdict::Wait { at, not_before } => {
                if let Some(record) = self.addresses.tiers.waiting(event, *at, *not_before, self.world.now()) {
                    self.enqueue(RecordRef::from(&record), token).await.map_err(Breakdown::Produce)?;
                }
            }
            Verdict::Bury(letter) => self.bury(event, letter, token).await?,
        }
        Ok(())
    }

    /// Whether a topic may refuse what follows.
    fn is_large(&self, event: &Event, verdict: &Verdict) -> bool {
        let is_alone = |size: usize| clients::is_alone(size, self.cut.batch_bytes);
        match verdict {
            Verdict::Emit(outputs) => outputs.iter().any(|output| is_alone(output.size())),
            Verdict::Bury(letter) if letter.extent == Extent::Pointer => false,
            Verdict::Bury(letter) => is_alone(self.addresses.letter_weight(event, letter)),
            Verdict::Wait { .. } => is_alone(event.size() + tiers::MAX_HEADERS),
        }
    }
}

fn lost<P>(reason: Error) -> CommitError<P> {
    CommitError::ProducerLost { reason }
}

impl Large {
    /// What is written in its place: a letter in place of an output, a pointer in place of a letter. With the fingerprint of the
    /// letter's cause.
    fn shortened(self, reason: &Error, now: Timestamp) -> (Self, String) {
        let letter = match self.verdict {
            Verdict::Bury(letter) => Letter { extent: Extent::Pointer, ..*letter },
            Verdict::Emit(_) | Verdict::Wait { .. } => Letter::unwritable(Failure::new("OutputTooLarge", reason.to_string()), now),
        };
        let fingerprint = fingerprint(&letter.failure);
        (Self { event: self.event, verdict: Verdict::Bury(Box::new(letter)) }, fingerprint)
    }
}

impl<W: World> Outbox for ExactlyOnce<W> {
    const EMISSION: Emission = Emission::InOrder;

    fn is_open(&self) -> bool {
        self.is_ready() && !self.contents.is_full(self.cut)
    }

    fn takes(&self, event: &Event, verdict: &Verdict) -> bool {
        self.contents.records == 0 || !self.is_large(event, verdict)
    }

    fn hurry(&mut self) {
        self.hurried = true;
        self.since.get_or_insert_with(Instant::now);
    }

    /// What was refused, in a shorter form.
    async fn write_first(&mut self) -> Result<(), Breakdown> {
        if matches!(self.state, State::Between(_))
            && let Some(Large { event, verdict }) = self.instead.take()
        {
            self.put(None, &event, &verdict).await?;
        }
        Ok(())
    }

    async fn write(&mut self, ticket: Ticket, event: &Arc<Event>, verdict: &Verdict) -> Result<Written, Breakdown> {
        match self.put(Some(ticket), event, verdict).await {
            // A record of it was refused already. What that says of the records is found at its end, which is now.
            Err(Breakdown::Produce(Error::TransactionFailed) | Breakdown::Bury(Error::TransactionFailed)) => {
                self.contents.has_failed = true;
                Ok(Written { has_failed: self.contents.alone.is_none(), ..Written::default() })
            }
            put => put.map(|()| Written::default()),
        }
    }

    fn moved(&mut self, backlog: bool) {
        self.backlog = backlog;
        self.since.get_or_insert_with(Instant::now);
    }

    async fn wait(&mut self) {
        let due = self.rests_until.or_else(|| self.due());
        match &mut self.state {
            State::Committing(ending) => {
                let result = ending.await;
                self.state = State::Ended(result);
            }
            State::Ended(_) => {}
            State::Between(_) | State::Open(_) | State::Gone => match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            },
        }
    }

    fn take_in(&mut self, books: &mut Books) -> Result<Answers, Breakdown> {
        self.conclude(books)?;
        let Committed { buried, stored } = std::mem::take(&mut self.committed);
        self.rests_until = self.rests_until.filter(|until| *until > Instant::now());
        Ok(Answers { buried, stored, unwaiting: std::mem::take(&mut self.unwaiting), ..Answers::default() })
    }

    fn commit_if_due(&mut self, books: &mut Books) {
        if self.is_ready() && self.due().is_some_and(|due| due <= Instant::now()) {
            self.end(books);
        }
    }

    async fn commit(&mut self, books: &mut Books, _: Option<&[Assignment]>, deadline: Instant) -> Result<(), Breakdown> {
        let commit = async {
            loop {
                match &mut self.state {
                    State::Committing(ending) => {
                        let result = ending.await;
                        self.state = State::Ended(result);
                    }
                    State::Ended(_) => self.conclude(books)?,
                    State::Between(_) if self.instead.is_some() => self.write_first().await?,
                    State::Between(_) if books.to_commit(None).is_empty() => return Ok(()),
                    State::Between(_) | State::Open(_) => self.end(books),
                    State::Gone => return Err(Breakdown::Produce(Error::Closed)),
                }
            }
        };
        timeout_at(deadline, commit).await.unwrap_or(Err(Breakdown::Uncommitted))
    }

    fn lost(&mut self, _: bool) -> Result<(), Breakdown> {
        // The transaction may hold records that another worker handles now; the group would refuse it anyway.
        Err(Breakdown::Lost)
    }
}

#[cfg(test)]
mod tests;
