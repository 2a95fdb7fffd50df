//! What a door needs to serve files.

use std::sync::Arc;

use super::access::StorageAccess;
use super::error::{StorageError, StorageResult};
use super::file_id::FileId;
use super::files::{Condition, Files, Scope};
use super::links::{Links, TicketCondition};
use super::path::FilePath;
use super::record::FileRecord;
use crate::call::Caller;
use crate::rules::Action;

/// Files, the addresses that open them, and who may do what.
#[derive(Clone)]
pub struct FileDoor {
    /// The files.
    pub files: Files,
    /// Addresses and tickets.
    pub links: Links,
    /// The rules of end users.
    pub access: StorageAccess,
}

impl FileDoor {
    /// A door.
    pub fn new(files: Files, links: Links, access: StorageAccess) -> Arc<Self> {
        Arc::new(Self {
            files,
            links,
            access,
        })
    }

    /// The file at `path`, if there is one and `caller` may do `action` with it. That there is none, everybody learns.
    pub async fn allowed(
        &self,
        scope: &Scope,
        caller: &Caller,
        action: Action,
        path: &FilePath,
    ) -> StorageResult<FileRecord> {
        let record = self.files.stat(scope, path).await?;
        let record = record.ok_or_else(|| StorageError::NotFound(path.to_string()))?;
        self.access
            .check(scope, caller, action, path, Some(&record))
            .await?;
        Ok(record)
    }

    /// What a ticket demands, as files understand it.
    pub fn condition_of(condition: TicketCondition) -> Condition {
        match condition {
            TicketCondition::None => Condition::None,
            TicketCondition::Absent => Condition::Absent,
            TicketCondition::Version(version) => Condition::Version(version),
        }
    }

    /// The path that an id names in this environment.
    pub fn path_of(scope: &Scope, id: &str) -> StorageResult<FilePath> {
        let id = FileId::parse(id)?;
        if id.env != scope.env {
            return Err(StorageError::Invalid(format!(
                "the file id names another environment than `{}`, where the request acts",
                scope.env
            )));
        }
        Ok(id.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_files_of_their_environment_alone() {
        let scope = Scope {
            env: "demo".to_owned(),
            request_id: "r".to_owned(),
        };
        let path = FileDoor::path_of(&scope, "cloud://demo.any-bucket/a/b").unwrap();
        assert_eq!(path.as_str(), "a/b");
        for bad in ["cloud://other.other/a", "cloud://demo.demo/../a", "a/b", ""] {
            let refused = FileDoor::path_of(&scope, bad).unwrap_err();
            assert_eq!(refused.code(), "INVALID_PARAM", "{bad}");
        }
    }
}
