//! Writes what a front publishes to the sink, within the time that the front allows.
//!
//! A producer that failed for good is replaced by a new one; what it had not delivered is answered as such.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use penstock_kafka::{
    CircuitState, ConnectionSettings, Error, Producer, ProducerSettings, Record, RecordPosition, RecordRef, TopicPartition,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    clients,
    cloudevents::time_of,
    connection,
    front::{Publish, PublishError},
    metrics::Metrics,
    processor::{BoxFuture, Output},
    readiness::Need,
};

/// The sink of a front.
pub(crate) struct Sink {
    topic: String,
    longest: Duration,
    connection: ConnectionSettings,
    current: Mutex<Current>,
    need: Need,
    metrics: Metrics,
    /// Whether records written, and not written, are counted.
    counted: bool,
}

struct Current {
    producer: Producer,
    settings: ProducerSettings,
    generation: u64,
    /// Ends the watch over the producer's connection.
    watched: CancellationToken,
}

impl Sink {
    pub fn new(
        connection: &ConnectionSettings,
        topic: &str,
        settings: ProducerSettings,
        longest: Duration,
        need: Need,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let current = Mutex::new(Current::new(connection, settings, &need, 0)?);
        Ok(Self { topic: topic.to_owned(), longest, connection: connection.clone(), current, need, metrics, counted: true })
    }

    /// What is written are no events, and is not counted.
    pub fn uncounted(self) -> Self {
        Self { counted: false, ..self }
    }

    /// Whether its circuit is open; none without a circuit breaker.
    pub fn has_open_circuit(&self) -> Option<bool> {
        let current = self.current();
        current.settings.circuit_breaker?;
        Some(current.producer.circuit() != CircuitState::Closed)
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
        let Output { key, payload, headers } = output;
        // The event's own time; of one that has none, when it came.
        let event_ms = time_of(&headers).unwrap_or_else(Timestamp::now).as_millisecond();
        let record = Record { key, payload, headers, ..Record::to(&self.topic) };
        let late = |_| Err(Error::Timeout { reason: format!("no acknowledgement within {:?}", self.longest) });
        let written = timeout(self.longest, self.send(&record)).await.unwrap_or_else(late);
        if self.counted {
            self.count(&written, event_ms);
        }
        match &written {
            Ok(_) => {}
            Err(error @ Error::CircuitOpen { .. }) => tracing::debug!(%error, topic = self.topic, "a record was not sent"),
            Err(error) => tracing::warn!(%error, topic = self.topic, "a record was not written"),
        }
        written
    }

    fn count(&self, written: &Result<RecordPosition, Error>, event_ms: i64) {
        let Ok(RecordPosition { partition, .. }) = written else {
            self.metrics.produce_failures.inc();
            return;
        };
        let at = TopicPartition::new(&self.topic, *partition);
        self.metrics.count_produced(&at);
        self.metrics.progress.delivered(at, event_ms, Timestamp::now().as_millisecond());
    }

    /// Sends a record until it is stored or at fault itself: of a batch that is too large for the topic nothing is stored, and
    /// what was in it is sent again in smaller ones.
    async fn send(&self, record: &Record) -> Result<RecordPosition, Error> {
        loop {
            let (producer, mut settings, generation) = {
                let current = self.current();
                (current.producer.clone(), current.settings.clone(), current.generation)
            };
            match producer.send(record.clone()).await {
                Err(Error::RecordTooLarge { .. }) if !clients::is_alone(RecordRef::from(record).size(), settings.batch_bytes) => {
                    settings.batch_bytes = clients::smaller(settings.batch_bytes);
                    self.replace(generation, settings)?;
                }
                Err(error) if error.is_fatal() => {
                    self.replace(generation, settings)?;
                    return Err(error);
                }
                sent => return sent,
            }
        }
    }

    /// Of all who saw the same producer fail, one makes a new one.
    fn replace(&self, failed: u64, settings: ProducerSettings) -> Result<(), Error> {
        let mut current = self.current();
        if current.generation == failed {
            tracing::warn!(
                topic = self.topic,
                settings.batch_bytes,
                "a new producer takes the place of one that failed, or whose batch was refused"
            );
            *current = Current::new(&self.connection, settings, &self.need, failed + 1)?;
            self.metrics.restarts.inc();
        }
        Ok(())
    }
}

impl Current {
    fn new(connection: &ConnectionSettings, settings: ProducerSettings, need: &Need, generation: u64) -> Result<Self, Error> {
        let producer = Producer::new(connection, &settings)?;
        let watched = CancellationToken::new();
        connection::watch(producer.health(), need.clone(), &watched);
        Ok(Self { producer, settings, generation, watched })
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

    fn pause(&self) -> Option<Duration> {
        match self.current().producer.circuit() {
            CircuitState::Open { retry_after } if !retry_after.is_zero() => Some(retry_after),
            _ => None,
        }
    }
}

/// What an error of Kafka means for a record.
pub(crate) fn refusal(error: Error) -> PublishError {
    match error {
        Error::RecordTooLarge { message } => PublishError::TooLarge(message),
        Error::Authorization { .. }
        | Error::UnknownTopic { .. }
        | Error::InvalidRequest { .. }
        | Error::InvalidTopicName { .. }
        | Error::PolicyViolation { .. } => PublishError::Refused(error.to_string()),
        Error::CircuitOpen { retry_after } => PublishError::NotSent(retry_after),
        error => PublishError::Unavailable(error.to_string()),
    }
}
