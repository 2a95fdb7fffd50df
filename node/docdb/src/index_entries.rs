//! Which entries a document has in an index, and how an entry names its document.

use bson::{RawBsonRef, RawDocument};

use crate::catalog::Index;
use crate::error::{Error, ErrorCode, Result};
use crate::keys;
use crate::limits::{INDEX_ENTRIES_PER_DOCUMENT_MAX, INDEX_KEY_BYTES_MAX};
use crate::value::{Path, encode_value, index_values, skip_value};

/// The entries of one document in one index.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Entries {
    /// Keys, ascending, without duplicates.
    pub(crate) keys: Vec<Vec<u8>>,
    /// Fields (by position) on whose path the document has an array.
    pub(crate) multikey: Vec<usize>,
}

/// The entries of `document`, whose encoded `_id` is `id`.
pub(crate) fn of_document(
    index: &Index,
    paths: &[Path],
    document: &RawDocument,
    id: &[u8],
) -> Result<Entries> {
    let mut keys = vec![keys::index_prefix(index.id)];
    let mut multikey: Vec<usize> = Vec::new();
    for (at, (path, field)) in paths.iter().zip(&index.spec.fields).enumerate() {
        let found = index_values(document, path)?;
        if found.multikey {
            check_parallel(index, paths, &multikey, path)?;
            multikey.push(at);
        }
        let mut encoded = Vec::with_capacity(found.values.len());
        for value in found.values {
            let mut bytes = Vec::with_capacity(16);
            encode_value(
                value.unwrap_or(RawBsonRef::Null),
                field.descending,
                &mut bytes,
            )?;
            encoded.push(bytes);
        }
        if encoded.len() > 1 {
            encoded.sort_unstable();
            encoded.dedup();
        }
        keys = match encoded.as_slice() {
            [only] => {
                keys.iter_mut().for_each(|key| key.extend_from_slice(only));
                keys
            }
            many => combinations(index, &keys, many)?,
        };
    }
    if keys.iter().any(|key| key.len() > INDEX_KEY_BYTES_MAX) {
        return Err(Error::new(
            ErrorCode::ExceedSize,
            format!(
                "the indexed fields of '{}' exceed {INDEX_KEY_BYTES_MAX} bytes; shorten them or drop the index",
                index.spec.name
            ),
        ));
    }
    if !index.spec.unique {
        keys.iter_mut().for_each(|key| key.extend_from_slice(id));
    }
    Ok(Entries { keys, multikey })
}

fn combinations(index: &Index, keys: &[Vec<u8>], values: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    if keys.len().saturating_mul(values.len()) > INDEX_ENTRIES_PER_DOCUMENT_MAX {
        return Err(Error::new(
            ErrorCode::ExceedSize,
            format!(
                "the document has more than {INDEX_ENTRIES_PER_DOCUMENT_MAX} entries in index '{}'; shorten its arrays",
                index.spec.name
            ),
        ));
    }
    Ok(keys
        .iter()
        .flat_map(|key| {
            values
                .iter()
                .map(move |value| [key.as_slice(), value].concat())
        })
        .collect())
}

/// Fields of a compound index may lie in the same array, not in two: the product of two arrays would
/// make an entry of each pair.
fn check_parallel(index: &Index, paths: &[Path], earlier: &[usize], path: &Path) -> Result<()> {
    let array = |path: &Path| path.as_str().split('.').next().map(str::to_owned);
    match earlier
        .iter()
        .map(|&at| &paths[at])
        .find(|other| array(other) != array(path))
    {
        None => Ok(()),
        Some(other) => Err(Error::new(
            ErrorCode::RequestFailed,
            format!(
                "index '{}' cannot index parallel arrays: '{other}' and '{path}'; make one of them a single value",
                index.spec.name
            ),
        )),
    }
}

/// The value of an entry for the document with this encoded `_id`.
pub(crate) fn entry_value(index: &Index, id: &[u8]) -> Vec<u8> {
    if index.spec.unique {
        id.to_vec()
    } else {
        Vec::new()
    }
}

/// The encoded `_id` of the document that an entry belongs to.
pub(crate) fn entry_id<'a>(index: &Index, key: &'a [u8], value: &'a [u8]) -> Result<&'a [u8]> {
    if index.spec.unique {
        return Ok(value);
    }
    let mut rest = key
        .get(keys::index_prefix(index.id).len()..)
        .unwrap_or_default();
    for field in &index.spec.fields {
        rest = &rest[skip_value(rest, field.descending)?..];
    }
    Ok(rest)
}
