//! What callers of files are told, by what they can do about it. Each surface spells it in its own way.

use crate::call::{Failure, Retry};

/// Outcome of everything that has to do with files.
pub type StorageResult<T> = Result<T, StorageError>;

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// There is no such file.
    #[error("there is no file `{0}`")]
    NotFound(String),
    /// There is no such upload in parts.
    #[error("there is no upload `{0}`: it was completed or given up, or has expired")]
    NoSuchUpload(String),
    /// There is a file of this name already, and the caller wanted none.
    #[error("there is a file `{0}` already")]
    Exists(String),
    /// The file is not as the caller expected it.
    #[error("file `{0}` is not as the condition demands")]
    ConditionFailed(String),
    /// The caller may not.
    #[error("{0}")]
    Denied(String),
    /// Something in the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The content is larger than allowed.
    #[error("the file is larger than {bytes_max} bytes")]
    TooLarge {
        /// What is allowed.
        bytes_max: u64,
    },
    /// The content that arrived is not what was announced.
    #[error("{0}")]
    BadContent(String),
    /// The content did not arrive in time, or its sender went away.
    #[error("{0}")]
    Aborted(String),
    /// As many as allowed are under way.
    #[error("{0}")]
    TooMany(String),
    /// Nodes have no room.
    #[error("{0}")]
    Full(String),
    /// Too few nodes answer.
    #[error("{0}")]
    Unavailable(String),
    /// No intact copy of a part of the file can be found.
    #[error("{0}")]
    Damaged(String),
    /// The document database refused.
    #[error("{0}")]
    Database(Failure),
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        Self::Database(failure)
    }
}

impl StorageError {
    /// The code that the CloudBase clients know.
    pub fn code(&self) -> &str {
        match self {
            Self::NotFound(_) | Self::NoSuchUpload(_) => "STORAGE_FILE_NONEXIST",
            Self::Exists(_) => "OBJECT_ALREADY_EXIST",
            Self::ConditionFailed(_) => "STORAGE_CONDITION_FAILED",
            Self::Denied(_) => "STORAGE_EXCEED_AUTHORITY",
            Self::Invalid(_) => "INVALID_PARAM",
            Self::TooLarge { .. } => "EXCEED_REQUEST_SIZE_LIMIT",
            Self::BadContent(_) | Self::Aborted(_) => "STORAGE_REQUEST_FAIL",
            Self::TooMany(_) => "EXCEED_CONCURRENT_REQUEST_LIMIT",
            Self::Full(_) => "RESOURCE_INSUFFICIENT",
            Self::Unavailable(_) => "RESOURCE_UNAVAILABLE",
            Self::Damaged(_) => "STORAGE_FILE_DAMAGED",
            Self::Database(failure) => &failure.code,
        }
    }

    /// Whether to try again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Aborted(_) | Self::TooMany(_) | Self::Unavailable(_) | Self::Damaged(_) => {
                Retry::Safe
            }
            Self::Database(failure) => failure.retry,
            _ => Retry::Never,
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Database(failure) => failure,
            other => Self::new(other.code().to_owned(), other.to_string(), other.retry()),
        }
    }
}
