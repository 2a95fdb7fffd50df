//! An import under way: batches that are read on one thread, written several at once, and accounted for.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Report;
use super::batch::{Batch, Done, Rejection, Writer};
use super::checkpoint::Checkpoint;
use super::dump::OpenPart;
use super::rows::Row;
use super::source::Position;
use crate::cli::failure::CliError;
use crate::cli::progress::Progress;

/// Documents in one request: as many as one insert takes.
const BATCH_DOCUMENTS_MAX: usize = yunbase_docdb::limits::INSERT_DOCUMENTS_MAX;
/// A batch takes no further row once it holds this much.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// The same by the size of the answer: an answer that is too large is not kept, and a retry could not get it.
const BATCH_REPLY_BYTES_MAX: usize = yunbase_docdb::limits::OUTCOME_BYTES_MAX * 3 / 4;
/// Batches that are read ahead of those.
const BATCHES_AHEAD: usize = 4;
/// Rejections that are also printed; the file has all of them.
const REJECTIONS_PRINTED: u64 = 5;

/// What has been done so far, and where it is written down.
pub(super) struct Import {
    pub(super) report: Report,
    pub(super) progress: Progress,
    pub(super) rejects: Option<BufWriter<File>>,
    pub(super) max_rejected: u64,
    /// Where the checkpoint is kept; nowhere in a dry run.
    pub(super) resume: Option<PathBuf>,
    pub(super) checkpoint: Checkpoint,
    /// Bytes of the files before the one that is read.
    pub(super) bytes_before: u64,
}

/// Batches on their way from the thread that reads, and the reason when it could not go on.
pub(super) type Batches = mpsc::Receiver<Result<Batch, CliError>>;

/// Reads on a thread of its own: parsing blocks, and is as much work as sending. At most `limit` rows.
pub(super) fn read_ahead(part: OpenPart, limit: u64, name: String) -> Batches {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    std::thread::spawn(move || {
        let mut gathered = Gathered::default();
        for row in part.rows.take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            let full = match row {
                Ok(row) => gathered.push(row),
                Err(error) => {
                    let error = CliError::failed(format!("cannot read {name}: {error}"));
                    let last = gathered.take().map(Ok);
                    for message in last.into_iter().chain([Err(error)]) {
                        if sender.blocking_send(message).is_err() {
                            return;
                        }
                    }
                    return;
                }
            };
            if let Some(batch) = full
                && sender.blocking_send(Ok(batch)).is_err()
            {
                return;
            }
        }
        if let Some(batch) = gathered.take() {
            // Nobody listens any more when the import has failed: that is known there.
            let _ = sender.blocking_send(Ok(batch));
        }
    });
    receiver
}

/// Rows that become the next batch.
#[derive(Default)]
struct Gathered {
    rows: Vec<Row>,
    bytes: usize,
    reply_bytes: usize,
    number: u64,
}

impl Gathered {
    /// Takes a row; gives the batch in which it has no place any more, or that is full with it.
    fn push(&mut self, row: Row) -> Option<Batch> {
        let fits = self.rows.last().is_none_or(|last| {
            last.collection == row.collection
                && self.bytes + row.size_bytes <= BATCH_BYTES_MAX
                && self.reply_bytes + row.reply_bytes <= BATCH_REPLY_BYTES_MAX
        });
        let before = if fits { None } else { self.take() };
        self.bytes += row.size_bytes;
        self.reply_bytes += row.reply_bytes;
        self.rows.push(row);
        if before.is_some() {
            return before;
        }
        let is_full = self.rows.len() >= BATCH_DOCUMENTS_MAX || self.bytes >= BATCH_BYTES_MAX;
        if is_full { self.take() } else { None }
    }

    fn take(&mut self) -> Option<Batch> {
        if self.rows.is_empty() {
            return None;
        }
        let next = Self {
            number: self.number + 1,
            ..Self::default()
        };
        let full = std::mem::replace(self, next);
        Some(Batch {
            number: full.number,
            rows: full.rows,
        })
    }
}

impl Import {
    /// Writes all batches, several at once.
    pub(super) async fn write(
        &mut self,
        mut batches: Batches,
        position: Option<&Position>,
        writer: Writer,
    ) -> Result<(), CliError> {
        let in_flight_max = writer.conflict.batches_in_flight();
        let writer = Arc::new(writer);
        let mut running: JoinSet<Result<Done, CliError>> = JoinSet::new();
        let mut ended = false;
        while !ended || !running.is_empty() {
            tokio::select! {
                batch = batches.recv(), if !ended && running.len() < in_flight_max => match batch {
                    Some(batch) => {
                        let (batch, writer) = (batch?, writer.clone());
                        running.spawn(async move { writer.write(batch).await });
                    }
                    None => ended = true,
                },
                Some(done) = running.join_next() => {
                    let done = done
                        .map_err(|error| CliError::failed(format!("a batch was lost: {error}")))??;
                    self.finished(&done, position)?;
                }
            }
        }
        Ok(())
    }

    fn finished(&mut self, done: &Done, position: Option<&Position>) -> Result<(), CliError> {
        self.report.rows += done.rows;
        if self.report.dry_run {
            self.report.would_write += done.written;
        } else {
            self.report.written += done.written;
        }
        self.report.skipped += done.skipped;
        let here = position.map_or(done.end_offset, Position::get);
        let moved = self.checkpoint.finished(done);
        for rejection in &done.rejections {
            self.reject(rejection)?;
        }
        self.progress.show(
            self.bytes_before + here,
            self.report.rows,
            self.report.rejected,
        );
        if moved {
            self.save()?;
        }
        Ok(())
    }

    /// Writes the checkpoint, if one is kept.
    pub(super) fn save(&mut self) -> Result<(), CliError> {
        if self.resume.is_some() {
            // A row that counts as settled must be in the file of rejects by then.
            self.flush_rejects()?;
        }
        self.resume
            .as_deref()
            .map_or(Ok(()), |path| self.checkpoint.save(path))
    }

    fn reject(&mut self, rejection: &Rejection) -> Result<(), CliError> {
        self.report.rejected += 1;
        self.report.conflicts += u64::from(rejection.conflict);
        if self.report.rejected <= REJECTIONS_PRINTED {
            self.progress
                .say(&format!("row {}: {}", rejection.row, rejection.reason));
        }
        if let Some(out) = &mut self.rejects {
            let line = json!({"row": rejection.row, "collection": &*rejection.collection,
                "reason": rejection.reason, "text": rejection.text});
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

    pub(super) fn flush_rejects(&mut self) -> Result<(), CliError> {
        let Some(out) = &mut self.rejects else {
            return Ok(());
        };
        out.flush()
            .map_err(|error| CliError::failed(format!("cannot write rejected rows: {error}")))
    }
}
