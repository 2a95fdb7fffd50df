//! Writes one batch of rows, and settles each row when the batch as a whole is refused.

use bson::{Bson, Document};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use yunbase_client::{Collection, ErrorKind};

use super::Conflict;
use super::rows::Row;
use crate::cli::failure::CliError;

/// Rows written at once when they are written one by one.
const ROWS_IN_FLIGHT: usize = 32;

/// Rows that go into one request.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) rows: Vec<Row>,
}

/// A row that was set aside.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) row: u64,
    pub(super) reason: String,
    pub(super) text: String,
    pub(super) conflict: bool,
}

impl Rejection {
    pub(super) fn new(row: &Row, reason: String) -> Self {
        Self {
            row: row.number,
            reason,
            text: row.text.clone(),
            conflict: false,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) number: u64,
    pub(super) end_offset: u64,
    pub(super) rows: u64,
    pub(super) written: u64,
    pub(super) skipped: u64,
    pub(super) rejections: Vec<Rejection>,
}

/// What became of a row.
enum Settled {
    Written,
    Skipped,
    Rejected(Rejection),
}

/// Writes batches.
pub(super) struct Writer {
    pub(super) collection: Collection<Document>,
    pub(super) conflict: Conflict,
    /// An earlier run may have written some of the rows.
    pub(super) resumed: bool,
    /// Make `_id`s from this name and the row's place, so that a row that is read again is the same document.
    pub(super) stable_ids: Option<String>,
}

impl Writer {
    pub(super) async fn write(&self, batch: Batch) -> Result<Done, CliError> {
        let mut done = Done {
            number: batch.number,
            rows: batch.rows.len() as u64,
            ..Done::default()
        };
        let mut good: Vec<(Row, Document, Bytes)> = Vec::with_capacity(batch.rows.len());
        for mut row in batch.rows {
            done.end_offset = done.end_offset.max(row.end_offset);
            match std::mem::replace(&mut row.document, Ok(Document::new())) {
                Ok(mut document) => {
                    self.give_id(&row, &mut document);
                    match document.to_vec() {
                        Ok(bytes) => good.push((row, document, bytes.into())),
                        Err(error) => done
                            .rejections
                            .push(Rejection::new(&row, format!("cannot be stored: {error}"))),
                    }
                }
                Err(reason) => done.rejections.push(Rejection::new(&row, reason)),
            }
        }
        if good.is_empty() {
            return Ok(done);
        }
        if self.conflict != Conflict::Replace {
            let documents = good.iter().map(|(_, _, bytes)| bytes.clone()).collect();
            match self.collection.insert_raw(documents).await {
                Ok(_) => {
                    done.written += good.len() as u64;
                    return Ok(done);
                }
                // All or none: which row is to blame shows when each goes alone.
                Err(error) if error.kind() == ErrorKind::Refused && !is_hopeless(error.code()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let settled: Vec<Settled> = futures::stream::iter(good)
            .map(|(row, document, bytes)| self.write_row(row, document, bytes))
            .buffer_unordered(ROWS_IN_FLIGHT)
            .try_collect()
            .await?;
        for settled in settled {
            match settled {
                Settled::Written => done.written += 1,
                Settled::Skipped => done.skipped += 1,
                Settled::Rejected(rejection) => done.rejections.push(rejection),
            }
        }
        done.rejections.sort_by_key(|rejection| rejection.row);
        Ok(done)
    }

    fn give_id(&self, row: &Row, document: &mut Document) {
        let Some(name) = &self.stable_ids else { return };
        if document.contains_key("_id") {
            return;
        }
        let hash = blake3::hash(format!("{name}\n{}", row.number).as_bytes());
        document.insert("_id", &hash.to_hex()[..32]);
    }

    async fn write_row(
        &self,
        row: Row,
        document: Document,
        bytes: Bytes,
    ) -> Result<Settled, CliError> {
        let id = document.get("_id").cloned();
        let written = match (&id, self.conflict) {
            (Some(id), Conflict::Replace) => self.collection.put_raw(id, bytes).await.map(drop),
            _ => self.collection.insert_raw(vec![bytes]).await.map(drop),
        };
        let Err(error) = written else {
            return Ok(Settled::Written);
        };
        if error.kind() != ErrorKind::Refused || is_hopeless(error.code()) {
            return Err(error.into());
        }
        let conflict = error.code() == "DATABASE_DUPLICATE_WRITE";
        if conflict && self.conflict == Conflict::Skip {
            return Ok(Settled::Skipped);
        }
        if conflict && self.resumed && self.is_stored(id.as_ref(), &document).await? {
            return Ok(Settled::Written);
        }
        let reason = format!("{}: {}", error.code(), error.message());
        Ok(Settled::Rejected(Rejection {
            conflict,
            ..Rejection::new(&row, reason)
        }))
    }

    /// Whether the row was written by the run that was interrupted.
    async fn is_stored(&self, id: Option<&Bson>, document: &Document) -> Result<bool, CliError> {
        let Some(id) = id else { return Ok(false) };
        Ok(self.collection.get(id.clone()).await?.as_ref() == Some(document))
    }
}

/// Refusals that would meet each row alike.
fn is_hopeless(code: &str) -> bool {
    matches!(
        code,
        "DATABASE_COLLECTION_NOT_EXIST" | "INVALID_ENV" | "INVALID_ACTION"
    )
}
