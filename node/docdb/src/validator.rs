//! What the documents of a collection must be like: a JSON schema and what happens to writes that break it.
//!
//! Checked for each document that a write would store, on every replica alike. Documents that were there before
//! stay, and are checked when they are changed.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};

use crate::error::{Error, ErrorCode, Result};
use crate::filter::schema::Schema;
use crate::limits::VALIDATOR_BYTES_MAX;
use crate::op::ValidationLevel;
use crate::value::check_document;

/// A collection's schema, parsed, with its level; never `Off`.
#[derive(Debug, Clone)]
pub(crate) struct Validator {
    pub(crate) document: RawDocumentBuf,
    pub(crate) level: ValidationLevel,
    schema: Arc<Schema>,
}

impl Validator {
    /// Parses a schema; `None` when nothing is to be checked.
    pub(crate) fn new(document: RawDocumentBuf, level: ValidationLevel) -> Result<Option<Self>> {
        check_document(&document)?;
        let size = document.as_bytes().len();
        if size > VALIDATOR_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ExceedSize,
                format!(
                    "the schema has {size} bytes, more than {VALIDATOR_BYTES_MAX}; simplify it"
                ),
            ));
        }
        let schema = Arc::new(Schema::parse(&document)?);
        let checks = level != ValidationLevel::Off && !document.is_empty();
        Ok(checks.then_some(Self {
            document,
            level,
            schema,
        }))
    }

    /// Refuses a document that breaks the schema, or answers false where it shall only be counted.
    pub(crate) fn check(&self, collection: &str, document: &RawDocument) -> Result<bool> {
        match self.schema.violation(document)? {
            None => Ok(true),
            Some(_) if self.level == ValidationLevel::Warn => Ok(false),
            Some(violation) => Err(Error::new(
                ErrorCode::RequestFailed,
                format!(
                    "{violation}, by the schema of collection '{collection}'; correct the document"
                ),
            )),
        }
    }
}
