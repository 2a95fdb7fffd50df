//! What S3 clients are told: the codes and statuses of S3 for whatever files can run into.

use axum::http::StatusCode;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::call::{Failure, Retry};
use crate::storage::error::StorageError;
use crate::storage::limits::PATH_BYTES_MAX;
use crate::storage::path::FilePath;

/// An error of files as S3 spells it.
pub(super) fn told(error: StorageError) -> S3Error {
    let message = error.to_string();
    let code = match error {
        StorageError::NotFound(_) => S3ErrorCode::NoSuchKey,
        StorageError::NoSuchUpload(_) => S3ErrorCode::NoSuchUpload,
        StorageError::Exists(_) | StorageError::ConditionFailed(_) => {
            S3ErrorCode::PreconditionFailed
        }
        StorageError::Denied(_) => S3ErrorCode::AccessDenied,
        StorageError::Invalid(_) => S3ErrorCode::InvalidArgument,
        StorageError::TooLarge { .. } => S3ErrorCode::EntityTooLarge,
        StorageError::BadContent(_) => S3ErrorCode::BadDigest,
        StorageError::Aborted(_) => S3ErrorCode::RequestTimeout,
        StorageError::TooMany(_) => S3ErrorCode::SlowDown,
        StorageError::Full(_) => {
            // S3 itself never is. Not a 503, which clients would repeat without end.
            let mut full = S3Error::with_message(custom("InsufficientStorage"), message);
            full.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
            return full;
        }
        StorageError::Unavailable(_) => S3ErrorCode::ServiceUnavailable,
        StorageError::Damaged(_) => S3ErrorCode::InternalError,
        StorageError::Database(failure) => code_of(&failure),
    };
    S3Error::with_message(code, message)
}

fn code_of(failure: &Failure) -> S3ErrorCode {
    match (&*failure.code, failure.retry) {
        ("INVALID_ENV", _) => S3ErrorCode::NoSuchBucket,
        ("INVALID_PARAM", _) => S3ErrorCode::InvalidArgument,
        ("DATABASE_PERMISSION_DENIED", _) => S3ErrorCode::AccessDenied,
        ("EXCEED_CONCURRENT_REQUEST_LIMIT", _) => S3ErrorCode::SlowDown,
        (_, Retry::Safe | Retry::SameSequence) => S3ErrorCode::ServiceUnavailable,
        (_, Retry::Never) => S3ErrorCode::InternalError,
    }
}

/// A code that `s3s` does not list.
pub(super) fn custom(code: &str) -> S3ErrorCode {
    let Ok(code) = code.parse::<S3ErrorCode>();
    code
}

/// The path that a key stands for.
pub(super) fn path(key: &str) -> S3Result<FilePath> {
    if key.len() > PATH_BYTES_MAX {
        return Err(s3_error!(
            KeyTooLongError,
            "the key is longer than {PATH_BYTES_MAX} bytes"
        ));
    }
    FilePath::parse(key).map_err(told)
}

/// The path of an object that is to be there: a key that no object can have is one of an object that is not.
pub(super) fn existing_path(key: &str) -> S3Result<FilePath> {
    FilePath::parse(key).map_err(|_| no_such_key())
}

/// There is no such object.
pub(super) fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "there is no object of this key")
}

/// There is no such upload in parts.
pub(super) fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "there is no upload of this id for this key: it was completed or aborted, or has expired"
    )
}

/// Refuses every version but the only one that an object has.
pub(super) fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(s3_error!(
            NoSuchVersion,
            "objects have one version here: leave versionId out"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_clients_whether_to_try_again() {
        let status = |error: StorageError| {
            let error = told(error);
            let status = error.status_code().map_or(0, |status| status.as_u16());
            (error.code().as_str().to_owned(), status)
        };
        let text = || "x".to_owned();
        let database = |code: &'static str, retry| {
            StorageError::Database(Failure::new(code, "because", retry))
        };
        for (error, code, wanted) in [
            (StorageError::NotFound(text()), "NoSuchKey", 404),
            (StorageError::NoSuchUpload(text()), "NoSuchUpload", 404),
            (StorageError::Exists(text()), "PreconditionFailed", 412),
            (
                StorageError::ConditionFailed(text()),
                "PreconditionFailed",
                412,
            ),
            (StorageError::Denied(text()), "AccessDenied", 403),
            (StorageError::Invalid(text()), "InvalidArgument", 400),
            (
                StorageError::TooLarge { bytes_max: 1 },
                "EntityTooLarge",
                400,
            ),
            (StorageError::BadContent(text()), "BadDigest", 400),
            (StorageError::Aborted(text()), "RequestTimeout", 400),
            (StorageError::TooMany(text()), "SlowDown", 503),
            (StorageError::Full(text()), "InsufficientStorage", 507),
            (StorageError::Unavailable(text()), "ServiceUnavailable", 503),
            (StorageError::Damaged(text()), "InternalError", 500),
            (database("INVALID_ENV", Retry::Never), "NoSuchBucket", 404),
            (
                database("SERVER_TIMEOUT", Retry::Safe),
                "ServiceUnavailable",
                503,
            ),
            (database("SYS_ERR", Retry::Never), "InternalError", 500),
        ] {
            assert_eq!(status(error), (code.to_owned(), wanted));
        }
    }

    #[test]
    fn keys_are_paths() {
        assert!(path("a/b").is_ok());
        let code = |key: &str| {
            path(key)
                .err()
                .map(|error| error.code().as_str().to_owned())
        };
        assert_eq!(code("a//b").as_deref(), Some("InvalidArgument"));
        assert_eq!(code("../a").as_deref(), Some("InvalidArgument"));
        let long = "a".repeat(PATH_BYTES_MAX + 1);
        assert_eq!(code(&long).as_deref(), Some("KeyTooLongError"));
        let absent = existing_path("a//b").expect_err("no such path");
        assert_eq!(absent.code(), &S3ErrorCode::NoSuchKey);
    }

    #[test]
    fn there_is_one_version() {
        for good in [None, Some(""), Some("null")] {
            assert!(check_version(good).is_ok());
        }
        assert!(check_version(Some("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY")).is_err());
    }
}
