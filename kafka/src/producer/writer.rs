//! What all producers share: a client, the records on their way, and the words for what went wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::util::IntoOpaque;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::settings::TOLD;
use crate::connection::tell;
use crate::detached::Detached;
use crate::error::{Error, Result};
use crate::ffi::{Fate, Producing, Refused, Served, Settle};
use crate::health::{Health, HealthSource};
use crate::record::{RecordPosition, RecordRef};

/// For how long the library is told to send at once: long enough for its threads to see it.
const PUSH: Duration = Duration::from_millis(1);

/// Whether a record was taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record that found no room was not taken"]
pub enum Enqueued {
    /// It is on its way.
    Accepted,
    /// The buffer is full: wait for room and try again.
    NoRoom,
}

/// Hears of every record, on the thread that serves the client.
pub(crate) trait Listen: Send + Sync + 'static {
    /// What is kept with each record.
    type Ticket: IntoOpaque;

    /// Some that were written to one partition, in their order.
    fn delivered(&self, outcomes: impl Iterator<Item = (Self::Ticket, Result<RecordPosition>)>);

    /// The same of records that the client itself has given up, because it is dropped or a transaction ends. It says nothing of Kafka.
    fn given_up(&self, outcomes: impl Iterator<Item = (Self::Ticket, Result<RecordPosition>)>) {
        self.delivered(outcomes);
    }

    /// What is told of it when the client starts, beside the library's settings.
    fn told(&self) -> Option<String> {
        None
    }

    /// So many of the records that it has just heard of are stored there.
    fn stored(&self, topic: &str, partition: i32, count: u64) {
        let _ = (topic, partition, count);
    }
}

/// The records on their way.
pub(crate) struct Tally<L> {
    health: Arc<HealthSource>,
    in_flight: AtomicUsize,
    progress: Notify,
    /// An acknowledgement came in this run: a broker is connected.
    acknowledged: AtomicBool,
    listener: L,
}

impl<L> Tally<L> {
    fn forget(&self, count: usize) {
        self.in_flight.fetch_sub(count, Ordering::AcqRel);
        self.progress.notify_waiters();
    }

    /// A record was counted and then not taken. Who waits for room hears of it only where nothing else is left to hear of:
    /// two who wait would otherwise wake each other for as long as there is no room.
    fn take_back(&self) {
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.progress.notify_waiters();
        }
    }

    fn outcome(&self, fate: Fate) -> Result<RecordPosition> {
        let (code, topic, possibly_stored) = match fate {
            Fate::Stored(position) if position.offset >= 0 => return Ok(position),
            // The library takes a record for stored when a later one of its partition is, because brokers refuse a gap. One that has
            // not seen the producer in that partition yet refuses none: the record may be missing.
            Fate::Stored(_) => return Err(Error::Timeout { reason: "a later record was acknowledged, this one was not".to_owned() }),
            Fate::Failed { code, topic, possibly_stored } => (code, topic, possibly_stored),
        };
        Err(match code.known() {
            // It was on its way, now or before: nobody waits for the answer any more.
            Some(Code::PurgeQueue | Code::PurgeInflight) if possibly_stored => {
                Error::Timeout { reason: "the client was closed before the record was acknowledged".to_owned() }
            }
            Some(Code::PurgeQueue | Code::PurgeInflight) => Error::Closed,
            Some(Code::MessageTimedOut) if possibly_stored => Error::Timeout { reason: self.late() },
            Some(Code::MessageTimedOut) => Error::Unreachable { reason: self.late() },
            _ => match code.into_error(code.to_string(), Some(&topic)) {
                Error::Unreachable { reason } if possibly_stored => Error::Timeout { reason },
                error => error,
            },
        })
    }

    fn late(&self) -> String {
        match self.health.reason() {
            Some(reason) => format!("the record was not acknowledged in time: {reason}"),
            None => "the record was not acknowledged in time".to_owned(),
        }
    }
}

impl<L: Listen> Settle for Tally<L> {
    type Ticket = L::Ticket;

    fn settle(&self, fates: impl Iterator<Item = (L::Ticket, Fate)>) {
        let mut given_up = Vec::new();
        self.listener.delivered(fates.filter_map(|(ticket, fate)| {
            let is_given_up = fate.is_given_up();
            let outcome = self.outcome(fate);
            if is_given_up {
                given_up.push((ticket, outcome));
                return None;
            }
            if outcome.is_ok() {
                self.acknowledged.store(true, Ordering::Relaxed);
            }
            Some((ticket, outcome))
        }));
        if !given_up.is_empty() {
            self.listener.given_up(given_up.into_iter());
        }
    }

    fn stored(&self, topic: &str, partition: i32, count: u64) {
        self.listener.stored(topic, partition, count);
    }

    fn settled(&self, count: usize) {
        if self.acknowledged.swap(false, Ordering::Relaxed) {
            self.health.connected();
        }
        self.forget(count);
    }
}

/// A client that writes records. Clones share it.
pub(crate) struct Writer<L: Listen> {
    client: Detached<Producing<Tally<L>>>,
    tally: Arc<Tally<L>>,
}

impl<L: Listen> Clone for Writer<L> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), tally: Arc::clone(&self.tally) }
    }
}

impl<L: Listen> Writer<L> {
    pub(crate) fn start(config: &ClientConfig, served: Served, listener: L) -> Result<Self> {
        tell("producer", config, &TOLD, listener.told());
        let health = Arc::new(HealthSource::new());
        let tally = Arc::new(Tally {
            health: Arc::clone(&health),
            in_flight: AtomicUsize::new(0),
            progress: Notify::new(),
            acknowledged: AtomicBool::new(false),
            listener,
        });
        let client = Producing::start(config, health, Arc::clone(&tally), served)?;
        Ok(Self { client: Detached::new(client), tally })
    }

    pub(crate) fn client(&self) -> Result<&Producing<Tally<L>>> {
        self.client.get()
    }

    pub(crate) fn listener(&self) -> &L {
        &self.tally.listener
    }

    /// Hands a record over, if there is room. Gives the ticket back if there is none.
    pub(crate) fn try_write(&self, record: &RecordRef<'_>, ticket: L::Ticket) -> Result<Option<L::Ticket>> {
        let client = self.client.get()?;
        // Before it can be settled.
        self.tally.in_flight.fetch_add(1, Ordering::AcqRel);
        let Err((refused, ticket)) = client.produce(record, ticket) else { return Ok(None) };
        self.tally.take_back();
        match refused {
            Refused::Full => Ok(Some(ticket)),
            Refused::Failed(error) => Err(error),
        }
    }

    /// Hands a record over and waits only while the buffer is full.
    pub(crate) async fn write(&self, record: &RecordRef<'_>, mut ticket: L::Ticket) -> Result<()> {
        while let Some(refused) = self.try_write(record, ticket)? {
            ticket = refused;
            self.room().await;
        }
        Ok(())
    }

    /// Waits until records were settled since the call, or none is on its way.
    pub(crate) async fn room(&self) {
        let progress = self.tally.progress.notified();
        tokio::pin!(progress);
        // From here on no settlement is missed, so a full buffer cannot be waited for in vain.
        progress.as_mut().enable();
        if self.in_flight() > 0 {
            progress.await;
        }
    }

    pub(crate) async fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while self.in_flight() > 0 {
            if timeout_at(deadline, self.room()).await.is_err() {
                return Err(Error::Timeout { reason: format!("{} records are not acknowledged yet", self.in_flight()) });
            }
        }
        Ok(())
    }

    /// Sends at once what waits for company.
    pub(crate) async fn push(&self) {
        let writer = self.clone();
        let push = move || writer.client().is_ok_and(|client| client.native().flush_blocking(PUSH));
        // Where it cannot be done, everything goes a little later.
        let _ = tokio::task::spawn_blocking(push).await;
    }

    /// Takes in what became of records, where that is left to the owner.
    pub(crate) fn serve(&self) {
        if let Ok(client) = self.client.get() {
            client.serve();
        }
    }

    /// Waits until there may be something to take in.
    pub(crate) async fn changed(&self) {
        match self.client.get() {
            Ok(client) => client.changed().await,
            Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.tally.in_flight.load(Ordering::Acquire)
    }

    /// A broker has answered, though perhaps not about records.
    pub(crate) fn connected(&self) {
        self.tally.health.connected();
    }

    pub(crate) fn health(&self) -> Health {
        self.tally.health.watch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally<()> {
        Tally {
            health: Arc::new(HealthSource::new()),
            in_flight: AtomicUsize::new(0),
            progress: Notify::new(),
            acknowledged: AtomicBool::new(false),
            listener: (),
        }
    }

    #[test]
    fn a_record_that_may_be_stored_is_not_said_to_be_missing() {
        // (code, possibly stored, outcome unknown, given up)
        for (code, possibly_stored, is_unknown, is_given_up) in [
            (Code::PurgeInflight, true, true, true),
            // Sent before, and waiting to be sent again.
            (Code::PurgeQueue, true, true, true),
            (Code::PurgeQueue, false, false, true),
            (Code::MessageTimedOut, true, true, false),
            (Code::MessageTimedOut, false, false, false),
            (Code::BrokerTransportFailure, true, true, false),
            (Code::BrokerTransportFailure, false, false, false),
            (Code::MessageSizeTooLarge, false, false, false),
        ] {
            let fate = Fate::Failed { code: code.into(), topic: "t".to_owned(), possibly_stored };
            assert_eq!(fate.is_given_up(), is_given_up, "{code:?}");
            let outcome = tally().outcome(fate);
            assert!(outcome.as_ref().is_err_and(|error| error.outcome_unknown() == is_unknown), "{code:?}: {outcome:?}");
        }
    }

    #[test]
    fn a_record_that_no_broker_has_placed_is_not_taken_for_stored() {
        let tally = tally();
        for (offset, is_stored) in [(0, true), (7, true), (-1, false), (-1001, false)] {
            let outcome = tally.outcome(Fate::Stored(RecordPosition { partition: 0, offset }));
            assert_eq!(outcome.is_ok(), is_stored, "{offset}");
            assert!(is_stored || outcome.is_err_and(|error| error.outcome_unknown() && !error.is_fatal()), "{offset}");
        }
    }
}
