//! What mongodump says about a collection beside its documents: indexes, options, kind.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bson::{Bson, Document};
use flate2::read::MultiGzDecoder;
use yunbase_client::Index;

use super::format::is_gzip_name;
use crate::cli::ejson;

/// Largest metadata file that is read.
const METADATA_BYTES_MAX: u64 = 16 << 20;
/// What an index may be without losing anything here; anything else that is set is a reason to leave it out.
const INDEX_MEMBERS: [&str; 10] = [
    "v",
    "key",
    "name",
    "ns",
    "unique",
    "background",
    "sparse",
    "partialFilterExpression",
    "expireAfterSeconds",
    "2dsphereIndexVersion",
];

/// The description of a collection.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metadata {
    /// Its name, where the name of the file may be a shortened one.
    pub(super) collection: Option<String>,
    /// `collection`, `view` or `timeseries`, where it is told.
    pub(super) kind: Option<String>,
    options: Document,
    indexes: Vec<Document>,
}

/// What of a description can be had here.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) unique: Vec<Index>,
    pub(super) plain: Vec<Index>,
    /// What cannot, with reasons.
    pub(super) left_out: Vec<String>,
}

impl Metadata {
    /// Reads the text of a metadata file; an empty one says nothing.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut document = ejson::to_document(text.as_bytes())?;
        let text = |document: &Document, name: &str| document.get_str(name).ok().map(str::to_owned);
        let indexes = match document.remove("indexes") {
            Some(Bson::Array(indexes)) => indexes
                .into_iter()
                .map(|index| match index {
                    Bson::Document(index) => Ok(index),
                    _ => Err("has an index that is no document".to_owned()),
                })
                .collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(Self {
            collection: text(&document, "collectionName"),
            kind: text(&document, "type"),
            options: document
                .get_document("options")
                .cloned()
                .unwrap_or_default(),
            indexes,
        })
    }

    /// Reads the metadata file beside a file of documents, if there is one.
    pub(super) fn beside(documents: &Path) -> io::Result<Self> {
        let Some(stem) = stem(documents) else {
            return Ok(Self::default());
        };
        for ending in ["metadata.json", "metadata.json.gz"] {
            let path = documents.with_file_name(format!("{stem}.{ending}"));
            if path.is_file() {
                let named = |reason: String| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{}: {reason}", path.display()),
                    )
                };
                let text = read_text(&path).map_err(|error| named(error.to_string()))?;
                return Self::parse(&text).map_err(named);
            }
        }
        Ok(Self::default())
    }

    /// What of it can be had here.
    pub(super) fn wanted(&self, collection: &str) -> Wanted {
        let mut wanted = Wanted::default();
        for (option, value) in &self.options {
            if !is_unset(value) {
                wanted
                    .left_out
                    .push(format!("option {option} of {collection}"));
            }
        }
        for index in &self.indexes {
            match translate(index) {
                Ok(None) => {}
                Ok(Some((index, true))) => wanted.unique.push(index),
                Ok(Some((index, false))) => wanted.plain.push(index),
                Err(reason) => {
                    let name = index.get_str("name").unwrap_or("without a name");
                    wanted
                        .left_out
                        .push(format!("index {name} of {collection}: {reason}"));
                }
            }
        }
        wanted
    }
}

/// The name of a file of documents without its endings, if it is one.
pub(super) fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.strip_suffix(".bson")
}

fn read_text(path: &PathBuf) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let mut text = String::new();
    let count = if is_gzip_name(path) {
        MultiGzDecoder::new(file)
            .take(METADATA_BYTES_MAX)
            .read_to_string(&mut text)?
    } else {
        file.take(METADATA_BYTES_MAX).read_to_string(&mut text)?
    };
    if count as u64 == METADATA_BYTES_MAX {
        return Err(io::Error::other(format!(
            "is larger than {METADATA_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

/// The index and whether it is unique; `None` for the one that every collection has.
fn translate(index: &Document) -> Result<Option<(Index, bool)>, String> {
    let key = index.get_document("key").map_err(|_| "it has no key")?;
    if key.len() == 1 && key.contains_key("_id") {
        return Ok(None);
    }
    for (member, value) in index {
        let is_simple_collation = member == "collation"
            && value.as_document().is_some_and(|collation| {
                collation
                    .get_str("locale")
                    .is_ok_and(|locale| locale == "simple")
            });
        if !INDEX_MEMBERS.contains(&member.as_str()) && !is_unset(value) && !is_simple_collation {
            return Err(format!("{member} cannot be carried over"));
        }
    }
    let mut built: Option<Index> = None;
    for (path, direction) in key {
        let order = match direction {
            Bson::Int32(number) => Order::of(*number < 0),
            Bson::Int64(number) => Order::of(*number < 0),
            Bson::Double(number) => Order::of(*number < 0.0),
            Bson::String(kind) if kind == "2dsphere" => Order::Geo,
            other => return Err(format!("indexes of kind {other} cannot be carried over")),
        };
        if path.contains("$**") {
            return Err("indexes on all fields cannot be carried over".to_owned());
        }
        built = Some(match (built, order) {
            (None, Order::Ascending) => Index::ascending(path),
            (None, Order::Descending) => Index::descending(path),
            (None, Order::Geo) => Index::geo(path),
            (Some(index), Order::Ascending) => index.then_ascending(path),
            (Some(index), Order::Descending) => index.then_descending(path),
            (Some(index), Order::Geo) => index.then_geo(path),
        });
    }
    let mut built = built.ok_or("it has no fields")?;
    if index.get("sparse").is_some_and(|sparse| !is_unset(sparse)) {
        built = built.sparse();
    }
    if let Ok(filter) = index.get_document("partialFilterExpression") {
        built = built.partial(filter.clone());
    }
    if let Some(seconds) = index.get("expireAfterSeconds") {
        built = built.expire_after(seconds_of(seconds)?);
    }
    let built = match index.get_str("name") {
        Ok(name) => built.named(name),
        Err(_) => built,
    };
    let unique = index.get("unique").is_some_and(|unique| !is_unset(unique));
    Ok(Some((if unique { built.unique() } else { built }, unique)))
}

/// How an index has a field.
enum Order {
    Ascending,
    Descending,
    Geo,
}

impl Order {
    fn of(descending: bool) -> Self {
        if descending {
            Self::Descending
        } else {
            Self::Ascending
        }
    }
}

/// A time to live.
fn seconds_of(value: &Bson) -> Result<Duration, String> {
    let seconds = match value {
        Bson::Int32(seconds) => u64::try_from(*seconds).ok(),
        Bson::Int64(seconds) => u64::try_from(*seconds).ok(),
        Bson::Double(seconds) => Duration::try_from_secs_f64(*seconds)
            .ok()
            .map(|time| time.as_secs()),
        _ => None,
    };
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("expireAfterSeconds {value} is no number of seconds"))
}

/// Whether a member says no more than its absence would.
fn is_unset(value: &Bson) -> bool {
    match value {
        Bson::Null | Bson::Undefined | Bson::Boolean(false) => true,
        Bson::Document(inner) => inner.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn indexes_are_carried_over_or_left_out_with_reasons() {
        let text = r#"{"options":{"capped":true,"size":{"$numberInt":"4096"},"x":false},
            "indexes":[
              {"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},
              {"v":2,"key":{"a":1.0,"b":{"$numberInt":"-1"}},"name":"ab","ns":"db.c","background":true,"sparse":false},
              {"v":2,"key":{"email":{"$numberLong":"1"}},"name":"email_1","unique":true,"collation":{"locale":"simple"}},
              {"v":2,"key":{"at":1},"name":"at_1","expireAfterSeconds":3600},
              {"v":2,"key":{"_fts":"text","_ftsx":1},"name":"t"},
              {"v":2,"key":{"p":"2dsphere","n":1},"name":"geo","2dsphereIndexVersion":3},
              {"v":2,"key":{"s":1},"name":"s_1","sparse":true,"partialFilterExpression":{"n":{"$gt":1}}},
              {"v":2,"key":{"p":"2d"},"name":"flat"},
              {"v":2,"key":{"$**":1},"name":"all"}],
            "uuid":"00","collectionName":"c","type":"collection"}"#;
        let metadata = Metadata::parse(text).unwrap();
        assert_eq!(metadata.collection.as_deref(), Some("c"));
        let wanted = metadata.wanted("c");
        assert_eq!(
            wanted.plain,
            [
                Index::ascending("a").then_descending("b").named("ab"),
                Index::ascending("at")
                    .expire_after(Duration::from_secs(3600))
                    .named("at_1"),
                Index::geo("p").then_ascending("n").named("geo"),
                Index::ascending("s")
                    .sparse()
                    .partial(doc! { "n": { "$gt": 1 } })
                    .named("s_1"),
            ]
        );
        assert_eq!(
            wanted.unique,
            [Index::ascending("email").unique().named("email_1")]
        );
        let left_out = wanted.left_out.join("\n");
        for what in [
            "option capped of c",
            "option size of c",
            "index t of c",
            "index flat of c",
            "index all of c",
        ] {
            assert!(left_out.contains(what), "{what}: {left_out}");
        }
        assert_eq!(wanted.left_out.len(), 5);
    }

    #[test]
    fn nothing_said_is_nothing_wanted_and_nonsense_is_refused() {
        assert_eq!(Metadata::parse("").unwrap(), Metadata::default());
        assert_eq!(
            Metadata::parse("{}").unwrap().wanted("c"),
            Wanted::default()
        );
        for text in ["[]", "{", r#"{"indexes":[1]}"#] {
            assert!(Metadata::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_found_beside_its_documents() {
        let folder = tempfile::tempdir().unwrap();
        let documents = folder.path().join("c.bson.gz");
        assert_eq!(Metadata::beside(&documents).unwrap(), Metadata::default());
        let path = folder.path().join("c.metadata.json");
        fs::write(&path, r#"{"type":"view"}"#).unwrap();
        let kind = Metadata::beside(&documents).unwrap().kind;
        assert_eq!(kind.as_deref(), Some("view"));
        fs::write(&path, "{").unwrap();
        assert!(Metadata::beside(&documents).is_err());
    }
}
