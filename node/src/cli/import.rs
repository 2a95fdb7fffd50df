//! `yunbase db import`: rows of a file, or the collections of a mongodump, become documents.
//!
//! Memory is bounded by the batches in flight. A bad row is set aside with its reason and does not stop the
//! others. With a checkpoint file an interrupted import goes on where it was, and no row is stored twice.

mod archive;
mod batch;
mod bson_rows;
mod checkpoint;
mod convert;
mod csv_rows;
mod dump;
mod format;
mod json_rows;
mod metadata;
mod pipeline;
mod rows;
mod source;
mod transcode;
mod types;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use bson::Document;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use yunbase_client::{Client, Index};

use super::environment::Environment;
use super::exit::Exit;
use super::failure::CliError;
use super::index_wait;
use super::progress::{Progress, Unit};

pub use convert::Conversion;
pub use format::Format;
pub(in crate::cli) use format::{is_gzip_name, plain_name};
pub use types::FieldType;

use batch::Writer;
use checkpoint::Checkpoint;
use dump::{Part, Selection};
use metadata::Wanted;
use pipeline::{Import, read_ahead};
use rows::RowsOptions;

/// What to do with a row whose `_id` exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Conflict {
    /// Set it aside as rejected; the exit code tells.
    #[value(alias = "error")]
    Fail,
    /// Leave the stored document as it is.
    Skip,
    /// Put the row in its place.
    Replace,
    /// Set the fields of the row; other fields of the stored document stay.
    Merge,
}

/// Batches that are being written at once.
const BATCHES_IN_FLIGHT: usize = 8;

impl Conflict {
    fn batches_in_flight(self) -> usize {
        match self {
            Self::Fail | Self::Skip => BATCHES_IN_FLIGHT,
            // Of several rows with one `_id` the last one counts.
            Self::Replace | Self::Merge => 1,
        }
    }
}

/// Reads documents from a file, or from a mongodump, into collections.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The collection; it is created when it is missing
    #[arg(required_unless_present = "dump", conflicts_with = "dump")]
    collection: Option<String>,
    /// The file, compressed by gzip or not; `-` reads standard input
    #[arg(required_unless_present = "dump")]
    file: Option<PathBuf>,
    /// Read what mongodump wrote instead: a folder of `.bson` files, or a file of `--archive`
    #[arg(long, value_name = "FOLDER_OR_ARCHIVE")]
    dump: Option<PathBuf>,
    /// Which database of the dump [default: the only one]
    #[arg(long, requires = "dump")]
    db: Option<String>,
    /// Which collections of the dump [default: all]
    #[arg(long, requires = "dump", value_delimiter = ',')]
    collections: Vec<String>,
    /// Do not create the indexes that metadata files describe
    #[arg(long)]
    no_indexes: bool,
    /// How the file is written [default: by its name or its first character]
    #[arg(long, value_enum, conflicts_with = "dump")]
    format: Option<Format>,
    /// What to do when an `_id` exists already
    #[arg(long, value_enum, default_value_t = Conflict::Fail)]
    conflict: Conflict,
    /// Take `_id` from this field
    #[arg(long, value_name = "FIELD")]
    id_field: Option<String>,
    /// Read at most this many rows of each file
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// Write rejected rows with their reasons to this file
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Stop after this many rejected rows
    #[arg(long, default_value_t = 1000)]
    max_rejected: u64,
    /// Remember progress in this file and go on from it
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Names of the fields of CSV, when its first line does not name them; `a.b` is a field in a document
    #[arg(
        long,
        value_name = "FIELD,...",
        value_delimiter = ',',
        conflicts_with = "dump"
    )]
    fields: Vec<String>,
    /// Read numbers, true and false in CSV cells as such
    #[arg(long)]
    infer_types: bool,
    /// Read text fields as int, double, bool, date, objectid or json, for example `lat:double,born:date`
    #[arg(long, value_name = "FIELD:TYPE,...", value_delimiter = ',')]
    types: Vec<FieldType>,
    /// Turn values of these types into others instead of rejecting their rows, or keeping their ObjectIds
    #[arg(long, value_enum, value_name = "TYPE,...", value_delimiter = ',')]
    convert: Vec<Conversion>,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Rows read, including those of earlier, interrupted runs.
    pub rows: u64,
    /// Documents written.
    pub written: u64,
    /// Rows whose `_id` existed and was left alone.
    pub skipped: u64,
    /// Rows set aside.
    pub rejected: u64,
    /// Those of them that were set aside because their `_id` exists, or a value of a unique index.
    pub conflicts: u64,
    /// Indexes that were created, or were there already.
    pub indexes: u64,
    /// What of a dump cannot be had here, with reasons.
    pub left_out: Vec<String>,
    /// Nothing was written on purpose.
    pub dry_run: bool,
    /// Documents that a run that is not dry would write.
    pub would_write: u64,
}

impl Report {
    /// The result as the command prints it.
    pub fn to_json(&self) -> Value {
        let mut value = json!({"rows": self.rows, "written": self.written, "skipped": self.skipped,
            "rejected": self.rejected, "conflicts": self.conflicts});
        if self.indexes > 0 {
            value["indexes"] = self.indexes.into();
        }
        if !self.left_out.is_empty() {
            value["left_out"] = json!(self.left_out);
        }
        if self.dry_run {
            value["dry_run"] = Value::Bool(true);
            value["would_write"] = self.would_write.into();
        }
        value
    }

    /// The command's end: rejected rows, and parts of a dump that were left out, make it fail.
    pub fn conclude(&self) -> Result<(), CliError> {
        let exit = match (self.rejected, self.conflicts) {
            (0, _) if self.left_out.is_empty() => return Ok(()),
            (0, _) => {
                let message = format!(
                    "all documents are there, but this could not be carried over: {}; --no-indexes leaves it out",
                    self.left_out.join("; ")
                );
                return Err(CliError::failed(message));
            }
            (rejected, conflicts) if rejected == conflicts => Exit::Conflict,
            _ => Exit::Failed,
        };
        Err(CliError::new(
            exit,
            format!(
                "{} rows were rejected; --rejects FILE keeps them with reasons",
                self.rejected
            ),
        ))
    }
}

impl ImportArgs {
    /// The collections that move, in a few words.
    pub(super) fn moved(&self) -> String {
        moved(self.collection.as_deref(), &self.collections)
    }

    /// Carries out the import.
    pub async fn run(self, target: &Environment, dry_run: bool) -> Result<Report, CliError> {
        let source = self.dump.as_ref().or(self.file.as_ref());
        let source = source.map_or(Path::new("-"), PathBuf::as_path);
        let is_stdin = source.as_os_str() == "-";
        if is_stdin && self.dump.is_some() {
            return Err(CliError::usage(
                "--dump needs a file or a folder: an archive is read twice",
            ));
        }
        let checkpoint = match &self.resume {
            Some(_) if is_stdin => {
                return Err(CliError::usage(
                    "--resume needs a file: standard input cannot be read again",
                ));
            }
            Some(path) => Checkpoint::load(path, source)?,
            None => Checkpoint::default(),
        };
        let (parts, left_out) = self.parts(source)?;
        let sizes: Vec<Option<u64>> = parts.iter().map(Part::size_bytes).collect();
        let report = Report {
            dry_run,
            left_out,
            ..checkpoint.report()
        };
        let mut import = Import {
            progress: Progress::new(
                Unit::Bytes,
                sizes.iter().copied().sum(),
                checkpoint.offset,
                report.rows,
            ),
            report,
            rejects: self.rejects.as_deref().map(open_rejects).transpose()?,
            max_rejected: self.max_rejected,
            resume: self.resume.clone().filter(|_| !dry_run),
            checkpoint,
            bytes_before: 0,
        };
        let client = target.connect().await?;
        let outcome = self.run_parts(&client, target, &mut import, &parts).await;
        import.progress.finish(import.report.rows);
        import.flush_rejects()?;
        outcome?;
        Ok(import.report)
    }

    /// The files to read, and what of a dump is none.
    fn parts(&self, source: &Path) -> Result<(Vec<Part>, Vec<String>), CliError> {
        if self.dump.is_some() {
            let selection = Selection {
                db: self.db.as_deref(),
                collections: &self.collections,
            };
            let (parts, mut left_out) = dump::parts(source, &selection)?;
            if self.no_indexes {
                left_out.clear();
            }
            return Ok((parts, left_out));
        }
        let collection = self.collection.as_deref().unwrap_or_default();
        let format = self.format.or_else(|| Format::of_name(source));
        let part = Part::file(source, collection, format);
        let part = part.map_err(|error| CliError::failed(format!("cannot read {error}")))?;
        Ok((vec![part], Vec::new()))
    }

    async fn run_parts(
        &self,
        client: &Client,
        target: &Environment,
        import: &mut Import,
        parts: &[Part],
    ) -> Result<(), CliError> {
        for part in parts {
            if !import.checkpoint.has_finished(&part.path) {
                self.run_part(client, target, import, part).await?;
            }
            import.bytes_before += part.size_bytes().unwrap_or(0);
        }
        Ok(())
    }

    async fn run_part(
        &self,
        client: &Client,
        target: &Environment,
        import: &mut Import,
        part: &Part,
    ) -> Result<(), CliError> {
        let name = part.path.display().to_string();
        let dry_run = import.report.dry_run;
        let wanted = self.wanted(part, &mut import.report);
        if !dry_run {
            for (collection, wanted) in &wanted {
                prepare(client, collection, target).await?;
                // Before the documents, so that a row with a value that exists is that row's fault.
                import.report.indexes += create_indexes(client, collection, &wanted.unique).await?;
            }
        }
        let settled = import.checkpoint.rows;
        let resumed = import.checkpoint.begin_part(&part.path);
        import.save()?;
        let writer = Writer {
            client: client.clone(),
            conflict: self.conflict,
            dry_run,
            resumed,
            stable_ids: self.resume.is_some().then(|| name.clone()),
        };
        let opened = part.open(self.options(), &import.checkpoint);
        let opened =
            opened.map_err(|error| CliError::failed(format!("cannot read {name}: {error}")))?;
        let position = opened.position.clone();
        let limit = self
            .limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(settled));
        let batches = read_ahead(opened, limit, name);
        import.write(batches, position.as_ref(), writer).await?;
        if !dry_run {
            for (collection, wanted) in &wanted {
                // Behind the documents: building at once is cheaper than entering one by one.
                import.report.indexes += create_indexes(client, collection, &wanted.plain).await?;
            }
        }
        if self.limit.is_none() {
            import.checkpoint.finish_part(&part.path);
            import.save()?;
        }
        Ok(())
    }

    /// What the metadata of each collection of a part asks for.
    fn wanted(&self, part: &Part, report: &mut Report) -> Vec<(String, Wanted)> {
        let wanted = part.targets.iter().map(|target| {
            let mut wanted = if self.no_indexes {
                Wanted::default()
            } else {
                target.metadata.wanted(&target.name)
            };
            report.left_out.append(&mut wanted.left_out);
            (target.name.to_string(), wanted)
        });
        wanted.collect()
    }

    fn options(&self) -> RowsOptions {
        RowsOptions {
            format: self.format,
            fields: self.fields.clone(),
            id_field: self.id_field.clone(),
            infer_types: self.infer_types,
            types: self.types.clone(),
            convert: self.convert.clone(),
        }
    }
}

async fn prepare(client: &Client, name: &str, target: &Environment) -> Result<(), CliError> {
    match client.create_collection(name).await {
        Ok(()) => {
            eprintln!("created collection {name} in {}", target.describe());
            Ok(())
        }
        Err(error) if error.code() == "DATABASE_COLLECTION_ALREADY_EXIST" => {
            eprintln!("importing into {name} in {}", target.describe());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// What a movement is of: a collection, those that were named, or all.
pub(super) fn moved(collection: Option<&str>, collections: &[String]) -> String {
    match (collection, collections) {
        (Some(collection), _) => collection.to_owned(),
        (None, []) => "all collections".to_owned(),
        (None, named) => named.join(", "),
    }
}

/// Creates indexes and waits until they serve queries.
async fn create_indexes(
    client: &Client,
    collection: &str,
    indexes: &[Index],
) -> Result<u64, CliError> {
    let collection = client.collection::<Document>(collection);
    for index in indexes {
        collection.create_index(index).await?;
    }
    for index in indexes {
        index_wait::built(&collection, &index.name()).await?;
    }
    Ok(indexes.len() as u64)
}

fn open_rejects(path: &Path) -> Result<BufWriter<File>, CliError> {
    let opened = File::options().create(true).append(true).open(path);
    opened
        .map(BufWriter::new)
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
#[path = "import_test.rs"]
mod tests;
