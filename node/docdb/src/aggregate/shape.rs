//! `$project`, `$addFields` and `$unset`: which fields a document has, and which are computed.
//!
//! Paths enter arrays: what is said about a field holds for the documents in an array. Fields that are
//! kept are copied as bytes. Computed fields see the document as it came.

use bson::RawDocument;

use super::chain::{Chain, Flow, Operator};
use crate::error::{Error, Result};
use crate::expr::Expression;
use crate::filter::WorkScope;
use crate::limits::NESTING_DEPTH_MAX;
use crate::value::element::{ARRAY, DOCUMENT, Element, elements};
use crate::value::writer::{Writer, index_name};

/// What becomes of fields that are not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// They are left out.
    Include,
    /// They stay.
    Exclude,
    /// They stay, and named ones are set.
    Add,
}

#[derive(Debug, Clone)]
pub(super) struct Shape {
    name: &'static str,
    kind: Kind,
    root: Level,
}

/// The named fields of one level of documents.
#[derive(Debug, Clone, Default)]
pub(super) struct Level {
    /// In the order in which they were named.
    fields: Vec<(Box<str>, Field)>,
    /// Positions in `fields`, by name.
    by_name: Vec<u32>,
    /// Some field at this level or below is computed.
    computes: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Field {
    Keep,
    Drop,
    Computed(Expression),
    Inside(Level),
}

impl Level {
    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name
            .binary_search_by(|at| self.fields[*at as usize].0.as_bytes().cmp(name))
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        let at = self.find(name).ok()?;
        Some(self.by_name[at] as usize)
    }

    fn get(&self, name: &str) -> Option<&Field> {
        Some(&self.fields[self.position(name.as_bytes())?].1)
    }

    /// Puts a field at a path; false when it collides with another.
    pub(super) fn insert(&mut self, path: &[&str], field: Field) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        self.computes |= matches!(field, Field::Computed(_));
        match (self.find(first.as_bytes()), rest) {
            (Ok(_), []) => false,
            (Ok(at), rest) => match &mut self.fields[self.by_name[at] as usize].1 {
                Field::Inside(level) => level.insert(rest, field),
                _ => false,
            },
            (Err(at), rest) => {
                let field = if rest.is_empty() {
                    field
                } else {
                    let mut level = Self::default();
                    level.insert(rest, field);
                    Field::Inside(level)
                };
                self.by_name.insert(at, self.fields.len() as u32);
                self.fields.push(((*first).into(), field));
                true
            }
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl Shape {
    pub(super) fn new(name: &'static str, kind: Kind, root: Level) -> Self {
        Self { name, kind, root }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the top-level field `name` comes out as it goes in.
    pub(super) fn keeps(&self, name: &str) -> bool {
        match self.root.get(name) {
            None => self.kind != Kind::Include,
            Some(field) => matches!(field, Field::Keep),
        }
    }

    fn apply(&self, document: &RawDocument, out: &mut Writer) -> Result<()> {
        self.level(document, &self.root, document, out)
    }

    fn level(
        &self,
        document: &RawDocument,
        level: &Level,
        root: &RawDocument,
        out: &mut Writer,
    ) -> Result<()> {
        let mut seen = vec![
            false;
            if level.computes {
                level.fields.len()
            } else {
                0
            }
        ];
        for element in elements(document) {
            let element = element?;
            let Some(at) = level.position(element.name) else {
                if self.kind != Kind::Include {
                    out.raw(element.whole);
                }
                continue;
            };
            match &level.fields[at].1 {
                Field::Keep => out.raw(element.whole),
                Field::Drop => {}
                // Where only some fields are kept, computed ones come behind them.
                Field::Computed(_) if self.kind == Kind::Include => {}
                Field::Computed(expression) => {
                    if !std::mem::replace(&mut seen[at], true) {
                        compute(expression, element.name, root, out)?;
                    }
                }
                Field::Inside(inner) => {
                    if let Some(seen) = seen.get_mut(at) {
                        *seen = true;
                    }
                    self.inside(&element, element.name, inner, root, 1, out)?;
                }
            }
        }
        for (at, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
            let (name, field) = &level.fields[at];
            match field {
                Field::Computed(expression) => compute(expression, name.as_bytes(), root, out)?,
                Field::Inside(inner) if inner.computes => {
                    self.computed_only(name.as_bytes(), inner, root, out)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What becomes of a value of whose fields some are named.
    fn inside(
        &self,
        element: &Element<'_>,
        name: &[u8],
        level: &Level,
        root: &RawDocument,
        arrays: usize,
        out: &mut Writer,
    ) -> Result<()> {
        check_depth(arrays)?;
        match element.nested()? {
            Some(document) if element.kind == DOCUMENT => {
                let start = out.open_document(name);
                self.level(document, level, root, out)?;
                out.close(start)
            }
            Some(array) => {
                let start = out.open(ARRAY, name);
                let mut digits = [0; 20];
                let mut index = 0;
                for inner in elements(array) {
                    let before = out.len();
                    let name = index_name(index, &mut digits);
                    self.inside(&inner?, name, level, root, arrays + 1, out)?;
                    index += usize::from(out.len() > before);
                }
                out.close(start)
            }
            None if self.kind == Kind::Exclude => {
                out.element(element.kind, name, element.bytes());
                Ok(())
            }
            None if level.computes => self.computed_only(name, level, root, out),
            None => Ok(()),
        }
    }

    /// A document that has nothing but its computed fields.
    fn computed_only(
        &self,
        name: &[u8],
        level: &Level,
        root: &RawDocument,
        out: &mut Writer,
    ) -> Result<()> {
        let start = out.open_document(name);
        for (name, field) in &level.fields {
            match field {
                Field::Computed(expression) => compute(expression, name.as_bytes(), root, out)?,
                Field::Inside(inner) if inner.computes => {
                    self.computed_only(name.as_bytes(), inner, root, out)?;
                }
                _ => {}
            }
        }
        out.close(start)
    }
}

/// Bounds the recursion into documents that stages may have nested deeper than any stored one.
pub(super) fn check_depth(depth: usize) -> Result<()> {
    if depth > NESTING_DEPTH_MAX {
        return Err(Error::invalid(format!(
            "a document made by the pipeline nests deeper than {NESTING_DEPTH_MAX} levels; flatten it"
        )));
    }
    Ok(())
}

fn compute(
    expression: &Expression,
    name: &[u8],
    root: &RawDocument,
    out: &mut Writer,
) -> Result<()> {
    match expression.value(root)?.get() {
        Some(value) => out.value(name, value),
        None => Ok(()),
    }
}

pub(super) struct Shaping<'p> {
    shape: &'p Shape,
    made: Writer,
}

impl<'p> Shaping<'p> {
    pub(super) fn new(shape: &'p Shape) -> Self {
        Self {
            shape,
            made: Writer::default(),
        }
    }
}

impl Operator for Shaping<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        self.made.begin();
        {
            let _shared = WorkScope::open();
            self.shape.apply(document, &mut self.made)?;
        }
        next.push(self.made.finish()?)
    }
}
