//! Who asks: credentials, the signature that proves them, and its verification.
//!
//! Both sides of the protocol use this one file, so that what the SDK signs is what a node checks.
//! A secret never leaves the process and never appears in a log or a `Debug` text.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Scheme of a signed `authorization` value.
pub const SCHEME: &str = "YB1-HMAC-SHA256";

/// Full method name of the multiplexed stream, as it is signed.
pub const CALL_METHOD: &str = "/yunbase.v1.Data/Call";

/// Longest `authorization` value that is looked at; a valid one has about 250 bytes.
pub const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// How a client proves who it is.
#[derive(Clone)]
pub enum Credentials {
    /// A secret key of an environment (or of the cluster): the secret signs and is never sent.
    SecretKey {
        /// The public half.
        secret_id: String,
        /// The secret half.
        secret_key: String,
    },
    /// An API key, sent as it is: only over TLS or on this machine.
    ApiKey(String),
}

impl Credentials {
    /// The `authorization` value for one call of `method`.
    pub fn authorization(&self, method: &str, timestamp_s: u64, nonce: &str) -> String {
        match self {
            Self::ApiKey(key) => format!("Bearer {key}"),
            Self::SecretKey {
                secret_id,
                secret_key,
            } => {
                let signature = sign(secret_key, method, timestamp_s, nonce);
                format!(
                    "{SCHEME} Credential={secret_id},Timestamp={timestamp_s},Nonce={nonce},Signature={signature}"
                )
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecretKey { secret_id, .. } => write!(f, "SecretKey({secret_id})"),
            Self::ApiKey(_) => f.write_str("ApiKey"),
        }
    }
}

/// The text that is signed: `method`, `timestamp_s` and `nonce`, one a line.
pub fn string_to_sign(method: &str, timestamp_s: u64, nonce: &str) -> String {
    format!("{method}\n{timestamp_s}\n{nonce}")
}

/// HMAC-SHA256 of [`string_to_sign`] under `secret_key`, in lower-case hex.
pub fn sign(secret_key: &str, method: &str, timestamp_s: u64, nonce: &str) -> String {
    hex::encode(
        mac(secret_key, method, timestamp_s, nonce)
            .finalize()
            .into_bytes(),
    )
}

fn mac(secret_key: &str, method: &str, timestamp_s: u64, nonce: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret_key.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(string_to_sign(method, timestamp_s, nonce).as_bytes());
    mac
}

/// A fresh nonce: 16 random bytes in hex.
pub fn nonce() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// An `authorization` value taken apart, not yet verified.
#[derive(Debug, PartialEq, Eq)]
pub enum Authorization<'a> {
    /// An API key.
    Bearer(&'a str),
    /// A signature under a secret key.
    Signed(Signed<'a>),
}

/// The parts of a signed `authorization` value.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Public half of the key that signed.
    pub secret_id: &'a str,
    /// When it was signed, in seconds since 1970. The verifier decides how old is too old.
    pub timestamp_s: u64,
    /// Unique for each call, so that a verifier may refuse a replay.
    pub nonce: &'a str,
    /// Hex of the signature.
    pub signature: &'a str,
}

/// Why an `authorization` value cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Neither `Bearer` nor [`SCHEME`].
    #[error("the authorization scheme must be Bearer or {SCHEME}")]
    Scheme,
    /// A member of the signed form is missing, doubled or malformed.
    #[error("the authorization member {0} is missing or malformed")]
    Member(&'static str),
    /// Longer than [`AUTHORIZATION_BYTES_MAX`].
    #[error("the authorization value is longer than {AUTHORIZATION_BYTES_MAX} bytes")]
    TooLong,
}

impl<'a> Authorization<'a> {
    /// Takes `value` apart.
    pub fn parse(value: &'a str) -> Result<Self, ParseError> {
        if value.len() > AUTHORIZATION_BYTES_MAX {
            return Err(ParseError::TooLong);
        }
        match value.trim().split_once(' ') {
            Some(("Bearer", key)) if !key.trim().is_empty() => Ok(Self::Bearer(key.trim())),
            Some((SCHEME, members)) => Signed::parse(members).map(Self::Signed),
            _ => Err(ParseError::Scheme),
        }
    }
}

impl<'a> Signed<'a> {
    fn parse(members: &'a str) -> Result<Self, ParseError> {
        let member = |name: &'static str| {
            let mut values = members
                .split(',')
                .filter_map(|member| member.trim().split_once('='))
                .filter(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| value);
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(ParseError::Member(name)),
            }
        };
        Ok(Self {
            secret_id: member("Credential")?,
            timestamp_s: member("Timestamp")?
                .parse()
                .map_err(|_| ParseError::Member("Timestamp"))?,
            nonce: member("Nonce")?,
            signature: member("Signature")?,
        })
    }

    /// Whether `secret_key` made this signature for `method`. Takes the same time for each wrong signature.
    pub fn verify(&self, secret_key: &str, method: &str) -> bool {
        let Ok(signature) = hex::decode(self.signature) else {
            return false;
        };
        mac(secret_key, method, self.timestamp_s, self.nonce)
            .verify_slice(&signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const NONCE: &str = "00112233445566778899aabbccddeeff";

    fn credentials() -> Credentials {
        Credentials::SecretKey {
            secret_id: "AKIDtest".into(),
            secret_key: KEY.into(),
        }
    }

    #[test]
    fn signature_equals_the_vector_made_elsewhere() {
        assert_eq!(
            sign(KEY, CALL_METHOD, 1_700_000_000, NONCE),
            "b9a3f715abba5bde483535383f060ef75f5ed2958f9b61a12f460a5b0e7d6df9"
        );
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else_does() {
        let value = credentials().authorization(CALL_METHOD, 1_700_000_000, NONCE);
        let Ok(Authorization::Signed(signed)) = Authorization::parse(&value) else {
            panic!("not signed: {value}")
        };
        assert_eq!(signed.secret_id, "AKIDtest");
        assert!(signed.verify(KEY, CALL_METHOD));
        assert!(!signed.verify("another", CALL_METHOD));
        assert!(!signed.verify(KEY, "/yunbase.v1.Data/Execute"));
        assert!(
            !Signed {
                timestamp_s: 1_700_000_001,
                ..signed
            }
            .verify(KEY, CALL_METHOD)
        );
    }

    #[test]
    fn malformed_values_are_refused() {
        let refused = [
            "",
            "Bearer ",
            "Basic abc",
            "YB1-HMAC-SHA256 Credential=a,Timestamp=1,Nonce=2",
            "YB1-HMAC-SHA256 Credential=a,Timestamp=x,Nonce=2,Signature=ff",
            "YB1-HMAC-SHA256 Credential=a,Credential=b,Timestamp=1,Nonce=2,Signature=ff",
        ];
        for value in refused {
            assert!(Authorization::parse(value).is_err(), "{value}");
        }
        assert_eq!(
            Authorization::parse(&"x".repeat(5000)),
            Err(ParseError::TooLong)
        );
        let odd = Signed {
            secret_id: "a",
            timestamp_s: 1,
            nonce: "n",
            signature: "zz",
        };
        assert!(!odd.verify(KEY, CALL_METHOD));
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        assert!(!format!("{:?}", credentials()).contains(KEY));
        assert!(!format!("{:?}", Credentials::ApiKey(KEY.into())).contains(KEY));
    }
}
