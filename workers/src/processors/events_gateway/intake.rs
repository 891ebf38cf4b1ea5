//! Reads the events of a request, in whatever mode they come. Pure: id and time of an event that brings none are given.

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::{key::KeyOf, problem, schema::Schema};
use crate::{
    cloudevents::{BatchError, CloudEvent, DATA_CONTENT_TYPE, Incomplete, batch_of_json, event_of_json, of_headers, speaks_of_events},
    http::{Fault, MediaType, Place, Problem, is_compressed, pointer, problem::MORE_THAN_IS_TOLD},
};

/// The most events of one batch.
pub const MAX_BATCH: usize = 1_000;

/// What is taken.
#[derive(Debug)]
pub struct Intake {
    /// What becomes of bare JSON; without it, it is refused.
    pub bare: Option<Bare>,
    /// What the attributes of every event must satisfy.
    pub attributes: Option<Schema>,
    /// What the data of every event must satisfy.
    pub schema: Option<Schema>,
    /// What becomes the key of a record.
    pub key: KeyOf,
}

/// An event that is taken.
#[derive(Debug)]
pub struct Taken {
    /// The event.
    pub event: CloudEvent,
    /// The key of its record.
    pub key: Option<Bytes>,
}

/// The attributes of an event that is posted as bare JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// Its type.
    pub kind: String,
    /// Its source.
    pub source: String,
}

/// How events stand in a request (HTTP binding, section 3).
enum Mode<'a> {
    Structured,
    Batched,
    Binary,
    Bare(&'a Bare),
}

/// Where an event stands in a request.
enum Standing {
    /// There in the body, with all that it has.
    Member(String),
    /// Its attributes in headers, its data as the body.
    Request,
}

impl Standing {
    /// Points to the data.
    fn data(&self) -> String {
        match self {
            Self::Member(at) => pointer(at, "data"),
            Self::Request => String::new(),
        }
    }

    /// Where that attribute stands, or would.
    fn attribute(&self, name: &str) -> Place {
        match self {
            Self::Member(at) => Place::Pointer(pointer(at, name)),
            Self::Request if name == DATA_CONTENT_TYPE => Place::Header("content-type".to_owned()),
            Self::Request => Place::Header(format!("ce-{name}")),
        }
    }
}

impl Intake {
    /// Reads the events of a request. `id` and `now` are for one that is bare JSON.
    ///
    /// # Errors
    /// Everything that is wrong with the first thing that is: its form, then its attributes, then its data.
    pub fn read(&self, headers: &HeaderMap, body: Bytes, id: Uuid, now: Timestamp) -> Result<Vec<Taken>, Problem> {
        let (events, place): (Vec<CloudEvent>, fn(usize) -> Standing) = match self.mode(headers)? {
            Mode::Structured => (vec![event_of_json(text_of(&body)?, "").map_err(problem::no_event)?], |_| Standing::Member(String::new())),
            Mode::Batched => (batch(text_of(&body)?)?, |n| Standing::Member(format!("/{n}"))),
            Mode::Binary => (vec![of_headers(headers, body).map_err(problem::no_event)?], |_| Standing::Request),
            Mode::Bare(bare) => (vec![bare.event(headers, body, id, now)?], |_| Standing::Request),
        };
        let (mut taken, mut violations) = (Vec::with_capacity(events.len()), Vec::new());
        for (n, event) in events.into_iter().enumerate() {
            match self.judge(&event, &place(n)) {
                Ok(key) => taken.push(Taken { event, key }),
                Err(found) => violations.extend(found),
            }
            if violations.len() >= MORE_THAN_IS_TOLD {
                break;
            }
        }
        if violations.is_empty() { Ok(taken) } else { Err(problem::invalid_data(violations)) }
    }

    /// The key of an event whose attributes and data are in order.
    fn judge(&self, event: &CloudEvent, standing: &Standing) -> Result<Option<Bytes>, Vec<Fault>> {
        let at = &standing.data();
        let of_attributes = self.attributes.iter().flat_map(|schema| schema.attribute_violations(event, |name| standing.attribute(name)));
        let of_data = self.schema.iter().flat_map(|schema| schema.violations(event, at));
        let violations: Vec<Fault> = of_attributes.chain(of_data).collect();
        if violations.is_empty() { self.key.of(event, at).map_err(|fault| vec![fault]) } else { Err(violations) }
    }

    fn mode(&self, headers: &HeaderMap) -> Result<Mode<'_>, Problem> {
        let media = MediaType::of(headers);
        let mode = match (media.essence(), &self.bare) {
            ("application/cloudevents+json", _) => Some(Mode::Structured).filter(|_| media.is_utf8()),
            ("application/cloudevents-batch+json", _) => Some(Mode::Batched).filter(|_| media.is_utf8()),
            // In a format that we do not read.
            (essence, _) if essence.starts_with("application/cloudevents") => None,
            _ if speaks_of_events(headers) => Some(Mode::Binary),
            (_, Some(bare)) if media.is_json() && media.is_utf8() => Some(Mode::Bare(bare)),
            _ => None,
        };
        mode.filter(|_| !is_compressed(headers)).ok_or_else(|| problem::wrong_media(self.bare.is_some()))
    }
}

impl Bare {
    /// What such an event has before its data is known.
    #[must_use]
    pub fn attributes(&self, id: String, now: Timestamp) -> Incomplete {
        Incomplete::made(id, &self.source, &self.kind, now)
    }

    /// The body is the data, as it is.
    fn event(&self, headers: &HeaderMap, body: Bytes, id: Uuid, now: Timestamp) -> Result<CloudEvent, Problem> {
        serde_json::from_str::<IgnoredAny>(text_of(&body)?).map_err(|why| Problem::malformed(&format!("is not JSON: {why}")))?;
        let mut event = self.attributes(id.to_string(), now);
        let media = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        event.attributes.insert(DATA_CONTENT_TYPE.to_owned(), media.to_owned());
        event.data = Some(body);
        event.complete().map_err(|broken| {
            problem::no_event(broken.into_iter().map(|b| Fault::in_header("content-type", format!("{} {}", b.attribute, b.rule))).collect())
        })
    }
}

fn text_of(body: &Bytes) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|why| Problem::malformed(&format!("is not UTF-8: {why}")))
}

fn batch(text: &str) -> Result<Vec<CloudEvent>, Problem> {
    batch_of_json(text, MAX_BATCH).map_err(|why| match why {
        BatchError::Malformed(why) => Problem::malformed(&format!("is not a JSON array of events: {why}")),
        BatchError::TooMany => problem::too_many_events(MAX_BATCH),
        BatchError::Faulty(faults) => problem::no_event(faults),
    })
}
