//! Our own headers: everything as text.

use penstock_kafka::Header;

use super::Death;
use crate::processor::Event;

/// What their names begin with.
pub const HEADER_PREFIX: &str = "penstock-dlt-";

const FINGERPRINT: &str = "error-fingerprint";

/// What happened, beside a value that is as it was.
pub(super) fn headers(death: &Death<'_>) -> Vec<Header> {
    let event = death.event;
    let mut facts = vec![
        ("original-topic", event.topic.to_string()),
        ("original-partition", event.partition.to_string()),
        ("original-offset", event.offset.to_string()),
        ("error-type", death.error_type.clone()),
        ("error-message", death.message.clone()),
        ("error-stack", death.stack.clone()),
        (FINGERPRINT, death.fingerprint.clone()),
        ("failed-at", death.failed_at.clone()),
        ("retry-count", death.retries().to_string()),
        ("pipeline", death.sender.pipeline.clone()),
    ];
    facts.extend(event.timestamp_ms.map(|ms| ("original-timestamp", ms.to_string())));
    facts.extend(death.dropped.clone().map(|words| ("value-dropped", words)));
    facts.into_iter().map(|(name, value)| super::header(HEADER_PREFIX, name, value)).collect()
}

/// Whether a record is a dead letter of ours, as far as its headers tell.
pub(super) fn is_letter(event: &Event) -> bool {
    event.headers.iter().any(|header| header.name.strip_prefix(HEADER_PREFIX) == Some(FINGERPRINT))
}

/// The one that an envelope has, whose JSON has no place for it.
pub(super) fn fingerprint_header(death: &Death<'_>) -> Header {
    super::header(HEADER_PREFIX, FINGERPRINT, death.fingerprint.clone())
}
