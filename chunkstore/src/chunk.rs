//! Chunks and their names: a chunk is named by the BLAKE3 hash of its plain bytes, whatever is done to
//! them on disk. A [`Chunk`] exists only with the right name, so what takes one need not hash again.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The largest chunk that the format allows. Decoders refuse a larger length before they allocate.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;

/// The name of a chunk: the BLAKE3 hash of its plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash([u8; Self::BYTES]);

impl ChunkHash {
    /// Size of a hash.
    pub const BYTES: usize = 32;

    /// The name of `plain`.
    pub fn of(plain: &[u8]) -> Self {
        Self(*blake3::hash(plain).as_bytes())
    }

    /// A name from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The first `bits` bits (at most 32) as a number: what placement groups are made of. Hashes in
    /// ascending order have ascending prefixes.
    pub fn prefix(&self, bits: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        let first = u32::from_be_bytes([a, b, c, d]);
        first.checked_shr(32 - bits.min(32)).unwrap_or_default()
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The first eight digits: enough to recognize a chunk in a message.
impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", hex::encode(&self.0[..4]))
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a chunk's name is 64 hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for ChunkHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidHash)?;
        Ok(Self(bytes))
    }
}

/// Hexadecimal where people read, 32 bytes elsewhere.
impl Serialize for ChunkHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ChunkHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
}

/// Why bytes are not the chunk they are said to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidChunk {
    /// The bytes have another hash.
    #[error("chunk {expected} has the hash {found}: it was damaged on its way")]
    Mismatch {
        /// The name that it came under.
        expected: ChunkHash,
        /// The name that the bytes have.
        found: ChunkHash,
    },
    /// More than [`CHUNK_BYTES_MAX`].
    #[error("a chunk of {bytes} bytes; at most {CHUNK_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Bytes under their right name.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunk {
    hash: ChunkHash,
    bytes: Bytes,
}

impl Chunk {
    /// Names `bytes`.
    pub fn new(bytes: Bytes) -> Result<Self, InvalidChunk> {
        check_size(&bytes)?;
        let hash = ChunkHash::of(&bytes);
        Ok(Self { hash, bytes })
    }

    /// Checks bytes that came under the name `hash`.
    pub fn verified(hash: ChunkHash, bytes: Bytes) -> Result<Self, InvalidChunk> {
        let chunk = Self::new(bytes)?;
        if chunk.hash == hash {
            Ok(chunk)
        } else {
            Err(InvalidChunk::Mismatch {
                expected: hash,
                found: chunk.hash,
            })
        }
    }

    /// The name.
    pub fn hash(&self) -> ChunkHash {
        self.hash
    }

    /// The plain bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The plain bytes, by value.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({:?}, {} bytes)", self.hash, self.bytes.len())
    }
}

fn check_size(bytes: &Bytes) -> Result<(), InvalidChunk> {
    if bytes.len() > CHUNK_BYTES_MAX {
        return Err(InvalidChunk::TooLarge { bytes: bytes.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_blake3_and_survive_their_text_form() {
        let hash = ChunkHash::of(b"");
        // The published test vector of the empty input.
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(format!("{hash:?}"), "af1349b9…");
        assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{text}\""));
        assert_eq!(
            serde_json::from_str::<ChunkHash>(&format!("\"{text}\"")).unwrap(),
            hash
        );
        for wrong in [
            "",
            "af13",
            &text[1..],
            &format!("{text}00"),
            &text.replace('a', "g"),
        ] {
            assert_eq!(wrong.parse::<ChunkHash>(), Err(InvalidHash), "{wrong}");
        }
    }

    #[test]
    fn prefixes_follow_the_order_of_hashes() {
        let hash = ChunkHash::from_bytes(std::array::from_fn(|i| if i == 0 { 0xab } else { 0xcd }));
        assert_eq!(hash.prefix(0), 0);
        assert_eq!(hash.prefix(4), 0xa);
        assert_eq!(hash.prefix(12), 0xabc);
        assert_eq!(hash.prefix(32), 0xabcd_cdcd);
        assert_eq!(hash.prefix(99), 0xabcd_cdcd);
    }

    #[test]
    fn a_chunk_has_the_right_name_or_does_not_exist() {
        let bytes = Bytes::from_static(b"chunk");
        let chunk = Chunk::new(bytes.clone()).unwrap();
        assert_eq!(
            Chunk::verified(chunk.hash(), bytes.clone()),
            Ok(chunk.clone())
        );
        let other = ChunkHash::of(b"other");
        assert_eq!(
            Chunk::verified(other, bytes),
            Err(InvalidChunk::Mismatch {
                expected: other,
                found: chunk.hash()
            })
        );
        let large = Bytes::from(vec![0; CHUNK_BYTES_MAX + 1]);
        assert!(matches!(
            Chunk::new(large),
            Err(InvalidChunk::TooLarge { .. })
        ));
    }
}
