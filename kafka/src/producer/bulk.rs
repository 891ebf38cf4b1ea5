//! Writes many records at little cost: the caller keeps its own books by number and asks which numbers are settled.
//!
//! The promises are those of [`crate::Producer`]. Nothing is allocated for a record besides the client's copy of it, and what
//! becomes of records is taken in by whoever asks, on its own thread: on few cores the change of threads costs more than that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::settings::ProducerSettings;
use super::writer::{Enqueued, Listen, Writer};
use crate::connection::ConnectionSettings;
use crate::error::{Error, Result};
use crate::ffi::Served;
use crate::health::Health;
use crate::record::{RecordPosition, RecordRef, TopicPartition};

/// What became of records of a [`BulkProducer`], by the tokens that they were enqueued with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// All in-sync replicas have these. Within a partition they come in the order of the records.
    pub acknowledged: Vec<usize>,
    /// These are not acknowledged and never will be. The errors are those of [`crate::Delivery`].
    pub failed: Vec<(usize, Error)>,
    /// How many of the acknowledged ones each partition has.
    pub stored: BTreeMap<TopicPartition, u64>,
}

impl Settled {
    fn count(&self) -> usize {
        self.acknowledged.len() + self.failed.len()
    }
}

#[derive(Default)]
struct Tokens(Mutex<Settled>);

impl Tokens {
    fn take(&self) -> Settled {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count()
    }
}

impl Listen for Tokens {
    type Ticket = usize;

    fn delivered(&self, outcomes: impl Iterator<Item = (usize, Result<RecordPosition>)>) {
        let mut settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (token, outcome) in outcomes {
            match outcome {
                Ok(_) => settled.acknowledged.push(token),
                Err(error) => settled.failed.push((token, error)),
            }
        }
    }

    fn stored(&self, topic: &str, partition: i32, count: u64) {
        let mut settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *settled.stored.entry(TopicPartition::new(topic, partition)).or_default() += count;
    }
}

/// Writes records to Kafka. When it is dropped, nobody hears any more of what is not yet acknowledged, so
/// [`BulkProducer::flush`] first.
///
/// Nothing is heard of Kafka between two calls of [`BulkProducer::settled`], [`BulkProducer::room`] and
/// [`BulkProducer::flush`], its [`Health`] neither: ask often, and from one task, since who waits wakes for what no other has taken in.
///
/// ```no_run
/// # async fn example() -> penstock_kafka::Result<()> {
/// use penstock_kafka::{BulkProducer, ConnectionSettings, Enqueued, ProducerSettings, RecordRef};
///
/// let producer = BulkProducer::new(&ConnectionSettings::parse("localhost:9092")?, &ProducerSettings::default())?;
/// let record = RecordRef { payload: Some(b"{}"), ..RecordRef::to("orders") };
/// while producer.try_enqueue(record, 1)? == Enqueued::NoRoom {
///     producer.room().await;
/// }
/// producer.flush(std::time::Duration::from_secs(30)).await?;
/// println!("{:?}", producer.settled());
/// # Ok(())
/// # }
/// ```
pub struct BulkProducer {
    writer: Writer<Tokens>,
    /// Held by who takes in what became of records, so that their order stays.
    serving: Mutex<()>,
}

impl fmt::Debug for BulkProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkProducer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl BulkProducer {
    /// Starts a client. Does not wait for Kafka.
    ///
    /// # Errors
    /// [`crate::Error::InvalidSettings`] names the setting that is out of its bounds.
    pub fn new(connection: &ConnectionSettings, settings: &ProducerSettings) -> Result<Self> {
        settings.validate_unbroken()?;
        let mut config = connection.client_config();
        settings.apply(&mut config);
        Ok(Self { writer: Writer::start(&config, Served::ByOwner, Tokens::default())?, serving: Mutex::default() })
    }

    /// Hands a record to the client if there is room. Does not block. Records that are enqueued one after the other stay in
    /// this order within a partition.
    ///
    /// # Errors
    /// The record can never be sent (invalid topic name, too large, unknown partition), or the client has failed for
    /// good ([`crate::Error::is_fatal`]). Nothing is heard of the record then.
    pub fn try_enqueue<'a>(&self, record: impl Into<RecordRef<'a>>, token: usize) -> Result<Enqueued> {
        let refused = self.writer.try_write(&record.into(), token)?;
        Ok(if refused.is_none() { Enqueued::Accepted } else { Enqueued::NoRoom })
    }

    /// As [`BulkProducer::try_enqueue`], but waits while the buffer is full.
    ///
    /// # Errors
    /// As there.
    pub async fn enqueue(&self, record: RecordRef<'_>, token: usize) -> Result<()> {
        while self.try_enqueue(record, token)? == Enqueued::NoRoom {
            self.room().await;
        }
        Ok(())
    }

    /// What became of records since the last call, as far as it is known.
    pub fn settled(&self) -> Settled {
        self.serve();
        self.writer.listener().take()
    }

    /// Waits until there may be something that [`BulkProducer::settled`] has not told yet. Cancel-safe.
    pub async fn changed(&self) {
        if self.writer.listener().count() == 0 {
            self.writer.changed().await;
        }
    }

    /// Waits until a full buffer may have room again.
    pub async fn room(&self) {
        while self.serve() == 0 && self.in_flight() > 0 {
            self.writer.changed().await;
        }
    }

    /// Waits until every record enqueued so far is acknowledged or has failed.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`] if records are still on their way then; they stay in the client.
    pub async fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while self.in_flight() > 0 {
            if timeout_at(deadline, self.room()).await.is_err() {
                return Err(Error::Timeout { reason: format!("{} records are not acknowledged yet", self.in_flight()) });
            }
        }
        Ok(())
    }

    /// Sends at once what waits for company, instead of after [`ProducerSettings::linger`]. Waits for no acknowledgement.
    pub async fn push(&self) {
        self.writer.push().await;
    }

    /// Takes in what became of records; of how many.
    fn serve(&self) -> usize {
        let _serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.in_flight();
        self.writer.serve();
        before.saturating_sub(self.in_flight())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_buffer_takes_nothing_and_every_record_taken_is_settled_once() {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let settings = ProducerSettings { buffer_records: 2, delivery_timeout: Duration::from_secs(1), ..ProducerSettings::default() };
        let producer = BulkProducer::new(&connection, &settings).unwrap();
        for (token, expected) in [(7, Enqueued::Accepted), (8, Enqueued::Accepted), (9, Enqueued::NoRoom)] {
            assert_eq!(producer.try_enqueue(RecordRef::to("t"), token), Ok(expected), "{token}");
        }
        assert_eq!((producer.in_flight(), producer.settled()), (2, Settled::default()));
        producer.enqueue(RecordRef::to("t"), 9).await.unwrap();
        producer.flush(Duration::from_secs(60)).await.unwrap();
        let Settled { acknowledged, failed, stored } = producer.settled();
        assert_eq!((acknowledged.len(), stored.len(), producer.in_flight(), producer.settled()), (0, 0, 0, Settled::default()));
        assert!(failed.iter().all(|(_, error)| matches!(error, Error::Unreachable { .. })), "{failed:?}");
        assert_eq!(failed.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [7, 8, 9]);
    }
}
