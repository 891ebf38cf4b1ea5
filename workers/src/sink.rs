//! Writes what a front publishes to the sink, within the time that the front allows.
//!
//! A producer that failed for good is replaced by a new one; what it had not delivered is answered as such.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_kafka::{ConnectionSettings, Error, Producer, ProducerSettings, Record, RecordPosition};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    connection::{self, BATCH_BYTES, MAX_RECORD_BYTES},
    front::{Publish, PublishError},
    metrics::Metrics,
    processor::{BoxFuture, Output},
    readiness::Need,
};

/// The least that a producer can be given.
const SHORTEST_DELIVERY: Duration = Duration::from_secs(1);

/// The sink of a front.
pub(crate) struct Sink {
    topic: String,
    longest: Duration,
    connection: ConnectionSettings,
    settings: ProducerSettings,
    current: Mutex<Current>,
    need: Need,
    metrics: Metrics,
}

struct Current {
    producer: Producer,
    generation: u64,
    /// Ends the watch over the producer's connection.
    watched: CancellationToken,
}

impl Sink {
    pub fn new(connection: &ConnectionSettings, topic: &str, longest: Duration, need: Need, metrics: Metrics) -> Result<Self, Error> {
        let mut settings = ProducerSettings::default();
        // What was answered with an error must not turn up much later.
        settings.delivery_timeout = longest.max(SHORTEST_DELIVERY);
        settings.batch_bytes = BATCH_BYTES;
        settings.max_record_bytes = MAX_RECORD_BYTES;
        let current = Mutex::new(Current::new(connection, &settings, &need, 0)?);
        Ok(Self { topic: topic.to_owned(), longest, connection: connection.clone(), settings, current, need, metrics })
    }

    /// Waits for what is on its way.
    pub async fn flush(&self, longest: Duration) -> Result<(), Error> {
        let producer = self.current().producer.clone();
        producer.flush(longest).await
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, output: Output) -> Result<RecordPosition, Error> {
        let (producer, generation) = {
            let current = self.current();
            (current.producer.clone(), current.generation)
        };
        let Output { key, payload, headers } = output;
        let record = Record { key, payload, headers, ..Record::to(&self.topic) };
        let written = timeout(self.longest, producer.send(record))
            .await
            .unwrap_or_else(|_| Err(Error::Timeout { reason: format!("no acknowledgement within {:?}", self.longest) }));
        if let Err(error) = &written {
            self.metrics.produce_failures.inc();
            tracing::warn!(%error, topic = self.topic, "a record was not written");
            if error.is_fatal() {
                self.replace(generation);
            }
        } else {
            self.metrics.produced.inc();
        }
        written
    }

    /// Of all who saw the same producer fail, one makes a new one.
    fn replace(&self, failed: u64) {
        let mut current = self.current();
        if current.generation != failed {
            return;
        }
        match Current::new(&self.connection, &self.settings, &self.need, failed + 1) {
            Ok(new) => {
                self.metrics.restarts.inc();
                *current = new;
            }
            Err(error) => tracing::error!(%error, "no new producer could be made"),
        }
    }
}

impl Current {
    fn new(connection: &ConnectionSettings, settings: &ProducerSettings, need: &Need, generation: u64) -> Result<Self, Error> {
        let producer = Producer::new(connection, settings)?;
        let watched = CancellationToken::new();
        connection::watch(producer.health(), need.clone(), &watched);
        Ok(Self { producer, generation, watched })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        self.watched.cancel();
    }
}

impl Publish for Sink {
    fn publish(&self, output: Output) -> BoxFuture<'_, Result<RecordPosition, PublishError>> {
        Box::pin(async move { self.write(output).await.map_err(refusal) })
    }
}

fn refusal(error: Error) -> PublishError {
    match error {
        Error::RecordTooLarge { message } => PublishError::TooLarge(message),
        Error::Authorization { .. }
        | Error::UnknownTopic { .. }
        | Error::InvalidRequest { .. }
        | Error::InvalidTopicName { .. }
        | Error::PolicyViolation { .. } => PublishError::Refused(error.to_string()),
        error => PublishError::Unavailable(error.to_string()),
    }
}
