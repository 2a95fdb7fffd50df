//! Records of CSV as documents.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{Bson, Document};

use super::rows::{ROW_BYTES_MAX, too_long};

/// Records of CSV. The reader's own buffer reads ahead, but its position is that of the records.
pub(super) struct CsvRows<R> {
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
    pub(super) fn new(reader: R) -> Self {
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

    pub(super) fn next(&mut self) -> io::Result<Option<&csv::ByteRecord>> {
        self.left.store(ROW_BYTES_MAX, Ordering::Relaxed);
        let more = self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(io::Error::other)?;
        Ok(more.then_some(&self.record))
    }

    /// Bytes that records have used up.
    pub(super) fn count(&self) -> u64 {
        self.reader.position().byte()
    }

    /// Takes the first record as the names of the fields.
    pub(super) fn names(&mut self) -> io::Result<Vec<String>> {
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

/// One record. A name with dots is a path into documents; an empty cell is a field that is not there.
pub(super) fn document(
    names: &[String],
    record: &csv::ByteRecord,
    infer_types: bool,
) -> Result<Document, String> {
    if record.len() > names.len() {
        return Err(format!(
            "has {} cells, but there are names for {} fields",
            record.len(),
            names.len()
        ));
    }
    let mut document = Document::new();
    for (name, cell) in names.iter().zip(record) {
        let cell =
            std::str::from_utf8(cell).map_err(|_| format!("its field {name:?} is not UTF-8"))?;
        if !cell.is_empty() {
            let value = if infer_types {
                inferred(cell)
            } else {
                Bson::from(cell)
            };
            put(&mut document, name, value)?;
        }
    }
    Ok(document)
}

fn put(document: &mut Document, path: &str, value: Bson) -> Result<(), String> {
    let Some((head, rest)) = path.split_once('.') else {
        document.insert(path, value);
        return Ok(());
    };
    let inner = document
        .entry(head.to_owned())
        .or_insert_with(|| Bson::Document(Document::new()));
    match inner {
        Bson::Document(inner) => put(inner, rest, value),
        _ => Err(format!(
            "its field {head:?} is a value and a document at once"
        )),
    }
}

/// Numbers and truth values as such. Digits with a leading zero are a name (a postcode), not a number.
pub(super) fn inferred(cell: &str) -> Bson {
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
