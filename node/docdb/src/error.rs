//! What the database refuses, with the code that the official CloudBase clients know.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request failed, as the clients spell it (`compat`: the misspelling in
/// `DATABASE_INVALID_OPERRATOR` is part of the protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorCode {
    /// A parameter has the wrong type or an impossible value.
    InvalidParam,
    /// An operator is unknown, misplaced or not supported.
    InvalidOperator,
    /// The collection does not exist.
    CollectionNotExist,
    /// The collection exists already.
    CollectionAlreadyExist,
    /// A named limit on collections or indexes is reached.
    CollectionExceedLimit,
    /// A unique index (or `_id`) holds the value already.
    DuplicateWrite,
    /// The request is well-formed but cannot be carried out (the clients' catch-all).
    RequestFailed,
    /// A query went over its budget of documents, bytes, memory or time.
    ExceedBudget,
    /// The request, a document or a result is larger than its limit.
    ExceedSize,
    /// An index of that name exists with another definition, or does not exist.
    IndexConflict,
    /// The session is unknown or expired; the outcome of a retried request is unknown.
    SessionExpired,
    /// What leader planned no longer holds at apply; plan again. Never leaves the node.
    Replan,
    /// The environment is unknown.
    InvalidEnv,
    /// Our own fault: storage failed or an invariant broke.
    Internal,
    /// The collection's access rules do not allow it.
    PermissionDenied,
    /// The access rules that the request was compiled under have changed: compile it again. Nothing of the
    /// request happened; the node that took it does so, so clients never see this.
    AccessChanged,
    /// A document that a transaction had read is no longer as it was.
    TransactionConflict,
}

impl ErrorCode {
    /// The text that goes over the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidParam => "INVALID_PARAM",
            Self::InvalidOperator => "DATABASE_INVALID_OPERRATOR",
            Self::CollectionNotExist => "DATABASE_COLLECTION_NOT_EXIST",
            Self::CollectionAlreadyExist => "DATABASE_COLLECTION_ALREADY_EXIST",
            Self::CollectionExceedLimit => "DATABASE_COLLECTION_EXCEED_LIMIT",
            Self::DuplicateWrite => "DATABASE_DUPLICATE_WRITE",
            Self::RequestFailed | Self::IndexConflict | Self::Replan => "DATABASE_REQUEST_FAILED",
            Self::ExceedBudget => "EXCEED_REQUEST_LIMIT",
            Self::ExceedSize => "EXCEED_REQUEST_SIZE_LIMIT",
            Self::SessionExpired => "SESSION_EXPIRED",
            Self::InvalidEnv => "INVALID_ENV",
            Self::Internal => "SYS_ERR",
            Self::PermissionDenied => "DATABASE_PERMISSION_DENIED",
            Self::AccessChanged => "ACCESS_CHANGED",
            Self::TransactionConflict => "DATABASE_TRANSACTION_CONFLICT",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: what is wrong, where, and what to do about it. Part of replicated replies, so equal on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// The class of the failure.
    pub code: ErrorCode,
    /// One sentence in lower case that names the field and says what to do.
    pub message: String,
}

impl Error {
    /// An error of class `code`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A parameter with the wrong type or value.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParam, message)
    }

    /// An operator that is unknown, misplaced or unsupported.
    pub fn operator(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidOperator, message)
    }

    /// A storage failure or a broken invariant.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, message.to_string())
    }
}

/// Result of a database call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<crate::kv::StorageError> for Error {
    fn from(error: crate::kv::StorageError) -> Self {
        Self::internal(error)
    }
}
