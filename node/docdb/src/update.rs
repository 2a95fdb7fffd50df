//! Updates: operators parsed once, then applied to raw documents.
//!
//! Only what the update's paths touch is taken apart; everything else is copied as bytes. Operators
//! apply in the order of their paths, whatever their order in the request, as in MongoDB; two on
//! overlapping paths are refused, so no operator sees another's result.

mod array;
mod operator;
mod replacement;
mod tree;

#[cfg(test)]
mod update_test;

use std::cmp::Ordering;

use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

pub use replacement::replace;

use crate::error::{Error, ErrorCode, Result};
use crate::filter::WorkScope;
use crate::limits::UPDATE_CHANGES_MAX;
use crate::value::check::{check_at, check_size};
use crate::value::path::overlaps;
use crate::value::{Path, check_document, malformed, type_name};
use operator::Operator;
use tree::Tree;

/// What an update may refer to besides the document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpdateContext {
    /// The time of the request in milliseconds since 1970, for `$currentDate`.
    pub now_ms: i64,
}

/// A parsed update.
#[derive(Debug, Clone)]
pub struct Update {
    /// By path.
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
struct Change {
    path: Path,
    operator: Operator,
}

/// What an operator makes of the value at its path.
enum Outcome {
    /// Leaves it.
    Keep,
    /// Puts a value there.
    Set(RawBson),
    /// Takes it away.
    Remove,
}

impl Update {
    /// Parses `{$operator: {path: operand, ...}, ...}`; an empty update changes nothing.
    pub fn parse(update: &RawDocument, context: &UpdateContext) -> Result<Self> {
        check_document(update)?;
        let mut changes = Vec::new();
        for element in update.iter() {
            let (name, operands) = element.map_err(malformed)?;
            let name = name.as_str();
            if !name.starts_with('$') {
                return Err(Error::operator(format!(
                    "'{name}' is not an update operator; put it into '$set' or replace the whole document"
                )));
            }
            operator::check_name(name)?;
            let RawBsonRef::Document(operands) = operands else {
                return Err(Error::invalid(format!(
                    "update operator '{name}' takes an object of fields, not a {}",
                    type_name(operands)
                )));
            };
            for element in operands.iter() {
                let (path, operand) = element.map_err(malformed)?;
                add(&mut changes, name, path.as_str(), operand, context)?;
            }
        }
        changes.sort_by(|a: &Change, b| compare_paths(&a.path, &b.path));
        for pair in changes.windows(2) {
            let (a, b) = (pair[0].path.as_str(), pair[1].path.as_str());
            if overlaps(a, b) {
                return Err(Error::new(
                    ErrorCode::RequestFailed,
                    format!("the update changes '{a}' and '{b}', which overlap; keep one of them"),
                ));
            }
        }
        Ok(Self { changes })
    }

    /// The document after the update; `None` when it is the same. `inserting` says that `before` is
    /// the beginning of a document that an upsert creates, which enables `$setOnInsert`.
    pub fn apply(&self, before: &RawDocument, inserting: bool) -> Result<Option<RawDocumentBuf>> {
        let _shared = WorkScope::open();
        let mut tree = Tree::new(before)?;
        for change in &self.changes {
            let parts = change.path.parts();
            let outcome = match &change.operator {
                Operator::SetOnInsert(_) if !inserting => Outcome::Keep,
                Operator::RenameFrom(source) => match tree::field(before, source)? {
                    Some(value) => {
                        tree::field(before, &change.path)?;
                        Outcome::Set(value.into())
                    }
                    None => Outcome::Keep,
                },
                operator => operator.evaluate(change.path.as_str(), tree.get(parts))?,
            };
            match outcome {
                Outcome::Keep => {}
                Outcome::Set(value) => {
                    check_at(change.path.as_str(), value.as_raw_bson_ref(), parts.len())?;
                    tree.set(&change.path, value)?;
                }
                Outcome::Remove => tree.remove(parts)?,
            }
        }
        let after = tree.into_document()?;
        if after.as_bytes() == before.as_bytes() {
            return Ok(None);
        }
        // Its parts were checked when they came, or with `before`.
        check_size(&after)?;
        check_id(before, &after)?;
        Ok(Some(after))
    }

    /// Whether the update may change the value at `path` or inside it.
    pub fn touches(&self, path: &str) -> bool {
        self.changes
            .iter()
            .any(|change| overlaps(change.path.as_str(), path))
    }

    /// Whether the update changes nothing in any document.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

fn add(
    changes: &mut Vec<Change>,
    name: &str,
    path: &str,
    operand: RawBsonRef<'_>,
    context: &UpdateContext,
) -> Result<()> {
    if changes.len() >= UPDATE_CHANGES_MAX {
        return Err(Error::invalid(format!(
            "the update has more than {UPDATE_CHANGES_MAX} changes; split it"
        )));
    }
    let path = parse_path(name, path)?;
    if name == "$rename" {
        let RawBsonRef::String(target) = operand else {
            return Err(Error::invalid(format!(
                "field '{path}': '$rename' takes the new name as a string"
            )));
        };
        let target = parse_path(name, target)?;
        changes.push(Change {
            path: target,
            operator: Operator::RenameFrom(path.clone()),
        });
        changes.push(Change {
            path,
            operator: Operator::Unset,
        });
    } else {
        let operator = Operator::parse(name, path.as_str(), operand, context.now_ms)?;
        changes.push(Change { path, operator });
    }
    Ok(())
}

fn parse_path(name: &str, path: &str) -> Result<Path> {
    for part in path.split('.') {
        if part.is_empty() {
            return Err(Error::invalid(format!(
                "'{name}': the path '{path}' has an empty component; name a field"
            )));
        }
        if part.starts_with('$') {
            return Err(Error::operator(format!(
                "'{name}': the path '{path}' has the positional component '{part}', which is not supported yet; use an index"
            )));
        }
    }
    Path::parse(path)
}

/// Component by component; array indexes by their value.
fn compare_paths(a: &Path, b: &Path) -> Ordering {
    let mut left = a.parts().iter();
    let mut right = b.parts().iter();
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => match (left.index, right.index) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left.name.cmp(&right.name),
            },
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

/// Refuses a change of `_id`; one that was missing may be added.
fn check_id(before: &RawDocument, after: &RawDocument) -> Result<()> {
    let before = before.get("_id").map_err(malformed)?;
    if before.is_some() && before != after.get("_id").map_err(malformed)? {
        return Err(id_change());
    }
    Ok(())
}

fn id_change() -> Error {
    Error::new(
        ErrorCode::RequestFailed,
        "the update changes '_id', which never changes; insert a new document instead",
    )
}
