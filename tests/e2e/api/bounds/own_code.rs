//! Bounds of `processor.http` and `processor.image`.

use serde_json::{Value, json};

use super::{
    super::{changed, handled, imaged, reader},
    BoundCase, EMPTY, LEAST, LONG, MOST, NEEDED, PATTERN, TYPE, amounts,
};

pub fn bounds() -> Vec<BoundCase> {
    const KIND: &str = "EventPipeline";
    let case = |at, within, beyond| BoundCase { kind: KIND, at, base: reader(), within, beyond };
    let http = |field: &str, value: Value| handled(json!({field: value}));
    let digest = format!("shop@sha256:{}", "0aF".repeat(22));
    let images = [
        "a",
        "shop/handler:1",
        "localhost:5000/a",
        "registry.example/a/b_c.d--e/f:V_1.2-x",
        "[::1]:5000/a:1",
        "shop:1.0@sha512:0123456789abcdef0123456789abcdef",
        &digest,
        &"a".repeat(500),
    ];
    let long = "a".repeat(501);
    let no_images = [
        ("", EMPTY),
        ("a/Handler", PATTERN),
        ("a b", PATTERN),
        ("/a", PATTERN),
        ("a/", PATTERN),
        ("a:", PATTERN),
        ("a:-1", PATTERN),
        ("http://a/b", PATTERN),
        ("a@sha256:12", PATTERN),
        ("a\n", PATTERN),
        ("a..b", PATTERN),
        (long.as_str(), LONG),
    ];
    let deep = format!("/{}", "a".repeat(199));
    let paths = ["/", "/events", "/v1/events/", "/a-b_c.d~e", &deep];
    let deeper = format!("{deep}a");
    let no_paths = [
        ("", EMPTY),
        ("events", PATTERN),
        ("//", PATTERN),
        ("/a//b", PATTERN),
        ("/a?b", PATTERN),
        ("/%20", PATTERN),
        (deeper.as_str(), LONG),
    ];
    let pauses = [("soon", PATTERN), ("10", PATTERN), ("1", "at least 2 chars"), ("1s1s1s1s1s1s1s1s1s", LONG)];
    let amount_places = [
        "spec.processor.http.resources.requests.cpu",
        "spec.processor.http.resources.requests.memory",
        "spec.processor.http.resources.limits.cpu",
        "spec.processor.http.resources.limits.memory",
    ];
    let mut cases = amounts(amount_places, &changed(reader(), &handled(json!({}))));
    cases.extend([
        case(
            "spec.processor.http",
            vec![],
            vec![(http("image", Value::Null), NEEDED), (http("port", Value::Null), NEEDED), (json!({"processor": {"http": []}}), TYPE)],
        ),
        case(
            "spec.processor.http.image",
            images.iter().map(|image| http("image", json!(image))).collect(),
            no_images.iter().map(|(image, words)| (http("image", json!(image)), *words)).collect(),
        ),
        case(
            "spec.processor.image",
            images.iter().map(|image| imaged(image)).collect(),
            no_images.iter().map(|(image, words)| (imaged(image), *words)).collect(),
        ),
        case(
            "spec.processor.http.port",
            vec![http("port", json!(1024)), http("port", json!(65_535))],
            vec![(http("port", json!(1023)), LEAST), (http("port", json!(65_536)), MOST), (http("port", json!("9000")), TYPE)],
        ),
        case(
            "spec.processor.http.path",
            paths.iter().map(|path| http("path", json!(path))).collect(),
            no_paths.iter().map(|(path, words)| (http("path", json!(path)), *words)).collect(),
        ),
        case(
            "spec.processor.http.timeout",
            vec![http("timeout", json!("30s"))],
            pauses.iter().map(|(pause, words)| (http("timeout", json!(pause)), *words)).collect(),
        ),
        case(
            "spec.processor.http.resources.requests",
            vec![http("resources", json!({"requests": {"cpu": "1", "memory": "64Mi"}}))],
            vec![(http("resources", json!({"requests": "1"})), TYPE)],
        ),
    ]);
    cases
}
