//! `mongodump --archive`: all collections in one stream.
//!
//! A magic number, a header and a description of each collection, then blocks: the name of a collection, some of its
//! documents, an end mark. Blocks of several collections alternate. The last one of a collection is empty and has the
//! checksum of all its documents.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bson::Document;
use crc::{CRC_64_XZ, Crc, Digest, Table};

use super::bson_rows::{malformed, read_length, read_rest};
use super::json_rows::Next;

/// How an archive begins.
const MAGIC: [u8; 4] = 0x8199_e26d_u32.to_le_bytes();
/// Ends a block.
const TERMINATOR: i32 = -1;
/// Most collections of one archive; each keeps a checksum.
const COLLECTIONS_MAX: usize = 10_000;

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// What the beginning of an archive says about one collection.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    pub(super) db: String,
    pub(super) collection: String,
    /// Options and indexes, as the text of a metadata file; may be empty.
    pub(super) metadata: String,
    /// `collection`, `view` or `timeseries`; may be empty.
    pub(super) kind: String,
}

/// Reads up to the first block.
pub(super) fn read_prelude(reader: &mut impl BufRead) -> io::Result<Vec<Described>> {
    let mut magic = Vec::new();
    reader.take(4).read_to_end(&mut magic)?;
    if magic != MAGIC {
        return Err(malformed(
            "it is neither a folder of mongodump nor an archive of it",
        ));
    }
    let Some(header) = read_part(reader)? else {
        return Err(malformed("the archive has no header"));
    };
    if let Ok(version) = header.get_str("version")
        && version != "0.1"
    {
        return Err(malformed(format!(
            "the archive has format {version:?}; only 0.1 is known"
        )));
    }
    let mut described = Vec::new();
    while let Some(part) = read_part(reader)? {
        let text = |name: &str| part.get_str(name).unwrap_or_default().to_owned();
        described.push(Described {
            db: text("db"),
            collection: text("collection"),
            metadata: text("metadata"),
            kind: text("type"),
        });
        if described.len() > COLLECTIONS_MAX {
            return Err(malformed(format!(
                "the archive has more than {COLLECTIONS_MAX} collections"
            )));
        }
    }
    Ok(described)
}

/// A document of the archive itself, or `None` at a terminator.
fn read_part(reader: &mut impl BufRead) -> io::Result<Option<Document>> {
    let mut bytes = Vec::new();
    match read_length(reader, &mut bytes)? {
        Some(TERMINATOR) => Ok(None),
        Some(length) if read_rest(reader, length, &mut bytes)? == Next::Value => {
            let document = Document::from_reader(bytes.as_slice());
            document
                .map(Some)
                .map_err(|error| malformed(error.to_string()))
        }
        _ => Err(malformed("the archive ends before its first document")),
    }
}

/// The blocks of an archive: documents of the wanted collections.
pub(super) struct Blocks {
    /// Each wanted collection of `db` with the checksum of what has been read; `None` once it is complete.
    wanted: BTreeMap<Arc<str>, Option<Digest<'static, u64, Table<16>>>>,
    db: String,
    block: Block,
}

enum Block {
    /// Between two blocks.
    Outside,
    /// In a block of a wanted collection, or of another one.
    Inside(Option<Arc<str>>),
}

/// What an archive holds next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// A document, of this collection.
    Document(Arc<str>),
    /// A document that is cut off.
    Cut(Arc<str>),
    End,
}

impl Blocks {
    /// The blocks of `collections` of `db`, behind the prelude.
    pub(super) fn new(db: &str, collections: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self {
            wanted: collections
                .into_iter()
                .map(|collection| (collection, Some(CHECKSUM.digest())))
                .collect(),
            db: db.to_owned(),
            block: Block::Outside,
        }
    }

    /// Reads up to the end of the next wanted document.
    pub(super) fn next(
        &mut self,
        reader: &mut impl BufRead,
        document: &mut Vec<u8>,
    ) -> io::Result<Step> {
        loop {
            let collection = match &self.block {
                Block::Outside => {
                    if !self.enter(reader)? {
                        return self.end();
                    }
                    continue;
                }
                Block::Inside(collection) => collection.clone(),
            };
            document.clear();
            let next = match read_length(reader, document)? {
                Some(TERMINATOR) => {
                    self.block = Block::Outside;
                    continue;
                }
                Some(length) => read_rest(reader, length, document)?,
                None => Next::Cut,
            };
            match (next, collection) {
                (Next::Value, Some(collection)) => {
                    if let Some(Some(checksum)) = self.wanted.get_mut(&collection) {
                        checksum.update(document);
                    }
                    return Ok(Step::Document(collection));
                }
                (Next::Value, None) => {}
                (_, Some(collection)) => return Ok(Step::Cut(collection)),
                (_, None) => return Err(malformed("the archive ends inside a document")),
            }
        }
    }

    /// Reads the head of a block; false at the end of the archive.
    fn enter(&mut self, reader: &mut impl BufRead) -> io::Result<bool> {
        if reader.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let Some(head) = read_part(reader)? else {
            return Err(malformed(
                "the archive has an end of a block where one should begin",
            ));
        };
        let collection = head
            .get_str("collection")
            .map_err(|_| malformed("a block of the archive names no collection"))?;
        let is_ours = head.get_str("db").is_ok_and(|db| db == self.db);
        let wanted = self
            .wanted
            .get_key_value(collection)
            .filter(|_| is_ours)
            .map(|(name, _)| name.clone());
        if let Some(name) = &wanted
            && head.get_bool("EOF").unwrap_or(false)
            && let Some(checksum) = self.wanted.get_mut(name).and_then(Option::take)
        {
            // Archives of old versions have none.
            let expected = head.get_i64("CRC").ok();
            if expected.is_some_and(|expected| expected as u64 != checksum.finalize()) {
                return Err(malformed(format!(
                    "the documents of {name} do not agree with their checksum: the archive is damaged"
                )));
            }
        }
        self.block = Block::Inside(wanted);
        Ok(true)
    }

    fn end(&self) -> io::Result<Step> {
        match self.wanted.iter().find(|(_, checksum)| checksum.is_some()) {
            Some((name, _)) => Err(malformed(format!(
                "the archive ends before all documents of {name}"
            ))),
            None => Ok(Step::End),
        }
    }
}

#[cfg(test)]
#[path = "archive_test.rs"]
mod tests;
