//! `yunbase db import`: rows of a file become documents of a collection.
//!
//! Memory is bounded by the batches in flight. A bad row is set aside with its reason and does not stop the
//! others. With a checkpoint file an interrupted import goes on where it was, and no row is stored twice.

mod batch;
mod checkpoint;
mod progress;
mod rows;
mod types;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use yunbase_client::Client;

use super::environment::Environment;
use super::exit::Exit;
use super::failure::CliError;

pub use rows::Format;
pub use types::FieldType;

use batch::{Batch, Done, Rejection, Writer};
use checkpoint::Checkpoint;
use progress::Progress;
use rows::{Row, Rows, RowsOptions};

/// Documents in one request.
const BATCH_DOCUMENTS_MAX: usize = 500;
/// A batch takes no further row once it holds this much.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Batches that are being written at once.
const BATCHES_IN_FLIGHT: usize = 8;
/// Rows that are parsed ahead of the batches.
const ROWS_AHEAD: usize = 1024;
/// Rejections that are also printed; the file has all of them.
const REJECTIONS_PRINTED: u64 = 5;

/// What to do with a row whose `_id` exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Conflict {
    /// Set it aside as rejected; the exit code tells.
    Error,
    /// Leave the stored document as it is.
    Skip,
    /// Put the row in its place.
    Replace,
}

/// Reads documents from a file into a collection.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The collection; it is created when it is missing
    collection: String,
    /// The file; `-` reads standard input
    file: PathBuf,
    /// How the file is written [default: by its name or its first character]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What to do when an `_id` exists already
    #[arg(long, value_enum, default_value_t = Conflict::Error)]
    conflict: Conflict,
    /// Take `_id` from this field
    #[arg(long, value_name = "FIELD")]
    id_field: Option<String>,
    /// Read at most this many rows
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
    /// Read numbers, true and false in CSV cells as such
    #[arg(long)]
    infer_types: bool,
    /// Read text fields as int, double, bool or date, for example `lat:double,born:date`
    #[arg(long, value_name = "FIELD:TYPE,...", value_delimiter = ',')]
    types: Vec<FieldType>,
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
    /// Those of them that were set aside because their `_id` exists.
    pub conflicts: u64,
    /// Nothing was written on purpose.
    pub dry_run: bool,
}

impl Report {
    /// The result as the command prints it.
    pub fn to_json(&self) -> Value {
        let mut value = json!({"rows": self.rows, "written": self.written, "skipped": self.skipped,
            "rejected": self.rejected, "conflicts": self.conflicts});
        if self.dry_run {
            value["dry_run"] = Value::Bool(true);
        }
        value
    }

    /// The command's end: rejected rows make it fail.
    pub fn conclude(&self) -> Result<(), CliError> {
        let exit = match (self.rejected, self.conflicts) {
            (0, _) => return Ok(()),
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
    /// The collection.
    pub(super) fn collection(&self) -> &str {
        &self.collection
    }

    /// Carries out the import.
    pub async fn run(self, target: &Environment, dry_run: bool) -> Result<Report, CliError> {
        let checkpoint = match &self.resume {
            Some(_) if self.is_stdin() => {
                return Err(CliError::usage(
                    "--resume needs a file: standard input cannot be read again",
                ));
            }
            Some(path) => Checkpoint::load(path, &self.file)?,
            None => Checkpoint::default(),
        };
        let size_bytes = if self.is_stdin() {
            None
        } else {
            std::fs::metadata(&self.file).ok().map(|meta| meta.len())
        };
        let mut import = Import {
            report: Report {
                dry_run,
                ..checkpoint.report()
            },
            progress: Progress::new(size_bytes, checkpoint.offset),
            rejects: self.rejects.as_deref().map(open_rejects).transpose()?,
            max_rejected: self.max_rejected,
            resume: self.resume.clone().filter(|_| !dry_run),
            checkpoint,
        };
        let rows = self.rows(&import.checkpoint)?;
        let client = target.connect().await?;
        let outcome = if dry_run {
            import.only_read(rows).await
        } else {
            prepare(&client, &self.collection, target).await?;
            let writer = Writer {
                collection: client.collection(&self.collection),
                conflict: self.conflict,
                resumed: import.checkpoint.offset > 0,
                stable_ids: self
                    .resume
                    .is_some()
                    .then(|| self.file.display().to_string()),
            };
            import.write(rows, writer).await
        };
        import.progress.finish(&import.report);
        import.flush_rejects()?;
        outcome?;
        Ok(import.report)
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// Starts to read rows on a thread of their own: parsing blocks and is as much work as sending.
    fn rows(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<mpsc::Receiver<Result<Row, CliError>>, CliError> {
        let name = self.file.display().to_string();
        let failed =
            move |error: io::Error| CliError::failed(format!("cannot read {name}: {error}"));
        let by_name = Format::of_name(&self.file);
        let options = RowsOptions {
            format: self.format.or(by_name),
            id_field: self.id_field.clone(),
            infer_types: self.infer_types,
            types: self.types.clone(),
        };
        let (mut source, offset): (Box<dyn Read + Send>, u64) = if self.is_stdin() {
            (Box::new(io::stdin()), 0)
        } else {
            let file = File::open(&self.file).map_err(&failed)?;
            (Box::new(file), checkpoint.offset)
        };
        let mut header = None;
        if offset > 0 {
            // The head of the file says what the rest is.
            let mut file = File::open(&self.file).map_err(&failed)?;
            header = Some(rows::head(BufReader::new(&mut file), &options).map_err(&failed)?);
            file.seek(SeekFrom::Start(offset)).map_err(&failed)?;
            source = Box::new(file);
        }
        let earlier = checkpoint.rows;
        let limit = self
            .limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(checkpoint.rows));
        let (sender, receiver) = mpsc::channel(ROWS_AHEAD);
        std::thread::spawn(move || {
            let reader = BufReader::with_capacity(1 << 18, source);
            let rows = match Rows::new(reader, options, header.as_ref(), offset, earlier) {
                Ok(rows) => rows,
                Err(error) => return drop(sender.blocking_send(Err(failed(error)))),
            };
            for row in rows.take(usize::try_from(limit).unwrap_or(usize::MAX)) {
                if sender.blocking_send(row.map_err(&failed)).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
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

fn open_rejects(path: &std::path::Path) -> Result<BufWriter<File>, CliError> {
    let opened = File::options().create(true).append(true).open(path);
    opened
        .map(BufWriter::new)
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

/// An import under way.
struct Import {
    report: Report,
    progress: Progress,
    rejects: Option<BufWriter<File>>,
    max_rejected: u64,
    resume: Option<PathBuf>,
    checkpoint: Checkpoint,
}

impl Import {
    async fn only_read(
        &mut self,
        mut rows: mpsc::Receiver<Result<Row, CliError>>,
    ) -> Result<(), CliError> {
        while let Some(row) = rows.recv().await {
            let row = row?;
            self.report.rows += 1;
            self.progress.show(row.end_offset, &self.report);
            if let Err(reason) = &row.document {
                self.reject(&Rejection::new(&row, reason.clone()))?;
            }
        }
        Ok(())
    }

    async fn write(
        &mut self,
        mut rows: mpsc::Receiver<Result<Row, CliError>>,
        writer: Writer,
    ) -> Result<(), CliError> {
        let writer = Arc::new(writer);
        let mut running: JoinSet<Result<Done, CliError>> = JoinSet::new();
        let mut number = 0;
        let mut ended = false;
        while !ended || !running.is_empty() {
            if !ended && running.len() < BATCHES_IN_FLIGHT {
                let batch = gather(&mut rows, number).await?;
                ended = batch.rows.is_empty();
                number += 1;
                if !ended {
                    let writer = writer.clone();
                    running.spawn(async move { writer.write(batch).await });
                }
                continue;
            }
            if let Some(done) = running.join_next().await {
                let done =
                    done.map_err(|error| CliError::failed(format!("a batch was lost: {error}")))??;
                self.finished(&done)?;
            }
        }
        Ok(())
    }

    fn finished(&mut self, done: &Done) -> Result<(), CliError> {
        self.report.rows += done.rows;
        self.report.written += done.written;
        self.report.skipped += done.skipped;
        self.progress.show(done.end_offset, &self.report);
        let moved = self.checkpoint.finished(done);
        for rejection in &done.rejections {
            self.reject(rejection)?;
        }
        if self.resume.is_some() && moved {
            // A row that counts as settled must be in the file of rejects by then.
            self.flush_rejects()?;
            self.resume
                .as_deref()
                .map_or(Ok(()), |path| self.checkpoint.save(path))?;
        }
        Ok(())
    }

    fn reject(&mut self, rejection: &Rejection) -> Result<(), CliError> {
        self.report.rejected += 1;
        self.report.conflicts += u64::from(rejection.conflict);
        if self.report.rejected <= REJECTIONS_PRINTED {
            self.progress
                .say(&format!("row {}: {}", rejection.row, rejection.reason));
        }
        if let Some(out) = &mut self.rejects {
            let line =
                json!({"row": rejection.row, "reason": rejection.reason, "text": rejection.text});
            writeln!(out, "{line}").map_err(|error| {
                CliError::failed(format!("cannot write rejected rows: {error}"))
            })?;
        }
        if self.report.rejected > self.max_rejected {
            let message = format!(
                "more than {} rows were rejected; see --max-rejected",
                self.max_rejected
            );
            return Err(CliError::failed(message));
        }
        Ok(())
    }

    fn flush_rejects(&mut self) -> Result<(), CliError> {
        let Some(out) = &mut self.rejects else {
            return Ok(());
        };
        out.flush()
            .map_err(|error| CliError::failed(format!("cannot write rejected rows: {error}")))
    }
}

/// Rows up to the bounds of a batch; empty at the end.
async fn gather(
    rows: &mut mpsc::Receiver<Result<Row, CliError>>,
    number: u64,
) -> Result<Batch, CliError> {
    let mut batch = Batch {
        number,
        rows: Vec::new(),
    };
    let mut bytes = 0;
    while batch.rows.len() < BATCH_DOCUMENTS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(row) = rows.recv().await else { break };
        let row = row?;
        bytes += row.size_bytes;
        batch.rows.push(row);
    }
    Ok(batch)
}

#[cfg(test)]
#[path = "import_test.rs"]
mod tests;
