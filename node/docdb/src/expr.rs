//! Aggregation expressions: parsed once, evaluated on one document at a time.

use bson::{RawBsonRef, RawDocument};

use crate::error::{Error, Result};

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {}

impl Expression {
    /// Parses an expression of a request made at `now_ms`.
    pub fn parse(_value: RawBsonRef<'_>, _now_ms: i64) -> Result<Self> {
        Err(Error::operator(
            "query operator '$expr' is not supported yet; leave it out",
        ))
    }

    /// Whether the expression's value for `document` counts as true.
    pub fn is_true(&self, _document: &RawDocument) -> Result<bool> {
        Ok(false)
    }
}
