//! The documents of files, read and written through the same router as everybody's. Every read is linearizable.
//! Collections come to be when the first document is written; reading one that is not there finds nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, rawdoc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use yunbase_docdb::op::{FindOp, IndexField, IndexOptions, IndexSpec, Op, OpReply, UpdateOp};
use yunbase_docdb::transaction::{ReadDocument, Transaction, WrittenDocument, fingerprint};

use super::files::Scope;
use super::record::{DELETED_FILES, FILES, PARTS, UPLOADS};
use crate::call::{Call, Caller, Execute, Failure, ReadLevel, Retry};

/// How a collection's records end by themselves.
const EXPIRY_INDEX: &str = "expiry";

/// Typed access to the collections of files.
#[derive(Clone)]
pub(super) struct FileStore {
    execute: Arc<dyn Execute>,
    timeout: Duration,
    /// How long deleted files can be restored, and uploads in parts go on.
    retention: Duration,
    parts_life: Duration,
}

/// A page of records, and where the next one begins.
pub(super) struct Page<T> {
    pub(super) records: Vec<T>,
    /// Empty = this is the last.
    pub(super) next: Vec<u8>,
}

/// A record, and its bytes for a commit to check that it is still so.
pub(super) struct Kept<T> {
    pub(super) record: T,
    bytes: RawDocumentBuf,
}

/// Changes that take place together, or not at all.
#[derive(Default)]
pub(super) struct Changes(Transaction);

impl Changes {
    /// The record must still be as it was read.
    pub(super) fn expect<T>(&mut self, collection: &str, id: &str, kept: &Kept<T>) {
        self.0.reads.push(ReadDocument {
            collection: collection.to_owned(),
            id: rawdoc! { "": id },
            fingerprint: Some(fingerprint(&kept.bytes)),
        });
    }

    /// There must be no such record.
    pub(super) fn expect_none(&mut self, collection: &str, id: &str) {
        self.0.reads.push(ReadDocument {
            collection: collection.to_owned(),
            id: rawdoc! { "": id },
            fingerprint: None,
        });
    }

    /// Puts a record in the place of the one with this `_id`, or adds it.
    pub(super) fn put<T: Serialize>(
        &mut self,
        collection: &str,
        id: &str,
        record: &T,
    ) -> Result<(), Failure> {
        self.write(collection, id, Some(raw(record)?));
        Ok(())
    }

    /// Removes the record with this `_id`.
    pub(super) fn remove(&mut self, collection: &str, id: &str) {
        self.write(collection, id, None);
    }

    fn write(&mut self, collection: &str, id: &str, document: Option<RawDocumentBuf>) {
        self.0.writes.push(WrittenDocument {
            collection: collection.to_owned(),
            id: rawdoc! { "": id },
            document,
            is_replacement: true,
        });
    }
}

impl FileStore {
    pub(super) fn new(
        execute: Arc<dyn Execute>,
        timeout: Duration,
        retention: Duration,
        parts_life: Duration,
    ) -> Self {
        Self {
            execute,
            timeout,
            retention,
            parts_life,
        }
    }

    pub(super) async fn run(&self, scope: &Scope, op: Op) -> Result<OpReply, Failure> {
        self.execute
            .execute(Call {
                caller: Caller::System,
                env: scope.env.clone(),
                op,
                session: None,
                read_level: ReadLevel::Linearizable,
                deadline: Instant::now() + self.timeout,
                request_id: scope.request_id.clone(),
            })
            .await
    }

    /// The record with `id`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        scope: &Scope,
        collection: &str,
        id: &str,
    ) -> Result<Option<Kept<T>>, Failure> {
        let find = FindOp {
            filter: rawdoc! { "_id": id },
            limit: Some(1),
            ..FindOp::default()
        };
        let (documents, _) = self.find(scope, collection, find).await?;
        let Some(bytes) = documents.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Kept {
            record: record(&bytes)?,
            bytes,
        }))
    }

    /// A page of the records that match `filter`, by `_id`.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        scope: &Scope,
        collection: &str,
        filter: Document,
        without: &[&str],
        after: Vec<u8>,
        limit: usize,
    ) -> Result<Page<T>, Failure> {
        let projection: Document = without
            .iter()
            .map(|field| ((*field).to_owned(), bson::Bson::Int32(0)))
            .collect();
        let find = FindOp {
            filter: raw(&filter)?,
            projection: raw(&projection)?,
            limit: Some(limit as u64),
            after,
            ..FindOp::default()
        };
        let (documents, next) = self.find(scope, collection, find).await?;
        Ok(Page {
            records: documents.iter().map(record).collect::<Result<_, _>>()?,
            next,
        })
    }

    async fn find(
        &self,
        scope: &Scope,
        collection: &str,
        find: FindOp,
    ) -> Result<(Vec<RawDocumentBuf>, Vec<u8>), Failure> {
        let op = Op::Find {
            collection: collection.to_owned(),
            find,
        };
        match self.run(scope, op).await {
            Ok(OpReply::Found { documents, next }) => Ok((documents, next)),
            Ok(_) => Err(unexpected()),
            Err(failure) if is_missing(&failure) => Ok((Vec::new(), Vec::new())),
            Err(failure) => Err(failure),
        }
    }

    /// Inserts a record; `false` when one with its `_id` exists already.
    pub(super) async fn insert<T: Serialize>(
        &self,
        scope: &Scope,
        collection: &str,
        record: &T,
    ) -> Result<bool, Failure> {
        let op = Op::Insert {
            collection: collection.to_owned(),
            documents: vec![raw(record)?],
        };
        match self.run_creating(scope, &[collection], op).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == "DATABASE_DUPLICATE_WRITE" => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Puts a record in the place of the one that matches; `false` when none does, unless it may be added.
    pub(super) async fn replace<T: Serialize>(
        &self,
        scope: &Scope,
        collection: &str,
        id: &str,
        filter: Document,
        record: &T,
        or_add: bool,
    ) -> Result<bool, Failure> {
        let op = Op::Update {
            collection: collection.to_owned(),
            update: UpdateOp {
                filter: raw(&filter)?,
                update: raw(record)?,
                replace: true,
                upsert: or_add,
                upsert_id: id.to_owned(),
                ..UpdateOp::default()
            },
        };
        match self.run_creating(scope, &[collection], op).await? {
            OpReply::Updated { matched, .. } => Ok(or_add || matched > 0),
            _ => Err(unexpected()),
        }
    }

    /// Removes all records that match.
    pub(super) async fn remove_all(
        &self,
        scope: &Scope,
        collection: &str,
        filter: Document,
    ) -> Result<(), Failure> {
        let op = Op::Remove {
            collection: collection.to_owned(),
            filter: raw(&filter)?,
            multi: true,
        };
        match self.run(scope, op).await {
            Err(failure) if !is_missing(&failure) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Carries out all of `changes`; `false`, and nothing has happened, when something is not as they expect it to be.
    pub(super) async fn commit(&self, scope: &Scope, changes: Changes) -> Result<bool, Failure> {
        let mut collections: Vec<String> = changes.0.collections().map(str::to_owned).collect();
        collections.sort();
        collections.dedup();
        let names: Vec<&str> = collections.iter().map(String::as_str).collect();
        let op = Op::Commit(Box::new(changes.0));
        match self.run_creating(scope, &names, op).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == "DATABASE_TRANSACTION_CONFLICT" => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn run_creating(
        &self,
        scope: &Scope,
        collections: &[&str],
        op: Op,
    ) -> Result<OpReply, Failure> {
        match self.run(scope, op.clone()).await {
            Err(failure) if is_missing(&failure) => {
                for collection in collections {
                    self.create(scope, collection).await?;
                }
                self.run(scope, op).await
            }
            outcome => outcome,
        }
    }

    async fn create(&self, scope: &Scope, collection: &str) -> Result<(), Failure> {
        let op = Op::CreateCollection {
            collection: collection.to_owned(),
        };
        match self.run(scope, op).await {
            Err(failure) if failure.code != "DATABASE_COLLECTION_ALREADY_EXIST" => {
                return Err(failure);
            }
            _ => {}
        }
        let (path, life) = match collection {
            DELETED_FILES => ("deleted_at", self.retention),
            UPLOADS => ("begun_at", self.parts_life),
            PARTS => {
                self.index(scope, collection, "upload", None).await?;
                ("stored_at", self.parts_life)
            }
            _ => return Ok(()),
        };
        self.index(scope, collection, path, Some(life)).await
    }

    /// Another node that creates the collection at the same time creates the same index, which changes nothing.
    async fn index(
        &self,
        scope: &Scope,
        collection: &str,
        path: &str,
        life: Option<Duration>,
    ) -> Result<(), Failure> {
        let index = IndexSpec {
            name: match life {
                Some(_) => EXPIRY_INDEX.to_owned(),
                None => format!("{path}_1"),
            },
            fields: vec![IndexField {
                path: path.to_owned(),
                descending: false,
            }],
            unique: false,
        };
        let options = IndexOptions {
            expire_after_seconds: life
                .map(|life| u32::try_from(life.as_secs()).unwrap_or(u32::MAX)),
            ..IndexOptions::default()
        };
        let op = Op::CreateIndexWith {
            collection: collection.to_owned(),
            index,
            options,
        };
        self.run(scope, op).await?;
        Ok(())
    }
}

/// Collections whose records name chunks. Read in this order: what leaves one for another is found in the second.
pub(super) const NAMING_CHUNKS: [&str; 3] = [PARTS, FILES, DELETED_FILES];

fn raw<T: Serialize>(record: &T) -> Result<RawDocumentBuf, Failure> {
    bson::serialize_to_raw_document_buf(record).map_err(|error| {
        Failure::new(
            "SYS_ERR",
            format!("encode a record of files: {error}"),
            Retry::Never,
        )
    })
}

fn record<T: DeserializeOwned>(document: &RawDocumentBuf) -> Result<T, Failure> {
    bson::deserialize_from_slice(document.as_bytes()).map_err(|error| {
        Failure::new(
            "SYS_ERR",
            format!("decode a record of files: {error}"),
            Retry::Never,
        )
    })
}

fn is_missing(failure: &Failure) -> bool {
    failure.code == "DATABASE_COLLECTION_NOT_EXIST"
}

fn unexpected() -> Failure {
    Failure::new(
        "SYS_ERR",
        "the database answered with another kind of reply",
        Retry::SameSequence,
    )
}
