//! The one place where bincode is used: a versioned envelope around fixed-width bincode 1.3.3.
//!
//! Layout: `[magic u8][version u8][body]`. The magic names the kind of record, so that a record read
//! under the wrong key is refused; the version selects the decoder. Decoding rejects trailing bytes
//! and bodies above a limit, and never panics. Fields and enum variants of encoded types are never
//! reordered: a change is a new version.

use std::io;

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Bytes in front of every body.
pub(crate) const ENVELOPE_BYTES: usize = 2;

/// A record that cannot be read, by what is wrong with it.
#[derive(Debug, Error)]
pub(crate) enum CodecError {
    /// Fewer bytes than the envelope.
    #[error("{what}: record of {length} bytes is too short")]
    TooShort { what: &'static str, length: usize },
    /// Another kind of record, or garbage.
    #[error("{what}: found magic {found:#04x} where {expected:#04x} belongs")]
    WrongMagic {
        what: &'static str,
        found: u8,
        expected: u8,
    },
    /// Written by a later release.
    #[error(
        "{what}: version {found} is unknown to this release, which reads {known}; upgrade this node"
    )]
    UnknownVersion {
        what: &'static str,
        found: u8,
        known: u8,
    },
    /// The body does not decode.
    #[error("{what}: {source}")]
    Body {
        what: &'static str,
        source: bincode::Error,
    },
}

impl From<CodecError> for io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// A record's kind: what it is called in errors, its magic, its version and the largest body accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// Name for error messages.
    pub(crate) what: &'static str,
    /// First byte of each record.
    pub(crate) magic: u8,
    /// The version written, and the only one read so far.
    pub(crate) version: u8,
    /// Largest body that is decoded.
    pub(crate) body_bytes_max: u64,
}

fn options(body_bytes_max: u64) -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .reject_trailing_bytes()
        .with_limit(body_bytes_max)
}

impl Format {
    /// Encodes `value` with its envelope.
    pub(crate) fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        let what = self.what;
        let body_error = |source| CodecError::Body { what, source };
        let size = options(self.body_bytes_max)
            .serialized_size(value)
            .map_err(body_error)?;
        let mut record = Vec::with_capacity(size as usize + ENVELOPE_BYTES);
        record.push(self.magic);
        record.push(self.version);
        options(self.body_bytes_max)
            .serialize_into(&mut record, value)
            .map_err(body_error)?;
        Ok(record)
    }

    /// Decodes a record that [`encode`](Self::encode) wrote.
    pub(crate) fn decode<T: DeserializeOwned>(&self, record: &[u8]) -> Result<T, CodecError> {
        let what = self.what;
        let [magic, version, body @ ..] = record else {
            return Err(CodecError::TooShort {
                what,
                length: record.len(),
            });
        };
        if *magic != self.magic {
            return Err(CodecError::WrongMagic {
                what,
                found: *magic,
                expected: self.magic,
            });
        }
        if *version != self.version {
            return Err(CodecError::UnknownVersion {
                what,
                found: *version,
                known: self.version,
            });
        }
        options(self.body_bytes_max)
            .deserialize(body)
            .map_err(|source| CodecError::Body { what, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format {
        what: "sample",
        magic: 0xA1,
        version: 3,
        body_bytes_max: 64,
    };

    #[test]
    fn round_trips_and_has_a_fixed_layout() {
        let record = FORMAT.encode(&(7u32, vec![1u8, 2])).unwrap();
        assert_eq!(
            hex(&record),
            "a103070000000200000000000000".to_owned() + "0102"
        );
        assert_eq!(
            FORMAT.decode::<(u32, Vec<u8>)>(&record).unwrap(),
            (7, vec![1, 2])
        );
    }

    #[test]
    fn refuses_everything_else() {
        let record = FORMAT.encode(&7u32).unwrap();
        let mut trailing = record.clone();
        trailing.push(0);
        assert!(matches!(
            FORMAT.decode::<u32>(&trailing),
            Err(CodecError::Body { .. })
        ));
        assert!(matches!(
            FORMAT.decode::<u32>(&record[..5]),
            Err(CodecError::Body { .. })
        ));
        assert!(matches!(
            FORMAT.decode::<u32>(&record[..1]),
            Err(CodecError::TooShort { .. })
        ));
        let mut other = record.clone();
        other[0] = 0;
        assert!(matches!(
            FORMAT.decode::<u32>(&other),
            Err(CodecError::WrongMagic { .. })
        ));
        other = record;
        other[1] = 9;
        assert!(matches!(
            FORMAT.decode::<u32>(&other),
            Err(CodecError::UnknownVersion { .. })
        ));
        assert!(FORMAT.encode(&vec![0u8; 65]).is_err());
        // A length prefix that claims more than the limit must fail before it allocates.
        let mut huge = vec![0xA1, 3];
        huge.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(FORMAT.decode::<Vec<u8>>(&huge).is_err());
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
