//! Exit codes of every command: stable, so that scripts may rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It did not work.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Not authenticated or not allowed.
    Auth = 3,
    /// What was named does not exist.
    NotFound = 4,
    /// It exists already, or was changed meanwhile.
    Conflict = 5,
    /// Refused because it could do damage.
    Unsafe = 6,
    /// Over a limit.
    Limit = 7,
    /// No node, or no quorum, answered.
    Unavailable = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit that suits a failure's code.
    pub fn of_code(code: &str) -> Self {
        match code {
            "SIGN_PARAM_INVALID"
            | "PERMISSION_DENIED"
            | "INVALID_CREDENTIALS"
            | "INVALID_ACCESS_TOKEN"
            | "DATABASE_PERMISSION_DENIED"
            | "STORAGE_EXCEED_AUTHORITY" => Self::Auth,
            "DATABASE_COLLECTION_NOT_EXIST"
            | "INVALID_ENV"
            | "DOCUMENT_NOT_FOUND"
            | "STORAGE_FILE_NONEXIST" => Self::NotFound,
            "DATABASE_COLLECTION_ALREADY_EXIST"
            | "DATABASE_DUPLICATE_WRITE"
            | "OBJECT_ALREADY_EXIST"
            | "STORAGE_CONDITION_FAILED" => Self::Conflict,
            "RESOURCE_INSUFFICIENT"
            | "EXCEED_REQUEST_LIMIT"
            | "EXCEED_REQUEST_SIZE_LIMIT"
            | "EXCEED_CONCURRENT_REQUEST_LIMIT"
            | "DATABASE_COLLECTION_EXCEED_LIMIT" => Self::Limit,
            "SERVER_TIMEOUT" | "UNAVAILABLE" | "RESOURCE_UNAVAILABLE" | "RESOURCE_NOT_INITIAL" => {
                Self::Unavailable
            }
            _ => Self::Failed,
        }
    }
}
