//! The two signatures of login, through jsonwebtoken and ring: ES256 on access tokens, RS256 on custom login tickets.
//!
//! Each kind of token is checked against exactly one algorithm; `none`, HMAC and everything else a token may name in
//! its own head is refused before a key is looked at. Times and audience are for the callers, who have the clock.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation, decode,
    decode_header, encode,
};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A token that is not what it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is malformed or its signature is not valid")]
pub(super) struct Forged;

/// A key that signs access tokens.
pub(super) struct SigningKey {
    kid: String,
    key: EncodingKey,
}

impl SigningKey {
    /// Draws a new key: PKCS#8 of the private half, and the public point.
    pub(super) fn generate() -> Option<(Vec<u8>, Vec<u8>)> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok()?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                .ok()?;
        Some((pkcs8.as_ref().to_vec(), pair.public_key().as_ref().to_vec()))
    }

    /// The key in `pkcs8`, as `kid`.
    pub(super) fn new(kid: &str, pkcs8: &[u8]) -> Self {
        Self {
            kid: kid.to_owned(),
            key: EncodingKey::from_ec_der(pkcs8),
        }
    }

    /// A token of `claims`.
    pub(super) fn sign<T: Serialize>(&self, claims: &T) -> Result<String, JwtError> {
        install();
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        encode(&header, claims, &self.key)
    }
}

/// Which key an access token says it was signed with; nothing of it is proved.
pub(super) fn claimed_kid(token: &str) -> Result<String, Forged> {
    let header = decode_header(token).map_err(|_| Forged)?;
    if header.alg != Algorithm::ES256 {
        return Err(Forged);
    }
    header.kid.ok_or(Forged)
}

/// The claims of an access token that the owner of `public_key` signed.
pub(super) fn verify_es256<T: DeserializeOwned>(
    token: &str,
    public_key: &[u8],
) -> Result<T, Forged> {
    verify(
        token,
        &DecodingKey::from_ec_der(public_key),
        Algorithm::ES256,
    )
}

/// The claims of a ticket that the owner of the key in `pem` signed.
pub(super) fn verify_rs256<T: DeserializeOwned>(token: &str, pem: &str) -> Result<T, Forged> {
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| Forged)?;
    verify(token, &key, Algorithm::RS256)
}

fn verify<T: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
) -> Result<T, Forged> {
    install();
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    decode(token, key, &validation)
        .map(|data| data.claims)
        .map_err(|_| Forged)
}

/// Makes ring the one that jsonwebtoken asks, once in a process.
fn install() {
    static ONCE: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    ONCE.call_once(|| {
        if PROVIDER.install_default().is_err() {
            tracing::debug!("another part of the process has chosen how tokens are signed");
        }
    });
}

struct Es256Signer(EcdsaKeyPair);

impl Signer<Vec<u8>> for Es256Signer {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| SignatureError::new())
    }
}

impl JwtSigner for Es256Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, JwtError> {
    if (*algorithm, key.family()) != (Algorithm::ES256, AlgorithmFamily::Ec) {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let pair = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        key.as_bytes(),
        &SystemRandom::new(),
    )
    .map_err(|_| ErrorKind::InvalidEcdsaKey)?;
    Ok(Box::new(Es256Signer(pair)))
}

struct RingVerifier {
    algorithm: Algorithm,
    scheme: &'static dyn VerificationAlgorithm,
    key: Vec<u8>,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        UnparsedPublicKey::new(self.scheme, &self.key)
            .verify(message, signature)
            .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    let scheme: &'static dyn VerificationAlgorithm = match (algorithm, key.family()) {
        (Algorithm::ES256, AlgorithmFamily::Ec) => &ECDSA_P256_SHA256_FIXED,
        (Algorithm::RS256, AlgorithmFamily::Rsa) => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        scheme,
        key: key.try_get_as_bytes()?.to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    fn token_with_head(head: &Value, claims: &Value, signature: &[u8]) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.{}",
            part(head),
            part(claims),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    #[test]
    fn a_signed_token_reads_back_and_a_changed_one_does_not() {
        let (private, public) = SigningKey::generate().unwrap();
        let (_, stranger) = SigningKey::generate().unwrap();
        let token = SigningKey::new("k1", &private)
            .sign(&json!({ "sub": "u" }))
            .unwrap();
        assert_eq!(claimed_kid(&token).unwrap(), "k1");
        let claims: Value = verify_es256(&token, &public).unwrap();
        assert_eq!(claims["sub"], "u");
        assert!(verify_es256::<Value>(&token, &stranger).is_err());
        for at in [token.len() - 3, token.len() / 2] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify_es256::<Value>(&changed, &public).is_err(), "{at}");
        }
    }

    #[test]
    fn tokens_that_choose_their_own_algorithm_are_refused() {
        let (_, public) = SigningKey::generate().unwrap();
        let claims = json!({ "sub": "u" });
        let none = json!({ "alg": "none", "kid": "k1" });
        let hmac = json!({ "alg": "HS256", "kid": "k1" });
        let message = token_with_head(&hmac, &claims, &[]);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public);
        let tag = ring::hmac::sign(&key, message.trim_end_matches('.').as_bytes());
        for token in [
            token_with_head(&none, &claims, &[]),
            token_with_head(&none, &claims, &[0; 64]),
            token_with_head(&hmac, &claims, tag.as_ref()),
            token_with_head(&json!({ "alg": "ES256", "kid": "k1" }), &claims, &[0; 64]),
            String::new(),
            "..".to_owned(),
            "a.b.c".to_owned(),
        ] {
            assert!(verify_es256::<Value>(&token, &public).is_err(), "{token}");
        }
        assert!(claimed_kid(&token_with_head(&none, &claims, &[])).is_err());
        assert!(claimed_kid(&token_with_head(&hmac, &claims, &[])).is_err());
    }
}
