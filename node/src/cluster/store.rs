//! The cluster's documents, read and written through the same router as everybody's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, rawdoc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};

use super::changes::{Changes, Kept};
use super::records::CLUSTER_ENV;
use crate::audit::record::{CLUSTER_AUDIT, index_by_time};
use crate::call::{Call, Caller, Execute, Failure, ReadLevel, Retry};
use crate::identity::random_id;

/// Typed access to environment `_cluster`.
#[derive(Clone)]
pub struct ClusterStore {
    execute: Arc<dyn Execute>,
    timeout: Duration,
}

impl ClusterStore {
    /// A store over `execute`; each call waits at most `timeout`.
    pub fn new(execute: Arc<dyn Execute>, timeout: Duration) -> Self {
        Self { execute, timeout }
    }

    async fn call(&self, op: Op) -> Result<OpReply, Failure> {
        self.execute
            .execute(Call {
                caller: Caller::System,
                env: CLUSTER_ENV.to_owned(),
                op,
                session: None,
                read_level: ReadLevel::Linearizable,
                deadline: Instant::now() + self.timeout,
                request_id: random_id(),
            })
            .await
    }

    /// Creates a collection unless it exists.
    pub async fn ensure_collection(&self, collection: &str) -> Result<(), Failure> {
        match self
            .call(Op::CreateCollection {
                collection: collection.to_owned(),
            })
            .await
        {
            Ok(_) => Ok(()),
            Err(failure) if failure.code == "DATABASE_COLLECTION_ALREADY_EXIST" => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Inserts a record; `false` when one with its `_id` exists already.
    pub async fn insert<T: Serialize>(
        &self,
        collection: &str,
        record: &T,
    ) -> Result<bool, Failure> {
        let document = raw(record)?;
        match self
            .call(Op::Insert {
                collection: collection.to_owned(),
                documents: vec![document],
            })
            .await
        {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == "DATABASE_DUPLICATE_WRITE" => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Records that match `filter`, at most a page of them.
    pub async fn find<T: DeserializeOwned>(
        &self,
        collection: &str,
        filter: Document,
    ) -> Result<Vec<T>, Failure> {
        let find = FindOp {
            filter: raw(&filter)?,
            ..FindOp::default()
        };
        match self
            .call(Op::Find {
                collection: collection.to_owned(),
                find,
            })
            .await?
        {
            OpReply::Found { documents, .. } => documents.iter().map(record).collect(),
            other => Err(unexpected(&other)),
        }
    }

    /// Records that match `filter`, at most a page of them, each as it must still be for [`ClusterStore::commit`]. None
    /// where there is no such collection yet.
    pub async fn kept<T: DeserializeOwned>(
        &self,
        collection: &str,
        filter: Document,
    ) -> Result<Vec<Kept<T>>, Failure> {
        let find = FindOp {
            filter: raw(&filter)?,
            ..FindOp::default()
        };
        let op = Op::Find {
            collection: collection.to_owned(),
            find,
        };
        match self.call(op).await {
            Ok(OpReply::Found { documents, .. }) => documents.into_iter().map(Kept::of).collect(),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) if is_missing(&failure) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// The record with `id`, likewise.
    pub async fn kept_one<T: DeserializeOwned>(
        &self,
        collection: &str,
        id: &str,
    ) -> Result<Option<Kept<T>>, Failure> {
        let found = self.kept(collection, bson::doc! { "_id": id }).await?;
        Ok(found.into_iter().next())
    }

    /// Carries out all of `changes`, in one commit; `false`, and nothing has happened, when something is not as they
    /// expect it to be. Makes collections that are missing.
    pub async fn commit(&self, changes: Changes) -> Result<bool, Failure> {
        let collections = changes.collections();
        let op = Op::Commit(Box::new(changes.into_transaction()));
        let outcome = match self.call(op.clone()).await {
            Err(failure) if is_missing(&failure) => {
                for collection in collections {
                    self.ensure_collection(&collection).await?;
                    if collection == CLUSTER_AUDIT {
                        let index = index_by_time();
                        self.call(Op::CreateIndex { collection, index }).await?;
                    }
                }
                self.call(op).await
            }
            outcome => outcome,
        };
        match outcome {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == "DATABASE_TRANSACTION_CONFLICT" => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Changes the one record with `id` and returns it as it is then; `None` when there is none.
    pub async fn update<T: DeserializeOwned>(
        &self,
        collection: &str,
        id: impl Into<bson::Bson>,
        update: Document,
    ) -> Result<Option<T>, Failure> {
        let update = UpdateOp {
            filter: raw(&bson::doc! { "_id": id.into() })?,
            update: raw(&update)?,
            return_document: true,
            ..UpdateOp::default()
        };
        match self
            .call(Op::Update {
                collection: collection.to_owned(),
                update,
            })
            .await?
        {
            OpReply::Updated { document, .. } => document.as_ref().map(record).transpose(),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes the record with `id`; says whether there was one.
    pub async fn remove(&self, collection: &str, id: &str) -> Result<bool, Failure> {
        let removed = self.remove_matching(collection, rawdoc! { "_id": id }, false);
        Ok(removed.await? > 0)
    }

    /// Removes all records that match `filter`; says how many there were.
    pub async fn remove_all(&self, collection: &str, filter: Document) -> Result<u64, Failure> {
        self.remove_matching(collection, raw(&filter)?, true).await
    }

    async fn remove_matching(
        &self,
        collection: &str,
        filter: RawDocumentBuf,
        multi: bool,
    ) -> Result<u64, Failure> {
        let op = Op::Remove {
            collection: collection.to_owned(),
            filter,
            multi,
        };
        match self.call(op).await? {
            OpReply::Removed { removed } => Ok(removed),
            other => Err(unexpected(&other)),
        }
    }
}

pub(super) fn raw<T: Serialize>(record: &T) -> Result<RawDocumentBuf, Failure> {
    bson::serialize_to_raw_document_buf(record).map_err(|error| {
        Failure::new(
            "SYS_ERR",
            format!("encode a cluster record: {error}"),
            Retry::Never,
        )
    })
}

pub(super) fn record<T: DeserializeOwned>(document: &RawDocumentBuf) -> Result<T, Failure> {
    bson::deserialize_from_slice(document.as_bytes()).map_err(|error| {
        Failure::new(
            "SYS_ERR",
            format!("decode a cluster record: {error}"),
            Retry::Never,
        )
    })
}

fn is_missing(failure: &Failure) -> bool {
    failure.code == "DATABASE_COLLECTION_NOT_EXIST"
}

fn unexpected(reply: &OpReply) -> Failure {
    Failure::new(
        "SYS_ERR",
        format!("the database answered something else: {reply:?}"),
        Retry::Never,
    )
}
