//! Reads a set of public keys (JWKS, RFC 7517). Pure.
//!
//! Each key has one algorithm, which is the set's to say and never a token's. A set that holds a secret is refused as a whole: it
//! lies where many can read it.

use std::collections::BTreeSet;

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// The most bytes of a set; Kubernetes has the same limit for a ConfigMap.
pub const MAX_SET: usize = 1 << 20;
/// The members that only secrets have: private parts (RFC 7518, sections 6.2.2, 6.3.2) and symmetric keys (6.4.1).
const SECRET_PARTS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// The shortest and the longest modulus of RSA that is used, in bytes.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why a set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// It is larger than [`MAX_SET`].
    #[error("it has more than {MAX_SET} bytes")]
    TooLarge,
    /// It is not of the form of a set.
    #[error("it is no JSON Web Key Set: {0}")]
    Malformed(String),
    /// A key of it is a secret.
    #[error("key {0} of it is secret: put in public keys alone, of RSA, EC or Ed25519, and replace this one where it is used")]
    Secret(usize),
    /// Two keys have the same id.
    #[error("two keys of it have the same kid, or none")]
    Ambiguous,
}

/// Public keys.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<PublicKey>,
    /// Keys of the set that are not used, and why.
    pub unused: Vec<String>,
}

/// A key, and what it is for.
#[derive(Debug)]
pub struct PublicKey {
    id: Option<String>,
    /// The one algorithm that it is used with.
    pub algorithm: Algorithm,
    /// The key itself.
    pub key: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// See [`KeysError`]. A key that is for something else, or of a kind that is not known here, is left out.
    pub fn parse(text: &[u8]) -> Result<Self, KeysError> {
        if text.len() > MAX_SET {
            return Err(KeysError::TooLarge);
        }
        let Document { keys } = serde_json::from_slice(text).map_err(|why| KeysError::Malformed(why.to_string()))?;
        let (mut set, mut ids) = (Self::default(), BTreeSet::new());
        for (number, key) in keys.into_iter().enumerate() {
            if SECRET_PARTS.iter().any(|part| key.get(part).is_some()) || key.get("kty").is_some_and(|kind| kind == "oct") {
                return Err(KeysError::Secret(number));
            }
            let jwk: Jwk = serde_json::from_value(key).map_err(|why| KeysError::Malformed(format!("key {number}: {why}")))?;
            match usable(&jwk) {
                Ok(algorithm) => {
                    let id = jwk.common.key_id.clone();
                    if !ids.insert(id.clone()) {
                        return Err(KeysError::Ambiguous);
                    }
                    let key = DecodingKey::from_jwk(&jwk).map_err(|why| KeysError::Malformed(format!("key {number}: {why}")))?;
                    match weakness(&key) {
                        None => set.keys.push(PublicKey { id, algorithm, key }),
                        Some(why) => set.unused.push(format!("key {number}: {why}")),
                    }
                }
                Err(why) => set.unused.push(format!("key {number}: {why}")),
            }
        }
        Ok(set)
    }

    /// The key that a token names; one that names none means the only key.
    #[must_use]
    pub fn find(&self, id: Option<&str>) -> Option<&PublicKey> {
        match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

/// The algorithm of a key that is for signatures, or why it is not used.
fn usable(jwk: &Jwk) -> Result<Algorithm, &'static str> {
    let common = &jwk.common;
    let is_for_signatures = common.public_key_use.as_ref().is_none_or(|to| *to == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|to| to.contains(&KeyOperations::Verify));
    if !is_for_signatures {
        return Err("it is not for signatures (use, key_ops)");
    }
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Algorithm::ES384,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return Err("it is not of RSA, P-256, P-384 or Ed25519"),
    };
    let Some(said) = common.key_algorithm else { return Ok(usual) };
    let said = Algorithm::try_from(said).map_err(|_| "its alg is none of signatures that are known here")?;
    let fits = said == usual || (usual == Algorithm::RS256 && said.family() == usual.family());
    if fits { Ok(said) } else { Err("its alg does not fit its kty and crv") }
}

fn weakness(key: &DecodingKey) -> Option<&'static str> {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } if !MODULUS.contains(&n.len()) => Some("its modulus has not 2048 to 8192 bits"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The public half of RFC 8037's example, appendix A.2.
    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const P256: [&str; 2] = ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];

    fn ed(more: Value) -> Value {
        let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": ED, "kid": "a"});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn parse(keys: Value) -> Result<KeySet, KeysError> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn each_key_has_the_algorithm_that_its_set_says() {
        let rsa = |bytes: usize, more: Value| {
            let mut key = json!({"kty": "RSA", "e": "AQAB", "n": "A".repeat(bytes * 4 / 3).replacen('A', "v", 1), "kid": "a"});
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            key
        };
        let p256 = |more: Value| {
            let mut key = json!({"kty": "EC", "crv": "P-256", "x": P256[0], "y": P256[1], "kid": "a"});
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            key
        };
        for (key, expected) in [
            (ed(json!({})), Some(Algorithm::EdDSA)),
            (ed(json!({"alg": "EdDSA", "use": "sig"})), Some(Algorithm::EdDSA)),
            (ed(json!({"alg": "RS256"})), None),
            (ed(json!({"alg": "HS256"})), None),
            (ed(json!({"use": "enc"})), None),
            (ed(json!({"key_ops": ["sign"]})), None),
            (ed(json!({"key_ops": ["verify"]})), Some(Algorithm::EdDSA)),
            (rsa(258, json!({})), Some(Algorithm::RS256)),
            (rsa(258, json!({"alg": "PS512"})), Some(Algorithm::PS512)),
            (rsa(258, json!({"alg": "RSA-OAEP"})), None),
            (rsa(258, json!({"alg": "ES256"})), None),
            (rsa(129, json!({})), None),
            (p256(json!({})), Some(Algorithm::ES256)),
            (p256(json!({"alg": "ES384"})), None),
            (p256(json!({"crv": "secp256k1"})), None),
            (json!({"kty": "AKP", "kid": "a"}), None),
        ] {
            let set = parse(json!([key])).unwrap();
            assert_eq!(set.find(Some("a")).map(|key| key.algorithm), expected, "{key}");
            assert_eq!((set.len(), set.unused.len()), if expected.is_some() { (1, 0) } else { (0, 1) }, "{key}");
        }
    }

    #[test]
    fn a_set_that_is_none_or_holds_a_secret_is_refused() {
        assert_eq!(parse(json!([])).unwrap().len(), 0);
        for (keys, part) in [
            (json!("x"), "no JSON Web Key Set"),
            (json!([7]), "key 0"),
            (json!([ed(json!({"x": "?"}))]), "key 0"),
            (json!([ed(json!({})), {"kty": "oct", "k": "c2VjcmV0"}]), "key 1 of it is secret"),
            (json!([ed(json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}))]), "key 0 of it is secret"),
            (json!([ed(json!({})), ed(json!({}))]), "the same kid"),
        ] {
            let why = parse(keys.clone()).unwrap_err().to_string();
            assert!(why.contains(part), "{keys}: {why}");
        }
        assert_eq!(KeySet::parse(&vec![b' '; MAX_SET + 1]).unwrap_err(), KeysError::TooLarge);
        assert!(KeySet::parse(b"").is_err());
    }

    #[test]
    fn a_token_names_its_key_unless_there_is_one_alone() {
        let set = parse(json!([ed(json!({}))])).unwrap();
        assert!(set.find(Some("a")).is_some() && set.find(None).is_some() && set.find(Some("b")).is_none());
        let two = parse(json!([ed(json!({})), ed(json!({"kid": "b"}))])).unwrap();
        assert!(two.find(Some("b")).is_some() && two.find(None).is_none());
    }
}
