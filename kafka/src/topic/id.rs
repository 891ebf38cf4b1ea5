//! The identity of a topic and the rules for its name. Pure.
//!
//! A name can be deleted and created again; an id belongs to exactly one topic for ever (KIP-516).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::connection::is_name_byte;
use crate::error::{Error, Result};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_LENGTH: usize = 22;
const MAX_NAME: usize = 249;

/// The id that Kafka gave a topic when it was created, written as Kafka's own tools do: 22 characters of URL-safe base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicId(u128);

impl TopicId {
    /// An id from its two halves.
    #[allow(clippy::cast_sign_loss, reason = "the halves are bit patterns, not numbers")]
    pub(crate) fn from_halves(most: i64, least: i64) -> Self {
        Self((u128::from(most as u64) << 64) | u128::from(least as u64))
    }

    /// True for the id that stands for "none": a broker before Kafka 2.8 reports it for every topic.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// An id from its 16 bytes, most significant first.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The 16 bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits are 21 groups of six and two more, which base64 puts at the top of the last group.
        for group in 0..TEXT_LENGTH {
            let bits = match 122usize.checked_sub(group * 6) {
                Some(shift) => (self.0 >> shift) & 0x3f,
                None => (self.0 << 4) & 0x3f,
            };
            let byte = usize::try_from(bits).ok().and_then(|index| ALPHABET.get(index)).copied();
            write!(f, "{}", char::from(byte.unwrap_or(b'A')))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A text that is not a topic id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a topic id: expected {TEXT_LENGTH} characters of URL-safe base64")]
pub struct InvalidTopicId {
    text: String,
}

impl FromStr for TopicId {
    type Err = InvalidTopicId;

    fn from_str(text: &str) -> std::result::Result<Self, InvalidTopicId> {
        let wrong = || InvalidTopicId { text: text.to_owned() };
        if text.len() != TEXT_LENGTH {
            return Err(wrong());
        }
        let mut value: u128 = 0;
        for (group, byte) in text.bytes().enumerate() {
            let bits = ALPHABET.iter().position(|candidate| *candidate == byte).ok_or_else(wrong)? as u128;
            if group + 1 < TEXT_LENGTH {
                value = (value << 6) | bits;
            } else if bits & 0x0f == 0 {
                value = (value << 2) | (bits >> 4);
            } else {
                return Err(wrong());
            }
        }
        Ok(Self(value))
    }
}

impl TryFrom<String> for TopicId {
    type Error = InvalidTopicId;

    fn try_from(text: String) -> std::result::Result<Self, InvalidTopicId> {
        text.parse()
    }
}

impl From<TopicId> for String {
    fn from(id: TopicId) -> String {
        id.to_string()
    }
}

/// Checks a topic name against Kafka's rules: 1 to 249 characters of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
///
/// # Errors
/// [`Error::InvalidTopicName`] with the rule that is broken.
pub fn validate_topic_name(name: &str) -> Result<()> {
    let rule = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > MAX_NAME {
        format!("it is longer than {MAX_NAME} characters")
    } else if name == "." || name == ".." {
        format!("it must not be {name:?}")
    } else if !name.bytes().all(is_name_byte) {
        format!("{name:?} has characters other than a-z, A-Z, 0-9, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(Error::InvalidTopicName { message: rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        // The texts come from org.apache.kafka.common.Uuid.
        let table = [
            (0, 0, "AAAAAAAAAAAAAAAAAAAAAA"),
            (0, 1, "AAAAAAAAAAAAAAAAAAAAAQ"),
            (-1, -1, "_____________________w"),
            (0x0123_4567_89ab_cdef, 0x0011_2233_4455_6677, "ASNFZ4mrze8AESIzRFVmdw"),
        ];
        for (most, least, text) in table {
            let id = TopicId::from_halves(most, least);
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse::<TopicId>().unwrap(), id);
        }
    }

    #[test]
    fn texts_that_are_no_ids_are_refused() {
        for text in ["", "A", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA+", "AAAAAAAAAAAAAAAAAAAAAB"] {
            assert!(text.parse::<TopicId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_follow_kafkas_rules() {
        let long = "x".repeat(249);
        let too_long = "x".repeat(250);
        let table = [
            ("orders", true),
            ("orders.DLT", true),
            ("__consumer_offsets", true),
            (long.as_str(), true),
            ("", false),
            (".", false),
            ("..", false),
            ("...", true),
            ("a b", false),
            ("a/b", false),
            ("ö", false),
            ("a\0", false),
            (too_long.as_str(), false),
        ];
        for (name, valid) in table {
            assert_eq!(validate_topic_name(name).is_ok(), valid, "{name:?}");
        }
    }
}
