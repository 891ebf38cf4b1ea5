//! Reads what a record says about an order. Pure.
//!
//! Topics are told apart by content, not by name: an `eventType`, the `penstock-dlt-` headers of a dead letter in Record format,
//! or the `originalValue` of one in Envelope format. Nothing is asked for that the table does not need, so that an order that
//! breaks the rules, and fails for it, can still be looked up. Of a dead letter without its original, which was too large, the key
//! tells the order.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use penstock_kafka::Header;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    super::orders::{Fields, Malformed, ORDER_CREATED, PAYMENT_COMPLETED, parse_order_id},
    table::{Fact, Failed, Paid, Placed},
};
use crate::{idempotency::KeyId, stream::dead_letter::HEADER_PREFIX};

const FIELDS: &[&str; 8] =
    &["eventType", "timestamp", "data", "originalTopic", "originalValue", "originalValueDropped", "originalKey", "failedAt"];

/// The header of an order's record with the key that it came with.
const KEY_HEADER: &str = "penstock-idempotency-key";

/// The header that says with which key an order came.
pub fn key_header(key: KeyId) -> Header {
    Header { name: KEY_HEADER.to_owned(), value: Some(Bytes::copy_from_slice(key.bytes())) }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It is about this order.
    About(Uuid, Vec<Fact>),
    /// It is well-formed and about something else.
    Elsewhere,
}

/// A record, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload.
    pub payload: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [Header],
    /// Milliseconds since the Unix epoch, if it has a timestamp: used where its content has none.
    pub timestamp_ms: Option<i64>,
}

/// Reads a record.
///
/// # Errors
/// When it is no JSON object, or an event of an order that does not say of which.
pub fn read(record: Content<'_>) -> Result<Reading, Malformed> {
    let written_at = record.timestamp_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let failed_at = record.is_dead_letter().then(|| record.failed_at().unwrap_or(written_at));
    let Some(payload) = record.payload else {
        let dropped = failed_at.filter(|_| record.dead_letter_header("value-dropped").is_some());
        return Ok(dropped.map_or(Reading::Elsewhere, |at| failure_by_key(record.key.and_then(text_of), at)));
    };
    let text = std::str::from_utf8(payload).map_err(|e| Malformed(e.to_string()))?;
    let fields = Fields::parse(text, FIELDS)?;
    match fields.string("eventType").as_deref() {
        Some(ORDER_CREATED) => order_facts(&fields, written_at, failed_at),
        Some(PAYMENT_COMPLETED) if failed_at.is_none() => payment_facts(&fields, written_at),
        Some(_) => Ok(Reading::Elsewhere),
        None if fields.raw("originalTopic").is_some() => Ok(envelope_facts(&fields, written_at)),
        None => Ok(Reading::Elsewhere),
    }
}

impl<'a> Content<'a> {
    /// The key that an order came with.
    pub fn idempotency_key(&self) -> Option<KeyId> {
        let header = self.headers.iter().find(|header| header.name == KEY_HEADER)?;
        KeyId::read(header.value.as_deref()?)
    }

    fn is_dead_letter(&self) -> bool {
        self.headers.iter().any(|h| h.name.starts_with(HEADER_PREFIX))
    }

    fn dead_letter_header(&self, name: &str) -> Option<&'a str> {
        let header = self.headers.iter().find(|h| h.name.strip_prefix(HEADER_PREFIX) == Some(name))?;
        header.value.as_deref().and_then(text_of)
    }

    fn failed_at(&self) -> Option<Timestamp> {
        self.dead_letter_header("failed-at")?.parse().ok()
    }
}

fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn failure_by_key(key: Option<&str>, at: Timestamp) -> Reading {
    let order_id = key.and_then(parse_order_id);
    order_id.map_or(Reading::Elsewhere, |order_id| Reading::About(order_id, vec![Fact::Failed(Failed { at })]))
}

fn order_facts(event: &Fields<'_, { FIELDS.len() }>, written_at: Timestamp, failed_at: Option<Timestamp>) -> Result<Reading, Malformed> {
    let data = event.raw("data").map(RawValue::get).ok_or_else(|| missing("data"))?;
    let order_id = order_id(data)?;
    let placed = Placed { copy: failed_at.is_some(), at: time(event, "timestamp").unwrap_or(written_at), data: Arc::from(data) };
    let failed = failed_at.map(|at| Fact::Failed(Failed { at }));
    Ok(Reading::About(order_id, std::iter::once(Fact::Placed(placed)).chain(failed).collect()))
}

fn payment_facts(event: &Fields<'_, { FIELDS.len() }>, written_at: Timestamp) -> Result<Reading, Malformed> {
    let data = event.raw("data").map(RawValue::get).ok_or_else(|| missing("data"))?;
    let order_id = order_id(data)?;
    let payment_id = Fields::parse(data, &["paymentId"])?.string("paymentId").ok_or_else(|| missing("data.paymentId"))?;
    let paid = Paid { at: time(event, "timestamp").unwrap_or(written_at), payment_id: payment_id.into() };
    Ok(Reading::About(order_id, vec![Fact::Paid(paid)]))
}

/// A dead letter in Envelope format; its original is the event itself, or its text where that was not JSON. It may hold any
/// poison and is well-formed all the same.
fn envelope_facts(envelope: &Fields<'_, { FIELDS.len() }>, written_at: Timestamp) -> Reading {
    let failed_at = time(envelope, "failedAt").unwrap_or(written_at);
    if envelope.raw("originalValueDropped").is_some() {
        return failure_by_key(envelope.string("originalKey").as_deref(), failed_at);
    }
    let text = envelope.string("originalValue");
    let original = text.as_deref().or(envelope.raw("originalValue").map(RawValue::get));
    match original.map(|text| Fields::parse(text, FIELDS)) {
        Some(Ok(event)) if event.string("eventType").as_deref() == Some(ORDER_CREATED) => {
            order_facts(&event, written_at, Some(failed_at)).unwrap_or(Reading::Elsewhere)
        }
        _ => Reading::Elsewhere,
    }
}

fn order_id(data: &str) -> Result<Uuid, Malformed> {
    let id = Fields::parse(data, &["orderId"])?.string("orderId");
    id.as_deref().and_then(parse_order_id).ok_or_else(|| missing("data.orderId"))
}

fn time(fields: &Fields<'_, { FIELDS.len() }>, name: &str) -> Option<Timestamp> {
    fields.string(name)?.parse().ok()
}

fn missing(field: &str) -> Malformed {
    Malformed(format!("{field} is missing or malformed"))
}

#[cfg(test)]
mod tests;
