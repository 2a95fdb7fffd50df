//! Rows of a file, one after the other, in bounded memory: JSON lines, one JSON array, or CSV.
//!
//! Each row knows where it ends in the file, so that a later run can go on behind it. What is wrong with one row is
//! that row's reason; only a file that cannot be read at all is an error.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{Bson, Document};
use clap::ValueEnum;

use super::types::FieldType;
use crate::cli::ejson;

/// Largest row: a document of 16 MiB is at most about this long as text.
const ROW_BYTES_MAX: usize = 48 << 20;
/// How much of a rejected row is kept.
const TEXT_BYTES_MAX: usize = 4096;

/// Some programs begin a file with this.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Comma-separated values; the first line names the fields.
    Csv,
}

impl Format {
    /// What the name of a file says. `.json` may be an array or lines.
    pub fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// How rows become documents.
#[derive(Debug, Clone, Default)]
pub(super) struct RowsOptions {
    pub(super) format: Option<Format>,
    pub(super) id_field: Option<String>,
    pub(super) infer_types: bool,
    pub(super) types: Vec<FieldType>,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// From 1.
    pub(super) number: u64,
    /// The document, or what is wrong with it.
    pub(super) document: Result<Document, String>,
    /// Its beginning, if it is wrong.
    pub(super) text: String,
    /// Size in the file.
    pub(super) size_bytes: usize,
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
    let format = format_of(&mut reader, options)?;
    let names = match format {
        Format::Csv => CsvRows::new(reader).names()?,
        Format::Json | Format::Jsonl => Vec::new(),
    };
    Ok(Head { format, names })
}

/// The format, from the first character that is not white space; nothing is consumed.
fn format_of(reader: &mut impl BufRead, options: &RowsOptions) -> io::Result<Format> {
    if let Some(format) = options.format {
        return Ok(format);
    }
    let buffer = reader.fill_buf()?;
    let first = buffer
        .iter()
        .find(|byte| !byte.is_ascii_whitespace() && !BYTE_ORDER_MARK.contains(byte));
    Ok(match first {
        Some(b'[') => Format::Json,
        Some(b'{') | None => Format::Jsonl,
        Some(_) => Format::Csv,
    })
}

/// The rows of a file.
pub(super) struct Rows<R> {
    source: Source<R>,
    names: Vec<String>,
    options: RowsOptions,
    /// Where the source began in the file.
    first_offset: u64,
    number: u64,
    ended: bool,
}

enum Source<R> {
    Lines(Counting<R>),
    Array(Counting<R>),
    Csv(CsvRows<R>),
}

impl<R: BufRead> Rows<R> {
    /// Rows of `reader`. Where that does not begin at the head of its file but at `first_offset`, `known` is what the
    /// head said, and `rows` how many came before.
    pub(super) fn new(
        mut reader: R,
        options: RowsOptions,
        known: Option<&Head>,
        first_offset: u64,
        rows: u64,
    ) -> io::Result<Self> {
        let format = match known {
            Some(head) => head.format,
            None => format_of(&mut reader, &options)?,
        };
        let mut names = known.map(|head| head.names.clone()).unwrap_or_default();
        let source = match format {
            Format::Jsonl => Source::Lines(Counting { reader, count: 0 }),
            Format::Json => Source::Array(Counting { reader, count: 0 }),
            Format::Csv => {
                let mut csv = CsvRows::new(reader);
                if known.is_none() {
                    names = csv.names()?;
                }
                Source::Csv(csv)
            }
        };
        Ok(Self {
            source,
            names,
            options,
            first_offset,
            number: rows,
            ended: false,
        })
    }

    fn read(&mut self) -> io::Result<Option<Row>> {
        let mut text = Vec::new();
        let before = self.source.count();
        let document = match &mut self.source {
            Source::Lines(reader) => loop {
                text.clear();
                if !read_line(reader, &mut text)? {
                    return Ok(None);
                }
                let line = text
                    .strip_prefix(BYTE_ORDER_MARK)
                    .unwrap_or(&text)
                    .trim_ascii();
                if !line.is_empty() {
                    break ejson::to_document(line);
                }
            },
            Source::Array(reader) => match read_element(reader, &mut text)? {
                Element::Value => ejson::to_document(&text),
                Element::Cut => Err("is cut off: the file ends inside it".to_owned()),
                Element::End => return Ok(None),
            },
            Source::Csv(csv) => {
                let Some(record) = csv.next()? else {
                    return Ok(None);
                };
                text = record.iter().collect::<Vec<_>>().join(&b","[..]);
                csv_document(&self.names, record, self.options.infer_types)
            }
        };
        self.number += 1;
        let document = document
            .and_then(|document| self.with_types(document))
            .and_then(|document| self.with_id(document));
        let text = match &document {
            Ok(_) => String::new(),
            Err(_) => String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]).into_owned(),
        };
        let count = self.source.count();
        let size_bytes = (count - before) as usize;
        Ok(Some(Row {
            number: self.number,
            document,
            text,
            size_bytes,
            end_offset: self.first_offset + count,
        }))
    }

    fn with_types(&self, mut document: Document) -> Result<Document, String> {
        for one in &self.options.types {
            one.apply(&mut document)?;
        }
        Ok(document)
    }

    fn with_id(&self, mut document: Document) -> Result<Document, String> {
        let Some(field) = &self.options.id_field else {
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
            Self::Lines(reader) | Self::Array(reader) => reader.count,
            Self::Csv(csv) => csv.reader.position().byte(),
        }
    }
}

/// Counts what is consumed, which is how far the file has been read.
struct Counting<R> {
    reader: R,
    count: u64,
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.reader.consume(amount);
    }
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a row is longer than {ROW_BYTES_MAX} bytes"),
    )
}

/// One line without its end, or false at the end of the file.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let (taken, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        line.extend_from_slice(&buffer[..taken]);
        reader.consume(taken);
        if line.len() > ROW_BYTES_MAX {
            return Err(too_long());
        }
        if ended {
            return Ok(true);
        }
    }
}

enum Element {
    Value,
    Cut,
    End,
}

/// The next element of a JSON array, by its brackets alone: whether it is good JSON is seen when it is parsed.
/// The array's own brackets and the commas between elements count as white space, so this can begin anywhere
/// between two elements.
fn read_element(reader: &mut impl BufRead, element: &mut Vec<u8>) -> io::Result<Element> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(if element.is_empty() {
                Element::End
            } else {
                Element::Cut
            });
        }
        let mut taken = 0;
        let mut complete = false;
        for byte in buffer {
            let separates =
                depth == 0 && !quoted && (byte.is_ascii_whitespace() || b",]".contains(byte));
            let opens_array =
                element.is_empty() && (*byte == b'[' || BYTE_ORDER_MARK.contains(byte));
            if separates && !element.is_empty() {
                complete = true;
                break;
            }
            taken += 1;
            if separates || opens_array {
                continue;
            }
            element.push(*byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && !quoted && *byte == b'}' {
                complete = true;
                break;
            }
        }
        reader.consume(taken);
        if complete {
            return Ok(Element::Value);
        }
        if element.len() > ROW_BYTES_MAX {
            return Err(too_long());
        }
    }
}

/// Records of CSV. The reader's own buffer reads ahead, but its position is that of the records.
struct CsvRows<R> {
    reader: csv::Reader<Metered<R>>,
    record: csv::ByteRecord,
    left: Arc<AtomicUsize>,
}

/// Refuses to read on when one record takes more than its share, as one with a lost quote would.
struct Metered<R> {
    reader: R,
    left: Arc<AtomicUsize>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self
            .left
            .load(Ordering::Relaxed)
            .checked_sub(count)
            .ok_or_else(too_long)?;
        self.left.store(left, Ordering::Relaxed);
        Ok(count)
    }
}

impl<R: Read> CsvRows<R> {
    fn new(reader: R) -> Self {
        let left = Arc::new(AtomicUsize::new(ROW_BYTES_MAX));
        let metered = Metered {
            reader,
            left: left.clone(),
        };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(metered);
        Self {
            reader,
            record: csv::ByteRecord::new(),
            left,
        }
    }

    fn next(&mut self) -> io::Result<Option<&csv::ByteRecord>> {
        self.left.store(ROW_BYTES_MAX, Ordering::Relaxed);
        let more = self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(io::Error::other)?;
        Ok(more.then_some(&self.record))
    }

    /// Takes the first record as the names of the fields.
    fn names(&mut self) -> io::Result<Vec<String>> {
        let Some(record) = self.next()? else {
            return Ok(Vec::new());
        };
        let name = |name: &[u8]| {
            String::from_utf8_lossy(name)
                .trim_start_matches('\u{feff}')
                .trim()
                .to_owned()
        };
        Ok(record.iter().map(name).collect())
    }
}

fn csv_document(
    names: &[String],
    record: &csv::ByteRecord,
    infer_types: bool,
) -> Result<Document, String> {
    if record.len() > names.len() {
        return Err(format!(
            "has {} cells, but the first line names {} fields",
            record.len(),
            names.len()
        ));
    }
    let mut document = Document::new();
    for (name, cell) in names.iter().zip(record) {
        let cell =
            std::str::from_utf8(cell).map_err(|_| format!("its field {name:?} is not UTF-8"))?;
        // An empty cell is a field that is not there.
        if !cell.is_empty() {
            document.insert(
                name,
                if infer_types {
                    inferred(cell)
                } else {
                    Bson::from(cell)
                },
            );
        }
    }
    Ok(document)
}

/// Numbers and truth values as such. Digits with a leading zero are a name (a postcode), not a number.
fn inferred(cell: &str) -> Bson {
    match cell {
        "true" => return Bson::Boolean(true),
        "false" => return Bson::Boolean(false),
        _ => {}
    }
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let plain = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if !plain || (digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.")) {
        return Bson::from(cell);
    }
    let whole = cell
        .parse::<i32>()
        .map(Bson::Int32)
        .or_else(|_| cell.parse::<i64>().map(Bson::Int64));
    whole
        .or_else(|_| cell.parse::<f64>().map(Bson::Double))
        .unwrap_or_else(|_| Bson::from(cell))
}

#[cfg(test)]
#[path = "rows_test.rs"]
mod tests;
