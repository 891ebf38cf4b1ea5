//! The `log` processor: logs each record, on one line, and is done with it.
//!
//! Where values are required to be JSON, one that is not is logged as a warning and rejected, and the next one follows. A line is no
//! part of Kafka's transactions: after a crash a record may be logged again.

use std::borrow::Cow;

use penstock_crds::processor::Options;
use serde::de::IgnoredAny;

use crate::{
    error::ConfigError,
    processor::{Event, Failure, Outcome, Processor},
};

/// The processor.
#[derive(Debug)]
pub struct Log {
    message: String,
    max_bytes: usize,
    requires_json: bool,
}

impl Log {
    /// Reads the processor's options.
    ///
    /// # Errors
    /// When one is missing, which checked options never are.
    pub fn new(options: &Options) -> Result<Self, ConfigError> {
        let missing = |name: &str| ConfigError::invalid(format!("option {name} is missing"));
        let max_bytes = options.integer("maxBytes").and_then(|n| usize::try_from(n).ok()).ok_or_else(|| missing("maxBytes"))?;
        let message = options.text("message").ok_or_else(|| missing("message"))?.to_owned();
        let requires_json = options.text("require").ok_or_else(|| missing("require"))? == "Json";
        Ok(Self { message, max_bytes, requires_json })
    }
}

impl Processor for Log {
    async fn process(&self, event: &Event) -> Outcome {
        let Event { topic, partition, offset, .. } = event;
        let key = event.key.as_deref().map(|key| excerpt(key, self.max_bytes));
        let value = event.payload.as_deref().map(|value| excerpt(value, self.max_bytes));
        let (key, value, bytes) = (key.as_deref(), value.as_deref(), event.payload.as_ref().map(bytes::Bytes::len));
        let fault = if self.requires_json { check_json(event.payload.as_deref()).err() } else { None };
        if let Some(why) = fault {
            tracing::warn!(%topic, partition, offset, key, value, bytes, why, "a record is not JSON");
            return Outcome::Reject(Failure::new("ParseError", format!("the value is not JSON: {why}")));
        }
        tracing::info!(%topic, partition, offset, key, value, bytes, "{}", self.message);
        Outcome::Drop
    }
}

fn check_json(value: Option<&[u8]>) -> Result<(), String> {
    let value = value.ok_or("the record has no value")?;
    let text = std::str::from_utf8(value).map_err(|why| why.to_string())?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|why| why.to_string())
}

/// The first `most` bytes as text, or some less so that no character is cut, with `…` where more follows. What is not UTF-8 is shown
/// as `\xff`. Control characters are left to the writer of the log, which escapes them in its own way; those that break a line and
/// that it does not know of are shown as `\u{85}`.
fn excerpt(bytes: &[u8], most: usize) -> Cow<'_, str> {
    let is_inside = |end: &usize| bytes.get(*end).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (most.saturating_sub(3)..=most).rev().find(|end| !is_inside(end)).unwrap_or(most);
    let shown = bytes.get(..end).unwrap_or(bytes);
    let is_whole = shown.len() == bytes.len();
    match std::str::from_utf8(shown) {
        Ok(text) if is_whole && !text.contains(breaks_a_line) => return Cow::Borrowed(text),
        _ => {}
    }
    let mut text = String::with_capacity(shown.len() + '…'.len_utf8());
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            if breaks_a_line(c) { text.extend(c.escape_unicode()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if !is_whole {
        text.push('…');
    }
    Cow::Owned(text)
}

fn breaks_a_line(c: char) -> bool {
    ('\u{7f}'..='\u{9f}').contains(&c) || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io, sync::Mutex};

    use bytes::Bytes;
    use penstock_crds::processor;
    use serde_json::{Value, json};

    use super::*;
    use crate::processor::TimestampType;

    fn log(options: &[(&str, &str)]) -> Log {
        let given = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
        Log::new(&processor::find("log").unwrap().options(&given, "p").unwrap()).unwrap()
    }

    fn record(key: Option<&'static [u8]>, payload: Option<&'static [u8]>) -> Event {
        Event {
            topic: "t".into(),
            partition: 2,
            offset: 7,
            key: key.map(Bytes::from_static),
            payload: payload.map(Bytes::from_static),
            headers: vec![],
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            attempt: 1,
        }
    }

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the processor does with a record, and what it logs, as JSON.
    async fn run(log: &Log, event: &Event) -> (Outcome, Value) {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let outcome = log.process(event).await;
        drop(guard);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        (outcome, serde_json::from_str(&text).unwrap())
    }

    #[tokio::test]
    async fn a_record_is_one_line() {
        for (key, payload, expected) in [
            (Some(&b"k"[..]), Some(&b"{\"a\":\n 1}"[..]), json!({"key": "k", "value": "{\"a\":\n 1}", "bytes": 9})),
            (None, None, json!({})),
            (Some(b"\xff"), Some(b""), json!({"key": "\\xff", "value": "", "bytes": 0})),
        ] {
            let (outcome, line) = run(&log(&[]), &record(key, payload)).await;
            assert_eq!(outcome, Outcome::Drop);
            let fields = ["level", "message", "topic", "partition", "offset"].map(|name| line[name].clone());
            assert_eq!(fields, [json!("INFO"), json!("record"), json!("t"), json!(2), json!(7)]);
            for name in ["key", "value", "bytes"] {
                assert_eq!(line.get(name), expected.get(name), "{name} of {line}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_json_is_rejected_only_where_json_is_required() {
        for (require, payload, rejected) in [
            ("None", Some(&b"poison"[..]), false),
            ("None", None, false),
            ("Json", Some(b"{\"a\": 1}"), false),
            ("Json", Some(b"poison"), true),
            ("Json", Some(b"{} {}"), true),
            ("Json", Some(b"\"\xff\""), true),
            ("Json", Some(b""), true),
            ("Json", None, true),
        ] {
            let (outcome, line) = run(&log(&[("require", require)]), &record(None, payload)).await;
            match outcome {
                Outcome::Drop => assert!(!rejected && line["level"] == "INFO", "{require} {payload:?}"),
                Outcome::Reject(failure) => assert!(rejected && failure.error_type == "ParseError" && line["level"] == "WARN", "{line}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn excerpts() {
        for (bytes, most, expected) in [
            (&b"abc"[..], 3, "abc"),
            (b"abcd", 3, "abc…"),
            ("aü".as_bytes(), 2, "a…"),
            ("aü".as_bytes(), 3, "aü"),
            ("\u{1f37a}!".as_bytes(), 3, "…"),
            (b"a\xff\xfeb", 9, "a\\xff\\xfeb"),
            (b"\x80\x80\x80\x80\x80\x80", 4, "\\x80\\x80\\x80\\x80…"),
            ("a\u{85}b\u{2028}\n".as_bytes(), 99, "a\\u{85}b\\u{2028}\n"),
            (b"", 1, ""),
        ] {
            assert_eq!(excerpt(bytes, most), expected, "{bytes:?} {most}");
        }
    }
}
