//! What end users may do with files: the rules of an environment's storage, put to one file at a time.
//!
//! The rules are the access document of [`FILES`], in the form that collections have, and are read afresh for every
//! question, so that a change is in force everywhere with its commit. Where none was ever set, files are READONLY:
//! everyone reads, and who stored a file replaces and deletes it. That is what CloudBase gives to a new environment, and
//! what apps that show each other's pictures count on. It differs from collections, which begin PRIVATE.
//!
//! A rule sees a file as the document `{_id, path, openid, _openid, size, type, modifiedAt, metadata}`, and may call it
//! `resource` as well as `doc`. A file that an administrator stored belongs to no user.
//!
//! The answer holds for the moment of the question. What must still be so when the file changes, callers pass on as a
//! condition: see [`super::links::UploadTicket`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures::future::BoxFuture;
use yunbase_docdb::op::{FindOp, Op, OpReply};

use super::error::{StorageError, StorageResult};
use super::files::Scope;
use super::path::FilePath;
use super::record::{FILES, FileRecord};
use crate::call::{Call, Caller, EndUser, Execute, Failure, ReadLevel, Retry};
use crate::node::now_ms;
use crate::rules::access::Permission;
use crate::rules::refusal::DENIED;
use crate::rules::trial::{Trial, test};
use crate::rules::{Action, Asker, Documents, RuleCache, Rules};

/// The code of asking for what a collection holds that is not there.
const NO_COLLECTION: &str = "DATABASE_COLLECTION_NOT_EXIST";

/// The rules of files of all environments.
#[derive(Clone)]
pub struct StorageAccess {
    execute: Arc<dyn Execute>,
    compiled: Arc<RuleCache>,
    /// Those of an environment that has set none.
    default: Arc<Rules>,
    /// How long one read of the database may take.
    timeout: Duration,
}

impl StorageAccess {
    /// Rules that are read through `execute`.
    pub fn new(execute: Arc<dyn Execute>, timeout: Duration) -> Self {
        Self {
            execute,
            compiled: Arc::new(RuleCache::default()),
            default: Arc::new(Rules::ReadOnly),
            timeout,
        }
    }

    /// Refuses what `caller` may not do with the file at `path`, which is `record` if there is one.
    pub async fn check(
        &self,
        scope: &Scope,
        caller: &Caller,
        action: Action,
        path: &FilePath,
        record: Option<&FileRecord>,
    ) -> StorageResult<()> {
        match caller {
            Caller::Administrator { .. } | Caller::System => Ok(()),
            Caller::User(user) => {
                let rules = self.rules(scope).await?;
                self.judge(scope, &rules, user, action, path, record).await
            }
        }
    }

    /// Refuses what `user` may not do under `rules`.
    pub async fn judge(
        &self,
        scope: &Scope,
        rules: &Rules,
        user: &EndUser,
        action: Action,
        path: &FilePath,
        record: Option<&FileRecord>,
    ) -> StorageResult<()> {
        let before = record.map(document_of).transpose()?;
        // What is announced of the new content is its place and whose it will be.
        let owner = match record {
            Some(record) => record.owner.as_deref(),
            None => Some(user.openid.as_str()),
        };
        let after = raw(&announced(path, owner))?;
        let trial = match action {
            Action::Read | Action::Delete => Trial {
                action,
                before: before.as_deref(),
                after: None,
                data: None,
            },
            Action::Create => Trial {
                action,
                before: None,
                after: Some(&*after),
                data: None,
            },
            Action::Update => Trial {
                action,
                before: before.as_deref(),
                after: None,
                data: Some(&*after),
            },
        };
        if trial.before.is_none() && trial.after.is_none() {
            return Err(StorageError::NotFound(path.to_string()));
        }
        let asker = Asker {
            user,
            now_ms: now_ms(),
        };
        let documents = EnvironmentDocuments {
            access: self,
            scope,
        };
        let verdict = test(rules, asker, trial, &documents)
            .await
            .map_err(of_rules)?;
        if verdict.allowed {
            return Ok(());
        }
        Err(StorageError::Denied(format!(
            "the rules of files do not allow this: {}",
            verdict.reason
        )))
    }

    /// Whether everyone reads every file, signed in or not.
    pub async fn is_public(&self, scope: &Scope) -> StorageResult<bool> {
        let rules = self.rules(scope).await?;
        Ok(rules.permission(Action::Read) == Permission::Everyone)
    }

    /// The rules in force.
    pub async fn rules(&self, scope: &Scope) -> StorageResult<Arc<Rules>> {
        let (version, access) = self.read(scope).await?;
        if access.is_empty() {
            return Ok(self.default.clone());
        }
        self.compiled
            .compiled(&scope.env, FILES, version, &access)
            .map_err(of_rules)
    }

    /// The access document; empty when none was set, which means READONLY.
    pub async fn get(&self, scope: &Scope) -> StorageResult<RawDocumentBuf> {
        Ok(self.read(scope).await?.1)
    }

    /// Sets the access document: in force on every node when this returns. Empty = as if none had ever been set.
    pub async fn set(&self, scope: &Scope, access: RawDocumentBuf) -> StorageResult<()> {
        let op = Op::SetAccess {
            collection: FILES.to_owned(),
            access,
        };
        self.run(scope, op).await?;
        Ok(())
    }

    /// The access document and its version.
    async fn read(&self, scope: &Scope) -> StorageResult<(u64, RawDocumentBuf)> {
        let op = Op::GetAccess {
            collection: FILES.to_owned(),
        };
        let documents = match self.run(scope, op).await {
            Ok(OpReply::Described { documents }) => documents,
            Ok(_) => return Err(unexpected()),
            // Nobody has stored a file or set rules yet.
            Err(failure) if failure.code == NO_COLLECTION => {
                return Ok((0, RawDocumentBuf::new()));
            }
            Err(failure) => return Err(failure.into()),
        };
        let document = documents.first().ok_or_else(unexpected)?;
        let version = document
            .get_i64("version")
            .ok()
            .and_then(|version| u64::try_from(version).ok())
            .ok_or_else(unexpected)?;
        let access = document
            .get_document("access")
            .map_err(|_| unexpected())?
            .to_owned();
        Ok((version, access))
    }

    async fn run(&self, scope: &Scope, op: Op) -> Result<OpReply, Failure> {
        let call = Call {
            caller: Caller::System,
            env: scope.env.clone(),
            op,
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline: Instant::now() + self.timeout,
            request_id: scope.request_id.clone(),
        };
        self.execute.execute(call).await
    }
}

/// Documents of the environment, for `get()` in rules.
struct EnvironmentDocuments<'a> {
    access: &'a StorageAccess,
    scope: &'a Scope,
}

impl Documents for EnvironmentDocuments<'_> {
    fn document<'a>(
        &'a self,
        collection: &'a str,
        id: &'a Bson,
    ) -> BoxFuture<'a, Result<Option<RawDocumentBuf>, Failure>> {
        Box::pin(async move {
            let filter = RawDocumentBuf::try_from(&doc! { "_id": id.clone() })
                .map_err(|error| Failure::new("INVALID_PARAM", error.to_string(), Retry::Never))?;
            let op = Op::Find {
                collection: collection.to_owned(),
                find: FindOp {
                    filter,
                    limit: Some(1),
                    ..FindOp::default()
                },
            };
            match self.access.run(self.scope, op).await {
                Ok(OpReply::Found { documents, .. }) => Ok(documents.into_iter().next()),
                Ok(_) => Ok(None),
                Err(failure) if failure.code == NO_COLLECTION => Ok(None),
                Err(failure) => Err(failure),
            }
        })
    }
}

/// A file as rules see it.
fn document_of(record: &FileRecord) -> StorageResult<RawDocumentBuf> {
    let mut document = Document::new();
    document.insert("_id", record.path.as_str());
    document.insert("path", record.path.as_str());
    own(&mut document, record.owner.as_deref());
    document.insert("size", record.size);
    document.insert("type", record.content_type.as_str());
    document.insert(
        "modifiedAt",
        bson::DateTime::from_millis(record.modified_at_ms),
    );
    let metadata: Document = record
        .metadata
        .iter()
        .map(|(name, value)| (name.clone(), Bson::String(value.clone())))
        .collect();
    document.insert("metadata", metadata);
    raw(&document)
}

/// A file as rules see it before its content is there.
fn announced(path: &FilePath, owner: Option<&str>) -> Document {
    let mut document = doc! { "_id": path.as_str(), "path": path.as_str() };
    own(&mut document, owner);
    document
}

fn own(document: &mut Document, owner: Option<&str>) {
    if let Some(owner) = owner {
        // The name in rules of CloudBase, and the one that all documents have.
        document.insert("openid", owner);
        document.insert("_openid", owner);
    }
}

fn raw(document: &Document) -> StorageResult<RawDocumentBuf> {
    RawDocumentBuf::try_from(document).map_err(|error| {
        StorageError::Damaged(format!(
            "what is noted of the file is not well-formed: {error}"
        ))
    })
}

/// Refusals of rules are spelt as those of files.
fn of_rules(failure: Failure) -> StorageError {
    if failure.code == DENIED {
        return StorageError::Denied(failure.message);
    }
    failure.into()
}

fn unexpected() -> StorageError {
    StorageError::Database(Failure::new(
        "SYS_ERR",
        "the database answered something else than an access document",
        Retry::Safe,
    ))
}

#[cfg(test)]
#[path = "access_test.rs"]
mod tests;
