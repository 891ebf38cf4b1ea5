use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::processor::TimestampType;

fn event(payload: Option<&[u8]>) -> Event {
    Event {
        topic: "orders".into(),
        partition: 2,
        offset: 41,
        key: Some("o-1".into()),
        payload: payload.map(Bytes::copy_from_slice),
        headers: vec![
            Header { name: "traceparent".into(), value: Some("00-1".into()) },
            Header { name: "traceparent".into(), value: None },
            Header { name: "penstock-dlt-error-type".into(), value: Some("Old".into()) },
        ],
        timestamp_ms: Some(1_700_000_000_000),
        timestamp_type: TimestampType::CreateTime,
        attempt: 3,
    }
}

fn sender() -> Sender {
    Sender { pipeline: "shop/payments".into(), group: "service-b".into(), processor: "payments".into() }
}

fn target(format: DeadLetterFormat, headers: &[DeadLetterHeaders]) -> DeadLetterTarget {
    DeadLetterTarget { topic: "orders.DLT".into(), format, headers: headers.iter().copied().collect() }
}

const BOTH: [DeadLetterHeaders; 2] = [DeadLetterHeaders::Spring, DeadLetterHeaders::Connect];

fn write_to(event: &Event, target: &DeadLetterTarget, extent: Extent) -> Record {
    let failure = Failure::new("ValidationError", "amount must be > 0");
    let failed_at = "2026-01-02T03:04:05.6789Z".parse().unwrap();
    DeadLetter { event, failure: &failure, step: Step::Processing, failed_at, sender: &sender() }.write(target, extent)
}

fn write(event: &Event, format: DeadLetterFormat, extent: Extent) -> Record {
    write_to(event, &target(format, &[]), extent)
}

fn envelope(event: &Event, extent: Extent) -> Value {
    serde_json::from_slice(write(event, DeadLetterFormat::Envelope, extent).payload.as_ref().unwrap()).unwrap()
}

/// The event that a dead letter is, once somebody has put it back.
fn redriven(letter: Record) -> Event {
    Event { key: letter.key, payload: letter.payload, headers: letter.headers, ..event(None) }
}

fn weigh(record: &Record) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record.headers.iter().map(|header| header.name.len() + length(&header.value)).sum();
    length(&record.key) + length(&record.payload) + headers
}

#[test]
fn an_envelope_has_every_field_of_the_contract() {
    assert_eq!(
        envelope(&event(Some(br#"{"amount":0}"#)), Extent::Whole),
        json!({
            "originalTopic": "orders",
            "originalPartition": 2,
            "originalOffset": "41",
            "originalKey": "o-1",
            "originalValue": {"amount": 0},
            "errorType": "ValidationError",
            "errorMessage": "amount must be > 0",
            "errorStack": "ValidationError: amount must be > 0",
            "failedAt": "2026-01-02T03:04:05.678Z",
            "retryCount": 2,
        })
    );
}

#[test]
fn an_envelope_embeds_any_value() {
    let deep = [b"[".repeat(120), b"]".repeat(120)].concat();
    let bottomless = b"[".repeat(100_000);
    for (payload, value, encoding) in [
        (Some(&b"not json"[..]), json!("not json"), json!(null)),
        (Some(b""), json!(""), json!(null)),
        (Some(b"null"), json!(null), json!(null)),
        (Some(b" [1] "), json!([1]), json!(null)),
        (None, json!(null), json!(null)),
        (Some(b"\xff\xfe"), json!("//4="), json!("base64")),
        (Some(b"\0"), json!("\0"), json!(null)),
        (Some(br#""\ud800""#), json!(r#""\ud800""#), json!(null)),
        (Some(&deep), json!(String::from_utf8(deep.clone()).unwrap()), json!(null)),
        (Some(&bottomless), json!(String::from_utf8(bottomless.clone()).unwrap()), json!(null)),
    ] {
        let written = envelope(&event(payload), Extent::Whole);
        assert_eq!((&written["originalValue"], &written["originalValueEncoding"]), (&value, &encoding));
    }
}

#[test]
fn numbers_keep_their_digits() {
    let number = br#"{"id":123456789012345678901234567890,"x":0.10}"#;
    let record = write(&event(Some(number)), DeadLetterFormat::Envelope, Extent::Whole);
    let text = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
    assert!(text.contains(std::str::from_utf8(number).unwrap()), "{text}");
}

const TEXTS: [(&str, &str); 11] = [
    ("penstock-dlt-original-topic", "orders"),
    ("penstock-dlt-original-partition", "2"),
    ("penstock-dlt-original-offset", "41"),
    ("penstock-dlt-error-type", "ValidationError"),
    ("penstock-dlt-error-message", "amount must be > 0"),
    ("penstock-dlt-error-stack", "ValidationError: amount must be > 0"),
    ("penstock-dlt-error-fingerprint", "d553e82b074dafff07282b4b479a9145"),
    ("penstock-dlt-failed-at", "2026-01-02T03:04:05.678Z"),
    ("penstock-dlt-retry-count", "2"),
    ("penstock-dlt-pipeline", "shop/payments"),
    ("penstock-dlt-original-timestamp", "1700000000000"),
];

const SPRING: [(&str, &[u8]); 10] = [
    ("kafka_dlt-exception-fqcn", b"ValidationError"),
    ("kafka_dlt-exception-cause-fqcn", b"ValidationError"),
    ("kafka_dlt-exception-message", b"amount must be > 0"),
    ("kafka_dlt-exception-stacktrace", b"ValidationError: amount must be > 0"),
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", &[0, 0, 0, 2]),
    ("kafka_dlt-original-offset", &[0, 0, 0, 0, 0, 0, 0, 41]),
    ("kafka_dlt-original-timestamp", &[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"service-b"),
];

const CONNECT: [(&str, &[u8]); 10] = [
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"2"),
    ("__connect.errors.offset", b"41"),
    ("__connect.errors.connector.name", b"shop/payments"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"TASK_PUT"),
    ("__connect.errors.class.name", b"payments"),
    ("__connect.errors.exception.class.name", b"ValidationError"),
    ("__connect.errors.exception.message", b"amount must be > 0"),
    ("__connect.errors.exception.stacktrace", b"ValidationError: amount must be > 0"),
];

#[test]
fn each_naming_has_its_headers_beside_those_of_the_record() {
    let own: Vec<(&str, &[u8])> = TEXTS.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let fingerprint = [own[6]];
    let (record, envelope) = (DeadLetterFormat::Record, DeadLetterFormat::Envelope);
    for (format, namings, expected) in [
        (record, &[][..], vec![&own[..]]),
        (record, &BOTH[..1], vec![&own[..], &SPRING]),
        (record, &BOTH[1..], vec![&own[..], &CONNECT]),
        (record, &BOTH, vec![&own[..], &SPRING, &CONNECT]),
        (envelope, &[], vec![&fingerprint[..]]),
        (envelope, &BOTH, vec![&fingerprint[..], &SPRING, &CONNECT]),
    ] {
        let written = write_to(&event(Some(b"\xff")), &target(format, namings), Extent::Whole);
        assert_eq!(written.key, Some("o-1".into()));
        if format == record {
            assert_eq!(written.payload, Some(Bytes::from_static(b"\xff")));
        }
        let headers: Vec<(&str, Option<&[u8]>)> = written.headers.iter().map(|h| (h.name.as_str(), h.value.as_deref())).collect();
        let kept = [("traceparent", Some(&b"00-1"[..])), ("traceparent", None)];
        let added = expected.concat().into_iter().map(|(name, value)| (name, Some(value)));
        assert_eq!(headers, kept.into_iter().chain(added).collect::<Vec<_>>(), "{format:?} {namings:?}");
    }
}

#[test]
fn what_only_some_records_have_stands_in_the_other_namings_too() {
    let failure = Failure::new("OutputTooLarge", "2 MB");
    let target = target(DeadLetterFormat::Record, &BOTH);
    // (timestamp, who set it, step) -> timestamp, its type, stage
    for (timestamp_ms, timestamp_type, step, expected) in [
        (None, TimestampType::CreateTime, Step::Producing, (-1, "NoTimestampType", "KAFKA_PRODUCE")),
        (Some(7), TimestampType::LogAppendTime, Step::Processing, (7, "LogAppendTime", "TASK_PUT")),
        (Some(7), TimestampType::CreateTime, Step::Producing, (7_i64, "CreateTime", "KAFKA_PRODUCE")),
    ] {
        let event = Event { timestamp_ms, timestamp_type, ..event(None) };
        let letter = DeadLetter { event: &event, failure: &failure, step, failed_at: Timestamp::UNIX_EPOCH, sender: &sender() };
        let written = letter.write(&target, Extent::Whole);
        let header = |name: &str| written.headers.iter().find(|h| h.name == name).and_then(|h| h.value.clone());
        let (timestamp, kind, stage) = expected;
        assert_eq!(header("kafka_dlt-original-timestamp").as_deref(), Some(&timestamp.to_be_bytes()[..]));
        assert_eq!(header("kafka_dlt-original-timestamp-type").as_deref(), Some(kind.as_bytes()));
        assert_eq!(header("__connect.errors.stage").as_deref(), Some(stage.as_bytes()));
        assert_eq!(header("penstock-dlt-original-timestamp").is_some(), timestamp_ms.is_some());
    }
}

#[test]
fn a_record_that_dies_again_carries_one_death() {
    for format in [DeadLetterFormat::Record, DeadLetterFormat::Envelope] {
        for namings in [&[][..], &BOTH[..1], &BOTH] {
            let target = target(format, namings);
            let first = write_to(&event(Some(b"1")), &target, Extent::Whole);
            // The value of an envelope is another one; its headers are what counts here.
            let again =
                |letter: &Record| write_to(&Event { payload: Some("1".into()), ..redriven(letter.clone()) }, &target, Extent::Whole);
            let second = again(&first);
            assert_eq!((&second, &again(&second)), (&first, &first), "{format:?} {namings:?}");
        }
    }
}

#[test]
fn an_envelope_that_dies_again_has_the_original_and_not_the_envelope() {
    use DeadLetterFormat::Envelope;
    let values: [Option<&[u8]>; 6] =
        [Some(br#"{"a":1.10, "b":9007199254740993}"#), Some(b"no JSON"), Some(b"\xff\xfe"), Some(b""), Some(b"null"), None];
    for value in values {
        let first = write(&event(value), Envelope, Extent::Whole);
        let mut letter = first.clone();
        for _ in 0..3 {
            letter = write(&redriven(letter), Envelope, Extent::Whole);
        }
        assert_eq!(letter.payload, first.payload, "{value:?}");
    }
    // What was left out stays named.
    let pointer = write(&event(Some(b"large")), Envelope, Extent::Pointer);
    let again = envelope(&redriven(pointer.clone()), Extent::Whole);
    let said: Value = serde_json::from_slice(pointer.payload.as_ref().unwrap()).unwrap();
    assert_eq!((&again["originalValue"], &again["originalValueDropped"]), (&Value::Null, &said["originalValueDropped"]));
}

#[test]
fn what_only_looks_like_an_envelope_is_a_value_like_any_other() {
    let letter = write(&event(Some(b"1")), DeadLetterFormat::Envelope, Extent::Whole);
    let of_ours = redriven(letter);
    let json: Value = serde_json::from_slice(of_ours.payload.as_ref().unwrap()).unwrap();
    let without = |name: &str| {
        let mut json = json.clone();
        json.as_object_mut().unwrap().remove(name).unwrap();
        json
    };
    let more = json!({"more": 1, "originalValue": 1});
    for (what, headers, value) in [
        ("without our header", vec![], json.clone()),
        ("without a field", of_ours.headers.clone(), without("failedAt")),
        ("without the value", of_ours.headers.clone(), without("originalValue")),
        ("with other fields", of_ours.headers.clone(), more),
    ] {
        let event = Event { headers, payload: Some(value.to_string().into()), ..of_ours.clone() };
        assert_eq!(envelope(&event, Extent::Whole)["originalValue"], value, "{what}");
    }
    assert_eq!(envelope(&of_ours, Extent::Whole)["originalValue"], 1);
    // However deep somebody has made what stands in it.
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let forged = json.to_string().replace("\"originalValue\":1", &format!("\"originalValue\":{deep}"));
    let event = Event { payload: Some(forged.into()), ..of_ours };
    assert!(envelope(&event, Extent::Whole)["originalValue"].is_string());
}

#[test]
fn what_somebody_else_said_in_a_naming_gives_way_only_where_it_is_written() {
    let died = write_to(&event(None), &target(DeadLetterFormat::Record, &BOTH), Extent::Whole);
    let mut dead = redriven(died);
    // Spring says this of a key that it could not read; we never do.
    dead.headers.push(Header { name: "kafka_dlt-key-exception-fqcn".into(), value: Some("x".into()) });
    for (namings, spring, connect) in [(&[][..], 11, 10), (&BOTH[..1], 10, 10), (&BOTH[1..], 11, 10), (&BOTH, 10, 10)] {
        let written = write_to(&dead, &target(DeadLetterFormat::Record, namings), Extent::Whole);
        let count = |prefix: &str| written.headers.iter().filter(|h| h.name.starts_with(prefix)).count();
        assert_eq!((count("kafka_dlt-"), count("__connect.errors."), count("penstock-dlt-")), (spring, connect, 11), "{namings:?}");
        assert_eq!(count("traceparent"), 2);
    }
}

#[test]
fn a_pointer_leaves_the_value_out_and_says_so() {
    let big = event(Some(&[b'x'; 5_000]));
    let written = envelope(&big, Extent::Pointer);
    assert_eq!(written["originalValue"], json!(null));
    assert_eq!(written["originalKey"], json!("o-1"));
    let note = "the record is too large for this topic (5000 bytes of value); it is at orders/2/41";
    assert_eq!(written["originalValueDropped"], json!(note));

    let written = write(&big, DeadLetterFormat::Record, Extent::Pointer);
    assert_eq!((written.payload, written.key), (None, Some("o-1".into())));
    assert!(written.headers.iter().any(|h| h.name == "penstock-dlt-value-dropped" && h.value.as_deref() == Some(note.as_bytes())));
    assert!(written.headers.iter().all(|h| h.name.starts_with(HEADER_PREFIX)));
}

#[test]
fn a_pointer_is_small_whatever_the_record_and_its_failure_are() {
    let header = |n: usize| Header { name: format!("h{n}"), value: Some(vec![0; 10_000].into()) };
    let mut huge = event(Some(&[0; 1 << 20]));
    huge.key = Some(vec![0; 1 << 20].into());
    huge.headers = (0..100).map(header).collect();
    // Each of these bytes is six in JSON.
    let failure = Failure::new("\0".repeat(10_000), "\0".repeat(10_000)).with_stack("\0".repeat(100_000));
    let letter =
        DeadLetter { event: &huge, failure: &failure, step: Step::Processing, failed_at: Timestamp::UNIX_EPOCH, sender: &sender() };
    for format in [DeadLetterFormat::Record, DeadLetterFormat::Envelope] {
        let written = letter.write(&target(format, &BOTH), Extent::Pointer);
        assert!(weigh(&written) < 24 << 10, "{format:?}: {}", weigh(&written));
        assert_eq!(written.key, None);
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    for (text, max, expected) in [("abc", 3, "abc"), ("abc", 2, "ab…"), ("äöü", 3, "ä…"), ("", 0, ""), ("ä", 1, "…"), ("\0\0", 1, "\0…")]
    {
        assert_eq!(capped(text, max), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn every_record_can_be_written(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        payload in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        headers in prop::collection::vec((".*", prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..4),
        message in ".*",
        stack in any::<bool>(),
        namings in prop::collection::btree_set(prop::sample::select(&BOTH[..]), 0..3),
    ) {
        let headers = headers.into_iter().map(|(name, value)| Header { name, value: value.map(Bytes::from) }).collect();
        let event = Event { key: key.map(Bytes::from), payload: payload.map(Bytes::from), headers, ..event(None) };
        let failure = Failure { stack: stack.then(|| "ß".repeat(100_000)), ..Failure::new("\0".repeat(1_000), message) };
        let sender = sender();
        let letter = DeadLetter { event: &event, failure: &failure, step: Step::Producing, failed_at: Timestamp::UNIX_EPOCH, sender: &sender };
        for extent in [Extent::Whole, Extent::Pointer] {
            for format in [DeadLetterFormat::Record, DeadLetterFormat::Envelope] {
                let namings: BTreeSet<_> = namings.clone();
                let target = DeadLetterTarget { topic: "t".into(), format, headers: namings };
                let written = letter.write(&target, extent);
                prop_assert!(weigh(&written) <= letter.weight(&target, extent));
                prop_assert_eq!(&written.key, &event.key);
                if format == DeadLetterFormat::Envelope {
                    let json: BTreeMap<String, Value> = serde_json::from_slice(&written.payload.unwrap()).unwrap();
                    prop_assert_eq!(json["originalOffset"].as_str(), Some("41"));
                    prop_assert!(json["errorStack"].as_str().unwrap().len() < 17_000);
                }
            }
        }
    }
}
