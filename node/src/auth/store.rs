//! The system collections of an environment, read and written through the same router as everybody's documents.
//!
//! Every read is linearizable, so what one node has committed every node sees. Collections come to be when the first
//! document is written; reading one that is not there finds nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bson::{Document, RawDocumentBuf};
use serde::Serialize;
use serde::de::DeserializeOwned;
use yunbase_docdb::op::{FindOp, IndexField, IndexSpec, Op, OpReply, UpdateOp};

use super::error::{AuthError, AuthResult};
use super::records::{GRANTS, IDENTITIES, SESSIONS, THROTTLE, USERS};
use crate::call::{Call, Caller, Execute, Failure, ReadLevel};

/// Most documents that one question to the store asks for.
pub(super) const PAGE_MAX: u64 = 1000;

/// Where and how long one login request works.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The environment.
    pub env: String,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Travels through logs.
    pub request_id: String,
    /// The one time of this request.
    pub now_ms: i64,
    /// Where the request came from; unspecified where it did not come from outside.
    pub address: IpAddr,
}

/// Typed access to system collections.
#[derive(Clone)]
pub(super) struct SystemStore {
    execute: Arc<dyn Execute>,
}

/// Which documents to read, and how many.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Empty = all.
    pub filter: Document,
    /// Empty = by `_id`.
    pub sort: Document,
    /// Matches to leave out first.
    pub skip: u64,
    /// Most documents.
    pub limit: u64,
}

impl SystemStore {
    /// A store over `execute`.
    pub(super) fn new(execute: Arc<dyn Execute>) -> Self {
        Self { execute }
    }

    /// Carries out `op` as the node itself, in `env`.
    pub(super) async fn run(&self, scope: &Scope, env: &str, op: Op) -> Result<OpReply, Failure> {
        self.execute
            .execute(Call {
                caller: Caller::System,
                env: env.to_owned(),
                op,
                session: None,
                read_level: ReadLevel::Linearizable,
                deadline: scope.deadline,
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
    ) -> AuthResult<Option<T>> {
        let search = Search {
            filter: bson::doc! { "_id": id },
            limit: 1,
            ..Search::default()
        };
        Ok(self
            .find(scope, collection, search)
            .await?
            .into_iter()
            .next())
    }

    /// The records that `search` asks for.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        scope: &Scope,
        collection: &str,
        search: Search,
    ) -> AuthResult<Vec<T>> {
        let find = FindOp {
            filter: raw(&search.filter)?,
            sort: raw(&search.sort)?,
            skip: search.skip,
            limit: Some(search.limit.min(PAGE_MAX)),
            ..FindOp::default()
        };
        let op = Op::Find {
            collection: collection.to_owned(),
            find,
        };
        match self.run(scope, &scope.env, op).await {
            Ok(OpReply::Found { documents, .. }) => documents.iter().map(record).collect(),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) if is_missing(&failure) => Ok(Vec::new()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Inserts a record; `false` when one with its `_id` exists already.
    pub(super) async fn insert<T: Serialize>(
        &self,
        scope: &Scope,
        collection: &str,
        record: &T,
    ) -> AuthResult<bool> {
        let op = Op::Insert {
            collection: collection.to_owned(),
            documents: vec![raw(record)?],
        };
        match self.run_creating(scope, collection, op).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == "DATABASE_DUPLICATE_WRITE" => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Changes the one record that matches and returns it as it is then; `None` when none matches.
    pub(super) async fn update<T: DeserializeOwned>(
        &self,
        scope: &Scope,
        collection: &str,
        filter: Document,
        update: Document,
    ) -> AuthResult<Option<T>> {
        let update = UpdateOp {
            filter: raw(&filter)?,
            update: raw(&update)?,
            return_document: true,
            ..UpdateOp::default()
        };
        let op = Op::Update {
            collection: collection.to_owned(),
            update,
        };
        match self.run(scope, &scope.env, op).await {
            Ok(OpReply::Updated { document, .. }) => document.as_ref().map(record).transpose(),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) if is_missing(&failure) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Puts a record in the place of the one with its `_id`, or adds it.
    pub(super) async fn put<T: Serialize>(
        &self,
        scope: &Scope,
        collection: &str,
        id: &str,
        record: &T,
    ) -> AuthResult<()> {
        let update = UpdateOp {
            filter: raw(&bson::doc! { "_id": id })?,
            update: raw(record)?,
            replace: true,
            upsert: true,
            upsert_id: id.to_owned(),
            ..UpdateOp::default()
        };
        let op = Op::Update {
            collection: collection.to_owned(),
            update,
        };
        self.run_creating(scope, collection, op).await?;
        Ok(())
    }

    /// Removes the first record that matches, or all; says how many.
    pub(super) async fn remove(
        &self,
        scope: &Scope,
        collection: &str,
        filter: Document,
        multi: bool,
    ) -> AuthResult<u64> {
        let op = Op::Remove {
            collection: collection.to_owned(),
            filter: raw(&filter)?,
            multi,
        };
        match self.run(scope, &scope.env, op).await {
            Ok(OpReply::Removed { removed }) => Ok(removed),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) if is_missing(&failure) => Ok(0),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn run_creating(
        &self,
        scope: &Scope,
        collection: &str,
        op: Op,
    ) -> Result<OpReply, Failure> {
        match self.run(scope, &scope.env, op.clone()).await {
            Err(failure) if is_missing(&failure) => {
                self.create(scope, collection).await?;
                self.run(scope, &scope.env, op).await
            }
            outcome => outcome,
        }
    }

    async fn create(&self, scope: &Scope, collection: &str) -> Result<(), Failure> {
        let op = Op::CreateCollection {
            collection: collection.to_owned(),
        };
        match self.run(scope, &scope.env, op).await {
            Err(failure) if failure.code != "DATABASE_COLLECTION_ALREADY_EXIST" => {
                return Err(failure);
            }
            _ => {}
        }
        for path in indexes(collection) {
            let op = Op::CreateIndex {
                collection: collection.to_owned(),
                index: IndexSpec {
                    name: format!("{path}_1"),
                    fields: vec![IndexField {
                        path: (*path).to_owned(),
                        descending: false,
                    }],
                    unique: false,
                },
            };
            // Another node that creates the collection at the same time creates the same index, which changes nothing.
            self.run(scope, &scope.env, op).await?;
        }
        Ok(())
    }
}

/// The fields that a collection is searched by besides `_id`.
fn indexes(collection: &str) -> &'static [&'static str] {
    match collection {
        USERS => &["openid", "unionid"],
        SESSIONS => &["uid", "expires_at_ms"],
        IDENTITIES => &["uid"],
        GRANTS => &["expires_at_ms"],
        THROTTLE => &["last_ms"],
        _ => &[],
    }
}

fn is_missing(failure: &Failure) -> bool {
    failure.code == "DATABASE_COLLECTION_NOT_EXIST"
}

pub(super) fn raw<T: Serialize>(record: &T) -> AuthResult<RawDocumentBuf> {
    bson::serialize_to_raw_document_buf(record).map_err(AuthError::internal)
}

fn record<T: DeserializeOwned>(document: &RawDocumentBuf) -> AuthResult<T> {
    bson::deserialize_from_slice(document.as_bytes()).map_err(AuthError::internal)
}

/// The reply itself may hold secrets, so only its kind is told.
pub(super) fn unexpected(_reply: &OpReply) -> AuthError {
    AuthError::internal("the database answered with another kind of reply")
}
