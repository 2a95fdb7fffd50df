//! `$unwind`: one document for each element of an array.

use bson::{RawBsonRef, RawDocument};

use super::chain::{Chain, Flow, Operator};
use super::edit;
use crate::error::Result;
use crate::value::element::{ARRAY, Element, elements};
use crate::value::writer::Writer;

#[derive(Debug, Clone)]
pub(super) struct Unwind {
    pub(super) path: Vec<Box<str>>,
    /// Where the element's index goes; empty: nowhere.
    pub(super) index: Vec<Box<str>>,
    /// Documents without elements are passed on too.
    pub(super) preserve: bool,
}

impl Unwind {
    pub(super) fn path(&self) -> &[Box<str>] {
        &self.path
    }

    pub(super) fn index_path(&self) -> &[Box<str>] {
        &self.index
    }
}

pub(super) struct Unwinding<'p> {
    spec: &'p Unwind,
    made: Writer,
    indexed: Writer,
}

impl<'p> Unwinding<'p> {
    pub(super) fn new(spec: &'p Unwind) -> Self {
        Self {
            spec,
            made: Writer::default(),
            indexed: Writer::default(),
        }
    }

    /// Pushes a document with one element, or nothing, in the place of the array.
    fn push_with(
        &mut self,
        document: &RawDocument,
        element: Option<&Element<'_>>,
        index: Option<i64>,
        next: &mut Chain<'_, '_>,
    ) -> Result<Flow> {
        self.made.begin();
        edit::replace(
            document,
            &self.spec.path,
            &mut self.made,
            &mut |out, name| {
                if let Some(element) = element {
                    out.element(element.kind, name, element.bytes());
                }
                Ok(())
            },
        )?;
        let made = self.made.finish()?;
        push_indexed(&self.spec.index, &mut self.indexed, made, index, next)
    }
}

/// Pushes a document with the index where it is wanted.
fn push_indexed(
    path: &[Box<str>],
    indexed: &mut Writer,
    document: &RawDocument,
    index: Option<i64>,
    next: &mut Chain<'_, '_>,
) -> Result<Flow> {
    if path.is_empty() {
        return next.push(document);
    }
    let index = index.map_or(RawBsonRef::Null, RawBsonRef::Int64);
    indexed.begin();
    edit::set(document, path, indexed, &mut |out, name| {
        out.value(name, index)
    })?;
    next.push(indexed.finish()?)
}

/// The element at a path of embedded documents.
fn find<'a>(document: &'a RawDocument, path: &[Box<str>]) -> Result<Option<Element<'a>>> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(None);
    };
    for element in elements(document) {
        let element = element?;
        if element.name != first.as_bytes() {
            continue;
        }
        if rest.is_empty() {
            return Ok(Some(element));
        }
        return match element.nested()? {
            Some(inner) if element.kind != ARRAY => find(inner, rest),
            _ => Ok(None),
        };
    }
    Ok(None)
}

impl Operator for Unwinding<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        let spec = self.spec;
        match find(document, &spec.path)? {
            Some(array) if array.kind == ARRAY => {
                let mut index = 0;
                for element in array.nested()?.into_iter().flat_map(elements) {
                    let element = element?;
                    if self.push_with(document, Some(&element), Some(index), next)? == Flow::Enough
                    {
                        return Ok(Flow::Enough);
                    }
                    index += 1;
                }
                if index == 0 && spec.preserve {
                    return self.push_with(document, None, None, next);
                }
                Ok(Flow::More)
            }
            Some(value) if value.is_null() && !spec.preserve => Ok(Flow::More),
            None if !spec.preserve => Ok(Flow::More),
            _ => push_indexed(&spec.index, &mut self.indexed, document, None, next),
        }
    }
}
