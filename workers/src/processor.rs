//! What a processor gets and what it may answer. Pure types; a processor itself may do whatever it needs to.
//!
//! A processor decides what an event means; the runtime decides when it is called and makes the answer last. The same
//! event may come again, with the same [`Event::id`]: after a retry, after a crash, after a rebalance.

pub(crate) mod waiting;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use penstock_kafka::{ConsumedRecord, RecordRef};
pub use penstock_kafka::{Header, TimestampType};
use prometheus_client::registry::Registry;

pub use self::waiting::unbegun;

/// One record, as a processor sees it. Nothing about its bytes has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The topic it was read from.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
    /// Its key; none is Kafka's null.
    pub key: Option<Bytes>,
    /// Its payload; none is Kafka's null.
    pub payload: Option<Bytes>,
    /// Its headers, in order. Names may repeat.
    pub headers: Vec<Header>,
    /// Milliseconds since the Unix epoch, if it has a timestamp.
    pub timestamp_ms: Option<i64>,
    /// Who has set that timestamp.
    pub timestamp_type: TimestampType,
    /// Which attempt this is, from 1. Begins at 1 again in another worker.
    pub attempt: u16,
}

impl Event {
    /// `<topic>/<partition>/<offset>`: the same at every attempt, in every worker.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }

    /// How many bytes key, payload and headers have.
    pub(crate) fn size(&self) -> usize {
        size(&self.key, &self.payload, &self.headers)
    }

    /// The value of the last header of that name, if it has one.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|h| h.name == name)?.value.as_ref()
    }
}

fn size(key: &Option<Bytes>, payload: &Option<Bytes>, headers: &[Header]) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    length(key) + length(payload) + headers.iter().map(|header| header.name.len() + length(&header.value)).sum::<usize>()
}

impl From<ConsumedRecord> for Event {
    /// The record's first attempt.
    fn from(record: ConsumedRecord) -> Self {
        let ConsumedRecord { topic, partition, offset, timestamp_ms, timestamp_type, key, payload, headers } = record;
        Self { topic, partition, offset, key, payload, headers, timestamp_ms, timestamp_type, attempt: 1 }
    }
}

/// A record that a processor wants written to the sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its key, which decides the partition.
    pub key: Option<Bytes>,
    /// Its payload; none is a tombstone on a compacted topic.
    pub payload: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
}

impl Output {
    /// How many bytes key, payload and headers have.
    pub(crate) fn size(&self) -> usize {
        size(&self.key, &self.payload, &self.headers)
    }

    /// The record for that topic.
    pub(crate) fn to_record<'a>(&'a self, topic: &'a str) -> RecordRef<'a> {
        let Self { key, payload, headers } = self;
        RecordRef { key: key.as_deref(), payload: payload.as_deref(), headers, ..RecordRef::to(topic) }
    }
}

/// What went wrong with an event. It ends up in a dead letter, so it must not hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for programs, such as `ValidationError`.
    pub error_type: String,
    /// A sentence for people.
    pub message: String,
    /// Where it happened, or whatever else helps; may have many lines.
    pub stack: Option<String>,
    /// With [`Outcome::Retry`]: the next attempt is not made sooner than after this pause, however short the pipeline's own is.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a stack.
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error_type: error_type.into(), message: message.into(), stack: None, retry_after: None }
    }

    /// How many bytes its texts have.
    pub(crate) fn size(&self) -> usize {
        self.error_type.len() + self.message.len() + self.stack.as_ref().map_or(0, String::len)
    }

    /// Adds where it happened.
    #[must_use]
    pub fn with_stack(mut self, stack: impl Into<String>) -> Self {
        self.stack = Some(stack.into());
        self
    }

    /// Asks for a pause before the next attempt: of a service, say, that has told when it will be back.
    #[must_use]
    pub fn with_retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }
}

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These records go to the sink, in this order.
    Emit(Vec<Output>),
    /// It is done and causes nothing.
    Drop,
    /// It may work later: the same event comes again after a pause, which is at least [`Failure::retry_after`], and goes to the
    /// dead letter topic once the attempts are used up.
    Retry(Failure),
    /// It will never work: it goes to the dead letter topic at once.
    Reject(Failure),
}

/// The code that handles events.
///
/// It is called for many events at once, as the pipeline's ordering and concurrency allow. A panic counts as
/// [`Outcome::Reject`] with the error type `Panic`. The future is dropped when the worker is killed or loses the
/// partition for longer than it may take to finish, so it must not leave things half done at an await. One that has to wait before
/// it begins does so within [`unbegun`], and holds up nobody.
pub trait Processor: Send + Sync + 'static {
    /// Handles one event.
    fn process(&self, event: &Event) -> impl Future<Output = Outcome> + Send;

    /// Adds the processor's own metrics to those of `/metrics`; called once, before the first event.
    fn register_metrics(&self, registry: &mut Registry) {
        let _ = registry;
    }

    /// Called once when the worker ends in order, after the last event is settled and committed: the place to close a pool or
    /// to flush. It is cut off after 2 s, and a worker that is killed never calls it.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Processor`] as a trait object; every processor is one.
pub trait DynProcessor: Send + Sync + 'static {
    /// [`Processor::process`], as a future that owns what it needs.
    fn handle(self: Arc<Self>, event: Arc<Event>) -> BoxFuture<'static, Outcome>;

    /// [`Processor::register_metrics`].
    fn register(&self, registry: &mut Registry);

    /// [`Processor::close`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl<P: Processor> DynProcessor for P {
    fn handle(self: Arc<Self>, event: Arc<Event>) -> BoxFuture<'static, Outcome> {
        Box::pin(async move { self.process(&event).await })
    }

    fn register(&self, registry: &mut Registry) {
        self.register_metrics(registry);
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(Processor::close(self))
    }
}
