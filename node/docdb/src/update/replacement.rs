//! Replacing a whole document: everything changes except `_id`.

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf};

use super::id_change;
use crate::error::{Error, Result};
use crate::value::{check_document, equal, malformed};

/// `new` with the `_id` of `before`, which comes first. Without a `before` (an upsert that inserts)
/// `new` is returned as it is, with or without `_id`.
pub fn replace(before: Option<&RawDocument>, new: &RawDocument) -> Result<RawDocumentBuf> {
    check_document(new)?;
    let mut id = None;
    for element in new.iter() {
        let (key, value) = element.map_err(malformed)?;
        if key.as_str().starts_with('$') {
            return Err(Error::operator(format!(
                "'{key}' cannot be a field of a whole document; operators belong to an update"
            )));
        }
        if key.as_str() == "_id" {
            id = Some(value);
        }
    }
    let kept = match before {
        Some(before) => before.get("_id").map_err(malformed)?,
        None => None,
    };
    let Some(kept) = kept else {
        return Ok(new.to_owned());
    };
    if id.is_some_and(|id| !equal(id, kept)) {
        return Err(id_change());
    }
    let mut after = RawDocumentBuf::new();
    after.append(cstr!("_id"), kept);
    for element in new.iter() {
        let (key, value) = element.map_err(malformed)?;
        if key.as_str() != "_id" {
            after.append(key, value);
        }
    }
    Ok(after)
}
