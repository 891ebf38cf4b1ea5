//! Attacks on the gate, through a router: each way to get in without a good token.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, body::Body, middleware::from_fn_with_state, routing::get};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "shop";

struct Failed(Mishap);

impl From<Mishap> for Failed {
    fn from(mishap: Mishap) -> Self {
        Self(mishap)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(Mishap::Stranger(stranger)) = self else { panic!("{:?}", self.0) };
        stranger.status().into_response()
    }
}

/// An issuer with two keys.
struct Issuer {
    ed: Ed25519KeyPair,
    p256: EcdsaKeyPair,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now() + 60});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn signed(message: String, signature: &[u8]) -> String {
    format!("{message}.{}", BASE64.encode(signature))
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            p256: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, p256.as_ref(), &random).unwrap(),
        }
    }

    fn set(&self) -> Value {
        let point = self.p256.public_key().as_ref();
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": BASE64.encode(self.ed.public_key())},
            {"kty": "EC", "crv": "P-256", "kid": "p256", "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])},
        ]})
    }

    fn ed(&self, header: Value, more: Value) -> String {
        let mut whole = json!({"alg": "EdDSA", "kid": "ed"});
        whole.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let message = message(&whole, &claims(more));
        let signature = self.ed.sign(message.as_bytes());
        signed(message, signature.as_ref())
    }

    fn good(&self) -> String {
        self.ed(json!({}), json!({}))
    }
}

async fn business(request: Request) -> String {
    match request.extensions().get::<Subject>() {
        Some(Subject(subject)) => format!("{subject} {}", request.headers().contains_key(AUTHORIZATION)),
        None => "somebody".to_owned(),
    }
}

struct Gate {
    app: Router,
    file: tempfile::NamedTempFile,
    readiness: Readiness,
    _end: tokio_util::sync::DropGuard,
}

impl Gate {
    async fn before(set: &str) -> Self {
        let (file, readiness, end) = (tempfile::NamedTempFile::new().unwrap(), Readiness::new(), CancellationToken::new());
        fs::write(&file, set).unwrap();
        let jwks = file.path().to_str().unwrap().to_owned();
        let check = TokenCheck { issuer: ISSUER.into(), audience: AUDIENCE.into(), leeway: Duration::from_secs(5), jwks };
        let guard = Guard::of(&WorkerSource::Http { port: 1, auth: Some(check) }).unwrap();
        let auth = guard.start(&readiness, end.clone()).await;
        let app = Router::new().route("/", get(business)).route_layer(from_fn_with_state(auth, require::<Failed>));
        Self { app, file, readiness, _end: end.drop_guard() }
    }

    async fn ask(&self, path: &str, authorization: &[&str]) -> (u16, String, String) {
        let request = authorization.iter().fold(Request::get(path), |request, value| request.header(AUTHORIZATION, *value));
        let response = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let challenge = response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        (status, challenge, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn bear(&self, token: &str) -> (u16, String) {
        let (status, challenge, body) = self.ask("/", &[&format!("Bearer {token}")]).await;
        (status, if status == 200 { body } else { challenge })
    }
}

#[tokio::test]
async fn who_shows_a_good_token_gets_in() {
    let issuer = Issuer::new();
    let gate = Gate::before(&issuer.set().to_string()).await;
    let message = message(&json!({"alg": "ES256", "kid": "p256", "typ": "at+jwt"}), &claims(json!({"sub": "bob"})));
    let p256 = issuer.p256.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    for (token, subject) in [
        (issuer.good(), "alice false"),
        (signed(message, p256.as_ref()), "bob false"),
        (issuer.ed(json!({"typ": "application/AT+JWT"}), json!({})), "alice false"),
        (issuer.ed(json!({}), json!({"aud": ["other", AUDIENCE]})), "alice false"),
        (issuer.ed(json!({}), json!({"nbf": now() + 3, "exp": now() - 3})), "alice false"),
        (issuer.ed(json!({}), json!({"sub": null})), "somebody"),
    ] {
        assert_eq!(gate.bear(&token).await, (200, subject.to_owned()));
    }
    let long = gate.bear(&issuer.ed(json!({}), json!({"sub": "ü".repeat(200)}))).await.1;
    assert_eq!(long, format!("{} false", "ü".repeat(200)), "two subjects are never one");
}

#[tokio::test]
async fn nobody_else_does() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let gate = Gate::before(&issuer.set().to_string()).await;
    let good = issuer.good();
    let parts: Vec<&str> = good.split('.').collect();
    let unsigned = |alg: &str| message(&json!({"alg": alg, "kid": "ed"}), &claims(json!({})));
    let mac = |alg, algorithm, secret: &[u8]| {
        let message = unsigned(alg);
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
        signed(message, tag.as_ref())
    };
    let public = issuer.ed.public_key().as_ref();
    let own_key = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(other.ed.public_key())});
    let repeated = {
        let claims = format!(r#"{{"iss":"{ISSUER}","aud":"other","aud":"{AUDIENCE}","exp":{}}}"#, now() + 60);
        let message = format!("{}.{}", parts[0], BASE64.encode(claims));
        let signature = issuer.ed.sign(message.as_bytes());
        signed(message, signature.as_ref())
    };
    let with = |claims| issuer.ed(json!({}), claims);
    for (what, token, fault) in [
        ("no signature", format!("{}.", unsigned("none")), "not a JSON Web Token"),
        ("no signature", format!("{}.", unsigned("EdDSA")), "signature"),
        ("none, signed", good.replace(parts[0], &BASE64.encode(r#"{"alg":"None","kid":"ed"}"#)), "not a JSON Web Token"),
        ("the public key as a secret", mac("HS256", hmac::HMAC_SHA256, public), "algorithm"),
        ("the public key's text as a secret", mac("HS512", hmac::HMAC_SHA512, BASE64.encode(public).as_bytes()), "algorithm"),
        ("an empty secret", mac("HS256", hmac::HMAC_SHA256, b""), "algorithm"),
        ("another algorithm", mac("RS256", hmac::HMAC_SHA256, public), "algorithm"),
        ("another key of the set", issuer.ed(json!({"kid": "p256"}), json!({})), "algorithm"),
        ("no key", issuer.ed(json!({"kid": null}), json!({})), "a key that is not known"),
        ("an unknown key", issuer.ed(json!({"kid": "../ed"}), json!({})), "a key that is not known"),
        ("somebody else's key", other.good(), "signature"),
        ("a key of its own", other.ed(json!({"jwk": own_key, "jku": "https://evil.example"}), json!({})), "signature"),
        ("other claims", format!("{}.{}.{}", parts[0], BASE64.encode(claims(json!({"sub": "root"})).to_string()), parts[2]), "signature"),
        ("half a signature", good[..good.len() - 10].to_owned(), "signature"),
        ("no token", "a.b.c".to_owned(), "not a JSON Web Token"),
        ("five parts", format!("{good}.a.b"), "not a JSON Web Token"),
        ("unknown demands", issuer.ed(json!({"crit": ["b64"], "b64": false}), json!({})), "something else"),
        ("a logout", issuer.ed(json!({"typ": "logout+jwt"}), json!({})), "something else"),
        ("expired", with(json!({"exp": now() - 6})), "expired"),
        ("for ever", with(json!({"exp": null})), "expired"),
        ("for ever, in words", with(json!({"exp": "9999999999"})), "expired"),
        ("too early", with(json!({"nbf": now() + 30})), "not hold yet"),
        ("too early, in words", with(json!({"nbf": "soon"})), "not hold yet"),
        ("another issuer", with(json!({"iss": "https://login.example.evil"})), "issuer"),
        ("no issuer", with(json!({"iss": null})), "issuer"),
        ("another audience", with(json!({"aud": "SHOP"})), "audience"),
        ("other audiences", with(json!({"aud": ["a", "b"]})), "audience"),
        ("no audience", with(json!({"aud": null})), "audience"),
        ("an empty list", with(json!({"aud": []})), "audience"),
        ("an object", with(json!({"aud": {"shop": true}})), "audience"),
    ] {
        let (status, challenge) = gate.bear(&token).await;
        assert!(status == 401 && challenge.starts_with("Bearer error=\"invalid_token\", "), "{what}: {status} {challenge}");
        assert!(challenge.contains(fault), "{what}: {challenge}");
    }
    for (what, token) in [("a claim twice", repeated), ("a list of issuers", with(json!({"iss": [ISSUER, "x"]})))] {
        assert_eq!(gate.bear(&token).await.0, 401, "{what}");
    }
}

#[tokio::test]
async fn a_token_elsewhere_or_twice_or_too_long_is_none() {
    let issuer = Issuer::new();
    let gate = Gate::before(&issuer.set().to_string()).await;
    let (good, huge) = (issuer.good(), issuer.ed(json!({}), json!({"pad": "x".repeat(presented::MAX_TOKEN)})));
    let bearer = format!("Bearer {good}");
    for (path, values, status, challenge) in [
        ("/".to_owned(), vec![], 401, "Bearer"),
        (format!("/?access_token={good}"), vec![], 401, "Bearer"),
        ("/".to_owned(), vec![good.clone()], 401, "Bearer"),
        ("/".to_owned(), vec![format!("Basic {good}")], 401, "Bearer"),
        ("/".to_owned(), vec![bearer.clone(), bearer.clone()], 400, "Bearer error=\"invalid_request\""),
        ("/".to_owned(), vec!["Basic dTpw".to_owned(), bearer.clone()], 400, "Bearer error=\"invalid_request\""),
        ("/".to_owned(), vec![format!("Bearer {huge}")], 400, "Bearer error=\"invalid_request\""),
        (format!("/?access_token={good}"), vec![bearer.clone()], 200, ""),
    ] {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let (found, told, _) = gate.ask(&path, &values).await;
        assert_eq!(found, status, "{path} {values:?}");
        assert!(if challenge.contains("error") { told.starts_with(challenge) } else { told == challenge }, "{path} {values:?}: {told}");
    }
}

#[tokio::test]
async fn without_keys_nobody_gets_in_and_the_worker_is_not_ready() {
    let issuer = Issuer::new();
    let gate = Gate::before("{").await;
    assert_eq!((gate.bear(&issuer.good()).await.0, gate.readiness.is_ready()), (503, false));
    assert_eq!(gate.ask("/", &[]).await.0, 401);
    fs::write(&gate.file, issuer.set().to_string()).unwrap();
    let limit = Duration::from_secs(30);
    let ready = async {
        while !gate.readiness.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limit, ready).await.unwrap();
    assert_eq!(gate.bear(&issuer.good()).await.0, 200);
    fs::write(&gate.file, r#"{"keys": []}"#).unwrap();
    let revoked = async {
        while gate.bear(&issuer.good()).await.0 == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limit, revoked).await.unwrap();
    assert_eq!(gate.bear(&issuer.good()).await.0, 401);
}

/// RFC 7515, appendix A.2: a token of RSA whose time is over, and that is for nobody.
#[test]
fn rsa_is_verified() {
    crypto::install();
    let key = json!({"kty": "RSA", "e": "AQAB", "n": concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOW",
        "vG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9k",
        "G4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    )});
    let set = keys::KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
    let token = concat!(
        "eyJhbGciOiJSUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4",
        "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv",
        "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    let expected = Expected { issuer: "joe".into(), audience: "nobody".into(), leeway: Duration::ZERO };
    assert_eq!(check(token, &set, &expected), Err(Fault::Audience));
    let other = token.replace("eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJ4b2Ui");
    assert_eq!(check(&other, &set, &expected), Err(Fault::Signature));
}
