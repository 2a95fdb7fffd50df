//! Projections: which fields of a found document are returned.
//!
//! Either the named fields and `_id`, or all but the named ones. Paths enter arrays of documents.
//! Works on raw bytes: fields that are kept whole are copied, not decoded.

mod parse;

#[cfg(test)]
mod projection_test;

use bson::raw::CStr;
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::Result;
use crate::filter::Test;
use crate::value::check::array_document;
use crate::value::malformed;

/// A parsed projection.
#[derive(Debug, Clone)]
pub struct Projection {
    root: Branch,
    inclusive: bool,
    /// Whether anything is projected at all.
    empty: bool,
}

/// What happens to the fields of one document level that are named.
#[derive(Debug, Clone, Default)]
struct Branch {
    /// By name.
    fields: Vec<(Box<str>, Action)>,
}

#[derive(Debug, Clone)]
enum Action {
    /// Returned as it is.
    Include,
    /// Left out.
    Exclude,
    /// Some of its fields are named.
    Inside(Branch),
    /// An array cut to some elements, anything else as it is.
    Slice(Slice),
    /// An array cut to its first element that matches; without one the field is left out.
    FirstMatch(Box<Test>),
}

/// The operand of `$slice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    First(u64),
    Last(u64),
    /// From an index on; a negative one counts from the end.
    From(i64, u64),
}

impl Projection {
    /// Whether whole documents are returned.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// The projected document.
    pub fn apply(&self, document: &RawDocument) -> Result<RawDocumentBuf> {
        if self.empty {
            return Ok(document.to_owned());
        }
        self.document(document, &self.root)
    }

    fn document(&self, document: &RawDocument, branch: &Branch) -> Result<RawDocumentBuf> {
        let mut out = RawDocumentBuf::new();
        for element in document.iter() {
            let (key, value) = element.map_err(malformed)?;
            match branch.action(key) {
                None if self.inclusive => {}
                None | Some(Action::Include) => out.append(key, value),
                Some(Action::Exclude) => {}
                Some(Action::Inside(branch)) => match value {
                    RawBsonRef::Document(inner) => out.append(key, self.document(inner, branch)?),
                    RawBsonRef::Array(array) => out.append(key, self.array(array, branch)?),
                    _ if self.inclusive => {}
                    value => out.append(key, value),
                },
                Some(Action::Slice(slice)) => match value {
                    RawBsonRef::Array(array) => out.append(key, slice.apply(array)?),
                    value => out.append(key, value),
                },
                Some(Action::FirstMatch(test)) => {
                    if let Some(element) = first_match(test, value)? {
                        out.append(key, RawArrayBuf::from_iter([element]));
                    }
                }
            }
        }
        Ok(out)
    }

    fn array(&self, array: &bson::RawArray, branch: &Branch) -> Result<RawArrayBuf> {
        let mut out = RawArrayBuf::new();
        for element in array {
            match element.map_err(malformed)? {
                RawBsonRef::Document(inner) => out.push(self.document(inner, branch)?),
                RawBsonRef::Array(inner) => out.push(self.array(inner, branch)?),
                _ if self.inclusive => {}
                value => out.push(value),
            }
        }
        Ok(out)
    }
}

impl Branch {
    fn action(&self, key: &CStr) -> Option<&Action> {
        let at = self.position(key.as_str()).ok()?;
        Some(&self.fields[at].1)
    }

    /// Where the field called `name` is, or where it would go.
    fn position(&self, name: &str) -> Result<usize, usize> {
        self.fields
            .binary_search_by(|(field, _)| (**field).cmp(name))
    }
}

impl Slice {
    fn apply(self, array: &bson::RawArray) -> Result<RawArrayBuf> {
        let elements = array_document(array)?.iter_elements();
        let length = elements.count() as u64;
        let (start, count) = match self {
            Self::First(count) => (0, count),
            Self::Last(count) => (length.saturating_sub(count), count),
            Self::From(start, count) if start < 0 => {
                (length.saturating_sub(start.unsigned_abs()), count)
            }
            Self::From(start, count) => (start.unsigned_abs(), count),
        };
        let mut out = RawArrayBuf::new();
        let skipped = usize::try_from(start).unwrap_or(usize::MAX);
        let taken = usize::try_from(count).unwrap_or(usize::MAX);
        for element in array.into_iter().skip(skipped).take(taken) {
            out.push(element.map_err(malformed)?);
        }
        Ok(out)
    }
}

/// The first element of an array that passes an `$elemMatch` test.
fn first_match<'a>(test: &Test, value: RawBsonRef<'a>) -> Result<Option<RawBsonRef<'a>>> {
    if let RawBsonRef::Array(array) = value {
        for element in array {
            let element = element.map_err(malformed)?;
            if test.matches_element(element)? {
                return Ok(Some(element));
            }
        }
    }
    Ok(None)
}
