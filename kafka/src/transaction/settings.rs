//! How a transactional producer is known to the brokers and how long its transactions may last. Pure.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::connection::InvalidSettings;
use crate::ffi::TRANSACTIONAL_ID;
use crate::producer::ProducerSettings;

const MAX_ID: usize = 255;

/// How a [`crate::TransactionalProducer`] writes.
///
/// ```
/// use penstock_kafka::TransactionSettings;
/// use std::time::Duration;
///
/// let mut settings = TransactionSettings::new("billing-0").with_timeout(Duration::from_secs(20));
/// settings.producer.batch_bytes = 256 << 10;
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionSettings {
    /// The name under which brokers know this producer, 1 to 255 characters. Whoever starts under the same name fences
    /// the one before and ends its transaction: give each place that writes a name of its own, the same after a restart.
    pub transactional_id: String,
    /// How long a transaction may last. After that the brokers abort it, so it is also how long a dead producer holds up
    /// readers that read only what is committed. Each call of a transaction takes at most about as long. 1 s to 15 min (the
    /// brokers' default bound); default 10 s.
    pub timeout: Duration,
    /// How long [`crate::TransactionalProducer::start`] may take. 1 s to 1 h; default 30 s. A transaction of the one before
    /// is waited for, so more than its `timeout` is sensible.
    pub start_timeout: Duration,
    /// How records are batched. Their `delivery_timeout` is at most `timeout`; default 10 s.
    pub producer: ProducerSettings,
}

impl TransactionSettings {
    /// The defaults for a transactional id.
    pub fn new(transactional_id: impl Into<String>) -> Self {
        let timeout = Duration::from_secs(10);
        let producer = ProducerSettings { delivery_timeout: timeout, ..ProducerSettings::default() };
        Self { transactional_id: transactional_id.into(), timeout, start_timeout: Duration::from_secs(30), producer }
    }

    /// Sets the time that a transaction may last, and with it the time that a record is tried.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.producer.delivery_timeout = timeout;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidSettings> {
        let wrong = |field, rule| Err(InvalidSettings::field_must(field, rule));
        let id = &self.transactional_id;
        if id.is_empty() || id.len() > MAX_ID || id.contains('\0') {
            return wrong("transactional_id", "must have 1 to 255 characters and no zero byte");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(900)).contains(&self.timeout) {
            return wrong("timeout", "must be between 1 s and 15 min");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.start_timeout) {
            return wrong("start_timeout", "must be between 1 s and 1 h");
        }
        if self.producer.delivery_timeout > self.timeout {
            return wrong("producer.delivery_timeout", "of a transactional producer must be at most its timeout");
        }
        self.producer.validate_unbroken()
    }

    pub(super) fn apply(&self, config: &mut ClientConfig) {
        self.producer.apply(config);
        let timeout = self.timeout.as_millis().to_string();
        config
            .set(TRANSACTIONAL_ID, &self.transactional_id)
            .set("transaction.timeout.ms", &timeout)
            // A request is waited for as long as the call that sent it. Repeated earlier, the first one could still be on
            // its way when the next transaction begins.
            .set("socket.timeout.ms", &timeout)
            // Right after a transaction the coordinator may ask to come again while it ends; that takes it a few milliseconds.
            .set("retry.backoff.ms", "20");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_bounds() {
        type Change = fn(&mut TransactionSettings);
        let second = Duration::from_secs(1);
        assert!(TransactionSettings::new("a").with_timeout(second).validate().is_ok());
        let table: [(&str, Change, bool); 9] = [
            ("default", |_| {}, true),
            ("id", |s| s.transactional_id.clear(), false),
            ("long id", |s| s.transactional_id = "x".repeat(256), false),
            ("zero byte", |s| s.transactional_id.push('\0'), false),
            ("timeout", |s| s.timeout = Duration::from_secs(901), false),
            ("start", |s| s.start_timeout = Duration::ZERO, false),
            ("delivery", |s| s.producer.delivery_timeout = Duration::from_secs(11), false),
            ("batch", |s| s.producer.batch_bytes = 0, false),
            ("breaker", |s| s.producer.circuit_breaker = Some(crate::BreakerSettings::default()), false),
        ];
        for (name, change, valid) in table {
            let mut settings = TransactionSettings::new("a");
            change(&mut settings);
            assert_eq!(settings.validate().is_ok(), valid, "{name}");
        }
    }
}
