//! Writes what came with a key, once.
//!
//! Work that has begun goes on when its client goes away, and is waited for at shutdown.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_crds::worker::Producing;
use penstock_kafka::{ConnectionSettings, Error};
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    claims::Standing,
    counting::Counting,
    key::{KeyId, Request},
    keys::{Keys, now},
    ledger::{Ending, Ledger, Writer},
    notes::Note,
};
use crate::{
    clients,
    front::{Publish, PublishError},
    metrics::Metrics,
    processor::Output,
    readiness::Readiness,
    sink,
};

/// How long a request waits for another with its key.
const PATIENCE: Duration = Duration::from_secs(1);
/// The need that is met while all keys have been read.
const TABLE: &str = "table";

/// What it works with.
pub struct OnceSettings {
    /// Where Kafka is.
    pub connection: ConnectionSettings,
    /// How records are written.
    pub producing: Producing,
    /// The pipeline, as `<namespace>/<name>`.
    pub pipeline: String,
    /// The topic of the events.
    pub sink: String,
    /// The topic of the keys.
    pub topic: String,
    /// Writes to it.
    pub publish: Arc<dyn Publish>,
    /// Every key.
    pub keys: Arc<Keys>,
    /// Whether every key has been read.
    pub readiness: Readiness,
    /// How long Kafka has to answer.
    pub limit: Duration,
    /// What is written is counted there.
    pub metrics: Metrics,
}

/// Which request has written what came with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// This one.
    Now,
    /// One before it.
    Before,
}

/// Why nothing, or maybe nothing, was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another request came with this key.
    Reused,
    /// A request with this key is under way.
    InUse,
    /// Not every key has been read yet: nothing was written.
    NotCaughtUp,
    /// Kafka did not answer before anything was written.
    NotSent(String),
    /// Nothing is sent for so long, because too many before it were not acknowledged: nothing was written.
    Paused(Duration),
    /// It may or may not be written; the same request with the same key tells.
    Unacknowledged(String),
    /// An event is too large for the topic: nothing was written.
    TooLarge(String),
    /// Kafka refused it for a reason that somebody must change: nothing was written.
    Refused(String),
}

impl Refusal {
    /// Whether events were to be written, and Kafka has not said that they are.
    fn is_failed_write(&self) -> bool {
        match self {
            Self::Reused | Self::InUse | Self::NotCaughtUp => false,
            Self::NotSent(_) | Self::Paused(_) | Self::Unacknowledged(_) | Self::TooLarge(_) | Self::Refused(_) => true,
        }
    }
}

/// Writes what came with a key, once.
pub struct Once {
    ledger: Ledger,
    publish: Arc<dyn Publish>,
    keys: Arc<Keys>,
    readiness: Readiness,
    limit: Duration,
    /// After that long, in milliseconds, a claim of a worker that lives is decided.
    lease: i64,
    counting: Counting,
    work: TaskTracker,
}

impl Once {
    /// Connects when it is first needed.
    #[must_use]
    pub fn new(settings: OnceSettings) -> Self {
        let OnceSettings { connection, producing, pipeline, sink, topic, publish, keys, readiness, limit, metrics } = settings;
        let transaction = limit.max(Duration::from_secs(1));
        let lease = i64::try_from((limit + transaction + Duration::from_secs(1)).as_millis()).unwrap_or(i64::MAX);
        let counting = Counting::new(metrics, sink.clone());
        let ledger = Ledger::new(connection, move |name| clients::once(&pipeline, name, transaction, &producing), sink, topic);
        Self { ledger, publish, keys, readiness, limit, lease, counting, work: TaskTracker::new() }
    }

    /// Writes these events unless they are written. Returns once they are; at the latest after about three times the limit.
    /// `held` is what they take, which is let go once nothing is done for them any more, whether or not the client still waits.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn write<H>(self: &Arc<Self>, key: KeyId, request: Request, events: Vec<Output>, held: H) -> Result<Stored, Refusal>
    where
        H: Send + 'static,
    {
        let this = Arc::clone(self);
        let work = async move {
            let ended = this.work_on(key, request, &events).await;
            if ended.as_ref().is_err_and(Refusal::is_failed_write) {
                this.counting.failed(events.len() as u64);
            }
            drop(held);
            ended
        };
        let ended = self.work.spawn(work.in_current_span()).await;
        ended.unwrap_or_else(|panic| Err(Refusal::Unacknowledged(panic.to_string())))
    }

    /// Waits until what has begun is decided. Nothing may begin after it.
    pub async fn finish(&self) {
        self.work.close();
        self.work.wait().await;
    }

    async fn work_on(&self, key: KeyId, request: Request, events: &[Output]) -> Result<Stored, Refusal> {
        let came = now();
        let Some(after) = self.vacancy(key, request).await? else { return Ok(Stored::Before) };
        if self.readiness.lacks(TABLE) {
            return Err(Refusal::NotCaughtUp);
        }
        // Before a producer is waited for, which takes a Kafka that answers.
        if let Some(pause) = self.publish.pause() {
            return Err(Refusal::Paused(pause));
        }
        let deadline = Instant::now() + self.limit;
        let writer = match timeout_at(deadline.into(), self.ledger.writer()).await {
            Ok(writer) => writer.map_err(|error| Refusal::NotSent(error.to_string()))?,
            Err(_) => return Err(Refusal::NotSent("no producer was free in time".to_owned())),
        };
        let claim = Uuid::new_v4();
        match self.claim(key, Note::Claimed { claim, request, writer: writer.name, after: after.0 }, claim, deadline).await {
            Ok(true) => self.commit(writer, key, claim, request, (events, came)).await,
            Ok(false) => {
                self.ledger.give_back(writer);
                match self.vacancy(key, request).await? {
                    None => Ok(Stored::Before),
                    Some(_) => Err(Refusal::InUse),
                }
            }
            Err(why) => Err(why),
        }
    }

    /// Whom a claim may follow; none if what came with the key is written.
    async fn vacancy(&self, key: KeyId, request: Request) -> Result<Option<After>, Refusal> {
        let patience = Instant::now() + PATIENCE;
        let mut changes = self.keys.changes();
        loop {
            match self.keys.standing(key) {
                Standing::Free(after) => return Ok(Some(After(after))),
                Standing::Done(known) if known == request => return Ok(None),
                Standing::Done(_) => return Err(Refusal::Reused),
                Standing::Held { claim, writer, at } if at.saturating_add(self.lease) < now() => {
                    tracing::warn!(%claim, "a claim to a key was left open and is taken over");
                    self.ledger.fence(writer).await.map_err(|error| Refusal::NotSent(error.to_string()))?;
                    return Ok(Some(After(Some(claim))));
                }
                Standing::Held { .. } => {
                    if !matches!(timeout_at(patience.into(), changes.changed()).await, Ok(Ok(()))) {
                        return Err(Refusal::InUse);
                    }
                }
            }
        }
    }

    /// Appends a claim and reads on to it: whether it has the key.
    async fn claim(&self, key: KeyId, note: Note, claim: Uuid, deadline: Instant) -> Result<bool, Refusal> {
        let told = self.keys.expect(claim);
        let read = async {
            self.append(key, &note).await?;
            told.await.map_err(|_| Refusal::NotSent("the claim was not read".to_owned()))
        };
        let outcome = timeout_at(deadline.into(), read).await;
        self.keys.expect_no_more(claim);
        let late = || Err(Refusal::NotSent("the claim was not read back in time".to_owned()));
        let outcome = outcome.unwrap_or_else(|_| late());
        if outcome.is_err() {
            // Its producer is never used for it, so that it may be let go whether it is in the log or not.
            self.release(key, claim);
        }
        outcome
    }

    async fn commit(
        &self,
        writer: Writer,
        key: KeyId,
        claim: Uuid,
        request: Request,
        (events, came): (&[Output], i64),
    ) -> Result<Stored, Refusal> {
        let done = Note::Done { claim, request };
        let record = done.about(key).ok_or_else(|| Refusal::Refused("the note cannot be written".to_owned()))?;
        match self.ledger.commit(writer, events, &record).await {
            Ending::Committed(writer) => {
                self.counting.written(events, writer.stored(), came, now());
                self.ledger.give_back(writer);
                self.keys.take(key, done, now());
                Ok(Stored::Now)
            }
            Ending::Nothing(error, writer) => {
                if let Some(writer) = writer {
                    self.ledger.give_back(writer);
                }
                self.release(key, claim);
                Err(refusal(error))
            }
            Ending::Unknown(error) => Err(Refusal::Unacknowledged(error.to_string())),
        }
    }

    /// Lets a key go. Should the note get lost, another worker takes the key over in a while.
    fn release(&self, key: KeyId, claim: Uuid) {
        let (publish, record) = (Arc::clone(&self.publish), Note::Released { claim }.about(key));
        self.work.spawn(async move {
            if let Some(record) = record
                && let Err(why) = publish.publish(record).await
            {
                tracing::debug!(%why, %claim, "a claim was not let go");
            }
        });
    }

    async fn append(&self, key: KeyId, note: &Note) -> Result<(), Refusal> {
        let record = note.about(key).ok_or_else(|| Refusal::Refused("the note cannot be written".to_owned()))?;
        self.publish.publish(record).await.map(drop).map_err(|why| match why {
            PublishError::Refused(why) => Refusal::Refused(why),
            PublishError::NotSent(pause) => Refusal::Paused(pause),
            why => Refusal::NotSent(why.to_string()),
        })
    }
}

/// The claim that another may follow, if there is one.
struct After(Option<Uuid>);

/// Nothing was written, for this reason.
fn refusal(error: Error) -> Refusal {
    match sink::refusal(error) {
        PublishError::TooLarge(why) => Refusal::TooLarge(why),
        PublishError::Refused(why) => Refusal::Refused(why),
        PublishError::NotSent(pause) => Refusal::Paused(pause),
        why => Refusal::NotSent(why.to_string()),
    }
}
