//! Whether a client has a connection to Kafka, as the client library itself sees it.
//!
//! A client is `Disconnected` once every broker it knows is down, and `Connected` again as soon as one is up (seen at
//! most about a second late; of a [`crate::BulkProducer`] when it is asked). It never polls Kafka by itself; ask [`crate::TopicAdmin::cluster`] for an active check.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use tokio::sync::watch;

/// The connection of one client.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// No broker has been reached yet.
    Connecting,
    /// At least one broker is connected.
    Connected,
    /// All known brokers are down; the client keeps trying.
    Disconnected {
        /// What the client library reported last.
        reason: String,
    },
}

/// Watches the connection of one client. Cheap to clone; stays readable after the client is gone.
#[derive(Clone, Debug)]
pub struct Health {
    receiver: watch::Receiver<ClientState>,
}

impl Health {
    /// The state now.
    pub fn state(&self) -> ClientState {
        self.receiver.borrow().clone()
    }

    /// True while at least one broker is connected.
    pub fn is_connected(&self) -> bool {
        *self.receiver.borrow() == ClientState::Connected
    }

    /// Waits for the next change. `None` once the client is gone.
    pub async fn changed(&mut self) -> Option<ClientState> {
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().clone())
    }
}

/// The writing side, fed by the callbacks of one client.
#[derive(Debug)]
pub(crate) struct HealthSource {
    sender: watch::Sender<ClientState>,
}

impl Default for HealthSource {
    fn default() -> Self {
        Self { sender: watch::Sender::new(ClientState::Connecting) }
    }
}

impl HealthSource {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn watch(&self) -> Health {
        Health { receiver: self.sender.subscribe() }
    }

    /// The last known reason for having no connection, if there is none.
    pub(crate) fn reason(&self) -> Option<String> {
        match &*self.sender.borrow() {
            ClientState::Disconnected { reason } => Some(reason.clone()),
            ClientState::Connecting | ClientState::Connected => None,
        }
    }

    pub(crate) fn connected(&self) {
        self.set(ClientState::Connected);
    }

    /// Takes in a client-level error. Only the loss of every broker changes the state.
    pub(crate) fn error(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        tracing::debug!(target: "librdkafka", ?code, reason, "client error");
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.set(ClientState::Disconnected { reason: reason.to_owned() });
        }
    }

    pub(crate) fn statistics(&self, statistics: &Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.connected();
        }
    }

    fn set(&self, state: ClientState) {
        self.sender.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }
}

/// Passes one log line of librdkafka on. A broker that is away is the state of [`Health`], not an error of ours each time.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// The part of rdkafka's client context that all clients of this crate share.
macro_rules! client_context {
    ($context:ty) => {
        impl rdkafka::ClientContext for $context {
            fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
                $crate::health::log(level, facility, message);
            }

            fn stats(&self, statistics: rdkafka::Statistics) {
                self.health.statistics(&statistics);
            }

            fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
                self.health.error($crate::health::code(&error), reason);
            }
        }
    };
}
pub(crate) use client_context;

pub(crate) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loss_of_all_brokers_disconnects() {
        let source = HealthSource::new();
        let health = source.watch();
        assert_eq!(health.state(), ClientState::Connecting);
        source.connected();
        assert!(health.is_connected());
        source.error(Some(RDKafkaErrorCode::BrokerTransportFailure), "one broker");
        assert!(health.is_connected());
        source.error(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(health.state(), ClientState::Disconnected { reason: "1/1 brokers are down".to_owned() });
        assert_eq!(source.reason().as_deref(), Some("1/1 brokers are down"));
        source.connected();
        assert!(health.is_connected());
    }
}
