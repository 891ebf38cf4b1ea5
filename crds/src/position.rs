//! The note that a worker leaves with each offset it commits: of which topic the offset is, and the last time that the group
//! did not go on where it had stopped. The operator reads it. Pure.
//!
//! It stands in the metadata that Kafka keeps with a committed offset, so it is as durable as the offset and never
//! contradicts it. Anybody may write there: what is not a note is none, and the offset alone counts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The form of the note. One of another form is none.
const FORM: u8 = 1;
/// What brokers keep at most, unless told otherwise (`offset.metadata.max.bytes`).
const MAX_LENGTH: usize = 4096;

/// What stands beside a committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The id of the topic that the offset is of; none where the brokers know no ids.
    pub topic_id: Option<String>,
    /// How many partitions the topic had when the group began with it. A group begins at the start of those that were added
    /// later, whatever `startFrom` says.
    pub initial: i32,
    /// The last time that the group did not go on where it had stopped.
    pub moved: Option<Moved>,
}

/// Why a group did not go on where it had stopped. The first two are reasons of the condition `PositionsKept` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MoveReason {
    /// The offset was not in the partition any more: deleted unread, or the log was cut.
    OffsetOutOfRange,
    /// The topic was deleted and created again.
    TopicRecreated,
    /// The partition was added to a topic that the group knew already, and is read from its start. Nothing is lost.
    PartitionsAdded,
}

impl MoveReason {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OffsetOutOfRange => "OffsetOutOfRange",
            Self::TopicRecreated => "TopicRecreated",
            Self::PartitionsAdded => "PartitionsAdded",
        }
    }
}

/// That a group did not go on where it had stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Why.
    pub reason: MoveReason,
    /// The offset at which it had stopped; none where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The offset at which it went on.
    pub to: i64,
    /// When.
    pub at: Timestamp,
}

impl Moved {
    /// How many offsets were deleted before the group had read them. Some of them may have been no records but the marks of
    /// transactions. What was unread of a topic that is gone as a whole is not counted: nobody can tell.
    #[must_use]
    pub fn records_lost(&self) -> u64 {
        let read = match self.reason {
            MoveReason::OffsetOutOfRange => self.from.unwrap_or(self.to),
            MoveReason::TopicRecreated | MoveReason::PartitionsAdded => 0,
        };
        u64::try_from(self.to.saturating_sub(read)).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    penstock: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    initial: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<Moved>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<i64>,
}

impl Note {
    /// The text to commit.
    #[must_use]
    pub fn encode(&self) -> String {
        self.written(None)
    }

    /// The same for a partition that was cut while it was read: from this offset on, what lies there may be something else than
    /// what was read. It stands there until the group has begun anew.
    #[must_use]
    pub fn encode_cut(&self, at: i64) -> String {
        self.written(Some(at))
    }

    fn written(&self, cut: Option<i64>) -> String {
        let Self { topic_id, initial, moved } = self.clone();
        // Nothing in it can fail to be written.
        serde_json::to_string(&Written { penstock: FORM, topic_id, initial, moved, cut }).unwrap_or_default()
    }

    /// Reads what stands beside an offset. None: it is no note of ours.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let Written { topic_id, initial, moved, .. } = read(text)?;
        Some(Self { topic_id, initial, moved })
    }

    /// Where the partition was cut, if a note of ours says so.
    #[must_use]
    pub fn decode_cut(text: &str) -> Option<i64> {
        read(text)?.cut
    }
}

fn read(text: &str) -> Option<Written> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return None;
    }
    serde_json::from_str(text).ok().filter(|written: &Written| written.penstock == FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[test]
    fn a_note_reads_back_and_keeps_its_form() {
        let moved = Moved { reason: MoveReason::OffsetOutOfRange, from: Some(500), to: 800, at: at() };
        for (note, text) in [
            (
                Note { topic_id: Some("ASNFZ4mrze8AESIzRFVmdw".into()), initial: 3, moved: None },
                r#"{"penstock":1,"topicId":"ASNFZ4mrze8AESIzRFVmdw","initial":3}"#,
            ),
            (
                Note { topic_id: None, initial: 0, moved: Some(moved) },
                r#"{"penstock":1,"initial":0,"moved":{"reason":"OffsetOutOfRange","from":500,"to":800,"at":"2026-01-02T03:04:05Z"}}"#,
            ),
        ] {
            assert_eq!(note.encode(), text);
            assert_eq!((Note::decode(text).as_ref(), Note::decode_cut(text)), (Some(&note), None));
            // Who does not know of cuts reads the rest.
            let cut = note.encode_cut(7);
            assert_eq!((Note::decode(&cut), Note::decode_cut(&cut)), (Some(note), Some(7)), "{cut}");
        }
    }

    #[test]
    fn what_is_not_a_note_is_none() {
        let long = format!(r#"{{"penstock":1,"initial":0,"topicId":"{}"}}"#, "x".repeat(MAX_LENGTH));
        let deep = "[".repeat(4000);
        for text in [
            "",
            " ",
            "junk",
            "\0",
            "null",
            "1",
            "{}",
            "[]",
            r#"{"penstock":1}"#,
            r#"{"penstock":2,"initial":1}"#,
            r#"{"penstock":"1","initial":1}"#,
            r#"{"penstock":1,"initial":99999999999}"#,
            r#"{"penstock":1,"initial":1,"moved":{"reason":"Whim","to":1,"at":"2026-01-02T03:04:05Z"}}"#,
            r#"{"penstock":1,"initial":1,"moved":{"reason":"TopicRecreated","to":1,"at":"yesterday"}}"#,
            &long,
            &deep,
        ] {
            assert_eq!((Note::decode(text), Note::decode_cut(text)), (None, None), "{text}");
        }
        let newer = r#"{"penstock":1,"initial":1,"speed":"fast"}"#;
        assert_eq!(Note::decode(newer), Some(Note { topic_id: None, initial: 1, moved: None }));
    }

    #[test]
    fn what_is_lost_lies_between() {
        use MoveReason::{OffsetOutOfRange, PartitionsAdded, TopicRecreated};
        for (reason, from, to, lost) in [
            (OffsetOutOfRange, Some(500), 800, 300),
            (OffsetOutOfRange, Some(800), 500, 0),
            (OffsetOutOfRange, None, 800, 0),
            (OffsetOutOfRange, Some(i64::MIN), i64::MAX, i64::MAX.unsigned_abs()),
            (TopicRecreated, Some(500), 0, 0),
            (TopicRecreated, Some(500), 20, 20),
            (PartitionsAdded, None, 0, 0),
            (PartitionsAdded, None, 7, 7),
        ] {
            let moved = Moved { reason, from, to, at: at() };
            assert_eq!(moved.records_lost(), lost, "{moved:?}");
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
