//! What a collection holds, in numbers: exact for documents, estimated for indexes.

use bson::{Document, doc};

use crate::catalog::{Collection, Index};
use crate::error::Result;
use crate::keys;
use crate::kv::{Direction, Family, View};
use crate::limits::PLANNER_PROBE_KEYS_MAX;
use crate::op::ValidationLevel;
use crate::read::index_document;
use crate::state::load_tally;
use crate::value::malformed;

/// A collection as `ListCollections` describes it.
pub(crate) fn describe(view: &dyn View, collection: &Collection) -> Result<Document> {
    let tally = load_tally(view, collection.id)?;
    let mut indexes = Vec::with_capacity(collection.indexes.len());
    let mut index_bytes = 0;
    for index in &collection.indexes {
        let bytes = bytes_estimate(view, index, tally.documents)?;
        index_bytes += bytes;
        let mut described = index_document(index);
        described.insert("sizeEstimate", bytes as i64);
        indexes.push(described);
    }
    let mut described = doc! {
        "name": &*collection.name,
        "count": tally.documents as i64,
        "size": tally.bytes as i64,
        "indexSizeEstimate": index_bytes as i64,
        "createdAt": bson::DateTime::from_millis(collection.created_ms),
        "indexes": indexes,
    };
    if let Some(validator) = &collection.validator
        && let Ok(schema) = Document::try_from(&*validator.document)
    {
        let level = match validator.level {
            ValidationLevel::Off => "off",
            ValidationLevel::Warn => "warn",
            ValidationLevel::Strict => "strict",
        };
        described.insert("validator", doc! { "level": level, "schema": schema });
    }
    if let Some(access) = &collection.access {
        let access: Document = access.document.as_ref().try_into().map_err(malformed)?;
        described.insert("access", access);
    }
    Ok(described)
}

/// Bytes of an index's entries before compression: those of a few, and as many more as there are documents.
fn bytes_estimate(view: &dyn View, index: &Index, documents: u64) -> Result<u64> {
    let range = keys::index_entries(index.id);
    let mut cursor = view.scan(Family::Index, &range, Direction::Forward);
    let (mut entries, mut bytes) = (0, 0);
    while entries < PLANNER_PROBE_KEYS_MAX {
        if !cursor.advance()? {
            return Ok(bytes);
        }
        entries += 1;
        bytes += (cursor.key().len() + cursor.value().len()) as u64;
    }
    Ok(bytes / entries * documents.max(entries))
}
