//! CloudEvents 1.0: read from HTTP requests in every content mode, written as Kafka records in binary mode. Pure.
//!
//! What is read here keeps the rules of the specification, and its data is what the sender wrote, to the byte: JSON that stands in
//! an envelope is cut out of it, never written anew. Each fault says where in the request it stands.

mod binary;
mod event;
mod json;
mod kafka;

pub use self::{
    binary::{encoded, of_headers, speaks_of_events, text_of},
    event::{Broken, CloudEvent, DATA_CONTENT_TYPE, Incomplete, MAX_ATTRIBUTES, SPEC_VERSION, is_of_events},
    json::{BatchError, batch_of_json, event_of_json},
    kafka::{NoType, time_of, type_of},
};
