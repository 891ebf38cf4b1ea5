//! An issuer of tokens (JWT), as a login service would be one: a key of Ed25519 whose public half it gives away.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

/// The `iss` of its tokens.
pub const ISSUER: &str = "https://login.example";
/// The `aud` of its tokens.
pub const AUDIENCE: &str = "shop";

/// An issuer.
#[derive(Debug)]
pub struct Issuer {
    id: String,
    key: Ed25519KeyPair,
}

impl Issuer {
    /// Makes one with a new key of that id.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(id: &str) -> Result<Self, String> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|why| why.to_string())?;
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|why| why.to_string())?;
        Ok(Self { id: id.to_owned(), key })
    }

    /// Its public key (JWK).
    #[must_use]
    pub fn public_key(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.id, "x": BASE64.encode(self.key.public_key())})
    }

    /// The set of its public key alone (JWKS).
    #[must_use]
    pub fn set(&self) -> String {
        json!({"keys": [self.public_key()]}).to_string()
    }

    /// A token for `subject` that is good for a minute.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        self.token_with(json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": in_seconds(60)}))
    }

    /// A token that says what it is told to.
    #[must_use]
    pub fn token_with(&self, claims: Value) -> String {
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.id});
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = BASE64.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// A time as tokens have it: so many seconds from now on, or before now.
#[must_use]
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_add(seconds)
}
