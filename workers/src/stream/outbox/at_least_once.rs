//! At least once: a record is settled once Kafka has acknowledged what follows from it, and offsets are committed after
//! that, a few times a second, one commit at a time.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use penstock_kafka::{RecordRef, Settled};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Answers, Outbox, Written};
use crate::{
    clients,
    processor::Event,
    stream::{
        books::{Books, Emission, Position},
        retry,
        session::Breakdown,
        ticket::{Assignment, Ticket, Token},
        verdict::Verdict,
        world::{Bulk, Member, World},
        writing::Addresses,
    },
};

/// How often settled records are committed. After a crash no more than this long is handled again.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a record waits for others to be sent with it where few are on their way, however much longer it might.
const LINGER: Duration = Duration::from_millis(3);
/// So few: what comes faster than that fills batches by itself.
const FEW: usize = 256;
/// How often the pause before the next attempt to send doubles: to some 3 s.
const MOST_PUSHES: u32 = 10;
/// How long to pause at most while commits fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Commit = BoxFuture<'static, (Vec<Position>, penstock_kafka::Result<()>)>;

/// How the producer gathers records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// How large its batches are.
    pub bytes: u32,
    /// How long a record waits for others.
    pub linger: Duration,
    /// How many records it holds at most.
    pub room: usize,
}

/// Writes at once and commits what is settled.
pub(crate) struct AtLeastOnce<W: World> {
    world: W,
    producer: Arc<W::Bulk>,
    batching: Batching,
    /// Since when something may wait to be sent.
    waiting_since: Option<Instant>,
    /// How often it was to be sent since, and was perhaps not.
    pushes: u32,
    /// What waits is being sent.
    pushing: Option<BoxFuture<'static, ()>>,
    member: Arc<W::Member>,
    addresses: Addresses,
    committing: Option<Commit>,
    committed: Option<(Vec<Position>, penstock_kafka::Result<()>)>,
    count: Box<dyn Fn(bool, u64) + Send + Sync>,
    has_moved: bool,
    next_commit: Instant,
    failures: u32,
}

impl<W: World> AtLeastOnce<W> {
    /// `count` is told of each commit whether it worked, and how many outputs are not in Kafka because it did not.
    pub fn new(
        world: W,
        producer: W::Bulk,
        batching: Batching,
        member: Arc<W::Member>,
        addresses: Addresses,
        count: impl Fn(bool, u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            world,
            producer: Arc::new(producer),
            batching,
            waiting_since: None,
            pushes: 0,
            pushing: None,
            member,
            addresses,
            committing: None,
            committed: None,
            count: Box::new(count),
            has_moved: false,
            next_commit: Instant::now() + INTERVAL,
            failures: 0,
        }
    }

    fn token(&self, record: &RecordRef<'_>, ticket: Ticket, is_letter: bool) -> Token {
        Token { ticket, is_letter, is_alone: clients::is_alone(record.size(), self.batching.bytes) }
    }

    async fn enqueue(producer: &W::Bulk, record: RecordRef<'_>, token: Token, written: &mut Written) -> Result<(), Breakdown> {
        written.records += 1;
        match producer.enqueue(record, token.into()).await {
            Err(error) if error.is_fatal() => return Err(Breakdown::Produce(error)),
            Err(error) => written.refused = Some((token, error)),
            Ok(()) => {}
        }
        Ok(())
    }

    /// When what waits is sent; none while it goes by itself.
    fn next_push(&self) -> Option<Instant> {
        let goes_by_itself = self.pushing.is_some() || self.batching.linger <= LINGER || self.producer.in_flight() >= FEW;
        let since = self.waiting_since.filter(|_| !goes_by_itself)?;
        Some(since + LINGER * 2_u32.pow(self.pushes.min(MOST_PUSHES)))
    }

    fn begin_push(&mut self) {
        let producer = Arc::clone(&self.producer);
        self.waiting_since = None;
        self.pushing = Some(async move { producer.push().await }.boxed());
    }

    /// A thread of the library may have come too late to see it. Where Kafka is slow or away, it is for nothing, and less and less
    /// often.
    fn end_push(&mut self) {
        self.pushing = None;
        if self.waiting_since.is_none() && self.producer.in_flight() > 0 {
            self.waiting_since = Some(Instant::now());
            self.pushes += 1;
        }
    }

    fn written(&mut self) {
        if self.waiting_since.is_none() || self.pushes > 0 {
            (self.waiting_since, self.pushes) = (Some(Instant::now()), 0);
        }
    }

    fn begin_commit(&mut self, positions: Vec<Position>) {
        let member = Arc::clone(&self.member);
        let commit = async move {
            let offsets: Vec<_> = positions.iter().map(|position| position.offset.clone()).collect();
            let result = member.commit(&offsets).await;
            (positions, result)
        };
        self.committing = Some(commit.boxed());
    }

    fn conclude(&mut self, books: &mut Books) {
        let Some((positions, result)) = self.committed.take() else { return };
        (self.count)(result.is_ok(), 0);
        match result {
            Ok(()) => {
                books.committed(&positions);
                self.failures = 0;
                self.next_commit = Instant::now() + INTERVAL;
            }
            Err(error) => {
                tracing::warn!(%error, "offsets were not committed; they will be, with the next ones");
                self.failures += 1;
                self.has_moved = true;
                self.next_commit = Instant::now() + retry::pause(INTERVAL, LONGEST_PAUSE, self.failures, 1.0);
            }
        }
    }

    async fn finish_commit(&mut self) {
        if let Some(commit) = &mut self.committing {
            self.committed = Some(commit.await);
            self.committing = None;
        }
    }
}

impl<W: World> Outbox for AtLeastOnce<W> {
    const EMISSION: Emission = Emission::AtOnce;

    fn is_open(&self) -> bool {
        true
    }

    /// While Kafka takes nothing, what follows waits here and not for the client's room: what the group decides must be heard of
    /// meanwhile.
    fn takes(&self, _: &Event, verdict: &Verdict) -> bool {
        let in_flight = self.producer.in_flight();
        in_flight == 0 || in_flight + verdict.records() <= self.batching.room
    }

    async fn write(&mut self, ticket: Ticket, event: &Arc<Event>, verdict: &Verdict) -> Result<Written, Breakdown> {
        let mut written = Written::default();
        match verdict {
            Verdict::Emit(outputs) => {
                for output in outputs {
                    // Without a sink there are none: they were made a letter.
                    let Some(sink) = &self.addresses.sink else { break };
                    let record = output.to_record(sink);
                    let token = self.token(&record, ticket, false);
                    Self::enqueue(&self.producer, record, token, &mut written).await?;
                    if written.refused.is_some() {
                        break;
                    }
                }
            }
            Verdict::Wait { at, not_before } => {
                if let Some(record) = self.addresses.tiers.waiting(event, *at, *not_before, self.world.now()) {
                    let record = RecordRef::from(&record);
                    let token = self.token(&record, ticket, false);
                    Self::enqueue(&self.producer, record, token, &mut written).await?;
                }
            }
            Verdict::Bury(letter) => {
                let record = self.addresses.letter(event, letter);
                let record = RecordRef::from(&record);
                let token = self.token(&record, ticket, true);
                Self::enqueue(&self.producer, record, token, &mut written).await?;
            }
        }
        // What causes nothing is settled at once: no acknowledgement will tell that offsets have moved.
        self.has_moved |= written.records == 0;
        if written.records > 0 {
            self.written();
        }
        Ok(written)
    }

    fn moved(&mut self, _: bool) {
        self.has_moved = true;
    }

    async fn wait(&mut self) {
        let commit_is_due = self.has_moved && self.committing.is_none();
        let next_push = self.next_push();
        tokio::select! {
            biased;
            () = async {
                match &mut self.committing {
                    Some(commit) => self.committed = Some(commit.await),
                    None => std::future::pending().await,
                }
            } => self.committing = None,
            () = self.producer.changed() => {}
            () = async {
                match &mut self.pushing {
                    Some(push) => push.await,
                    None => std::future::pending().await,
                }
            } => self.end_push(),
            () = async {
                match next_push {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            } => self.begin_push(),
            () = sleep_until(self.next_commit), if commit_is_due => {}
        }
    }

    fn take_in(&mut self, books: &mut Books) -> Result<Answers, Breakdown> {
        self.conclude(books);
        let Settled { acknowledged, failed, stored } = self.producer.settled();
        self.has_moved |= !acknowledged.is_empty();
        match self.producer.in_flight() {
            0 => (self.waiting_since, self.pushes) = (None, 0),
            FEW.. => self.waiting_since = Some(Instant::now()),
            _ => {}
        }
        Ok(Answers {
            acknowledged: acknowledged.into_iter().map(Token::from).collect(),
            failed: failed.into_iter().map(|(token, error)| (Token::from(token), error)).collect(),
            stored,
            ..Answers::default()
        })
    }

    fn commit_if_due(&mut self, books: &mut Books) {
        if self.has_moved && self.committing.is_none() && Instant::now() >= self.next_commit {
            let positions = books.to_commit(None);
            self.has_moved = false;
            if !positions.is_empty() {
                self.begin_commit(positions);
            }
        }
    }

    async fn commit(&mut self, books: &mut Books, only: Option<&[Assignment]>, deadline: Instant) -> Result<(), Breakdown> {
        let commit = async {
            self.finish_commit().await;
            self.conclude(books);
            let positions = books.to_commit(only);
            if !positions.is_empty() {
                self.begin_commit(positions);
                self.finish_commit().await;
                self.conclude(books);
            }
        };
        if timeout_at(deadline, commit).await.is_err() {
            tracing::warn!("Kafka did not answer in time: the last offsets may not be committed, their records come again");
        }
        Ok(())
    }

    fn lost(&mut self, is_writing: bool) -> Result<(), Breakdown> {
        // What the client still holds would come after what the next owner writes.
        if is_writing { Err(Breakdown::Lost) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use penstock_crds::worker::{DeadLetterFormat, DeadLetterTarget, Ordering};
    use penstock_kafka::{ConnectionSettings, ConsumedRecord, ConsumerSettings, ProducerSettings, TimestampType, TopicPartition};

    use super::*;
    use crate::{
        processor::Output,
        stream::{
            bounds::Bounds,
            dead_letter::Sender,
            handover::{Handover, Patience},
            kafka::Kafka,
            refused::Refused,
            tiers::Tiers,
        },
    };

    fn outbox() -> AtLeastOnce<Kafka> {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let kafka = Kafka::new(&connection).unwrap();
        let producer = kafka.bulk(&ProducerSettings::default()).unwrap();
        let (handover, _) = Handover::new(Patience::new(Duration::ZERO));
        let member = kafka.join(&ConsumerSettings::new("g"), &["t"], handover).unwrap();
        let addresses = Addresses {
            sink: Some("s".into()),
            dead_letter: DeadLetterTarget { topic: "d".into(), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
            tiers: Arc::default(),
            sender: Sender { pipeline: "a/b".into(), group: "g".into(), processor: "p".into() },
            refused: Refused::default(),
        };
        AtLeastOnce::new(kafka, producer, Batching { bytes: 1_024, linger: 2 * LINGER, room: 3 }, Arc::new(member), addresses, |_, _| ())
    }

    /// Gives a record to the processor.
    fn begin(books: &mut Books) -> (Ticket, Arc<Event>) {
        books.assign(&[TopicPartition::new("t", 0)]);
        let (timestamp_ms, timestamp_type) = (None, TimestampType::default());
        let record = ConsumedRecord {
            topic: "t".into(),
            partition: 0,
            offset: 7,
            timestamp_ms,
            timestamp_type,
            key: None,
            payload: None,
            headers: vec![],
        };
        let ticket = books.take(record, &Tiers::default()).unwrap();
        let event = books.begin(ticket).unwrap();
        (ticket, event)
    }

    /// Writes what follows from a record.
    async fn write(outbox: &mut AtLeastOnce<Kafka>, books: &mut Books, outputs: Vec<Output>) {
        let (ticket, event) = begin(books);
        books.decide(ticket, Verdict::Emit(outputs));
        let (ticket, verdict) = books.next_emittable().unwrap();
        let written = outbox.write(ticket, &event, &verdict).await.unwrap();
        books.emitted(ticket, written.records, None);
    }

    fn books() -> Books {
        Books::new(Ordering::None, Emission::AtOnce, Bounds { records: 9, bytes: 999 })
    }

    #[tokio::test]
    async fn where_few_records_are_on_their_way_none_waits_long_for_others() {
        let (mut outbox, mut books) = (outbox(), books());
        assert!(outbox.next_push().is_none());
        write(&mut outbox, &mut books, vec![Output::default()]).await;
        let due = outbox.next_push().unwrap();
        assert!(due <= Instant::now() + LINGER);
        while outbox.pushing.is_none() {
            outbox.wait().await;
        }
        assert!(Instant::now() >= due && outbox.next_push().is_none());
        while outbox.pushing.is_some() {
            outbox.wait().await;
        }
        // Nothing answers: it is tried again, later each time, and at once for what comes then.
        assert!(outbox.next_push().unwrap() > Instant::now() + LINGER);
        write(&mut outbox, &mut books, vec![Output::default()]).await;
        assert!(outbox.next_push().unwrap() <= Instant::now() + LINGER);
        outbox.batching.linger = LINGER;
        assert!(outbox.next_push().is_none());
    }

    #[tokio::test]
    async fn what_the_client_has_no_room_for_waits() {
        let (mut outbox, mut books) = (outbox(), books());
        let (_, event) = begin(&mut books);
        let takes = |outbox: &AtLeastOnce<Kafka>, outputs| outbox.takes(&event, &Verdict::Emit(vec![Output::default(); outputs]));
        assert!(takes(&outbox, 9), "it will never have more room");
        write(&mut outbox, &mut books, vec![Output::default()]).await;
        assert!(takes(&outbox, 2) && !takes(&outbox, 3));
    }

    #[tokio::test]
    async fn what_causes_nothing_is_committed_however_late_it_was_decided() {
        let (mut outbox, mut books) = (outbox(), books());
        // Nothing else was received or acknowledged since the last commit.
        assert!(!outbox.has_moved);
        write(&mut outbox, &mut books, Vec::new()).await;
        outbox.next_commit = Instant::now();
        outbox.commit_if_due(&mut books);
        assert!(outbox.committing.is_some());
    }
}
