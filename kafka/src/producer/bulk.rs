//! Writes many records at little cost: the caller keeps its own books by number and is told when a number is settled.
//!
//! The promises are those of [`crate::Producer`]. Nothing is allocated for a record besides the client's copy of it.

use std::fmt;
use std::time::Duration;

use super::settings::ProducerSettings;
use super::writer::{Enqueued, Listen, Writer};
use crate::connection::ConnectionSettings;
use crate::error::Result;
use crate::health::Health;
use crate::record::{RecordPosition, RecordRef};

/// Is told the fate of every record of a [`BulkProducer`], on the client's own thread: it must not block, and if it panics
/// the process ends.
pub trait DeliveryListener: Send + Sync + 'static {
    /// The record that was enqueued with this token is acknowledged, or never will be. The errors are those of
    /// [`crate::Delivery`]. Within a partition, acknowledgements come in the order of the records.
    fn delivered(&self, token: usize, outcome: Result<RecordPosition>);

    /// Called after each run of `delivered`: the place to wake somebody once instead of for every record.
    fn settled(&self) {}
}

struct Numbered<L>(L);

impl<L: DeliveryListener> Listen for Numbered<L> {
    type Ticket = usize;

    fn delivered(&self, token: usize, outcome: Result<RecordPosition>) {
        self.0.delivered(token, outcome);
    }

    fn settled(&self) {
        self.0.settled();
    }
}

/// Writes records to Kafka and tells a listener about each. Clones share one client; when the last one goes, what is not
/// yet acknowledged fails as [`crate::Error::Closed`], so [`BulkProducer::flush`] first.
///
/// ```no_run
/// use penstock_kafka::{BulkProducer, ConnectionSettings, DeliveryListener, Enqueued, ProducerSettings, RecordPosition, RecordRef};
///
/// struct Printing;
///
/// impl DeliveryListener for Printing {
///     fn delivered(&self, token: usize, outcome: penstock_kafka::Result<RecordPosition>) {
///         println!("record {token}: {outcome:?}");
///     }
/// }
///
/// # async fn example() -> penstock_kafka::Result<()> {
/// let producer = BulkProducer::new(&ConnectionSettings::parse("localhost:9092")?, &ProducerSettings::default(), Printing)?;
/// let record = RecordRef { payload: Some(b"{}"), ..RecordRef::to("orders") };
/// while producer.try_enqueue(record, 1)? == Enqueued::NoRoom {
///     producer.room().await;
/// }
/// producer.flush(std::time::Duration::from_secs(30)).await
/// # }
/// ```
pub struct BulkProducer<L: DeliveryListener> {
    writer: Writer<Numbered<L>>,
}

impl<L: DeliveryListener> Clone for BulkProducer<L> {
    fn clone(&self) -> Self {
        Self { writer: self.writer.clone() }
    }
}

impl<L: DeliveryListener> fmt::Debug for BulkProducer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkProducer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl<L: DeliveryListener> BulkProducer<L> {
    /// Starts a client. Does not wait for Kafka.
    ///
    /// # Errors
    /// [`crate::Error::InvalidSettings`] names the setting that is out of its bounds.
    pub fn new(connection: &ConnectionSettings, settings: &ProducerSettings, listener: L) -> Result<Self> {
        settings.validate()?;
        let mut config = connection.client_config();
        settings.apply(&mut config);
        Ok(Self { writer: Writer::start(&config, Numbered(listener))? })
    }

    /// Hands a record to the client if there is room. Does not block. Records that are enqueued one after the other stay in
    /// this order within a partition. The listener may hear of the record before this returns.
    ///
    /// # Errors
    /// The record can never be sent (invalid topic name, too large, unknown partition), or the client has failed for
    /// good ([`crate::Error::is_fatal`]). The listener does not hear of it then.
    pub fn try_enqueue<'a>(&self, record: impl Into<RecordRef<'a>>, token: usize) -> Result<Enqueued> {
        let refused = self.writer.try_write(&record.into(), token)?;
        Ok(if refused.is_none() { Enqueued::Accepted } else { Enqueued::NoRoom })
    }

    /// As [`BulkProducer::try_enqueue`], but waits while the buffer is full.
    ///
    /// # Errors
    /// As there.
    pub async fn enqueue(&self, record: RecordRef<'_>, token: usize) -> Result<()> {
        self.writer.write(&record, token).await
    }

    /// Waits until a full buffer may have room again.
    pub async fn room(&self) {
        self.writer.room().await;
    }

    /// Waits until every record enqueued so far is acknowledged or has failed.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`] if records are still on their way then; they stay in the client.
    pub async fn flush(&self, timeout: Duration) -> Result<()> {
        self.writer.flush(timeout).await
    }

    /// The listener.
    pub fn listener(&self) -> &L {
        &self.writer.listener().0
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
    use tokio::sync::mpsc;

    use super::*;
    use crate::error::Error;

    struct Telling(mpsc::UnboundedSender<(usize, Result<RecordPosition>)>);

    impl DeliveryListener for Telling {
        fn delivered(&self, token: usize, outcome: Result<RecordPosition>) {
            self.0.send((token, outcome)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_full_buffer_takes_nothing_and_every_record_taken_is_settled_once() {
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let settings = ProducerSettings { buffer_records: 2, ..ProducerSettings::default() };
        let (sender, mut told) = mpsc::unbounded_channel();
        let producer = BulkProducer::new(&connection, &settings, Telling(sender)).unwrap();
        for (token, expected) in [(7, Enqueued::Accepted), (8, Enqueued::Accepted), (9, Enqueued::NoRoom)] {
            assert_eq!(producer.try_enqueue(RecordRef::to("t"), token), Ok(expected), "{token}");
        }
        assert_eq!(producer.in_flight(), 2);
        drop(producer);
        let mut settled = Vec::new();
        while let Some(outcome) = told.recv().await {
            settled.push(outcome);
        }
        assert_eq!(settled, [(7, Err(Error::Closed)), (8, Err(Error::Closed))]);
    }
}
