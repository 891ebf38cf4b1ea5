//! `Idempotency-Key`: the same key with the same request is written once, whichever worker gets it, however often, and whatever
//! crashed meanwhile (draft-ietf-httpapi-idempotency-key-header).
//!
//! Kafka's log decides. Who is given a key appends a *claim* to the topic of keys, reads on until it sees its own claim, and so
//! knows every earlier one: of two claims the first in the log counts. Then the events and the note that they are *done* are one
//! transaction. A claim that stays open is taken over by fencing the producer that it names: after that nothing of it can be
//! committed any more, so no clock has to be right.

mod claims;
mod counting;
mod kept;
mod key;
mod keys;
mod ledger;
mod notes;
mod once;

pub use self::{
    kept::Kept,
    key::{HEADER, KeyId, Request, key_of, parameter_schema, problem},
    keys::Keys,
    once::{Once, OnceSettings, Refusal, Stored},
};
