//! What records of every kind say.

use bytes::Bytes;

use super::*;

const ID: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

fn order_event() -> String {
    format!(
        r#"{{"eventType":"ORDER_CREATED","eventId":"{ID}","timestamp":"2026-01-31T12:00:00.000Z","data":{{"orderId":"{ID}","amount":10.10}}}}"#
    )
}

fn payment_event() -> String {
    format!(
        r#"{{"eventType":"PAYMENT_COMPLETED","timestamp":"2026-01-31T12:00:01.000Z","data":{{"orderId":"{ID}","paymentId":"p-1","paymentStatus":"completed"}}}}"#
    )
}

fn envelope(original: &str) -> String {
    format!(
        r#"{{"originalTopic":"orders","originalPartition":0,"originalOffset":"7","originalKey":"k","originalValue":{original},"errorType":"PaymentDeclined","errorMessage":"no","errorStack":"","failedAt":"2026-01-31T12:00:02.000Z","retryCount":0}}"#
    )
}

fn header(name: &str, value: &'static str) -> Header {
    Header { name: format!("{HEADER_PREFIX}{name}"), value: Some(Bytes::from_static(value.as_bytes())) }
}

fn read_text(text: &str, dead: bool) -> Result<Reading, Malformed> {
    let headers = [header("error-type", "x"), header("failed-at", "2026-01-31T12:00:03.000Z")];
    let headers = if dead { headers.as_slice() } else { &[] };
    read(Content { key: None, payload: Some(text.as_bytes()), headers, timestamp_ms: Some(1_000) })
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn placed(copy: bool) -> Fact {
    Fact::Placed(Placed { copy, at: at("2026-01-31T12:00:00Z"), data: format!(r#"{{"orderId":"{ID}","amount":10.10}}"#).into() })
}

fn about(facts: Vec<Fact>) -> Result<Reading, Malformed> {
    Ok(Reading::About(ID.parse().unwrap(), facts))
}

#[test]
fn each_kind_of_record() {
    let failed = |time: &str| Fact::Failed(Failed { at: at(time) });
    let paid = Fact::Paid(Paid { at: at("2026-01-31T12:00:01Z"), payment_id: "p-1".into() });
    let as_text = |json: &str| serde_json::to_string(json).unwrap();
    for (text, dead, expected) in [
        (order_event(), false, about(vec![placed(false)])),
        (order_event(), true, about(vec![placed(true), failed("2026-01-31T12:00:03Z")])),
        (payment_event(), false, about(vec![paid])),
        (payment_event(), true, Ok(Reading::Elsewhere)),
        (envelope(&order_event()), false, about(vec![placed(true), failed("2026-01-31T12:00:02Z")])),
        (envelope(&as_text(&order_event())), false, about(vec![placed(true), failed("2026-01-31T12:00:02Z")])),
        (envelope(&payment_event()), false, Ok(Reading::Elsewhere)),
        (envelope("\"poison\""), false, Ok(Reading::Elsewhere)),
        (envelope("null"), false, Ok(Reading::Elsewhere)),
        (envelope("[1]"), false, Ok(Reading::Elsewhere)),
        (envelope(r#"{"eventType":"ORDER_CREATED"}"#), false, Ok(Reading::Elsewhere)),
        (r#"{"eventType":"ORDER_SHIPPED","data":{}}"#.to_owned(), false, Ok(Reading::Elsewhere)),
        ("{}".to_owned(), false, Ok(Reading::Elsewhere)),
    ] {
        assert_eq!(read_text(&text, dead), expected, "{text} {dead}");
    }
    // An envelope has a header of ours, too.
    let (envelope, headers) = (envelope(&order_event()), [header("error-fingerprint", "x")]);
    let read = read(Content { key: None, payload: Some(envelope.as_bytes()), headers: &headers, timestamp_ms: Some(1_000) });
    assert_eq!(read, about(vec![placed(true), failed("2026-01-31T12:00:02Z")]));
}

#[test]
fn what_says_nothing_usable_is_malformed() {
    for text in [
        "",
        "poison",
        "[]",
        r#"{"eventType":"ORDER_CREATED"}"#,
        r#"{"eventType":"ORDER_CREATED","data":7}"#,
        r#"{"eventType":"ORDER_CREATED","data":{"orderId":"x"}}"#,
        r#"{"eventType":"PAYMENT_COMPLETED","data":{"orderId":"6f9619ff-8b86-4d01-b42d-00cf4fc964ff"}}"#,
        r#"{"eventType":"PAYMENT_COMPLETED","data":{"paymentId":"p"}}"#,
    ] {
        assert!(read_text(text, false).is_err(), "{text}");
    }
    assert!(read(Content { key: None, payload: Some(b"\xff"), headers: &[], timestamp_ms: None }).is_err());
}

#[test]
fn without_a_value_the_key_of_a_dead_letter_tells_the_order() {
    let dropped = [header("failed-at", "2026-01-31T12:00:03.000Z"), header("value-dropped", "too large")];
    let failed = || about(vec![Fact::Failed(Failed { at: at("2026-01-31T12:00:03Z") })]);
    for (key, headers, expected) in [
        (Some(ID), &dropped[..], failed()),
        (Some("17"), &dropped[..], Ok(Reading::Elsewhere)),
        (None, &dropped[..], Ok(Reading::Elsewhere)),
        (Some(ID), &dropped[..1], Ok(Reading::Elsewhere)),
        (Some(ID), &[][..], Ok(Reading::Elsewhere)),
    ] {
        let read = read(Content { key: key.map(str::as_bytes), payload: None, headers, timestamp_ms: None });
        assert_eq!(read, expected, "{key:?} {headers:?}");
    }
    let letter = format!(
        r#"{{"originalTopic":"orders","originalKey":"{ID}","originalValue":null,"originalValueDropped":"too large","failedAt":"2026-01-31T12:00:03Z"}}"#
    );
    assert_eq!(read_text(&letter, false), failed());
}

#[test]
fn without_a_time_of_its_own_the_record_s_counts() {
    let text = order_event().replace("2026-01-31T12:00:00.000Z", "yesterday");
    let Ok(Reading::About(_, facts)) = read_text(&text, false) else { panic!("unread") };
    assert!(matches!(&facts[..], [Fact::Placed(placed)] if placed.at == at("1970-01-01T00:00:01Z")));
}
