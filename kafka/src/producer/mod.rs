//! Writes records and tells for each whether Kafka has it.
//!
//! A delivery is `Ok` only once all in-sync replicas have the record (`acks=all`); retries inside the client neither
//! duplicate nor reorder (idempotence). A full buffer makes the caller wait; it is never an error.

mod breaker;
mod bulk;
mod settings;
mod writer;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::connection::ConnectionSettings;
use crate::error::{Error, Result};
use crate::ffi::Served;
use crate::health::Health;
use crate::record::{Record, RecordPosition};

use breaker::{Breaker, Change, Trial};

pub use breaker::{BreakerSettings, CircuitState};
pub use bulk::{BulkProducer, Settled};
pub use settings::{Compression, ProducerSettings};
pub use writer::Enqueued;
pub(crate) use writer::{Listen, Writer};

type Outcome = Result<RecordPosition>;

/// Tells each caller the fate of its record.
struct Callers {
    breaker: Option<Breaker>,
    /// Who tells of the circuit in the log.
    client: String,
}

impl Listen for Callers {
    type Ticket = Box<oneshot::Sender<Outcome>>;

    fn told(&self) -> Option<String> {
        self.breaker.as_ref().map(|breaker| breaker.settings().to_string())
    }

    fn delivered(&self, outcomes: impl Iterator<Item = (Self::Ticket, Outcome)>) {
        for (caller, outcome) in outcomes {
            self.report(outcome.as_ref().err());
            // The caller may not care about the outcome.
            let _ = caller.send(outcome);
        }
    }

    fn given_up(&self, outcomes: impl Iterator<Item = (Self::Ticket, Outcome)>) {
        for (caller, outcome) in outcomes {
            let _ = caller.send(outcome);
        }
    }
}

impl Callers {
    fn new(connection: &ConnectionSettings, settings: &ProducerSettings) -> Self {
        let breaker = settings.circuit_breaker.map(|breaker| Breaker::new(breaker, settings.delivery_timeout));
        Self { breaker, client: connection.client_id().to_owned() }
    }

    fn report(&self, refused: Option<&Error>) {
        let Some(breaker) = &self.breaker else { return };
        match breaker.report(refused, Instant::now()) {
            Some(Change::Opened) => {
                let (why, pause) = (refused.map(ToString::to_string), breaker.settings().pause);
                tracing::warn!(client = self.client, why, ?pause, "too many records failed in a row: the circuit opens");
            }
            Some(Change::Closed) => tracing::info!(client = self.client, "Kafka answers again: the circuit closes"),
            None => {}
        }
    }
}

/// A record that the breaker has let through. Dropped, it was not sent: the client refused it, or nobody waits for room any more.
struct Admitted<'a> {
    breaker: &'a Breaker,
    trial: Option<Trial>,
}

impl<'a> Admitted<'a> {
    fn by(breaker: &'a Breaker) -> Result<Self> {
        Ok(Self { breaker, trial: breaker.admit(Instant::now())? })
    }

    /// What becomes of it is reported from now on.
    fn sent(mut self) {
        self.trial = None;
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.breaker.withdraw(trial, Instant::now());
        }
    }
}

/// Writes records to Kafka. Clones share one client; the last one to go drops what is not yet acknowledged, so
/// [`Producer::flush`] first.
///
/// ```no_run
/// # async fn example() -> penstock_kafka::Result<()> {
/// use penstock_kafka::{ConnectionSettings, Producer, ProducerSettings, Record};
///
/// let producer = Producer::new(&ConnectionSettings::parse("localhost:9092")?, &ProducerSettings::default())?;
/// let position = producer.send(Record::to("orders").with_key("o-1").with_payload("{}")).await?;
/// println!("stored at {}/{}", position.partition, position.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    writer: Writer<Callers>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Producer {
    /// Starts a client. Does not wait for Kafka.
    ///
    /// # Errors
    /// [`Error::InvalidSettings`] names the setting that is out of its bounds.
    pub fn new(connection: &ConnectionSettings, settings: &ProducerSettings) -> Result<Self> {
        settings.validate()?;
        let mut config = connection.client_config();
        settings.apply(&mut config);
        Ok(Self { writer: Writer::start(&config, Served::InBackground, Callers::new(connection, settings))? })
    }

    /// Writes one record and waits until Kafka has acknowledged it.
    ///
    /// # Errors
    /// As [`Producer::enqueue`] and [`Delivery`].
    pub async fn send(&self, record: Record) -> Result<RecordPosition> {
        self.enqueue(record).await?.await
    }

    /// Hands one record to the client and returns its [`Delivery`] to be awaited later. Waits only while the buffer is
    /// full. Records that are enqueued one after the other stay in this order within a partition.
    ///
    /// # Errors
    /// The record can never be sent (invalid topic name, too large, unknown partition), the client has failed for
    /// good ([`Error::is_fatal`]), or it refuses records for a while ([`Error::CircuitOpen`]).
    pub async fn enqueue(&self, record: Record) -> Result<Delivery> {
        let admitted = match &self.writer.listener().breaker {
            Some(breaker) => Some(Admitted::by(breaker)?),
            None => None,
        };
        let (sender, receiver) = oneshot::channel();
        self.writer.write(&(&record).into(), Box::new(sender)).await?;
        if let Some(admitted) = admitted {
            admitted.sent();
        }
        Ok(Delivery { receiver })
    }

    /// Whether the producer takes records; see [`ProducerSettings::circuit_breaker`]. The change from one to the other is logged, too.
    pub fn circuit(&self) -> CircuitState {
        let breaker = self.writer.listener().breaker.as_ref();
        breaker.map_or(CircuitState::Closed, |breaker| breaker.circuit(Instant::now()))
    }

    /// Waits until every record enqueued so far is acknowledged or has failed.
    ///
    /// # Errors
    /// [`Error::Timeout`] if records are still on their way then; they stay in the client.
    pub async fn flush(&self, timeout: Duration) -> Result<()> {
        self.writer.flush(timeout).await
    }

    /// How many records wait for their acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.writer.in_flight()
    }

    /// Watches the connection.
    pub fn health(&self) -> Health {
        self.writer.health()
    }
}

/// Resolves once Kafka has acknowledged the record or will not. Dropping it does not take the record back.
///
/// [`Error::Unreachable`] means that the record is not stored, [`Error::Timeout`] that it may be. Where the producer was dropped
/// before, a record that was on its way is [`Error::Timeout`], one that was never sent [`Error::Closed`].
#[derive(Debug)]
#[must_use = "a record counts only once its delivery was awaited"]
pub struct Delivery {
    receiver: oneshot::Receiver<Outcome>,
}

impl Future for Delivery {
    type Output = Result<RecordPosition>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|outcome| outcome.unwrap_or(Err(Error::Closed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_sent_is_settled_when_the_producer_goes() {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let producer = Producer::new(&connection, &ProducerSettings::default()).unwrap();
        let delivery = producer.enqueue(Record::to("t").with_header("a", "b")).await.unwrap();
        assert_eq!(producer.in_flight(), 1);
        drop(producer);
        let outcome = tokio::time::timeout(Duration::from_secs(10), delivery).await;
        assert_eq!(outcome, Ok(Err(Error::Closed)));
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_sent_is_refused_at_once() {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let producer = Producer::new(&connection, &ProducerSettings::default()).unwrap();
        let table = [
            (Record::to("a b"), "topic"),
            (Record::to("t").with_header("a\0b", ""), "header"),
            (Record::to("t").with_payload(vec![0; 2_000_000]), "size"),
        ];
        for (record, what) in table {
            assert!(producer.enqueue(record).await.is_err(), "{what}");
            assert_eq!(producer.in_flight(), 0, "{what}");
        }
    }

    #[tokio::test]
    async fn an_open_circuit_refuses_at_once() {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let breaker = BreakerSettings { failures: 2, pause: Duration::from_secs(60) };
        let delivery_timeout = Duration::from_secs(1);
        let settings = ProducerSettings { circuit_breaker: Some(breaker), delivery_timeout, ..ProducerSettings::default() };
        let producer = Producer::new(&connection, &settings).unwrap();
        for _ in 0..2 {
            assert!(producer.send(Record::to("t")).await.unwrap_err().is_retriable());
        }
        assert!(
            matches!(producer.send(Record::to("t")).await, Err(Error::CircuitOpen { retry_after }) if retry_after > Duration::from_secs(50))
        );
        assert!(matches!(producer.circuit(), CircuitState::Open { retry_after } if retry_after > Duration::from_secs(50)));
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_sent_is_no_trial() {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let breaker = BreakerSettings { failures: 1, pause: Duration::from_millis(100) };
        let delivery_timeout = Duration::from_secs(1);
        let settings = ProducerSettings { circuit_breaker: Some(breaker), delivery_timeout, ..ProducerSettings::default() };
        let producer = Producer::new(&connection, &settings).unwrap();
        assert_eq!(producer.circuit(), CircuitState::Closed);
        assert!(producer.send(Record::to("t")).await.unwrap_err().is_retriable());
        let refused = loop {
            match producer.enqueue(Record::to("a b")).await.unwrap_err() {
                Error::CircuitOpen { retry_after } => tokio::time::sleep(retry_after).await,
                refused => break refused,
            }
        };
        assert!(!refused.is_retriable(), "{refused:?}");
        assert_eq!(producer.circuit(), CircuitState::Open { retry_after: Duration::ZERO });
    }

    #[tokio::test]
    async fn what_librdkafka_accepts_is_what_we_set() {
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let settings = ProducerSettings { compression, ..ProducerSettings::default() };
            let connection = ConnectionSettings::parse("localhost:1").unwrap();
            assert!(Producer::new(&connection, &settings).is_ok(), "{compression:?}");
        }
    }
}
