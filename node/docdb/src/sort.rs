//! Sort specifications and the bytes that documents are sorted by.
//!
//! Ascending, a field sorts by the smallest value its path leads to, descending by the largest; a
//! missing field sorts as null, an empty array before null. Each field is taken by itself, also where
//! several lie in the same array. Ties are the caller's to break.

#[cfg(test)]
mod sort_test;

use bson::{RawBsonRef, RawDocument};

use crate::error::{Error, Result};
use crate::limits::SORT_FIELDS_MAX;
use crate::op::IndexField;
use crate::value::compare::Number;
use crate::value::path::overlaps;
use crate::value::{Path, check_document, compare, encode_value, index_values, malformed};

/// A parsed sort specification.
#[derive(Debug, Clone, Default)]
pub struct Sort {
    fields: Vec<SortField>,
}

/// One field of a sort, in order of significance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortField {
    /// What to sort by.
    pub path: Path,
    /// Largest first.
    pub descending: bool,
}

impl Sort {
    /// Parses `{path: 1 | -1, ...}`; empty means no order.
    pub fn parse(sort: &RawDocument) -> Result<Self> {
        check_document(sort)?;
        let mut fields: Vec<SortField> = Vec::new();
        for element in sort.iter() {
            let (path, direction) = element.map_err(malformed)?;
            let path = path.as_str();
            let descending = match Number::of(direction).and_then(Number::as_exact_i64) {
                Some(1) => false,
                Some(-1) => true,
                _ => {
                    return Err(Error::invalid(format!(
                        "sort field '{path}' has no direction; use 1 or -1"
                    )));
                }
            };
            if path
                .split('.')
                .any(|part| part.is_empty() || part.starts_with('$'))
            {
                return Err(Error::invalid(format!(
                    "'{path}' is not a field to sort by; use a dotted path"
                )));
            }
            if fields.iter().any(|field| field.path.as_str() == path) {
                return Err(Error::invalid(format!(
                    "sort field '{path}' is given twice; keep one"
                )));
            }
            if fields.len() >= SORT_FIELDS_MAX {
                return Err(Error::invalid(format!(
                    "the sort has more than {SORT_FIELDS_MAX} fields; drop some"
                )));
            }
            fields.push(SortField {
                path: Path::parse(path)?,
                descending,
            });
        }
        Ok(Self { fields })
    }

    /// The order of an index.
    pub fn of_index(fields: &[IndexField]) -> Result<Self> {
        let fields = fields.iter().map(|field| {
            Ok(SortField {
                path: Path::parse(&field.path)?,
                descending: field.descending,
            })
        });
        Ok(Self {
            fields: fields.collect::<Result<_>>()?,
        })
    }

    /// The fields, most significant first.
    pub fn fields(&self) -> &[SortField] {
        &self.fields
    }

    /// Whether any order will do.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Bytes whose `memcmp` order is the sort order.
    pub fn key(&self, document: &RawDocument) -> Result<Vec<u8>> {
        let mut key = Vec::with_capacity(16 * self.fields.len());
        for field in &self.fields {
            encode_value(field.value(document)?, field.descending, &mut key)?;
        }
        Ok(key)
    }

    /// Whether the order depends on the field at `path`.
    pub fn touches(&self, path: &str) -> bool {
        self.fields
            .iter()
            .any(|field| overlaps(field.path.as_str(), path))
    }
}

impl SortField {
    fn value<'a>(&self, document: &'a RawDocument) -> Result<RawBsonRef<'a>> {
        let values = index_values(document, &self.path)?.values.into_iter();
        let values = values.map(|value| value.unwrap_or(RawBsonRef::Null));
        let value = if self.descending {
            values.max_by(|a, b| compare(*a, *b))
        } else {
            values.min_by(|a, b| compare(*a, *b))
        };
        Ok(value.unwrap_or(RawBsonRef::Null))
    }
}
