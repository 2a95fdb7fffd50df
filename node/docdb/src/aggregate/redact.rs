//! `$redact`: keeps, prunes or descends into each level of a document.

use bson::{RawBson, RawDocument};

use super::chain::{Chain, Flow, Operator};
use super::shape::check_depth;
use crate::error::{Error, ErrorCode, Result};
use crate::expr::{Computed, Expression};
use crate::filter::WorkScope;
use crate::value::element::{ARRAY, DOCUMENT, elements};
use crate::value::writer::{Writer, index_name};

/// What the system variables of a `$redact` stand for.
pub(super) const VARIABLES: [(&str, &str); 3] = [
    ("DESCEND", "$$DESCEND"),
    ("PRUNE", "$$PRUNE"),
    ("KEEP", "$$KEEP"),
];

/// The variables as an expression's bindings.
pub(super) fn variables() -> Vec<(String, Computed)> {
    VARIABLES
        .iter()
        .map(|(name, value)| {
            let value = RawBson::String((*value).to_owned());
            ((*name).to_owned(), Some(value))
        })
        .collect()
}

enum Verdict {
    Descend,
    Prune,
    Keep,
}

pub(super) struct Redacting<'p> {
    expression: &'p Expression,
    made: Writer,
}

impl<'p> Redacting<'p> {
    pub(super) fn new(expression: &'p Expression) -> Self {
        Self {
            expression,
            made: Writer::default(),
        }
    }
}

fn judge(expression: &Expression, root: &RawDocument, part: &RawDocument) -> Result<Verdict> {
    let verdict = expression.evaluate_part(root, part)?;
    match verdict.as_ref().and_then(RawBson::as_str) {
        Some("$$DESCEND") => Ok(Verdict::Descend),
        Some("$$PRUNE") => Ok(Verdict::Prune),
        Some("$$KEEP") => Ok(Verdict::Keep),
        _ => Err(Error::new(
            ErrorCode::RequestFailed,
            "'$redact' must come to '$$DESCEND', '$$PRUNE' or '$$KEEP'",
        )),
    }
}

/// Copies what is to be kept of the fields of `part`, which is to be descended into.
fn descend(
    expression: &Expression,
    root: &RawDocument,
    part: &RawDocument,
    is_array: bool,
    depth: usize,
    out: &mut Writer,
) -> Result<()> {
    check_depth(depth)?;
    let mut index = 0;
    let mut digits = [0; 20];
    for element in elements(part) {
        let element = element?;
        let name = if is_array {
            index_name(index, &mut digits)
        } else {
            element.name
        };
        let before = out.len();
        match element.nested()? {
            Some(inner) if element.kind == DOCUMENT => match judge(expression, root, inner)? {
                Verdict::Prune => {}
                Verdict::Keep => out.element(element.kind, name, element.bytes()),
                Verdict::Descend => {
                    let start = out.open_document(name);
                    descend(expression, root, inner, false, depth + 1, out)?;
                    out.close(start)?;
                }
            },
            Some(inner) => {
                let start = out.open(ARRAY, name);
                descend(expression, root, inner, true, depth + 1, out)?;
                out.close(start)?;
            }
            None => out.element(element.kind, name, element.bytes()),
        }
        index += usize::from(out.len() > before);
    }
    Ok(())
}

impl Operator for Redacting<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        let shared = WorkScope::open();
        match judge(self.expression, document, document)? {
            Verdict::Prune => Ok(Flow::More),
            Verdict::Keep => {
                drop(shared);
                next.push(document)
            }
            Verdict::Descend => {
                self.made.begin();
                descend(
                    self.expression,
                    document,
                    document,
                    false,
                    1,
                    &mut self.made,
                )?;
                drop(shared);
                next.push(self.made.finish()?)
            }
        }
    }
}
