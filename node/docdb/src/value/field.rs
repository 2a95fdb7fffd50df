//! Finding one field of a raw document: the innermost loop of every scan.
//!
//! Names before the one that is sought are skipped without looking at their values or checking their
//! encoding. Whatever is unusual is left to the `bson` crate; on well-formed documents the answer is its answer.

use bson::{DateTime, RawBsonRef, RawDocument};

use super::malformed;
use crate::error::Result;

/// The value of the first field called `name`.
pub(crate) fn get<'a>(document: &'a RawDocument, name: &str) -> Result<Option<RawBsonRef<'a>>> {
    match find(document.as_bytes(), name.as_bytes()) {
        Found::Value(value) => Ok(Some(value)),
        Found::Nothing => Ok(None),
        Found::Unusual => document.get(name).map_err(malformed),
    }
}

enum Found<'a> {
    Value(RawBsonRef<'a>),
    Nothing,
    /// Malformed, or of a type that is read elsewhere.
    Unusual,
}

/// Bytes of the length before a string, document or array.
const LENGTH_BYTES: usize = 4;

fn find<'a>(bytes: &'a [u8], name: &[u8]) -> Found<'a> {
    let mut rest = bytes.get(LENGTH_BYTES..).unwrap_or_default();
    while let Some((kind, after)) = rest.split_first() {
        if *kind == 0 {
            return if after.is_empty() {
                Found::Nothing
            } else {
                Found::Unusual
            };
        }
        let Some(name_length) = after.iter().position(|byte| *byte == 0) else {
            return Found::Unusual;
        };
        let value = &after[name_length + 1..];
        let Some(size) = size_of(*kind, value).filter(|size| *size <= value.len()) else {
            return Found::Unusual;
        };
        if after[..name_length] == *name {
            return parse(*kind, &value[..size]).map_or(Found::Unusual, Found::Value);
        }
        rest = &value[size..];
    }
    Found::Unusual
}

/// How many bytes a value of this type takes; `None` for rare types and truncated lengths.
pub(super) fn size_of(kind: u8, value: &[u8]) -> Option<usize> {
    let length = || {
        let bytes = value.first_chunk::<LENGTH_BYTES>()?;
        usize::try_from(i32::from_le_bytes(*bytes)).ok()
    };
    match kind {
        // double, date, timestamp, int64
        0x01 | 0x09 | 0x11 | 0x12 => Some(8),
        // string
        0x02 => length()?.checked_add(LENGTH_BYTES),
        // document, array
        0x03 | 0x04 => length(),
        // binary: a subtype stands before the bytes
        0x05 => length()?.checked_add(LENGTH_BYTES + 1),
        0x07 => Some(12),
        0x08 => Some(1),
        0x0a => Some(0),
        0x10 => Some(4),
        _ => None,
    }
}

/// The value of a common type in its bytes; `None` when it is to be read elsewhere.
pub(super) fn parse(kind: u8, value: &[u8]) -> Option<RawBsonRef<'_>> {
    Some(match kind {
        0x01 => RawBsonRef::Double(f64::from_le_bytes(value.try_into().ok()?)),
        0x02 => {
            let (end, text) = value.get(LENGTH_BYTES..)?.split_last()?;
            if *end != 0 {
                return None;
            }
            RawBsonRef::String(std::str::from_utf8(text).ok()?)
        }
        0x03 => RawBsonRef::Document(RawDocument::from_bytes(value).ok()?),
        0x08 => RawBsonRef::Boolean(match value {
            [0] => false,
            [1] => true,
            _ => return None,
        }),
        0x09 => RawBsonRef::DateTime(DateTime::from_millis(i64::from_le_bytes(
            value.try_into().ok()?,
        ))),
        0x0a => RawBsonRef::Null,
        0x10 => RawBsonRef::Int32(i32::from_le_bytes(value.try_into().ok()?)),
        0x12 => RawBsonRef::Int64(i64::from_le_bytes(value.try_into().ok()?)),
        _ => return None,
    })
}
