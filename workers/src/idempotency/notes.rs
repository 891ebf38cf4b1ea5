//! What the topic of keys holds: notes about keys, as records. Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::{KeyId, Request};
use crate::processor::Output;

/// A note about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Note {
    /// Somebody wants to write what came with the key.
    Claimed {
        /// The claim.
        claim: Uuid,
        /// The request.
        request: Request,
        /// Names the producer that it is written with: who fences that, ends the claim.
        writer: Uuid,
        /// The claim whose place it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Uuid>,
    },
    /// It is written; this note is part of the same transaction.
    Done {
        /// The claim.
        claim: Uuid,
        /// The request.
        request: Request,
    },
    /// Nothing was written, nor will be.
    Released {
        /// The claim.
        claim: Uuid,
    },
}

impl Note {
    /// The record that says so. Notes about one key share a partition, and so have an order.
    #[must_use]
    pub fn about(&self, key: KeyId) -> Option<Output> {
        let payload = serde_json::to_vec(self).ok()?.into();
        Some(Output { key: Some(Bytes::copy_from_slice(key.bytes())), payload: Some(payload), headers: Vec::new() })
    }

    /// Reads a record; none if it says nothing about a key.
    #[must_use]
    pub fn read(key: Option<&[u8]>, payload: Option<&[u8]>) -> Option<(KeyId, Self)> {
        Some((KeyId::read(key?)?, serde_json::from_slice(payload?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_and_anything_else_says_nothing() {
        let (key, request) = (KeyId::new("n", "p", None, "k"), Request::new(&http::HeaderMap::new(), b""));
        let claim = Uuid::from_u128(7);
        for note in [
            Note::Claimed { claim, request, writer: Uuid::max(), after: None },
            Note::Claimed { claim, request, writer: Uuid::max(), after: Some(Uuid::nil()) },
            Note::Done { claim, request },
            Note::Released { claim },
        ] {
            let record = note.about(key).unwrap();
            assert_eq!(Note::read(record.key.as_deref(), record.payload.as_deref()), Some((key, note)));
        }
        for (key, payload) in [
            (None, Some(&b"{}"[..])),
            (Some(&b"k"[..]), Some(&b"{}"[..])),
            (Some(&[0_u8; 16][..]), Some(&b"{}"[..])),
            (Some(&[0_u8; 16][..]), None),
        ] {
            assert_eq!(Note::read(key, payload), None);
        }
    }
}
