//! Writes one batch of rows, and settles each row when the batch as a whole is refused.
//!
//! A batch is one insert, all or none. When an `_id` exists already, the documents that are there are looked up
//! once, the rows that are new go into a second insert, and only what is left is written row by row.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, Document, RawDocument, doc, rawdoc};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use yunbase_client::{Client, Collection, Error, ErrorKind};
use yunbase_docdb::value::key::encoded;

use super::Conflict;
use super::rows::Row;
use crate::cli::failure::CliError;

/// Rows of all batches that are written at once when they are written one by one.
const ROWS_IN_FLIGHT: usize = 256;

/// Rows for one collection that go into one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) rows: Vec<Row>,
}

/// A row that was set aside.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) row: u64,
    pub(super) collection: Arc<str>,
    pub(super) reason: String,
    pub(super) text: String,
    pub(super) conflict: bool,
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

impl Done {
    fn note(&mut self, settled: Settled) {
        match settled {
            Settled::Written => self.written += 1,
            Settled::Skipped => self.skipped += 1,
            Settled::Rejected(rejection) => self.rejections.push(rejection),
        }
    }
}

/// What became of a row.
enum Settled {
    Written,
    Skipped,
    Rejected(Rejection),
}

/// A row whose document the database may take.
struct Good {
    number: u64,
    collection: Arc<str>,
    bytes: Bytes,
    /// The `_id` in the encoding in which equal ones are equal, if there is one.
    key: Option<Vec<u8>>,
}

/// Documents of the collection by their encoded `_id`; without their content where it does not matter.
type Stored = HashMap<Vec<u8>, Bytes>;

/// Writes batches.
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) conflict: Conflict,
    /// Only find out what would happen.
    pub(super) dry_run: bool,
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
        let mut good: Vec<Good> = Vec::with_capacity(batch.rows.len());
        for row in batch.rows {
            done.end_offset = done.end_offset.max(row.end_offset);
            match row.document {
                Ok(bytes) => good.push(Good {
                    number: row.number,
                    collection: row.collection,
                    bytes: self.with_id(bytes, row.number),
                    key: None,
                }),
                Err(reason) => done.rejections.push(Rejection {
                    row: row.number,
                    collection: row.collection,
                    reason,
                    text: row.text,
                    conflict: false,
                }),
            }
        }
        let Some(first) = good.first() else {
            return Ok(done);
        };
        let collection = self.client.collection(&*first.collection);
        if self.dry_run {
            self.foresee(&collection, good, &mut done).await?;
        } else if self.insert(&collection, &good).await? {
            done.written += good.len() as u64;
        } else {
            self.settle(&collection, good, &mut done).await?;
        }
        done.rejections.sort_by_key(|rejection| rejection.row);
        Ok(done)
    }

    /// Inserts all rows or, if one of them is refused, none.
    async fn insert(
        &self,
        collection: &Collection<Document>,
        rows: &[Good],
    ) -> Result<bool, CliError> {
        let documents = rows.iter().map(|row| row.bytes.clone()).collect();
        match collection.insert_raw(documents).await {
            Ok(_) => Ok(true),
            // Which row is to blame is seen later.
            Err(error) if is_about_a_row(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the rows of a batch of which at least one is refused.
    async fn settle(
        &self,
        collection: &Collection<Document>,
        mut good: Vec<Good>,
        done: &mut Done,
    ) -> Result<(), CliError> {
        let stored = self.look_up(collection, &mut good).await?;
        let is_known = |row: &Good| row.key.as_ref().is_some_and(|key| stored.contains_key(key));
        let (known, new): (Vec<Good>, Vec<Good>) = good.into_iter().partition(is_known);
        let mut left = Vec::new();
        if known.is_empty() || new.is_empty() || !self.insert(collection, &new).await? {
            left = new;
        } else {
            done.written += new.len() as u64;
        }
        let mut one_by_one = Vec::new();
        for row in known {
            let document = row.key.as_ref().and_then(|key| stored.get(key));
            match self.without_writing(&row, document) {
                Some(settled) => done.note(settled),
                None => one_by_one.push(row),
            }
        }
        one_by_one.append(&mut left);
        one_by_one.sort_by_key(|row| row.number);
        for wave in waves(one_by_one) {
            let settled: Vec<Settled> = futures::stream::iter(wave)
                .map(|row| self.write_row(collection, row))
                .buffer_unordered(ROWS_IN_FLIGHT / self.conflict.batches_in_flight())
                .try_collect()
                .await?;
            settled.into_iter().for_each(|settled| done.note(settled));
        }
        Ok(())
    }

    /// What a dry run can tell: which `_id`s exist already.
    async fn foresee(
        &self,
        collection: &Collection<Document>,
        mut good: Vec<Good>,
        done: &mut Done,
    ) -> Result<(), CliError> {
        let stored = self.look_up(collection, &mut good).await?;
        for row in good {
            let document = row.key.as_ref().and_then(|key| stored.get(key));
            done.note(match document {
                Some(document) => self
                    .without_writing(&row, Some(document))
                    .unwrap_or(Settled::Written),
                None => Settled::Written,
            });
        }
        Ok(())
    }

    /// What becomes of a row whose `_id` exists, if that takes no write.
    fn without_writing(&self, row: &Good, stored: Option<&Bytes>) -> Option<Settled> {
        if self.resumed && stored.is_some_and(|stored| *stored == row.bytes) {
            return Some(Settled::Written);
        }
        match self.conflict {
            Conflict::Fail => Some(Settled::Rejected(self.rejection(
                row,
                "DATABASE_DUPLICATE_WRITE: a document with this _id exists already".to_owned(),
                true,
            ))),
            Conflict::Skip => Some(Settled::Skipped),
            Conflict::Replace | Conflict::Merge => None,
        }
    }

    /// Finds which rows are there already, and notes the key of each.
    async fn look_up(
        &self,
        collection: &Collection<Document>,
        rows: &mut [Good],
    ) -> Result<Stored, CliError> {
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows.iter_mut() {
            if let Some((id, key)) = id_and_key(&row.bytes) {
                ids.push(id);
                row.key = Some(key);
            }
        }
        let mut stored = Stored::new();
        if ids.is_empty() {
            return Ok(stored);
        }
        let mut find = collection.find(doc! {"_id": {"$in": ids}});
        if !self.resumed {
            find = find.project(doc! {"_id": 1});
        }
        let mut documents = std::pin::pin!(find.stream_raw());
        while let Some(document) = documents.next().await {
            let document = match document {
                // A dry run may be about a collection that is not there yet.
                Err(error) if error.code() == "DATABASE_COLLECTION_NOT_EXIST" && self.dry_run => {
                    return Ok(stored);
                }
                document => document?,
            };
            if let Some((_, key)) = id_and_key(&document) {
                stored.insert(key, document);
            }
        }
        Ok(stored)
    }

    fn with_id(&self, document: Bytes, row: u64) -> Bytes {
        let Some(name) = &self.stable_ids else {
            return document;
        };
        let has_id = RawDocument::from_bytes(&document)
            .is_ok_and(|document| matches!(document.get("_id"), Ok(Some(_))));
        if has_id {
            return document;
        }
        let hash = blake3::hash(format!("{name}\n{row}").as_bytes());
        in_front(&rawdoc! {"_id": &hash.to_hex()[..32]}, &document)
    }

    async fn write_row(
        &self,
        collection: &Collection<Document>,
        row: Good,
    ) -> Result<Settled, CliError> {
        let id = id_and_key(&row.bytes).map(|(id, _)| id);
        let written = match (&id, self.conflict) {
            (Some(id), Conflict::Replace) => collection
                .put_raw(id, row.bytes.clone())
                .await
                .map(|_| Settled::Written),
            (Some(id), Conflict::Merge) => self.merge(collection, id, &row).await,
            _ => collection
                .insert_raw(vec![row.bytes.clone()])
                .await
                .map(|_| Settled::Written),
        };
        let error = match written {
            Ok(settled) => return Ok(settled),
            Err(error) if is_about_a_row(&error) => error,
            Err(error) => return Err(error.into()),
        };
        let conflict = error.code() == "DATABASE_DUPLICATE_WRITE";
        // The same code says that a unique index has the value: that is for the user to decide.
        if conflict
            && let Some(id) = &id
            && let Some(stored) = collection.get_raw(id).await?
        {
            if self.resumed && stored == row.bytes {
                return Ok(Settled::Written);
            }
            if self.conflict == Conflict::Skip {
                return Ok(Settled::Skipped);
            }
        }
        let reason = format!("{}: {}", error.code(), error.message());
        Ok(Settled::Rejected(self.rejection(&row, reason, conflict)))
    }

    /// Sets the fields of the row in the document with its `_id`; others stay.
    async fn merge(
        &self,
        collection: &Collection<Document>,
        id: &Bson,
        row: &Good,
    ) -> Result<Settled, Error> {
        let reject =
            |reason: &str| Settled::Rejected(self.rejection(row, reason.to_owned(), false));
        let Ok(mut fields) = Document::from_reader(&*row.bytes) else {
            return Ok(reject("is not BSON"));
        };
        fields.remove("_id");
        if let Some(name) = fields
            .keys()
            .find(|name| name.is_empty() || name.starts_with('$') || name.contains('.'))
        {
            let reason = format!("its field {name:?} has a name that cannot be merged");
            return Ok(reject(&reason));
        }
        if fields.is_empty() {
            // There is nothing to set, so all that matters is that the document exists.
            return match collection.insert_raw(vec![row.bytes.clone()]).await {
                Err(error)
                    if error.code() == "DATABASE_DUPLICATE_WRITE"
                        && collection.get_raw(id).await?.is_some() =>
                {
                    Ok(Settled::Written)
                }
                inserted => inserted.map(|_| Settled::Written),
            };
        }
        let updated = collection.upsert(doc! {"_id": id.clone()}, doc! {"$set": fields});
        updated.await.map(|_| Settled::Written)
    }

    fn rejection(&self, row: &Good, reason: String, conflict: bool) -> Rejection {
        Rejection {
            row: row.number,
            collection: row.collection.clone(),
            reason,
            text: super::rows::shown_document(&row.bytes),
            conflict,
        }
    }
}

/// Rows in the order of the file, so that of several with one `_id` the last one stays: each wave holds at most one.
fn waves(rows: Vec<Good>) -> Vec<Vec<Good>> {
    let mut waves: Vec<Vec<Good>> = Vec::new();
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for row in rows {
        let wave = match &row.key {
            Some(key) => {
                let count = seen.entry(key.clone()).or_default();
                *count += 1;
                *count - 1
            }
            None => 0,
        };
        if waves.len() <= wave {
            waves.push(Vec::new());
        }
        waves[wave].push(row);
    }
    waves
}

fn id_and_key(document: &[u8]) -> Option<(Bson, Vec<u8>)> {
    let id = RawDocument::from_bytes(document)
        .ok()?
        .get("_id")
        .ok()
        .flatten()?;
    Some((Bson::try_from(id).ok()?, encoded(id).ok()?))
}

/// The fields of `head` before those of `body`.
fn in_front(head: &RawDocument, body: &[u8]) -> Bytes {
    let head = head.as_bytes();
    let mut bytes = Vec::with_capacity(head.len() + body.len());
    bytes.extend_from_slice(&head[..head.len() - 1]);
    bytes.extend_from_slice(&body[4..]);
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes.into()
}

/// Whether a refusal is about a row, so that others may be taken.
fn is_about_a_row(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused
        && !matches!(
            error.code(),
            "DATABASE_COLLECTION_NOT_EXIST" | "INVALID_ENV" | "INVALID_ACTION"
        )
}
