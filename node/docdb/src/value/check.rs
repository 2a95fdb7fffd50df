//! The gate for BSON that comes from outside: well-formed, bounded in depth and size, of supported types.
//!
//! What passed here may be walked recursively without further checks.

use bson::{RawBsonRef, RawDocument};

use super::{malformed, type_name};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{DOCUMENT_BYTES_MAX, NESTING_DEPTH_MAX};

/// Checks a whole document: every element readable, nesting and size within limits, only supported types.
pub fn check_document(document: &RawDocument) -> Result<()> {
    check_size(document)?;
    check_elements(document, 1)
}

/// The part of [`check_document`] that is about the whole.
pub(crate) fn check_size(document: &RawDocument) -> Result<()> {
    let size = document.as_bytes().len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::ExceedSize,
            format!("the document has {size} bytes, more than {DOCUMENT_BYTES_MAX}; split it"),
        ));
    }
    Ok(())
}

/// Checks one value the way [`check_document`] checks a document.
pub fn check_value(value: RawBsonRef<'_>) -> Result<()> {
    check_at("value", value, 0)
}

fn check_elements(document: &RawDocument, depth: usize) -> Result<()> {
    if depth > NESTING_DEPTH_MAX {
        return Err(Error::invalid(format!(
            "nesting is deeper than {NESTING_DEPTH_MAX} levels; flatten the document"
        )));
    }
    for element in document.iter() {
        let (key, value) = element.map_err(malformed)?;
        check_at(key.as_str(), value, depth)?;
    }
    Ok(())
}

/// Checks a value that stands at `key`, `depth` levels below a document's root.
pub(crate) fn check_at(key: &str, value: RawBsonRef<'_>, depth: usize) -> Result<()> {
    match value {
        RawBsonRef::Document(inner) => check_elements(inner, depth + 1),
        RawBsonRef::Array(inner) => check_elements(array_document(inner)?, depth + 1),
        RawBsonRef::Decimal128(_) => Err(Error::invalid(format!(
            "field '{key}' is a decimal128, which is not supported; send a double or a string"
        ))),
        RawBsonRef::DbPointer(_)
        | RawBsonRef::JavaScriptCode(_)
        | RawBsonRef::JavaScriptCodeWithScope(_)
        | RawBsonRef::Symbol(_)
        | RawBsonRef::Undefined => Err(Error::invalid(format!(
            "field '{key}' has type {}, which is not supported; send a string or null",
            type_name(value)
        ))),
        _ => Ok(()),
    }
}

/// An array's bytes seen as the document `{"0": .., "1": ..}` that they are.
pub(crate) fn array_document(array: &bson::RawArray) -> Result<&RawDocument> {
    RawDocument::from_bytes(array.as_bytes()).map_err(malformed)
}
