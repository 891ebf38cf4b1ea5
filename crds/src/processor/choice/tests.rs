use serde_json::{Value, json};

use super::*;

fn choice(json: Value) -> Choice {
    serde_json::from_value(json).unwrap()
}

fn by_type(handler: Value) -> Choice {
    choice(json!({"byType": {"user.created": {"builtin": "log"}, "user.deleted": handler}}))
}

#[test]
fn it_reads_back() {
    for json in [
        json!({"builtin": "payments", "options": {"successRate": "1"}}),
        json!({"byType": {"user.created": {"builtin": "log", "options": {"maxBytes": "9"}}, "user.deleted": {"builtin": "log"}}}),
        json!({"http": {"port": 9000, "path": "/events", "timeout": "10s"}}),
        json!({"image": {"options": {"a": "b"}}}),
        json!({"image": {}}),
    ] {
        assert_eq!(serde_json::to_value(choice(json.clone())).unwrap(), json);
    }
    let handlers = || json!({"a": {"builtin": "log"}});
    for (json, part) in [
        (json!({"builtin": "payments", "speed": 1}), "unknown field `speed`"),
        (json!({"byType": {"a": {"builtin": "log", "speed": 1}}}), "unknown field `speed`"),
        (json!({"builtin": "payments", "byType": handlers()}), "exactly one of"),
        (json!({}), "exactly one of"),
        (json!({"byType": handlers(), "options": {"a": "b"}}), "take options within them"),
        (json!({"byType": {}}), "at least one handler"),
        (json!({"http": {"port": 9000, "path": "/", "timeout": "10s", "image": "i"}}), "unknown field `image`"),
        (json!({"image": {}, "options": {"a": "b"}}), "take options within them"),
        (json!({"image": {}, "http": {"port": 9000, "path": "/", "timeout": "10s"}}), "exactly one of"),
    ] {
        let why = serde_json::from_value::<Choice>(json).unwrap_err().to_string();
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[test]
fn what_it_asks_for() {
    let shape = |choice: &Choice| choice.shape().map(|shape| (shape.source, shape.sink, shape.table));
    for (choice, expected) in [
        (choice(json!({"builtin": "orders-gateway"})), (SourceKind::Http, Need::Required, TableUse::Answers)),
        (by_type(json!({"builtin": "log"})), (SourceKind::Kafka, Need::Forbidden, TableUse::Nothing)),
        (by_type(json!({"builtin": "payments"})), (SourceKind::Kafka, Need::Required, TableUse::Nothing)),
        (choice(json!({"image": {}})), (SourceKind::Kafka, Need::Optional, TableUse::Nothing)),
    ] {
        assert_eq!(shape(&choice), Ok(expected), "{choice:?}");
    }
    for (choice, part) in [
        (choice(json!({"builtin": "sms"})), "`sms` is not a built-in processor: this version has enrich, events-gateway"),
        (by_type(json!({"builtin": "sms"})), "`sms` is not a built-in processor"),
        (by_type(json!({"builtin": "orders-gateway"})), "the handler of `user.deleted` is orders-gateway, which answers requests"),
    ] {
        let why = shape(&choice).unwrap_err();
        assert!(why.to_string().contains(part), "{why}");
        assert_eq!(choice.with_every_option("p").unwrap_err(), why);
    }
}

#[test]
fn options_are_filled_in_and_all_problems_are_told() {
    let Choice::Builtin(one) = choice(json!({"builtin": "payments"})).with_every_option("p").unwrap() else { panic!() };
    assert_eq!(one.options, BTreeMap::from([("serviceName", "p"), ("successRate", "0.8")].map(|(k, v)| (k.to_owned(), v.to_owned()))));
    let Choice::ByType { by_type: handlers } = by_type(json!({"builtin": "payments"})).with_every_option("p").unwrap() else { panic!() };
    let names: Vec<Vec<&str>> = handlers.values().map(|handler| handler.options.keys().map(String::as_str).collect()).collect();
    assert_eq!(names, [vec!["maxBytes", "message", "require"], vec!["successRate"]], "what is the worker's is no handler's");

    let why = by_type(json!({"builtin": "log", "options": {"serviceName": "s", "maxBytes": "0"}})).with_every_option("p").unwrap_err();
    let ChoiceError::Options(problems) = why else { panic!("{why}") };
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("handler of `user.deleted`: `serviceName` is not an option of log: it takes"), "{problems:?}");
}
