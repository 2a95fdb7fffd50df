//! The layout of a mongodump: `<folder>/<environment>/<collection>.bson` with a metadata file beside each.

use std::fs;
use std::path::{Path, PathBuf};

use bson::{Bson, Document, doc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cli::failure::CliError;

/// What stands as it is in the name of a file.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');
/// Names of files are at most 255 bytes long, endings included; the metadata has the whole name of the collection.
const STEM_BYTES_MAX: usize = 220;
/// What an index may be beside its fields and its name.
const INDEX_OPTIONS: [&str; 4] = [
    "unique",
    "sparse",
    "expireAfterSeconds",
    "partialFilterExpression",
];

/// The file of a collection's documents.
pub(super) fn documents_path(folder: &Path, env: &str, collection: &str, gzip: bool) -> PathBuf {
    let ending = if gzip { "bson.gz" } else { "bson" };
    folder
        .join(env)
        .join(format!("{}.{ending}", stem(collection)))
}

fn stem(collection: &str) -> String {
    let escaped = utf8_percent_encode(collection, KEPT).to_string();
    if escaped.len() <= STEM_BYTES_MAX {
        return escaped;
    }
    let hash = blake3::hash(collection.as_bytes());
    format!(
        "{}%24{}",
        &escaped[..STEM_BYTES_MAX - 20],
        &hash.to_hex()[..16]
    )
}

/// Writes the metadata file beside `documents`. `indexes` are as a node describes them.
pub(super) fn write_metadata(
    documents: &Path,
    collection: &str,
    indexes: &[Document],
) -> Result<(), CliError> {
    let name = documents
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let stem = name.strip_suffix(".bson").unwrap_or(name);
    let path = documents.with_file_name(format!("{stem}.metadata.json"));
    let text = metadata(collection, indexes).into_canonical_extjson();
    fs::write(&path, text.to_string())
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

fn metadata(collection: &str, indexes: &[Document]) -> Bson {
    let mut described = vec![Bson::Document(
        doc! {"v": 2, "key": {"_id": 1}, "name": "_id_"},
    )];
    described.extend(indexes.iter().map(|index| Bson::Document(of_index(index))));
    Bson::Document(doc! {
        "indexes": described,
        "collectionName": collection,
        "type": "collection",
    })
}

fn of_index(index: &Document) -> Document {
    let fields = index.get_array("fields").into_iter().flatten();
    let key: Document = fields
        .filter_map(Bson::as_document)
        .filter_map(|field| {
            let path = field.get_str("path").ok()?.to_owned();
            Some((path, field.get("direction")?.clone()))
        })
        .collect();
    let mut described =
        doc! {"v": 2, "key": key, "name": index.get_str("name").unwrap_or_default()};
    for option in INDEX_OPTIONS {
        if let Some(value) = index.get(option)
            && !matches!(value, Bson::Boolean(false) | Bson::Null)
        {
            described.insert(option, value.clone());
        }
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_hold_the_names_of_collections() {
        let path =
            |collection: &str, gzip| documents_path(Path::new("d"), "demo", collection, gzip);
        assert_eq!(path("a.b-c", false), Path::new("d/demo/a.b-c.bson"));
        assert_eq!(path("a/b", true), Path::new("d/demo/a%2Fb.bson.gz"));
        let long = path(&"ü".repeat(120), false);
        assert!(long.file_name().unwrap().len() < 240);
        assert_ne!(long, path(&"ü".repeat(121), false));
    }

    #[test]
    fn metadata_are_those_of_mongodump() {
        let index = doc! {"name": "i", "fields": [{"path": "a", "direction": 1}, {"path": "b", "direction": -1}],
        "unique": true, "multikey": false, "state": "ready"};
        let text = metadata("c", &[index]).into_canonical_extjson().to_string();
        let expected = concat!(
            r#"{"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},"#,
            r#"{"v":{"$numberInt":"2"},"key":{"a":{"$numberInt":"1"},"b":{"$numberInt":"-1"}},"name":"i","unique":true}],"#,
            r#""collectionName":"c","type":"collection"}"#
        );
        assert_eq!(text, expected);
    }
}
