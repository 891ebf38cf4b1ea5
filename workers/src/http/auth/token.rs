//! Checks a token (JWT, RFC 7519) against keys and against what is expected of it (RFC 8725). Does no I/O, but for the clock.
//!
//! The order is: which key, with that key's own algorithm and no other; the signature; then what the token says.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Validation, decode, decode_header, errors::ErrorKind};
use prometheus_client::encoding::EncodeLabelValue;
use serde::Deserialize;

use super::keys::KeySet;

/// The types of tokens that are taken, without `application/`: a token for something else, such as a logout, has another.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// What a token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Who has made it (`iss`).
    pub issuer: String,
    /// For whom (`aud`).
    pub audience: String,
    /// By how much clocks may differ.
    pub leeway: Duration,
}

/// Who sends a request: the whole `sub` of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(pub Arc<str>);

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Fault {
    /// It is no token.
    Malformed,
    /// It is a token for something else (`typ`), or asks for something that is not known here (`crit`).
    Kind,
    /// There is no such key.
    UnknownKey,
    /// It is not signed with the algorithm of its key.
    Algorithm,
    /// The signature is not that of the key.
    Signature,
    /// It has expired, or does not say when it does.
    Expired,
    /// It does not hold yet.
    Early,
    /// Somebody else has made it.
    Issuer,
    /// It is for somebody else.
    Audience,
}

impl Fault {
    /// In words for who sent it; nothing of what was sent is in them.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Malformed => "the token is not a JSON Web Token",
            Self::Kind => "the token is meant for something else",
            Self::UnknownKey => "the token is signed with a key that is not known here",
            Self::Algorithm => "the token is not signed with the algorithm of its key",
            Self::Signature => "the signature of the token does not fit",
            Self::Expired => "the token has expired",
            Self::Early => "the token does not hold yet",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    // A list of issuers is none.
    iss: Option<String>,
    sub: Option<String>,
}

/// Checks a token; whose it is, where it says so.
///
/// # Errors
/// The first fault.
pub fn check(token: &str, keys: &KeySet, expected: &Expected) -> Result<Option<Subject>, Fault> {
    let header = decode_header(token).map_err(|_| Fault::Malformed)?;
    if header.crit.is_some() || !header.typ.as_deref().is_none_or(is_taken) {
        return Err(Fault::Kind);
    }
    let key = keys.find(header.kid.as_deref()).ok_or(Fault::UnknownKey)?;
    if header.alg != key.algorithm {
        return Err(Fault::Algorithm);
    }
    let mut validation = Validation::new(key.algorithm);
    validation.leeway = expected.leeway.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[&expected.issuer]);
    validation.set_audience(&[&expected.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    let Claims { iss, sub } = decode::<Claims>(token, &key.key, &validation).map_err(|why| fault(why.kind()))?.claims;
    if iss.as_deref() != Some(expected.issuer.as_str()) {
        return Err(Fault::Issuer);
    }
    Ok(sub.map(|sub| Subject(sub.into())))
}

fn is_taken(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    TYPES.contains(&kind.strip_prefix("application/").unwrap_or(&kind))
}

fn fault(kind: &ErrorKind) -> Fault {
    match kind {
        ErrorKind::InvalidSignature => Fault::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => Fault::Algorithm,
        ErrorKind::ExpiredSignature => Fault::Expired,
        ErrorKind::ImmatureSignature => Fault::Early,
        ErrorKind::InvalidIssuer => Fault::Issuer,
        ErrorKind::InvalidAudience => Fault::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => match claim.as_str() {
            "exp" => Fault::Expired,
            "nbf" => Fault::Early,
            "iss" => Fault::Issuer,
            _ => Fault::Audience,
        },
        _ => Fault::Malformed,
    }
}
