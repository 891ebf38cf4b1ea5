//! Writes events together with the note that they are done, in one transaction; and makes sure that another writer never will.
//!
//! A few producers, each with a transactional id that nobody uses again: after any doubt a producer is thrown away, and with it the
//! claims that name it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use penstock_kafka::{CommitError, ConnectionSettings, Error, TopicPartition, TransactionSettings, TransactionalProducer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::processor::Output;

/// How many requests with a key are written at once.
const WRITERS: usize = 8;

/// The producers.
pub(super) struct Ledger {
    connection: ConnectionSettings,
    settings: Box<dyn Fn(Uuid) -> TransactionSettings + Send + Sync>,
    sink: String,
    keys: String,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<(Uuid, TransactionalProducer)>>,
}

/// A producer for one request.
pub(super) struct Writer {
    /// Its name in claims.
    pub name: Uuid,
    producer: TransactionalProducer,
    place: OwnedSemaphorePermit,
}

impl Writer {
    /// How many records its last transaction has put into each partition, where it was committed.
    pub fn stored(&self) -> &BTreeMap<TopicPartition, u64> {
        self.producer.stored()
    }
}

/// How a transaction ended.
pub(super) enum Ending {
    /// All of it counts.
    Committed(Writer),
    /// Nothing of it counts, nor will.
    Nothing(Error, Option<Writer>),
    /// Either.
    Unknown(Error),
}

impl Ledger {
    /// `settings` are those of the producer with that name.
    pub fn new(
        connection: ConnectionSettings,
        settings: impl Fn(Uuid) -> TransactionSettings + Send + Sync + 'static,
        sink: String,
        keys: String,
    ) -> Self {
        let places = Arc::new(Semaphore::new(WRITERS));
        Self { connection, settings: Box::new(settings), sink, keys, places, idle: Mutex::default() }
    }

    /// A producer, once one is free.
    pub async fn writer(&self) -> Result<Writer, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::Closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some((name, producer)) = idle {
            return Ok(Writer { name, producer, place });
        }
        let name = Uuid::new_v4();
        let producer = TransactionalProducer::start(&self.connection, &(self.settings)(name)).await?;
        Ok(Writer { name, producer, place })
    }

    /// The producer is free again.
    pub fn give_back(&self, writer: Writer) {
        let Writer { name, producer, place } = writer;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((name, producer));
        drop(place);
    }

    /// Writes events and the note in one transaction.
    pub async fn commit(&self, writer: Writer, events: &[Output], done: &Output) -> Ending {
        let Writer { name, producer, place } = writer;
        let transaction = match producer.begin().await {
            Ok(transaction) => transaction,
            Err(error) => return Ending::Nothing(error, None),
        };
        let records = events.iter().map(|event| event.to_record(&self.sink)).chain([done.to_record(&self.keys)]);
        for (record, n) in records.zip(0..) {
            if let Err(error) = transaction.enqueue(record, n).await {
                let writer = transaction.abort().await.ok().map(|producer| Writer { name, producer, place });
                return Ending::Nothing(error, writer);
            }
        }
        match transaction.commit().await {
            Ok(producer) => Ending::Committed(Writer { name, producer, place }),
            Err(CommitError::Aborted { reason, producer, .. }) => {
                Ending::Nothing(reason, Some(Writer { name, producer: *producer, place }))
            }
            Err(CommitError::ProducerLost { reason }) => Ending::Unknown(reason),
        }
    }

    /// Ends the producer with that name, wherever it is: what it has not committed by now never will be.
    pub async fn fence(&self, name: Uuid) -> Result<(), Error> {
        match TransactionalProducer::start(&self.connection, &(self.settings)(name)).await {
            // Somebody else has done so at the same time.
            Ok(_) | Err(Error::Fenced { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
