//! Who may send requests to an HTTP source: whoever shows a token of an issuer that the pipeline trusts.

use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    duration,
    worker::{JWKS_DIR, JWKS_FILE, TokenCheck},
};

/// By how much clocks may differ, where a pipeline does not say.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
/// By how much they may differ at all.
const LEEWAY_BOUNDS: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(300));
/// The longest issuer and audience, in characters.
const MAX_NAME: usize = 512;
/// The key of a ConfigMap in which the public keys are, where a pipeline does not say.
const DEFAULT_KEY: &str = "jwks.json";

/// Who may send requests. `/health` asks nobody.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuth {
    /// Whoever shows a JSON Web Token in the header `Authorization: Bearer`.
    pub jwt: Jwt,
}

/// What a token must be.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// Its issuer (`iss`), letter by letter, such as `https://login.example`. Nothing is fetched from there.
    #[schemars(schema_with = "crate::schema::claim")]
    pub issuer: String,
    /// Its audience (`aud`), or one of them.
    #[schemars(schema_with = "crate::schema::claim")]
    pub audience: String,
    /// The issuer's public keys.
    pub jwks: Jwks,
    /// By how much the issuer's clock may differ, such as `30s`. From 0s to 5m. Default: 30s.
    #[schemars(schema_with = "crate::schema::leeway")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<String>,
}

/// Public keys: a JSON Web Key Set with keys of RSA (2048 bits or more), P-256, P-384 or Ed25519. Workers read it again when it
/// changes; an empty set lets nobody in.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwks {
    /// The name of a ConfigMap in the same namespace.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub config_map: String,
    /// The key in it. Default: `jwks.json`.
    #[schemars(schema_with = "crate::schema::config_map_key")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Jwks {
    /// The key in the ConfigMap.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(DEFAULT_KEY)
    }
}

impl HttpAuth {
    /// What a worker checks.
    ///
    /// # Errors
    /// A rule that the schema has too, for objects that are older than the schema.
    pub fn check(&self) -> Result<TokenCheck, String> {
        let Jwt { issuer, audience, jwks, leeway } = &self.jwt;
        for (field, value) in [("issuer", issuer), ("audience", audience)] {
            if !(1..=MAX_NAME).contains(&value.chars().count()) || value.chars().any(char::is_control) {
                return Err(format!("source.http.auth.jwt.{field} must be 1 to {MAX_NAME} characters of plain text"));
            }
        }
        if !is_key(jwks.key()) {
            return Err(format!("source.http.auth.jwt.jwks.key: `{}` is not the key of a ConfigMap", jwks.key()));
        }
        let (shortest, longest) = LEEWAY_BOUNDS;
        let leeway = leeway.as_deref().map_or(Ok(DEFAULT_LEEWAY), |text| duration::parse_bounded(text, shortest, longest));
        let leeway = leeway.map_err(|why| format!("source.http.auth.jwt.leeway: {why}"))?;
        Ok(TokenCheck { issuer: issuer.clone(), audience: audience.clone(), leeway, jwks: format!("{JWKS_DIR}/{JWKS_FILE}") })
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 253
        && !key.starts_with("..")
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && key != "."
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_worker_checks() {
        let spec = |patch: Value| {
            let mut jwt = json!({"issuer": "https://login.example", "audience": "shop", "jwks": {"configMap": "login-keys"}});
            jwt.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
            serde_json::from_value::<HttpAuth>(json!({"jwt": jwt})).unwrap()
        };
        let check = spec(json!({"leeway": "1m"})).check().unwrap();
        assert_eq!((check.issuer.as_str(), check.audience.as_str()), ("https://login.example", "shop"));
        assert_eq!((check.leeway, check.jwks.as_str()), (Duration::from_secs(60), "/etc/penstock-jwks/jwks.json"));
        assert_eq!(spec(json!({})).check().unwrap().leeway, DEFAULT_LEEWAY);
        for (patch, part) in [
            (json!({"issuer": ""}), "issuer must be"),
            (json!({"audience": "a\nb"}), "audience must be"),
            (json!({"leeway": "6m"}), "leeway: `6m` is out of bounds"),
            (json!({"jwks": {"configMap": "k", "key": "../x"}}), "`../x` is not the key of a ConfigMap"),
            (json!({"jwks": {"configMap": "k", "key": "..data"}}), "`..data` is not the key of a ConfigMap"),
        ] {
            let why = spec(patch.clone()).check().unwrap_err();
            assert!(why.contains(part), "{patch}: {why}");
        }
    }
}
