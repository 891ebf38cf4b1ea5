//! Bounds of `source.http.auth`.

use serde_json::{Value, json};

use super::{
    super::{front, guarded},
    BoundCase, EMPTY, LONG, NEEDED, PATTERN, TYPE,
};

pub fn bounds() -> Vec<BoundCase> {
    const KIND: &str = "EventPipeline";
    let case = |at, within, beyond| BoundCase { kind: KIND, at, base: front(), within, beyond };
    let jwt = |field: &str, value: Value| guarded(json!({field: value}));
    let jwks = |field: &str, value: Value| guarded(json!({"jwks": {field: value}}));
    let claim = |at, field: &'static str| {
        let within = ["https://login.example", "a b", "Größe", &"a".repeat(512)].map(|value| jwt(field, json!(value)));
        let beyond =
            [("", EMPTY), ("a\nb", PATTERN), ("a".repeat(513).as_str(), LONG)].map(|(value, words)| (jwt(field, json!(value)), words));
        case(at, within.into(), beyond.into())
    };
    let key = |value: &str| jwks("key", json!(value));
    vec![
        case("spec.source.http.auth", vec![], vec![(json!({"source": {"http": {"auth": {}}}}), NEEDED)]),
        case(
            "spec.source.http.auth.jwt",
            vec![guarded(json!({}))],
            vec![(jwt("issuer", Value::Null), NEEDED), (jwt("audience", Value::Null), NEEDED), (jwt("jwks", Value::Null), NEEDED)],
        ),
        claim("spec.source.http.auth.jwt.issuer", "issuer"),
        claim("spec.source.http.auth.jwt.audience", "audience"),
        case(
            "spec.source.http.auth.jwt.leeway",
            vec![jwt("leeway", json!("1m"))],
            vec![
                (jwt("leeway", json!("soon")), PATTERN),
                (jwt("leeway", json!("1s1s1s1s1s1s1s1s1s")), LONG),
                (jwt("leeway", json!(30)), TYPE),
            ],
        ),
        case("spec.source.http.auth.jwt.jwks", vec![], vec![(jwks("configMap", Value::Null), NEEDED)]),
        case(
            "spec.source.http.auth.jwt.jwks.configMap",
            vec![jwks("configMap", json!("a.b-1"))],
            vec![
                (jwks("configMap", json!("")), EMPTY),
                (jwks("configMap", json!("../a")), PATTERN),
                (jwks("configMap", json!("other/a")), PATTERN),
                (jwks("configMap", json!("a".repeat(254))), LONG),
            ],
        ),
        case(
            "spec.source.http.auth.jwt.jwks.key",
            vec![key("jwks.json"), key(".a_B-1"), key(&"a".repeat(253))],
            vec![(key(""), EMPTY), (key("a/b"), PATTERN), (key("..data"), PATTERN), (key("."), PATTERN), (key(&"a".repeat(254)), LONG)],
        ),
    ]
}
