//! The fast path: a find by nothing but `_id` is one read of one key, without a plan or a view.
//!
//! A single read of the store is consistent by itself. Whatever is not exactly this shape takes the
//! general way and gives the same answer.

use bson::{RawBsonRef, RawDocument};

use crate::catalog::Collection;
use crate::error::Result;
use crate::guard::{Guard, denied};
use crate::keys;
use crate::kv::{Family, Store};
use crate::op::{FindOp, OpReply};
use crate::projection::Projection;
use crate::query::parse_filter;
use crate::sort::Sort;
use crate::write::{encode_id, stored_document};

/// The encoded `_id`, when the query asks for the document with this `_id` and nothing else.
pub(crate) fn id_of(find: &FindOp) -> Option<Vec<u8>> {
    if find.skip != 0 || find.limit == Some(0) || !find.after.is_empty() {
        return None;
    }
    let mut elements = find.filter.iter();
    let (name, value) = elements.next()?.ok()?;
    let is_plain = matches!(
        value,
        RawBsonRef::String(_)
            | RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::ObjectId(_)
    );
    let is_only = elements.next().is_none();
    (name.as_str() == "_id" && is_plain && is_only).then(|| encode_id(value).ok())?
}

/// Answers a find for the document with this encoded `_id`, seen through `guard` where there is one.
pub(crate) fn read(
    store: &dyn Store,
    collection: &Collection,
    find: &FindOp,
    id: &[u8],
    guard: Option<&Guard>,
    now_ms: i64,
) -> Result<OpReply> {
    // One document needs no sorting, but a wrong sort is wrong all the same.
    parse_unless_empty(&find.sort, Sort::parse)?;
    let projection = parse_unless_empty(&find.projection, Projection::parse)?;
    let mut documents = Vec::new();
    if let Some(bytes) = store.get(Family::Docs, &keys::document(collection.id, id))? {
        let document = stored_document(bytes)?;
        if may_see(&document, &collection.name, guard, now_ms)? {
            documents.push(match projection {
                Some(projection) => projection.apply(&document)?,
                None => document,
            });
        }
    }
    Ok(OpReply::Found {
        documents,
        next: Vec::new(),
    })
}

/// Whether the guard shows the document; refuses one that it shows but forbids.
fn may_see(
    document: &RawDocument,
    collection: &str,
    guard: Option<&Guard>,
    now_ms: i64,
) -> Result<bool> {
    let Some(guard) = guard else {
        return Ok(true);
    };
    let holds = |filter: &RawDocument| -> Result<bool> {
        Ok(filter.is_empty() || parse_filter(filter, now_ms)?.matches(document)?)
    };
    if !holds(&guard.visible)? {
        return Ok(false);
    }
    if !holds(&guard.before)? {
        return Err(denied(
            "reading the document that the query names",
            collection,
        ));
    }
    Ok(true)
}

fn parse_unless_empty<T>(
    document: &RawDocument,
    parse: impl FnOnce(&RawDocument) -> Result<T>,
) -> Result<Option<T>> {
    if document.is_empty() {
        Ok(None)
    } else {
        parse(document).map(Some)
    }
}
