//! Files at the doors: what the actions of `/admin` and `/web` and the REST below `/v1/storages` have in common.
//!
//! No content passes here. A door gives out addresses and tickets, made for one file and a time, and whoever comes with
//! one of them to [`crate::storage::transfer`] is served without any further question.
//!
//! Each file of a request has an outcome of its own; only when the database cannot be asked at all does a request for
//! addresses fail as a whole, so that clients see that they should try again.

mod actions;
mod authority;
#[cfg(test)]
mod calls_test;
mod rest;
#[cfg(test)]
mod shapes_test;

use axum::http::request::Parts;

pub(super) use actions::{dispatch, is_action};
pub(super) use rest::answer;

use super::{GatewayState, codes, head};
use crate::call::{Caller, Failure, Retry};
use crate::rules::Action;
use crate::storage::links::{TicketCondition, UploadTicket};
use crate::storage::{
    Condition, FileDoor, FileId, FilePath, FileRecord, NewFile, Scope, StorageError, StorageResult,
    address,
};

/// Most files that one request may be about, as the clients know.
const FILES_MAX: usize = 50;

/// What one request does with files.
struct FileCalls<'a> {
    door: &'a FileDoor,
    scope: Scope,
    caller: &'a Caller,
    /// What the client calls this node, such as `https://files.example.com`.
    origin: String,
    /// Unix seconds.
    now_s: i64,
}

/// What a client needs to upload a file.
struct Upload {
    id: String,
    url: String,
    ticket: String,
    /// Where the file can be read afterwards, unescaped and escaped.
    download: (String, String),
}

/// What a client needs to read a file.
struct Link {
    id: String,
    /// With the path as it is.
    url: String,
    escaped: String,
    life_s: u64,
}

/// A copy to be made.
struct Copying {
    source: String,
    target: String,
    overwrite: bool,
    remove_source: bool,
}

impl<'a> FileCalls<'a> {
    /// The calls of one request.
    fn of(
        state: &'a GatewayState,
        parts: &Parts,
        env: &str,
        caller: &'a Caller,
        request_id: &str,
    ) -> Result<Self, Failure> {
        let door = state.files.as_deref().ok_or_else(|| {
            let message =
                "this node serves no files: ask another, or try again when it has started";
            Failure::new(codes::RESOURCE_NOT_INITIAL, message, Retry::Safe)
        })?;
        let (secure, host) = head::origin(parts).ok_or_else(|| {
            let message = "the request's Host header names no host to reach files at";
            Failure::new(codes::INVALID_PARAM, message, Retry::Never)
        })?;
        let scheme = if secure { "https" } else { "http" };
        Ok(Self {
            door,
            scope: Scope {
                env: env.to_owned(),
                request_id: request_id.to_owned(),
            },
            caller,
            origin: format!("{scheme}://{host}"),
            now_s: state.clock.now_unix_ms().div_euclid(1000),
        })
    }

    /// The path that an id names.
    fn path_of(&self, id: &str) -> StorageResult<FilePath> {
        FileDoor::path_of(&self.scope, id)
    }

    /// The path that a copy names: by id, or as it is.
    fn path_or_id(&self, text: &str) -> StorageResult<FilePath> {
        if text.starts_with("cloud://") {
            return self.path_of(text);
        }
        FilePath::parse(text)
    }

    fn id_of(&self, path: &FilePath) -> String {
        FileId::new(&self.scope.env, path.clone()).to_string()
    }

    /// Whether the caller may write a file there: whose it will be, and what must still be so then.
    async fn may_write(
        &self,
        path: &FilePath,
        overwrite: bool,
    ) -> StorageResult<(Option<String>, TicketCondition)> {
        let Caller::User(user) = self.caller else {
            let condition = if overwrite {
                TicketCondition::None
            } else {
                TicketCondition::Absent
            };
            return Ok((None, condition));
        };
        let access = &self.door.access;
        match self.door.files.stat(&self.scope, path).await? {
            None => {
                access
                    .check(&self.scope, self.caller, Action::Create, path, None)
                    .await?;
                Ok((Some(user.openid.clone()), TicketCondition::Absent))
            }
            Some(_) if !overwrite => Err(StorageError::Exists(path.to_string())),
            Some(record) => {
                access
                    .check(
                        &self.scope,
                        self.caller,
                        Action::Update,
                        path,
                        Some(&record),
                    )
                    .await?;
                // Whose a file is never changes.
                Ok((record.owner, TicketCondition::Version(record.version)))
            }
        }
    }

    /// Lets the caller upload a file.
    async fn upload(&self, path: &str, content_type: Option<String>) -> StorageResult<Upload> {
        let path = FilePath::parse(path)?;
        let limits = self.door.files.limits();
        let (owner, condition) = self.may_write(&path, true).await?;
        let bytes_max = match self.caller {
            Caller::User(_) => limits.user_file_bytes_max,
            Caller::Administrator { .. } | Caller::System => limits.file_bytes_max,
        };
        let ticket = UploadTicket {
            path: path.to_string(),
            until_s: self.now_s.saturating_add(seconds(limits.upload_link_life)),
            owner,
            content_type,
            bytes_max,
            condition,
        };
        let ticket = self
            .door
            .links
            .issue_upload(&self.scope.env, &ticket)
            .ok_or_else(not_yet)?;
        Ok(Upload {
            id: self.id_of(&path),
            url: address::plain(&self.origin, &self.scope.env, &path),
            ticket,
            download: self.after_upload(&path)?,
        })
    }

    /// Where a file can be read once it is there. A user gets no signature for it: rules that let the user write may not
    /// let it read what others write to the same place later.
    fn after_upload(&self, path: &FilePath) -> StorageResult<(String, String)> {
        match self.caller {
            Caller::User(_) => Ok((
                address::plain_unescaped(&self.origin, &self.scope.env, path),
                address::plain(&self.origin, &self.scope.env, path),
            )),
            Caller::Administrator { .. } | Caller::System => {
                let life_s = self.door.files.limits().download_link_life.as_secs();
                self.signed(path, life_s)
            }
        }
    }

    /// Addresses that open a file for `life_s` seconds, unescaped and escaped.
    fn signed(&self, path: &FilePath, life_s: u64) -> StorageResult<(String, String)> {
        let env = &self.scope.env;
        let life = i64::try_from(life_s).unwrap_or(i64::MAX);
        let until_s = self.now_s.saturating_add(life);
        let signature = self
            .door
            .links
            .sign_download(env, path, until_s)
            .ok_or_else(not_yet)?;
        let unescaped = address::plain_unescaped(&self.origin, env, path);
        let escaped = address::plain(&self.origin, env, path);
        Ok((
            address::signed(&unescaped, &signature, until_s),
            address::signed(&escaped, &signature, until_s),
        ))
    }

    /// Lets the caller read the file of an id, for as many seconds as asked for within the limits.
    async fn link(&self, id: &str, life_s: Option<u64>, public: bool) -> StorageResult<Link> {
        let path = self.path_of(id)?;
        let (caller, action) = (self.caller, Action::Read);
        self.door
            .allowed(&self.scope, caller, action, &path)
            .await?;
        let limits = self.door.files.limits();
        let longest = limits.download_link_life_max.as_secs();
        let life_s = match life_s {
            Some(life_s) if life_s > 0 => life_s.min(longest),
            // What everyone may read anyway need not end soon.
            _ if public => longest,
            _ => limits.download_link_life.as_secs(),
        };
        let (url, escaped) = self.signed(&path, life_s)?;
        Ok(Link {
            id: self.id_of(&path),
            url,
            escaped,
            life_s,
        })
    }

    /// Deletes the file of an id.
    async fn delete(&self, id: &str) -> StorageResult<()> {
        let path = self.path_of(id)?;
        let condition = match self.caller {
            Caller::User(_) => {
                let (caller, action) = (self.caller, Action::Delete);
                let record = self
                    .door
                    .allowed(&self.scope, caller, action, &path)
                    .await?;
                Condition::Version(record.version)
            }
            Caller::Administrator { .. } | Caller::System => Condition::None,
        };
        if self
            .door
            .files
            .delete(&self.scope, &path, condition)
            .await?
        {
            return Ok(());
        }
        Err(StorageError::NotFound(path.to_string()))
    }

    /// Copies or moves a file; answers the id of the new one.
    async fn copy(&self, copying: &Copying) -> StorageResult<String> {
        let source = self.path_or_id(&copying.source)?;
        let target = self.path_or_id(&copying.target)?;
        let record = self
            .door
            .allowed(&self.scope, self.caller, Action::Read, &source)
            .await?;
        if copying.remove_source {
            let access = &self.door.access;
            access
                .check(
                    &self.scope,
                    self.caller,
                    Action::Delete,
                    &source,
                    Some(&record),
                )
                .await?;
        }
        if source == target {
            // Never deleted: it is the target too.
            if copying.overwrite {
                return Ok(self.id_of(&target));
            }
            return Err(StorageError::Exists(target.to_string()));
        }
        let (owner, condition) = self.may_write(&target, copying.overwrite).await?;
        let moved_by_administrator =
            copying.remove_source && !matches!(self.caller, Caller::User(_));
        let owner = if moved_by_administrator {
            record.owner.clone()
        } else {
            owner
        };
        let new = NewFile {
            path: target.clone(),
            content_type: Some(record.content_type.clone()),
            metadata: record.metadata.clone(),
            owner,
            condition: FileDoor::condition_of(condition),
            md5_etag: false,
            md5: None,
            bytes_max: record.bytes(),
        };
        match self.door.files.copy(&self.scope, &record, new).await {
            Ok(_) => {}
            // Said in the words of what was asked for.
            Err(StorageError::ConditionFailed(path)) if !copying.overwrite => {
                return Err(StorageError::Exists(path));
            }
            Err(error) => return Err(error),
        }
        if copying.remove_source {
            self.remove_source(&source, record).await?;
        }
        Ok(self.id_of(&target))
    }

    /// Deletes what was copied, unless something else has come into its place meanwhile.
    async fn remove_source(&self, source: &FilePath, record: FileRecord) -> StorageResult<()> {
        let condition = Condition::Version(record.version);
        match self.door.files.delete(&self.scope, source, condition).await {
            Ok(_) | Err(StorageError::ConditionFailed(_) | StorageError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether nothing was found out because the cluster could not be asked.
fn is_outage(error: &StorageError) -> bool {
    matches!(
        error,
        StorageError::Database(_) | StorageError::Unavailable(_)
    )
}

/// The first outage among outcomes, as the failure of the whole request.
fn outage<T>(outcomes: &[StorageResult<T>]) -> Result<(), Failure> {
    let outage = outcomes.iter().find_map(|outcome| match outcome {
        Err(error) if is_outage(error) => Some(error.clone()),
        _ => None,
    });
    outage.map_or(Ok(()), |error| Err(error.into()))
}

/// Only for a moment after the very first start of a node.
fn not_yet() -> StorageError {
    StorageError::Unavailable(
        "this node does not know its cluster yet: try again shortly".to_owned(),
    )
}

fn seconds(life: std::time::Duration) -> i64 {
    i64::try_from(life.as_secs()).unwrap_or(i64::MAX)
}
