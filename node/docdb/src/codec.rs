//! The one place that knows bincode: every persistent or replicated structure is `[magic][version][body]`.
//!
//! Bodies have fixed-width integers, no trailing bytes and a size limit. Documents pass through as
//! plain bytes. A structure changes by a new version number with a decode function of its own; members
//! are never reordered or removed.

use bincode::Options as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kv::{StorageError, StorageResult};
use crate::limits::COMMAND_BYTES_MAX;

/// The first byte of a structure: says what it is, so that mixing two up is noticed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Magic {
    Command = 0xc1,
    Reply = 0xc2,
    Collection = 0xc3,
    Tally = 0xc4,
    Counters = 0xc5,
    Session = 0xc6,
    Outcome = 0xc7,
    Change = 0xc8,
    Segment = 0xc9,
}

/// The version of structures that have only one so far.
const VERSION: u8 = 1;

/// Why bytes could not be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("wrong kind of record: expected {expected:#04x}")]
    Magic { expected: u8 },
    #[error("record version {0} is not known to this release")]
    Version(u8),
    #[error("{0}")]
    Body(String),
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .reject_trailing_bytes()
}

/// Writes `value` behind its header. Fails only beyond the size limit.
pub(crate) fn encode<T: Serialize>(magic: Magic, value: &T) -> Result<Vec<u8>, String> {
    encode_as(magic, VERSION, value)
}

fn encode_as<T: Serialize>(magic: Magic, version: u8, value: &T) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&[magic as u8, version]);
    options()
        .serialize_into(&mut out, value)
        .map_err(|error| error.to_string())?;
    if out.len() > COMMAND_BYTES_MAX {
        return Err(format!(
            "{} bytes are more than {COMMAND_BYTES_MAX}; send less at once",
            out.len()
        ));
    }
    Ok(out)
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(magic: Magic, bytes: &[u8]) -> Result<T, DecodeError> {
    decode_as(magic, VERSION, bytes)
}

fn decode_as<T: DeserializeOwned>(
    magic: Magic,
    wanted: u8,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    match bytes {
        [kind, version, body @ ..] if *kind == magic as u8 && *version == wanted => options()
            .with_limit(COMMAND_BYTES_MAX as u64)
            .deserialize(body)
            .map_err(|error| DecodeError::Body(error.to_string())),
        [kind, version, ..] if *kind == magic as u8 => Err(DecodeError::Version(*version)),
        _ => Err(DecodeError::Magic {
            expected: magic as u8,
        }),
    }
}

/// Writes a record of our own making, which never comes near the limit.
pub(crate) fn encode_record<T: Serialize>(magic: Magic, value: &T) -> StorageResult<Vec<u8>> {
    encode(magic, value).map_err(StorageError::Corrupt)
}

/// Reads a record of our own making; failure means a damaged store.
pub(crate) fn decode_record<T: DeserializeOwned>(magic: Magic, bytes: &[u8]) -> StorageResult<T> {
    decode_record_as(magic, VERSION, bytes)
}

/// The version of a record; `None` when there is not even a header.
pub(crate) fn record_version(bytes: &[u8]) -> Option<u8> {
    bytes.get(1).copied()
}

/// Writes a record in a version of its own.
pub(crate) fn encode_record_as<T: Serialize>(
    magic: Magic,
    version: u8,
    value: &T,
) -> StorageResult<Vec<u8>> {
    encode_as(magic, version, value).map_err(StorageError::Corrupt)
}

/// Reads a record in a version of its own.
pub(crate) fn decode_record_as<T: DeserializeOwned>(
    magic: Magic,
    version: u8,
    bytes: &[u8],
) -> StorageResult<T> {
    decode_as(magic, version, bytes)
        .map_err(|error| StorageError::Corrupt(format!("{magic:?} record: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_body_have_their_golden_bytes() {
        let bytes = encode(Magic::Tally, &(1u64, 2u16)).unwrap();
        assert_eq!(bytes, [0xc4, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(decode::<(u64, u16)>(Magic::Tally, &bytes), Ok((1, 2)));
    }

    #[test]
    fn foreign_and_damaged_bytes_are_refused() {
        let bytes = encode(Magic::Tally, &7u32).unwrap();
        assert_eq!(
            decode::<u32>(Magic::Command, &bytes),
            Err(DecodeError::Magic { expected: 0xc1 })
        );
        assert_eq!(
            decode::<u32>(Magic::Tally, &[0xc4, 9, 0, 0, 0, 0]),
            Err(DecodeError::Version(9))
        );
        assert!(matches!(
            decode::<u32>(Magic::Tally, &bytes[..5]),
            Err(DecodeError::Body(_))
        ));
        let long = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(
            decode::<u32>(Magic::Tally, &long),
            Err(DecodeError::Body(_))
        ));
        assert!(decode::<u32>(Magic::Tally, &[]).is_err());
        // A length that promises more than there is must not allocate it.
        let mut lying = vec![0xc4, 1];
        lying.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(decode::<String>(Magic::Tally, &lying).is_err());
    }
}
