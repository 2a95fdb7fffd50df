//! Dotted paths: which values of a document a condition, an index or a sort on `a.b.0` looks at.
//!
//! MongoDB's rules. A component names a field of a document. An array on the way is entered: each
//! element that is a document goes on with the same rest of the path, and a numeric component also
//! means the element with that index. An array at the end stands for its elements and for itself,
//! except where an index of the path selected it. A path that ends at nothing is *missing* there.

use std::fmt;

use bson::{RawArray, RawBsonRef, RawDocument};

use super::{field, malformed};
use crate::error::{Error, Result};
use crate::limits::PATH_PARTS_MAX;

/// A parsed dotted path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// One component of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) name: Box<str>,
    /// Set when the name is a canonical array index (`0`, `17`; not `007`).
    pub(crate) index: Option<usize>,
}

impl Path {
    /// Splits `text` at its dots.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Box<[Part]> = text.split('.').map(Part::new).collect();
        if parts.len() > PATH_PARTS_MAX {
            return Err(Error::invalid(format!(
                "a field path has {} components, more than {PATH_PARTS_MAX}; shorten it",
                parts.len()
            )));
        }
        Ok(Self {
            text: text.into(),
            parts,
        })
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Part {
    fn new(name: &str) -> Self {
        let canonical = name == "0"
            || (!name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit()));
        let index = if canonical { name.parse().ok() } else { None };
        Self {
            name: name.into(),
            index,
        }
    }
}

/// Whether `a` and `b` are the same path or one lies inside the other.
pub(crate) fn overlaps(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is done with an array at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// It stands for its elements, then for itself.
    Expand,
    /// It is one value (`$size`, `$elemMatch`).
    Whole,
}

/// One place that a path led to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit<'a> {
    /// `None`: nothing is there.
    pub(crate) value: Option<RawBsonRef<'a>>,
    /// The value is an array whose elements were visited before.
    pub(crate) expanded: bool,
}

/// Walks one document along one path.
pub(crate) struct Walk<F> {
    leaf: Leaf,
    /// An array was entered.
    pub(crate) arrays: bool,
    visit: F,
}

impl<'a, F: FnMut(Visit<'a>) -> Result<bool>> Walk<F> {
    /// `visit` is called at each place and returns true to stop.
    pub(crate) fn new(leaf: Leaf, visit: F) -> Self {
        Self {
            leaf,
            arrays: false,
            visit,
        }
    }

    /// Returns whether `visit` stopped the walk.
    pub(crate) fn document(&mut self, document: &'a RawDocument, parts: &[Part]) -> Result<bool> {
        let Some((first, rest)) = parts.split_first() else {
            return self.at(Some(RawBsonRef::Document(document)));
        };
        match field::get(document, &first.name)? {
            Some(RawBsonRef::Array(array)) if rest.is_empty() && self.leaf == Leaf::Expand => {
                self.arrays = true;
                for element in array {
                    if self.at(Some(element.map_err(malformed)?))? {
                        return Ok(true);
                    }
                }
                (self.visit)(Visit {
                    value: Some(RawBsonRef::Array(array)),
                    expanded: true,
                })
            }
            value if rest.is_empty() => self.at(value),
            Some(RawBsonRef::Document(inner)) => self.document(inner, rest),
            Some(RawBsonRef::Array(array)) => self.array(array, rest),
            _ => self.at(None),
        }
    }

    fn array(&mut self, array: &'a RawArray, parts: &[Part]) -> Result<bool> {
        self.arrays = true;
        let Some((first, rest)) = parts.split_first() else {
            return Ok(false);
        };
        for (i, element) in array.into_iter().enumerate() {
            let element = element.map_err(malformed)?;
            let selected = first.index == Some(i);
            let stopped = match element {
                RawBsonRef::Document(inner) => {
                    self.document(inner, parts)?
                        || (selected
                            && if rest.is_empty() {
                                self.at(Some(element))?
                            } else {
                                self.document(inner, rest)?
                            })
                }
                _ if selected && rest.is_empty() => self.at(Some(element))?,
                RawBsonRef::Array(inner) if selected => self.array(inner, rest)?,
                _ => false,
            };
            if stopped {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn at(&mut self, value: Option<RawBsonRef<'a>>) -> Result<bool> {
        (self.visit)(Visit {
            value,
            expanded: false,
        })
    }
}

/// All values that a condition on `path` is tried on, in order; places where it is missing are left out.
pub fn values_at<'a>(document: &'a RawDocument, path: &Path) -> Result<Vec<RawBsonRef<'a>>> {
    let mut values = Vec::new();
    Walk::new(Leaf::Expand, |visit: Visit<'a>| {
        values.extend(visit.value);
        Ok(false)
    })
    .document(document, path.parts())?;
    Ok(values)
}

/// What an index on one path holds for one document.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexValues<'a> {
    /// One for each key, duplicates included, never empty. `None`: missing, which is indexed as null.
    /// An empty array is indexed as `Undefined`, which sorts before null.
    pub values: Vec<Option<RawBsonRef<'a>>>,
    /// An array was entered, so that several keys may belong to the document.
    pub multikey: bool,
}

/// The keys of `document` in an index on `path`: exactly the values that conditions on the path are
/// tried on, but an array at the end is represented by its elements only.
pub fn index_values<'a>(document: &'a RawDocument, path: &Path) -> Result<IndexValues<'a>> {
    let mut values: Vec<Option<RawBsonRef<'a>>> = Vec::with_capacity(1);
    let mut empty_array = false;
    let mut walk = Walk::new(Leaf::Expand, |visit: Visit<'a>| {
        match visit {
            Visit {
                value: Some(RawBsonRef::Array(array)),
                expanded: true,
            } => {
                empty_array |= array.is_empty();
            }
            Visit { value, .. } => values.push(value),
        }
        Ok(false)
    });
    walk.document(document, path.parts())?;
    let multikey = walk.arrays;
    if empty_array {
        values.push(Some(RawBsonRef::Undefined));
    } else if values.is_empty() {
        values.push(None);
    }
    Ok(IndexValues { values, multikey })
}
