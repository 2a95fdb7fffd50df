//! `yunbase db export`: the documents of a collection as a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bson::{Bson, Document};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use serde_json::Value;
use yunbase_client::Client;

use super::ejson::parse_document;
use super::failure::CliError;
use super::import::Format;

/// How exact the values of JSON are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    /// Plain numbers and dates where nothing is lost by it.
    Relaxed,
    /// Each value with its type.
    Canonical,
}

/// Writes the documents of a collection to a file.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The collection
    collection: String,
    /// The file [default: standard output]
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// How to write it [default: by the file's name, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Which documents, as Extended JSON
    #[arg(long, default_value = "{}")]
    filter: String,
    /// Write at most this many documents
    #[arg(long)]
    limit: Option<u64>,
    /// Columns of CSV [default: the fields of the first document]
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
    /// How exact JSON values are
    #[arg(long, value_enum, default_value = "relaxed")]
    precision: Precision,
}

impl ExportArgs {
    /// The collection.
    pub(super) fn collection(&self) -> &str {
        &self.collection
    }

    /// Carries out the export and says how many documents there were. A file is complete or not there.
    pub async fn run(self, client: &Client) -> Result<u64, CliError> {
        let Some(path) = &self.file else {
            let count = self.write(client, io::stdout()).await?;
            eprintln!("{count} documents");
            return Ok(count);
        };
        let failed = |error: io::Error| {
            CliError::failed(format!("cannot write {}: {error}", path.display()))
        };
        let partial = path.with_added_extension("partial");
        let file = File::create(&partial).map_err(failed)?;
        let count = self.write(client, &file).await?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&partial, path).map_err(failed)?;
        eprintln!("{count} documents in {}", path.display());
        Ok(count)
    }

    fn format(&self) -> Format {
        let by_name = || match self.file.as_ref()?.extension()?.to_str()? {
            "json" => Some(Format::Json),
            _ => Format::of_name(self.file.as_ref()?),
        };
        self.format.or_else(by_name).unwrap_or(Format::Jsonl)
    }

    async fn write(&self, client: &Client, out: impl Write) -> Result<u64, CliError> {
        let broken = |error: io::Error| CliError::failed(format!("cannot write: {error}"));
        let mut find = client
            .collection::<Document>(&self.collection)
            .find(parse_document("--filter", &self.filter)?);
        if let Some(limit) = self.limit {
            find = find.limit(limit);
        }
        let mut documents = std::pin::pin!(find.stream());
        let mut writer = DocumentWriter::new(
            BufWriter::new(out),
            self.format(),
            self.precision,
            self.fields.clone(),
        );
        let mut count = 0;
        while let Some(document) = documents.next().await {
            writer.write(document?).map_err(broken)?;
            count += 1;
        }
        writer.finish().map_err(broken)?;
        Ok(count)
    }
}

/// Writes documents one by one in a format.
struct DocumentWriter<W: Write> {
    out: W,
    format: Format,
    precision: Precision,
    columns: Vec<String>,
    count: u64,
}

impl<W: Write> DocumentWriter<W> {
    fn new(out: W, format: Format, precision: Precision, columns: Vec<String>) -> Self {
        Self {
            out,
            format,
            precision,
            columns,
            count: 0,
        }
    }

    fn write(&mut self, document: Document) -> io::Result<()> {
        self.count += 1;
        match self.format {
            Format::Jsonl => writeln!(self.out, "{}", self.json(Bson::Document(document))),
            Format::Json => {
                let before = if self.count == 1 { "[\n" } else { ",\n" };
                write!(self.out, "{before}{}", self.json(Bson::Document(document)))
            }
            Format::Csv => self.write_csv(&document),
        }
    }

    fn json(&self, value: Bson) -> Value {
        match self.precision {
            Precision::Relaxed => value.into_relaxed_extjson(),
            Precision::Canonical => value.into_canonical_extjson(),
        }
    }

    fn write_csv(&mut self, document: &Document) -> io::Result<()> {
        if self.count == 1 {
            if self.columns.is_empty() {
                self.columns = document.keys().cloned().collect();
            }
            let header = record(self.columns.iter().cloned())?;
            self.out.write_all(&header)?;
        }
        let cells = self
            .columns
            .iter()
            .map(|column| match document.get(column) {
                None | Some(Bson::Null) => String::new(),
                Some(Bson::String(text)) => text.clone(),
                Some(value) => self.json(value.clone()).to_string(),
            });
        let record = record(cells)?;
        self.out.write_all(&record)
    }

    fn finish(mut self) -> io::Result<()> {
        if self.format == Format::Json {
            self.out
                .write_all(if self.count == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()
    }
}

fn record(cells: impl Iterator<Item = String>) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    writer
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        let mut writer = DocumentWriter::new(&mut out, format, Precision::Relaxed, Vec::new());
        writer
            .write(doc! {"_id": 1, "a": "x,\"y\"", "d": {"n": 2}})
            .unwrap();
        writer.write(doc! {"_id": 2, "a": Bson::Null}).unwrap();
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_forms() {
        assert_eq!(written(Format::Jsonl).lines().count(), 2);
        let array: Value = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(array[1]["_id"], 2);
    }

    #[test]
    fn csv_quotes_and_leaves_out_what_is_not_there() {
        assert_eq!(
            written(Format::Csv),
            "_id,a,d\n1,\"x,\"\"y\"\"\",\"{\"\"n\"\":2}\"\n2,,\n"
        );
    }

    #[test]
    fn an_empty_array_is_an_array() {
        let mut out = Vec::new();
        DocumentWriter::new(&mut out, Format::Json, Precision::Canonical, Vec::new())
            .finish()
            .unwrap();
        assert_eq!(out, b"[]\n");
    }
}
