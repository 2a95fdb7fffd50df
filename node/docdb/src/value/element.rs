//! The elements of a raw document as slices of its bytes: to copy fields without looking at them.

#[cfg(test)]
use bson::RawBsonRef;
use bson::RawDocument;

use super::{field, malformed};
use crate::error::{Error, Result};

/// The type byte of an embedded document.
pub(crate) const DOCUMENT: u8 = 0x03;
/// The type byte of an array.
pub(crate) const ARRAY: u8 = 0x04;

/// One element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    /// Its type byte.
    pub(crate) kind: u8,
    pub(crate) name: &'a [u8],
    /// Type, name and value.
    pub(crate) whole: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Element<'a> {
    /// The value's bytes.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The embedded document, or the array as the document that its bytes are; `None` of other types.
    pub(crate) fn nested(&self) -> Result<Option<&'a RawDocument>> {
        if matches!(self.kind, DOCUMENT | ARRAY) {
            RawDocument::from_bytes(self.bytes)
                .map(Some)
                .map_err(malformed)
        } else {
            Ok(None)
        }
    }

    /// Whether the value is null or undefined.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.kind, 0x06 | 0x0a)
    }
}

/// The value of an element of `document`.
#[cfg(test)]
pub(crate) fn value<'a>(
    document: &'a RawDocument,
    element: &Element<'a>,
) -> Result<RawBsonRef<'a>> {
    if let Some(value) = field::parse(element.kind, element.bytes) {
        return Ok(value);
    }
    let name = std::str::from_utf8(element.name).map_err(|_| broken())?;
    document.get(name).map_err(malformed)?.ok_or_else(broken)
}

/// Walks over the elements of `document`.
pub(crate) fn elements(document: &RawDocument) -> Elements<'_> {
    // The length before and the end mark behind the elements have been checked.
    let bytes = document.as_bytes();
    Elements {
        rest: bytes
            .get(4..bytes.len().saturating_sub(1))
            .unwrap_or_default(),
    }
}

/// See [`elements`].
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let element = split(self.rest);
        self.rest = match &element {
            Some((_, rest)) => rest,
            None => &[],
        };
        Some(element.map(|(element, _)| element).ok_or_else(broken))
    }
}

fn split(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (kind, after) = bytes.split_first()?;
    let name_length = after.iter().position(|byte| *byte == 0)?;
    let (name, value) = (&after[..name_length], &after[name_length + 1..]);
    let size = field::size_of(*kind, value).or_else(|| rare_size(*kind, value))?;
    let (value, rest) = value.split_at_checked(size)?;
    let (whole, _) = bytes.split_at(bytes.len() - rest.len());
    let element = Element {
        kind: *kind,
        name,
        whole,
        bytes: value,
    };
    Some((element, rest))
}

fn rare_size(kind: u8, value: &[u8]) -> Option<usize> {
    match kind {
        // undefined, min key, max key
        0x06 | 0xff | 0x7f => Some(0),
        // regular expression: two texts that end in a zero
        0x0b => {
            let pattern = value.iter().position(|byte| *byte == 0)? + 1;
            let options = value[pattern..].iter().position(|byte| *byte == 0)? + 1;
            Some(pattern + options)
        }
        0x13 => Some(16),
        _ => None,
    }
}

fn broken() -> Error {
    Error::invalid("malformed bson: an element cannot be read; send a well-formed document")
}
