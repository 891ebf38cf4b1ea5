//! The headers of Spring Kafka's `DeadLetterPublishingRecoverer` (`KafkaHeaders.DLT_*`): numbers as big-endian bytes, the rest
//! as text.
//!
//! As there, all are always written. A cause of its own an error has none here, so that `exception-cause-fqcn` names the error
//! itself, as it does there for an exception that nothing wraps. Unlike there, nothing is appended to what an earlier letter said.

use bytes::Bytes;
use penstock_kafka::Header;

use super::Death;

/// What their names begin with.
pub(super) const HEADER_PREFIX: &str = "kafka_dlt-";

/// Of a record without a timestamp.
const NO_TIMESTAMP: (i64, &str) = (-1, "NoTimestampType");

pub(super) fn headers(death: &Death<'_>) -> Vec<Header> {
    let event = death.event;
    let (timestamp, timestamp_type) = event.timestamp_ms.map_or(NO_TIMESTAMP, |ms| (ms, event.timestamp_type.name()));
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let number = |number: i64| Bytes::copy_from_slice(&number.to_be_bytes());
    let facts = [
        ("exception-fqcn", text(&death.error_type)),
        ("exception-cause-fqcn", text(&death.error_type)),
        ("exception-message", text(&death.message)),
        ("exception-stacktrace", text(&death.stack)),
        ("original-topic", text(&event.topic)),
        ("original-partition", Bytes::copy_from_slice(&event.partition.to_be_bytes())),
        ("original-offset", number(event.offset)),
        ("original-timestamp", number(timestamp)),
        ("original-timestamp-type", text(timestamp_type)),
        ("original-consumer-group", text(&death.sender.group)),
    ];
    facts.into_iter().map(|(name, value)| super::header(HEADER_PREFIX, name, value)).collect()
}
