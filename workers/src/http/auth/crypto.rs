//! The cryptography of tokens: ring's, which is in the program for TLS anyway. jsonwebtoken leaves the choice to who uses it.
//!
//! It verifies with public keys, and does nothing else: no secret is ever taken for a key, whatever a token says of itself.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature::{self, Verifier},
};
use ring::signature as verification;

static RING: CryptoProvider =
    CryptoProvider { signer_factory: no_signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Makes ring the cryptography of all tokens of this process.
pub fn install() {
    // Only who comes second is refused, and the first installed the same.
    let _ = RING.install_default();
}

/// How a signature is checked.
enum Check {
    Rsa(&'static verification::RsaParameters),
    Curve(&'static dyn verification::VerificationAlgorithm),
}

struct Public {
    algorithm: Algorithm,
    check: Check,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let check = match algorithm {
        Algorithm::RS256 => Check::Rsa(&verification::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Check::Rsa(&verification::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Check::Rsa(&verification::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Check::Rsa(&verification::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Check::Rsa(&verification::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Check::Rsa(&verification::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Check::Curve(&verification::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Check::Curve(&verification::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Check::Curve(&verification::ED25519),
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    if key.family() == AlgorithmFamily::Hmac || key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Public { algorithm: *algorithm, check, key: key.clone() }))
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let verified = match (&self.check, self.key.kind()) {
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                verification::RsaPublicKeyComponents { n: significant(n), e: significant(e) }.verify(parameters, message, signature)
            }
            (Check::Curve(algorithm), DecodingKeyKind::SecretOrDer(point)) => {
                verification::UnparsedPublicKey::new(*algorithm, point).verify(message, signature)
            }
            _ => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// A number without the zeros before it, which some write and ring does not read.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
