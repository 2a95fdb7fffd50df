//! BSON documents one behind the other, as mongodump writes the content of a collection.

use std::io::{self, BufRead, Read};

use bson::{Document, RawDocument};

use super::json_rows::Next;
use super::rows::ROW_BYTES_MAX;
use crate::cli::ejson;

/// The shortest document: its length and its end.
const DOCUMENT_BYTES_MIN: usize = 5;

/// The bytes of the next document, without a look at what is in it.
pub(super) fn read_document(reader: &mut impl BufRead, document: &mut Vec<u8>) -> io::Result<Next> {
    match read_length(reader, document)? {
        None if document.is_empty() => Ok(Next::End),
        None => Ok(Next::Cut),
        Some(length) => read_rest(reader, length, document),
    }
}

/// The first four bytes, as the number that they are; `None` when the file ends before.
pub(super) fn read_length(
    reader: &mut impl BufRead,
    bytes: &mut Vec<u8>,
) -> io::Result<Option<i32>> {
    reader.take(4).read_to_end(bytes)?;
    Ok(bytes.as_slice().try_into().ok().map(i32::from_le_bytes))
}

/// What follows the length. A length that cannot be leaves no way to find the next document.
pub(super) fn read_rest(
    reader: &mut impl BufRead,
    length: i32,
    document: &mut Vec<u8>,
) -> io::Result<Next> {
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (DOCUMENT_BYTES_MIN..=ROW_BYTES_MAX).contains(length))
        .ok_or_else(|| malformed("there is no BSON document where one should begin"))?;
    let rest = length - document.len();
    let count = reader.take(rest as u64).read_to_end(document)?;
    Ok(if count == rest {
        Next::Value
    } else {
        Next::Cut
    })
}

pub(super) fn malformed(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// How a rejected document is shown: as Extended JSON, or as digits where it is not even BSON.
pub(super) fn shown(document: &[u8], bytes_max: usize) -> String {
    let read = RawDocument::from_bytes(document)
        .map_err(drop)
        .and_then(|raw| Document::try_from(raw).map_err(drop));
    let text = match read {
        Ok(document) => ejson::to_json(document).to_string(),
        Err(()) => document
            .iter()
            .take(bytes_max / 2)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    };
    let end = text.floor_char_boundary(bytes_max);
    text[..end].to_owned()
}
