//! EJSON (canonical, relaxed, and the JSON dialect of the older clients) to BSON and back.
//!
//! Decoding is one pass from text to BSON bytes: memory stays in proportion to the text, member
//! order is kept, a name that stands twice in one object is refused. Only an object whose sole
//! content is the notation of a value (`$date`, `$numberLong`, ...) becomes that value; whatever
//! could be an operator of a query or update stays an object.

mod decode;
mod encode;
mod wrapper;

pub use decode::{Context, Root, decode};
pub use encode::{Dialect, write_document, write_json_string, write_value};

/// Why a text is not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

#[cfg(test)]
#[path = "ejson_test.rs"]
mod tests;
