//! Rows of a file, one after the other, in bounded memory, as documents that the database takes.
//!
//! Each row knows where it ends in the file, so that a later run can go on behind it. What is wrong with one row is
//! that row's reason; only a file that cannot be read at all is an error.

use std::io::{self, BufRead};
use std::sync::Arc;

use bson::{Bson, Document, RawBsonRef, RawDocument};
use bytes::Bytes;
use yunbase_docdb::value::check_document;

use super::archive::{Blocks, Step};
use super::bson_rows::{read_document, shown};
use super::convert::{Conversion, convert};
use super::csv_rows::{self, CsvRows};
use super::format::Format;
use super::json_rows::{Counting, Next, read_element, read_line, trimmed};
use super::transcode;
use super::types::FieldType;

/// Largest row: a document of 16 MiB is at most about this long as text.
pub(super) const ROW_BYTES_MAX: usize = 48 << 20;
/// How much of a rejected row is kept.
const TEXT_BYTES_MAX: usize = 4096;
/// What the answer to an insert holds for an `_id` beside its value, and for one that the node makes.
const REPLY_FRAME_BYTES: usize = 20;
const REPLY_MADE_ID_BYTES: usize = 60;

/// How rows become documents.
#[derive(Debug, Clone, Default)]
pub(super) struct RowsOptions {
    pub(super) format: Option<Format>,
    /// Names of the fields of CSV whose first line does not name them.
    pub(super) fields: Vec<String>,
    pub(super) id_field: Option<String>,
    pub(super) infer_types: bool,
    pub(super) types: Vec<FieldType>,
    pub(super) convert: Vec<Conversion>,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// From 1.
    pub(super) number: u64,
    /// The collection it is for.
    pub(super) collection: Arc<str>,
    /// The document as BSON, or what is wrong with it.
    pub(super) document: Result<Bytes, String>,
    /// Its beginning, if it is wrong.
    pub(super) text: String,
    /// Size in the file.
    pub(super) size_bytes: usize,
    /// Size of its part of the answer to an insert.
    pub(super) reply_bytes: usize,
    /// Where the next row begins.
    pub(super) end_offset: u64,
}

/// What the beginning of a file says about the rest.
#[derive(Debug, Clone)]
pub(super) struct Head {
    format: Format,
    /// Names of the fields of CSV.
    names: Vec<String>,
}

/// Reads the beginning of a file: its format and, for CSV, the names of the fields.
pub(super) fn head(mut reader: impl BufRead, options: &RowsOptions) -> io::Result<Head> {
    let format = match options.format {
        Some(format) => format,
        None => Format::of_beginning(&mut reader)?,
    };
    let names = match format {
        Format::Csv if options.fields.is_empty() => CsvRows::new(reader).names()?,
        Format::Csv => options.fields.clone(),
        Format::Json | Format::Jsonl | Format::Bson => Vec::new(),
    };
    Ok(Head { format, names })
}

/// Where in its file a reader stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Rows before it.
    pub(super) rows: u64,
    /// What the beginning said, when this is not the beginning.
    pub(super) head: Option<Head>,
}

/// The rows of a file.
pub(super) struct Rows<R> {
    source: Source<R>,
    collection: Arc<str>,
    names: Vec<String>,
    options: RowsOptions,
    /// Where the source began in the file.
    first_offset: u64,
    number: u64,
    text: Vec<u8>,
    ended: bool,
}

enum Source<R> {
    Lines(Counting<R>),
    Array(Counting<R>),
    Csv(CsvRows<R>),
    Bson(Counting<R>),
    Archive(Counting<R>, Blocks),
}

/// A document that was read, in the form in which it came.
enum Read {
    /// The bytes are those of the row.
    Same,
    Bytes {
        bytes: Vec<u8>,
        is_checked: bool,
    },
    Document(Document),
}

impl<R: BufRead> Rows<R> {
    /// Rows of `reader`, which stands at `place`, for `collection`.
    pub(super) fn new(
        mut reader: R,
        options: RowsOptions,
        collection: Arc<str>,
        place: Place,
    ) -> io::Result<Self> {
        let Place { offset, rows, head } = place;
        let is_beginning = head.is_none();
        let (format, mut names) = match head {
            Some(Head { format, names }) => (format, names),
            None => {
                let format = match options.format {
                    Some(format) => format,
                    None => Format::of_beginning(&mut reader)?,
                };
                (format, options.fields.clone())
            }
        };
        let source = match format {
            Format::Jsonl => Source::Lines(Counting::new(reader)),
            Format::Json => Source::Array(Counting::new(reader)),
            Format::Bson => Source::Bson(Counting::new(reader)),
            Format::Csv => {
                let mut csv = CsvRows::new(reader);
                if is_beginning && names.is_empty() {
                    names = csv.names()?;
                }
                Source::Csv(csv)
            }
        };
        Ok(Self {
            names,
            first_offset: offset,
            number: rows,
            ..Self::of(source, options, collection)
        })
    }

    /// Rows of the blocks of an archive whose prelude has been read from `reader`, but for the first `skip`.
    pub(super) fn of_archive(
        reader: R,
        options: RowsOptions,
        blocks: Blocks,
        skip: u64,
    ) -> io::Result<Self> {
        let source = Source::Archive(Counting::new(reader), blocks);
        let mut rows = Self::of(source, options, Arc::from(""));
        while rows.number < skip {
            if rows.read_next()?.is_none() {
                rows.ended = true;
                break;
            }
            rows.number += 1;
        }
        Ok(rows)
    }

    fn of(source: Source<R>, options: RowsOptions, collection: Arc<str>) -> Self {
        Self {
            source,
            collection,
            names: Vec::new(),
            options,
            first_offset: 0,
            number: 0,
            text: Vec::new(),
            ended: false,
        }
    }

    /// The next row's document as it stands there, its text in `self.text`.
    fn read_next(&mut self) -> io::Result<Option<Result<Read, String>>> {
        let text = &mut self.text;
        text.clear();
        let cut = || Err("is cut off: the file ends inside it".to_owned());
        let read = match &mut self.source {
            Source::Lines(reader) => loop {
                text.clear();
                if !read_line(reader, text)? {
                    return Ok(None);
                }
                let line = trimmed(text);
                if !line.is_empty() {
                    break of_json(line);
                }
            },
            Source::Array(reader) => match read_element(reader, text)? {
                Next::Value => of_json(text),
                Next::Cut => cut(),
                Next::End => return Ok(None),
            },
            Source::Csv(csv) => {
                let Some(record) = csv.next()? else {
                    return Ok(None);
                };
                let document = csv_rows::document(&self.names, record, self.options.infer_types);
                if document.is_err() {
                    *text = record.iter().collect::<Vec<_>>().join(&b","[..]);
                }
                document.map(Read::Document)
            }
            Source::Bson(reader) => match read_document(reader, text)? {
                Next::Value => Ok(Read::Same),
                Next::Cut => cut(),
                Next::End => return Ok(None),
            },
            Source::Archive(reader, blocks) => match blocks.next(reader, text)? {
                Step::Document(collection) => {
                    self.collection = collection;
                    Ok(Read::Same)
                }
                Step::Cut(collection) => {
                    self.collection = collection;
                    cut()
                }
                Step::End => return Ok(None),
            },
        };
        Ok(Some(read))
    }

    fn read(&mut self) -> io::Result<Option<Row>> {
        let before = self.source.count();
        let Some(read) = self.read_next()? else {
            return Ok(None);
        };
        self.number += 1;
        let finished = read.and_then(|read| self.finish(read)).and_then(|bytes| {
            let reply_bytes = reply_bytes(&bytes)?;
            Ok((bytes, reply_bytes))
        });
        let (document, reply_bytes, text) = match finished {
            Ok((bytes, reply_bytes)) => (Ok(bytes.into()), reply_bytes, String::new()),
            Err(reason) => (Err(reason), 0, self.shown()),
        };
        let count = self.source.count();
        Ok(Some(Row {
            number: self.number,
            collection: self.collection.clone(),
            document,
            text,
            size_bytes: (count - before) as usize,
            reply_bytes,
            end_offset: self.first_offset + count,
        }))
    }

    fn shown(&self) -> String {
        match &self.source {
            Source::Bson(_) | Source::Archive(..) => shown_document(&self.text),
            _ => String::from_utf8_lossy(&self.text[..self.text.len().min(TEXT_BYTES_MAX)])
                .trim_end()
                .to_owned(),
        }
    }

    /// The bytes to store.
    fn finish(&self, read: Read) -> Result<Vec<u8>, String> {
        let RowsOptions {
            id_field,
            types,
            convert: rules,
            ..
        } = &self.options;
        let read = if id_field.is_none() && types.is_empty() && rules.is_empty() {
            read
        } else {
            let mut document = convert(self.decoded(read)?, rules);
            for one in types {
                one.apply(&mut document)?;
            }
            Read::Document(with_id(document, id_field.as_deref())?)
        };
        let (bytes, is_checked) = match read {
            Read::Same => (self.text.clone(), false),
            Read::Bytes { bytes, is_checked } => (bytes, is_checked),
            Read::Document(document) => {
                let bytes = document.to_vec();
                (
                    bytes.map_err(|error| format!("cannot be stored: {error}"))?,
                    false,
                )
            }
        };
        if !is_checked {
            let raw = RawDocument::from_bytes(&bytes).map_err(|error| not_bson(&error))?;
            check_document(raw).map_err(|error| error.to_string())?;
        }
        Ok(bytes)
    }

    fn decoded(&self, read: Read) -> Result<Document, String> {
        let bytes = match &read {
            Read::Same => &self.text,
            Read::Bytes { bytes, .. } => bytes,
            Read::Document(_) => &Vec::new(),
        };
        match read {
            Read::Document(document) => Ok(document),
            _ => Document::from_reader(bytes.as_slice()).map_err(|error| not_bson(&error)),
        }
    }
}

/// The beginning of a rejected document as text.
pub(super) fn shown_document(document: &[u8]) -> String {
    shown(document, TEXT_BYTES_MAX)
}

fn not_bson(error: &bson::error::Error) -> String {
    format!("is not BSON: {error}")
}

fn of_json(text: &[u8]) -> Result<Read, String> {
    transcode::to_bson(text).map(|made| Read::Bytes {
        bytes: made.bytes,
        is_checked: made.is_plain,
    })
}

fn with_id(mut document: Document, id_field: Option<&str>) -> Result<Document, String> {
    let Some(field) = id_field else {
        return Ok(document);
    };
    let id = document
        .get(field)
        .cloned()
        .ok_or_else(|| format!("has no field {field:?} to take its _id from"))?;
    if !matches!(
        id,
        Bson::String(_) | Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::ObjectId(_)
    ) {
        return Err(format!(
            "its field {field:?} is neither text nor a number, so it cannot be the _id"
        ));
    }
    document.insert("_id", id);
    Ok(document)
}

/// The size of an `_id` in the answer to an insert; refuses one that the database does not take.
fn reply_bytes(document: &[u8]) -> Result<usize, String> {
    let raw = RawDocument::from_bytes(document).map_err(|error| not_bson(&error))?;
    let id = raw.get("_id").map_err(|error| not_bson(&error))?;
    let bytes = match id {
        None => REPLY_MADE_ID_BYTES,
        Some(RawBsonRef::String(text)) => text.len(),
        Some(RawBsonRef::Binary(binary)) => binary.bytes.len(),
        Some(
            RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::ObjectId(_)
            | RawBsonRef::DateTime(_)
            | RawBsonRef::Boolean(_),
        ) => 12,
        Some(RawBsonRef::Double(number)) if number.is_finite() => 8,
        Some(other) => {
            return Err(format!(
                "its _id is of type {:?}; the _id is text or a number",
                other.element_type()
            ));
        }
    };
    Ok(bytes + REPLY_FRAME_BYTES)
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        if self.ended {
            return None;
        }
        let row = self.read().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

impl<R: BufRead> Source<R> {
    /// Bytes that rows have used up.
    fn count(&self) -> u64 {
        match self {
            Self::Lines(reader)
            | Self::Array(reader)
            | Self::Bson(reader)
            | Self::Archive(reader, _) => reader.count,
            Self::Csv(csv) => csv.count(),
        }
    }
}

pub(super) fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a row is longer than {ROW_BYTES_MAX} bytes"),
    )
}

#[cfg(test)]
#[path = "rows_test.rs"]
mod tests;
