//! Which entries a document has in an index, and how an entry names its document.
//!
//! A compound index holds every combination of the fields' values, also when two fields lie in the same
//! array. So ranges of several fields may be combined without missing a match; a unique index over two
//! fields of one array is thereby stricter than MongoDB's, which pairs them element by element.

use bson::{RawBsonRef, RawDocument};

use crate::catalog::Index;
use crate::error::{Error, ErrorCode, Result};
use crate::geo::{Geometry, cell};
use crate::keys;
use crate::limits::{INDEX_ENTRIES_PER_DOCUMENT_MAX, INDEX_KEY_BYTES_MAX};
use crate::value::key::encoded;
use crate::value::{Path, encode_value, index_values, skip_value, type_name};

/// Room for a key that is not reallocated while it grows.
const KEY_BYTES_USUAL: usize = 80;

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
    if let Some(partial) = &index.partial
        && !partial.matches(document)?
    {
        return Ok(Entries::default());
    }
    let mut is_empty = true;
    // Most keys are short and grow by a value and the `_id`.
    let mut first = Vec::with_capacity(KEY_BYTES_USUAL);
    first.extend_from_slice(&keys::index_prefix(index.id));
    let mut keys = vec![first];
    let mut multikey: Vec<usize> = Vec::new();
    for (at, (path, field)) in paths.iter().zip(&index.spec.fields).enumerate() {
        let found = index_values(document, path)?;
        if index.geo_field() == Some(at) {
            let cells = cells(index, path, &found.values)?;
            if cells.is_empty() {
                return Ok(Entries::default());
            }
            if found.multikey || cells.len() > 1 {
                multikey.push(at);
            }
            is_empty = false;
            keys = combinations(index, &keys, &cells)?;
            continue;
        }
        if found.multikey {
            check_parallel(index, paths, &multikey, path)?;
            multikey.push(at);
        }
        is_empty &= found.values.iter().all(Option::is_none);
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
    if is_empty && index.options.sparse {
        return Ok(Entries::default());
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

/// The encoded cells of the geometries at a path, ascending. Nothing and null are no geometry; anything else is refused.
fn cells(index: &Index, path: &Path, values: &[Option<RawBsonRef<'_>>]) -> Result<Vec<Vec<u8>>> {
    let mut cells = Vec::new();
    for value in values.iter().flatten() {
        match value {
            RawBsonRef::Null | RawBsonRef::Undefined => {}
            RawBsonRef::Document(document) => {
                let geometry = Geometry::parse(document).map_err(|error| {
                    Error::new(
                        ErrorCode::RequestFailed,
                        format!(
                            "field '{path}' of 2dsphere index '{}': {}",
                            index.spec.name, error.message
                        ),
                    )
                })?;
                cells.extend(cell::of_geometry(&geometry));
            }
            other => {
                return Err(Error::new(
                    ErrorCode::RequestFailed,
                    format!(
                        "field '{path}' of 2dsphere index '{}' is a {}; store GeoJSON such as {{type: \"Point\", coordinates: [longitude, latitude]}}",
                        index.spec.name,
                        type_name(*other)
                    ),
                ));
            }
        }
    }
    cells.sort_unstable();
    cells.dedup();
    cells
        .into_iter()
        .map(|cell| encoded(RawBsonRef::Int64(cell)))
        .collect()
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
        .filter(|&&at| index.geo_field() != Some(at))
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

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;
    use crate::catalog::IndexState;
    use crate::keys::IndexId;
    use crate::op::{IndexField, IndexOptions, IndexSpec};

    fn index(fields: &[(&str, bool)], unique: bool) -> (Index, Vec<Path>) {
        let paths = fields
            .iter()
            .map(|(path, _)| Path::parse(path).unwrap())
            .collect();
        let fields: Vec<_> = fields
            .iter()
            .map(|(path, descending)| IndexField {
                path: (*path).into(),
                descending: *descending,
            })
            .collect();
        let index = Index {
            id: IndexId(3),
            multikey: vec![false; fields.len()],
            spec: IndexSpec {
                name: "i".into(),
                fields,
                unique,
            },
            state: IndexState::Ready,
            key_encoding: 1,
            options: IndexOptions::default(),
            partial: None,
        };
        (index, paths)
    }

    fn entries(index: &(Index, Vec<Path>), document: &bson::Document) -> Result<Entries> {
        let document = RawDocumentBuf::try_from(document).unwrap();
        of_document(&index.0, &index.1, &document, b"id")
    }

    fn bytes_of(value: RawBsonRef<'_>, descending: bool) -> Vec<u8> {
        let mut out = Vec::new();
        encode_value(value, descending, &mut out).unwrap();
        out
    }

    #[test]
    fn an_entry_is_the_index_its_fields_and_the_id() {
        let plain = index(&[("a", false), ("b", true)], false);
        let found = entries(&plain, &doc! { "a": 1 }).unwrap();
        let (one, null) = (RawBsonRef::Int32(1), RawBsonRef::Null);
        let fields = [
            keys::index_prefix(IndexId(3)),
            bytes_of(one, false),
            bytes_of(null, true),
        ]
        .concat();
        assert_eq!(found.keys, [[fields.as_slice(), b"id"].concat()]);
        assert_eq!(entry_id(&plain.0, &found.keys[0], &[]).unwrap(), b"id");
        let unique = index(&[("a", false), ("b", true)], true);
        assert_eq!(entries(&unique, &doc! { "a": 1 }).unwrap().keys, [fields]);
        assert_eq!(entry_value(&unique.0, b"id"), b"id");
    }

    #[test]
    fn an_array_has_an_entry_for_each_distinct_element() {
        let plain = index(&[("a", false), ("b", false)], false);
        let found = entries(&plain, &doc! { "a": [2, 1, 2.0], "b": 5 }).unwrap();
        assert_eq!((found.keys.len(), found.multikey), (2, vec![0]));
        assert!(found.keys.is_sorted());
        assert!(entries(&plain, &doc! { "a": [1], "b": [1] }).is_err());
    }

    #[test]
    fn entries_are_bounded_in_number_and_length() {
        let plain = index(&[("a", false)], false);
        let many: Vec<_> = (0..=INDEX_ENTRIES_PER_DOCUMENT_MAX as i32).collect();
        assert_eq!(
            entries(&plain, &doc! { "a": many }).unwrap_err().code,
            ErrorCode::ExceedSize
        );
        let long = "x".repeat(INDEX_KEY_BYTES_MAX);
        assert_eq!(
            entries(&plain, &doc! { "a": long }).unwrap_err().code,
            ErrorCode::ExceedSize
        );
    }
}
