//! Documents in the form of a file: JSON lines, one JSON array, CSV, BSON.

use std::collections::BTreeSet;
use std::io::{self, Write};

use bson::{Bson, Document};
use clap::ValueEnum;
use serde_json::Value;

use crate::cli::import::Format;

/// Names of fields that have no column that are remembered.
const MISSED_MAX: usize = 10;

/// How exact the values of JSON are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Precision {
    /// Plain numbers and dates where nothing is lost by it.
    Relaxed,
    /// Each value with its type.
    Canonical,
}

/// Writes documents one by one in a format.
pub(super) struct DocumentWriter {
    format: Format,
    precision: Precision,
    /// Columns of CSV; those of the first document unless they were chosen.
    columns: Vec<String>,
    are_chosen: bool,
    missed: BTreeSet<String>,
    count: u64,
}

impl DocumentWriter {
    /// A writer that goes on behind `count` documents; `columns` may be empty.
    pub(super) fn new(
        format: Format,
        precision: Precision,
        columns: Vec<String>,
        count: u64,
    ) -> Self {
        Self {
            format,
            precision,
            are_chosen: !columns.is_empty() && count == 0,
            columns,
            missed: BTreeSet::new(),
            count,
        }
    }

    /// Documents written so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The columns of CSV.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Some fields that have no column although nobody chose to leave them out.
    pub(super) fn missed(&self) -> impl Iterator<Item = &str> {
        self.missed.iter().map(String::as_str)
    }

    pub(super) fn write(&mut self, out: &mut impl Write, document: &[u8]) -> io::Result<()> {
        self.count += 1;
        if self.format == Format::Bson {
            return out.write_all(document);
        }
        let document = Document::from_reader(document).map_err(io::Error::other)?;
        match self.format {
            Format::Jsonl => writeln!(out, "{}", self.json(Bson::Document(document))),
            Format::Csv => self.write_csv(out, &document),
            Format::Json | Format::Bson => {
                let before = if self.count == 1 { "[\n" } else { ",\n" };
                write!(out, "{before}{}", self.json(Bson::Document(document)))
            }
        }
    }

    /// Ends the file.
    pub(super) fn finish(&self, out: &mut impl Write) -> io::Result<()> {
        match (self.format, self.count) {
            (Format::Json, 0) => out.write_all(b"[]\n"),
            (Format::Json, _) => out.write_all(b"\n]\n"),
            (Format::Csv, 0) if self.are_chosen => out.write_all(&record(self.columns.iter())?),
            _ => Ok(()),
        }
    }

    fn json(&self, value: Bson) -> Value {
        match self.precision {
            Precision::Relaxed => value.into_relaxed_extjson(),
            Precision::Canonical => value.into_canonical_extjson(),
        }
    }

    fn write_csv(&mut self, out: &mut impl Write, document: &Document) -> io::Result<()> {
        if self.count == 1 {
            if self.columns.is_empty() {
                self.columns = document.keys().cloned().collect();
            }
            out.write_all(&record(self.columns.iter())?)?;
        }
        if !self.are_chosen && self.missed.len() < MISSED_MAX {
            let missed = document
                .keys()
                .filter(|name| !self.columns.contains(name))
                .cloned();
            self.missed.extend(missed.take(MISSED_MAX));
        }
        let cells = self.columns.iter().map(|column| {
            field(document, column).map_or_else(String::new, |value| self.cell(value))
        });
        out.write_all(&record(cells)?)
    }

    /// A value as people write it; what has no such form is JSON.
    fn cell(&self, value: &Bson) -> String {
        match value {
            Bson::Null => String::new(),
            Bson::String(text) => text.clone(),
            Bson::ObjectId(id) => id.to_hex(),
            Bson::DateTime(at) => at
                .try_to_rfc3339_string()
                .unwrap_or_else(|_| self.json(value.clone()).to_string()),
            other => self.json(other.clone()).to_string(),
        }
    }
}

/// The field of this name, else the one at the path that it is.
fn field<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    document.get(path).or_else(|| {
        let (head, rest) = path.split_once('.')?;
        field(document.get(head)?.as_document()?, rest)
    })
}

fn record(cells: impl Iterator<Item = impl AsRef<[u8]>>) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    writer
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{DateTime, doc};

    use super::*;

    fn written(format: Format, columns: &[&str], documents: &[Document]) -> String {
        let mut out = Vec::new();
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        let mut writer = DocumentWriter::new(format, Precision::Relaxed, columns, 0);
        for document in documents {
            writer.write(&mut out, &document.to_vec().unwrap()).unwrap();
        }
        writer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn two() -> [Document; 2] {
        [
            doc! {"_id": 1, "a": "x,\"y\"", "d": {"n": 2}},
            doc! {"_id": 2, "a": Bson::Null},
        ]
    }

    #[test]
    fn json_forms() {
        assert_eq!(written(Format::Jsonl, &[], &two()).lines().count(), 2);
        let array: Value = serde_json::from_str(&written(Format::Json, &[], &two())).unwrap();
        assert_eq!(array[1]["_id"], 2);
        assert_eq!(written(Format::Json, &[], &[]), "[]\n");
    }

    #[test]
    fn csv_quotes_and_leaves_out_what_is_not_there() {
        assert_eq!(
            written(Format::Csv, &[], &two()),
            "_id,a,d\n1,\"x,\"\"y\"\"\",\"{\"\"n\"\":2}\"\n2,,\n"
        );
    }

    #[test]
    fn csv_has_the_chosen_columns_also_inside_documents_and_plain_values() {
        let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        let document =
            doc! {"_id": id, "at": DateTime::from_millis(0), "d": {"n": 2, "e": {"f": true}}};
        assert_eq!(
            written(
                Format::Csv,
                &["d.n", "_id", "at", "d.e.f", "no"],
                &[document]
            ),
            "d.n,_id,at,d.e.f,no\n2,507f1f77bcf86cd799439011,1970-01-01T00:00:00Z,true,\n"
        );
        assert_eq!(written(Format::Csv, &["a"], &[]), "a\n");
    }

    #[test]
    fn fields_without_a_column_are_told_unless_columns_were_chosen() {
        let missed = |columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
            let mut writer = DocumentWriter::new(Format::Csv, Precision::Relaxed, columns, 0);
            for document in [doc! {"_id": 1}, doc! {"_id": 2, "late": 1}] {
                writer
                    .write(&mut Vec::new(), &document.to_vec().unwrap())
                    .unwrap();
            }
            writer.missed().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(missed(&[]), ["late"]);
        assert!(missed(&["_id"]).is_empty());
    }
}
