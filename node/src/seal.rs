//! Texts that clients carry from one node to another without being able to change them.
//!
//! The key is derived from the cluster's own settings, so every node can check what any other gave out. What is
//! sealed can be read by whoever holds it; only its origin is protected.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::cluster::map::SharedMap;

/// Separates the key from every other use of the cluster's secret.
const KEY_CONTEXT: &str = "yunbase 2026-11 realtime seals v1";
/// Half of the code: 128 bits cannot be guessed, and texts stay short.
const CODE_BYTES: usize = 16;

/// What a sealed text is for; one kind never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Proof of identity for a socket.
    Ticket = 1,
    /// A watch's query and where it began.
    QueryId = 2,
    /// Right to read one file.
    Download = 3,
    /// Right to write one file.
    Upload = 4,
}

/// Seals texts and opens them.
#[derive(Clone)]
pub struct Seal(Source);

#[derive(Clone)]
enum Source {
    Cluster(SharedMap),
    #[cfg(test)]
    Fixed([u8; 32]),
}

impl Seal {
    /// With the key of the cluster whose map this is.
    pub fn of_cluster(map: SharedMap) -> Self {
        Self(Source::Cluster(map))
    }

    #[cfg(test)]
    pub(crate) fn fixed(key: [u8; 32]) -> Self {
        Self(Source::Fixed(key))
    }

    /// `None` until the node knows its cluster.
    fn code(&self, kind: Kind, env: &str, payload: &[u8]) -> Option<[u8; CODE_BYTES]> {
        let key = match &self.0 {
            Source::Cluster(map) => {
                let map = map.get();
                let secret = &map.settings.as_ref()?.authority_key;
                blake3::derive_key(KEY_CONTEXT, secret.as_bytes())
            }
            #[cfg(test)]
            Source::Fixed(key) => *key,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(&[kind as u8]);
        mac.update(&(env.len() as u64).to_be_bytes());
        mac.update(env.as_bytes());
        mac.update(payload);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        full.first_chunk().copied()
    }

    /// Seals `payload` for `env`.
    pub(crate) fn seal(&self, kind: Kind, env: &str, payload: &[u8]) -> Option<String> {
        let code = self.code(kind, env, payload)?;
        Some(URL_SAFE_NO_PAD.encode([code.as_slice(), payload].concat()))
    }

    /// A code for `payload`, in hexadecimal: for whoever sends the payload itself in another form.
    pub(crate) fn sign(&self, kind: Kind, env: &str, payload: &[u8]) -> Option<String> {
        self.code(kind, env, payload).map(hex::encode)
    }

    /// Whether `code` is the one of `payload`.
    pub(crate) fn check(&self, kind: Kind, env: &str, payload: &[u8], code: &str) -> bool {
        let expected = self.sign(kind, env, payload);
        expected.is_some_and(|expected| {
            subtle::ConstantTimeEq::ct_eq(code.as_bytes(), expected.as_bytes()).into()
        })
    }

    /// What was sealed in `text`, unless it was not, or for something else.
    pub(crate) fn open(&self, kind: Kind, env: &str, text: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (code, payload) = bytes.split_at_checked(CODE_BYTES)?;
        let expected = self.code(kind, env, payload)?;
        let genuine: bool = subtle::ConstantTimeEq::ct_eq(code, expected.as_slice()).into();
        genuine.then(|| payload.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_opens_and_only_for_its_purpose() {
        let seal = Seal::fixed([7; 32]);
        let text = seal.seal(Kind::Ticket, "demo", b"payload").unwrap();
        assert_eq!(
            seal.open(Kind::Ticket, "demo", &text).as_deref(),
            Some(&b"payload"[..])
        );
        assert_eq!(seal.open(Kind::QueryId, "demo", &text), None);
        assert_eq!(seal.open(Kind::Ticket, "other", &text), None);
        assert_eq!(Seal::fixed([8; 32]).open(Kind::Ticket, "demo", &text), None);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(seal.open(Kind::Ticket, "demo", &changed), None, "{at}");
        }
        let code = seal.sign(Kind::Download, "demo", b"payload").unwrap();
        assert!(seal.check(Kind::Download, "demo", b"payload", &code));
        for (kind, env, payload) in [
            (Kind::Upload, "demo", b"payload"),
            (Kind::Download, "other", b"payload"),
            (Kind::Download, "demo", b"payloae"),
        ] {
            assert!(!seal.check(kind, env, payload, &code));
        }
        for garbage in ["", "A", "%%%", "AAAA"] {
            assert_eq!(seal.open(Kind::Ticket, "demo", garbage), None);
        }
    }
}
