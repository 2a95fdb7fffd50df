//! What a BSON value is to the database: its order, its key bytes, its place in a document.
//!
//! All of it works on raw BSON without decoding documents, and none of it panics on malformed bytes.

pub(crate) mod arithmetic;
pub mod check;
pub mod compare;
pub(crate) mod element;
pub(crate) mod field;
pub mod key;
pub mod path;
pub(crate) mod sum;
pub(crate) mod writer;

#[cfg(test)]
mod value_test;

pub use check::{check_document, check_value};
pub use compare::{compare, equal};
pub use key::{decode_value, encode_value, skip_value};
pub use path::{IndexValues, Path, index_values, values_at};

use crate::error::Error;

/// A stored or sent document whose bytes are not BSON.
#[allow(
    clippy::needless_pass_by_value,
    reason = "its shape is that of `map_err`"
)]
pub(crate) fn malformed(error: bson::error::Error) -> Error {
    Error::invalid(format!(
        "malformed bson: {error}; send a well-formed document"
    ))
}

/// The name of a value's type, as `$type` spells it.
pub(crate) fn type_name(value: bson::RawBsonRef<'_>) -> &'static str {
    use bson::spec::ElementType as T;
    match value.element_type() {
        T::Double => "double",
        T::String => "string",
        T::EmbeddedDocument => "object",
        T::Array => "array",
        T::Binary => "binData",
        T::Undefined => "undefined",
        T::ObjectId => "objectId",
        T::Boolean => "bool",
        T::DateTime => "date",
        T::Null => "null",
        T::RegularExpression => "regex",
        T::DbPointer => "dbPointer",
        T::JavaScriptCode => "javascript",
        T::Symbol => "symbol",
        T::JavaScriptCodeWithScope => "javascriptWithScope",
        T::Int32 => "int",
        T::Timestamp => "timestamp",
        T::Int64 => "long",
        T::Decimal128 => "decimal",
        T::MaxKey => "maxKey",
        T::MinKey => "minKey",
    }
}
