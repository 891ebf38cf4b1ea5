//! Writes dead letters: the record as it was, and what went wrong. Pure.
//!
//! Any record can be written, whatever its bytes. What would make a letter too large for its topic is left out and said
//! to be missing; where the record came from always stays. A record that dies again carries one death: what an earlier
//! letter said in the namings that are written gives way, so that letters do not grow from one redrive to the next.

mod connect;
mod envelope;
mod fingerprint;
mod own;
mod spring;

use bytes::Bytes;
use jiff::Timestamp;
use penstock_crds::worker::{DeadLetterFormat, DeadLetterHeaders, DeadLetterTarget};
use penstock_kafka::{Header, Record};

pub use self::{fingerprint::fingerprint, own::HEADER_PREFIX};
use crate::processor::{Event, Failure};

const MAX_TYPE: usize = 256;
const MAX_MESSAGE: usize = 4 << 10;
const MAX_STACK: usize = 16 << 10;
/// What of the message, and of the stack, stays in a letter that only points to its record.
const MAX_POINTER_TEXT: usize = 1 << 10;
/// A key longer than this is left out together with the value.
const MAX_POINTER_KEY: usize = 4 << 10;
/// What names, numbers and the like take at most, in all namings together.
const FRAME: usize = 8 << 10;

/// Whose letters they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The pipeline, as `namespace/name`.
    pub pipeline: String,
    /// Its consumer group.
    pub group: String,
    /// The name of its processor.
    pub processor: String,
}

/// Where a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The processor had it.
    Processing,
    /// What the processor made of it could not be written.
    Producing,
}

/// A record that could not be handled.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// The record, as it was at its last attempt.
    pub event: &'a Event,
    /// What went wrong then.
    pub failure: &'a Failure,
    /// Where.
    pub step: Step,
    /// When.
    pub failed_at: Timestamp,
    /// For whom it was handled.
    pub sender: &'a Sender,
}

/// How much of the record a letter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Only where it lies; for records that are too large for the dead letter topic.
    Pointer,
}

impl DeadLetter<'_> {
    /// The letter as it goes to its topic, with the key of the record.
    #[must_use]
    pub fn write(&self, target: &DeadLetterTarget, extent: Extent) -> Record {
        let death = self.death(extent);
        let mut headers = self.kept(target, extent);
        let payload = match target.format {
            DeadLetterFormat::Record => {
                headers.extend(own::headers(&death));
                death.payload.cloned()
            }
            DeadLetterFormat::Envelope => {
                headers.push(own::fingerprint_header(&death));
                Some(envelope::json(&death).into())
            }
        };
        for naming in &target.headers {
            headers.extend(match naming {
                DeadLetterHeaders::Spring => spring::headers(&death),
                DeadLetterHeaders::Connect => connect::headers(&death),
            });
        }
        Record { key: death.key.cloned(), payload, headers, ..Record::to(&target.topic) }
    }

    /// What a letter may weigh at most, in bytes. JSON may write a byte as six.
    #[must_use]
    pub fn weight(&self, target: &DeadLetterTarget, extent: Extent) -> usize {
        let (text, record) = match extent {
            Extent::Whole => {
                let (message, stack) = (self.failure.message.len(), self.failure.stack.as_ref().map_or(0, String::len));
                (message.min(MAX_MESSAGE) * 2 + stack.min(MAX_STACK), self.event.size())
            }
            Extent::Pointer => (MAX_POINTER_TEXT * 2, self.event.key.as_ref().map_or(0, Bytes::len).min(MAX_POINTER_KEY)),
        };
        // Of the namings each has the texts; in an envelope key and value are beside the record's own.
        let envelope = if target.format == DeadLetterFormat::Envelope { 6 * (text + record) } else { text };
        record + envelope + text * target.headers.len() + FRAME
    }

    /// The record's own headers, but for what an earlier letter said in a naming that is written now.
    fn kept(&self, target: &DeadLetterTarget, extent: Extent) -> Vec<Header> {
        let is_ours = |header: &Header| {
            header.name.starts_with(HEADER_PREFIX) || target.headers.iter().any(|naming| header.name.starts_with(prefix(*naming)))
        };
        match extent {
            Extent::Whole => self.event.headers.iter().filter(|header| !is_ours(header)).cloned().collect(),
            Extent::Pointer => Vec::new(),
        }
    }

    fn death(&self, extent: Extent) -> Death<'_> {
        let Self { event, failure, .. } = *self;
        let (message, stack) = match extent {
            Extent::Whole => (MAX_MESSAGE, MAX_STACK),
            Extent::Pointer => (MAX_POINTER_TEXT, MAX_POINTER_TEXT),
        };
        let is_whole = extent == Extent::Whole;
        let error_type = capped(&failure.error_type, MAX_TYPE);
        let message = capped(&failure.message, message);
        let stack = match &failure.stack {
            Some(text) => capped(text, stack),
            None => format!("{error_type}: {message}"),
        };
        Death {
            event,
            key: event.key.as_ref().filter(|key| is_whole || key.len() <= MAX_POINTER_KEY),
            payload: event.payload.as_ref().filter(|_| is_whole),
            dropped: (!is_whole).then(|| self.dropped()),
            fingerprint: fingerprint(failure),
            error_type,
            message,
            stack,
            step: self.step,
            failed_at: iso(self.failed_at),
            sender: self.sender,
        }
    }

    fn dropped(&self) -> String {
        let size = self.event.payload.as_ref().map_or(0, Bytes::len);
        format!("the record is too large for this topic ({size} bytes of value); it is at {}", self.event.id())
    }
}

/// What every naming tells, each in its own words. Texts have their bounds already.
struct Death<'a> {
    event: &'a Event,
    key: Option<&'a Bytes>,
    payload: Option<&'a Bytes>,
    /// That the value was left out, and where it is.
    dropped: Option<String>,
    error_type: String,
    message: String,
    stack: String,
    fingerprint: String,
    step: Step,
    failed_at: String,
    sender: &'a Sender,
}

impl Death<'_> {
    fn retries(&self) -> u16 {
        self.event.attempt.saturating_sub(1)
    }
}

/// What the names of a naming begin with, and no others.
fn prefix(naming: DeadLetterHeaders) -> &'static str {
    match naming {
        DeadLetterHeaders::Spring => spring::HEADER_PREFIX,
        DeadLetterHeaders::Connect => connect::HEADER_PREFIX,
    }
}

fn header(prefix: &str, name: &str, value: impl Into<Bytes>) -> Header {
    Header { name: format!("{prefix}{name}"), value: Some(value.into()) }
}

fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// At most `max` bytes of a text, cut between characters.
fn capped(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", text.get(..text.floor_char_boundary(max)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
