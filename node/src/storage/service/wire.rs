//! Files and their failures between the protocol and this crate.

use std::ops::Range;

use bytes::Bytes;
use tonic::{Code, Status};
use yunbase_chunkstore::{Chunk, ChunkHash, UploadId};
use yunbase_client::proto::{self, file_condition::Is};
use yunbase_client::status::failed;

use super::limits::{CONTENT_BYTES_MAX, MESSAGE_CHUNKS_MAX};
use crate::call::{Failure, Retry};
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::files::{Condition, NewFile};
use crate::storage::path::FilePath;
use crate::storage::record::{FileRecord, Piece};

/// A file as the protocol tells of it.
pub(super) fn shown(record: FileRecord) -> proto::StoredFile {
    let content_hash = match record.content.pieces.is_empty() && record.size > 0 {
        // A listing leaves the content out.
        true => Bytes::new(),
        false => Bytes::copy_from_slice(blake3::hash(&record.content.pieces).as_bytes()),
    };
    proto::StoredFile {
        bytes: record.bytes(),
        path: record.path,
        content_type: record.content_type,
        etag: record.etag,
        version: record.version,
        owner: record.owner.unwrap_or_default(),
        metadata: record.metadata.into_iter().collect(),
        modified_at_ms: record.modified_at_ms,
        content_hash,
    }
}

/// Likewise without anything that only its content tells.
pub(super) fn listed(record: FileRecord) -> proto::StoredFile {
    proto::StoredFile {
        content_hash: Bytes::new(),
        ..shown(record)
    }
}

pub(super) fn condition(condition: Option<proto::FileCondition>) -> StorageResult<Condition> {
    Ok(match condition.map(|condition| condition.is) {
        None => Condition::None,
        Some(Some(Is::Absent(true))) => Condition::Absent,
        Some(Some(Is::Version(version))) => Condition::Version(version),
        Some(Some(Is::Etag(etag))) => Condition::Etag(etag),
        // Taken for none, a condition that is not understood would lose what it protects.
        Some(None | Some(Is::Absent(false))) => {
            return Err(StorageError::Invalid(
                "the condition is none that this node knows".to_owned(),
            ));
        }
    })
}

/// A file to be, of at most `bytes_max` bytes.
pub(super) fn new_file(
    file: Option<proto::NewStoredFile>,
    bytes_max: u64,
) -> StorageResult<NewFile> {
    let missing = || StorageError::Invalid("the request names no file".to_owned());
    let file = file.ok_or_else(missing)?;
    Ok(NewFile {
        path: FilePath::parse(&file.path)?,
        content_type: Some(file.content_type).filter(|text| !text.is_empty()),
        metadata: file.metadata.into_iter().collect(),
        owner: Some(file.owner).filter(|owner| !owner.is_empty()),
        condition: condition(file.condition)?,
        md5_etag: false,
        md5: None,
        bytes_max,
    })
}

pub(super) fn upload(id: &[u8]) -> StorageResult<UploadId> {
    let bytes: [u8; 16] = id
        .try_into()
        .map_err(|_| StorageError::Invalid("an upload is named by 16 random bytes".to_owned()))?;
    Ok(UploadId(u128::from_be_bytes(bytes)))
}

pub(super) fn hashes(encoded: &[u8]) -> StorageResult<Vec<ChunkHash>> {
    let (hashes, []) = encoded.as_chunks::<{ ChunkHash::BYTES }>() else {
        return Err(StorageError::Invalid(
            "names of chunks have 32 bytes each".to_owned(),
        ));
    };
    check_count(hashes.len())?;
    Ok(hashes.iter().copied().map(ChunkHash::from_bytes).collect())
}

/// Chunks under the names that their content gives them. Hashes them all: not for a thread that others wait for.
pub(super) fn chunks(contents: Vec<Bytes>) -> StorageResult<Vec<Chunk>> {
    check_count(contents.len())?;
    let named = contents.into_iter().map(|content| {
        if content.is_empty() {
            return Err(StorageError::Invalid("a chunk is empty".to_owned()));
        }
        Chunk::new(content).map_err(|error| StorageError::Invalid(error.to_string()))
    });
    named.collect()
}

fn check_count(chunks: usize) -> StorageResult<()> {
    if chunks > MESSAGE_CHUNKS_MAX {
        return Err(StorageError::Invalid(format!(
            "one message is about {MESSAGE_CHUNKS_MAX} chunks at most"
        )));
    }
    Ok(())
}

/// Pieces of a commit, none of them empty.
pub(super) fn pieces(encoded: &[u8]) -> StorageResult<Vec<Piece>> {
    if !encoded.len().is_multiple_of(Piece::BYTES) {
        return Err(StorageError::Invalid(
            "pieces have 36 bytes each".to_owned(),
        ));
    }
    let pieces = Piece::decode_all(encoded)?;
    if pieces.iter().any(|piece| piece.bytes == 0) {
        return Err(StorageError::Invalid("a piece is empty".to_owned()));
    }
    Ok(pieces)
}

/// The part of a file that is asked for; it may reach beyond the end, but not begin there.
pub(super) fn range(
    record: &FileRecord,
    from: u64,
    until: Option<u64>,
) -> StorageResult<Range<u64>> {
    let bytes = record.bytes();
    let until = until.unwrap_or(bytes).min(bytes);
    if from > until {
        return Err(StorageError::Invalid(format!(
            "the range begins at {from}, and {} has {bytes} bytes",
            record.path
        )));
    }
    Ok(from..until)
}

/// Content as messages of bounded size.
pub(super) fn messages(content: StorageResult<Bytes>, request_id: &str) -> Vec<Message> {
    let mut content = match content {
        Ok(content) => content,
        Err(error) => return vec![Err(status_of(error, request_id))],
    };
    let mut messages = Vec::with_capacity(content.len().div_ceil(CONTENT_BYTES_MAX));
    while !content.is_empty() {
        let part = content.split_to(content.len().min(CONTENT_BYTES_MAX));
        messages.push(Ok(proto::GetFileResponse {
            file: None,
            content: part,
        }));
    }
    messages
}

/// A message of a download.
pub(super) type Message = Result<proto::GetFileResponse, Status>;

fn class_of(error: &StorageError) -> Code {
    match error {
        StorageError::NotFound(_) | StorageError::NoSuchUpload(_) => Code::NotFound,
        StorageError::Exists(_) => Code::AlreadyExists,
        StorageError::ConditionFailed(_) => Code::FailedPrecondition,
        StorageError::Denied(_) => Code::PermissionDenied,
        StorageError::Invalid(_) => Code::InvalidArgument,
        StorageError::TooLarge { .. } | StorageError::TooMany(_) | StorageError::Full(_) => {
            Code::ResourceExhausted
        }
        StorageError::BadContent(_) => Code::Aborted,
        StorageError::Aborted(_) | StorageError::Unavailable(_) => Code::Unavailable,
        StorageError::Damaged(_) => Code::DataLoss,
        StorageError::Database(failure) => class_of_failure(failure),
    }
}

fn class_of_failure(failure: &Failure) -> Code {
    match failure.code.as_ref() {
        "INVALID_PARAM" => Code::InvalidArgument,
        "INVALID_ENV" => Code::NotFound,
        "PERMISSION_DENIED" | "DATABASE_PERMISSION_DENIED" => Code::PermissionDenied,
        "RESOURCE_INSUFFICIENT"
        | "EXCEED_REQUEST_LIMIT"
        | "EXCEED_REQUEST_SIZE_LIMIT"
        | "EXCEED_CONCURRENT_REQUEST_LIMIT" => Code::ResourceExhausted,
        "SERVER_TIMEOUT" | "RESOURCE_NOT_INITIAL" => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The advice as the protocol spells it.
fn advice(retry: Retry) -> proto::Retry {
    match retry {
        Retry::Never => proto::Retry::Never,
        Retry::Safe => proto::Retry::Safe,
        Retry::SameSequence => proto::Retry::SameSequence,
    }
}

/// A failure as a status.
#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
pub(super) fn status_of(error: StorageError, request_id: &str) -> Status {
    let class = class_of(&error);
    let retry = advice(error.retry());
    failed(class, error.code(), error.to_string(), retry, request_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: i64) -> FileRecord {
        FileRecord {
            path: "a".into(),
            size: bytes,
            content_type: "x/y".into(),
            etag: "e".into(),
            version: "v".into(),
            owner: None,
            metadata: std::collections::BTreeMap::new(),
            modified_at_ms: 1,
            content: crate::storage::record::Content::default(),
        }
    }

    #[test]
    fn ranges_are_cut_at_the_end_and_do_not_begin_behind_it() {
        let file = record(10);
        for (from, until, expected) in [
            (0, None, Ok(0..10)),
            (3, Some(5), Ok(3..5)),
            (3, Some(u64::MAX), Ok(3..10)),
            (10, None, Ok(10..10)),
            (11, None, Err(())),
            (5, Some(3), Err(())),
        ] {
            assert_eq!(range(&file, from, until).map_err(drop), expected);
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        assert!(upload(&[0; 15]).is_err() && upload(&[0; 16]).is_ok());
        assert!(hashes(&[0; 31]).is_err());
        assert_eq!(hashes(&[0; 64]).map(|hashes| hashes.len()), Ok(2));
        assert!(hashes(&vec![0; 32 * (MESSAGE_CHUNKS_MAX + 1)]).is_err());
        assert!(chunks(vec![Bytes::new()]).is_err());
        assert!(pieces(&[1; 35]).is_err() && pieces(&[0; 36]).is_err());
        assert_eq!(pieces(&[1; 72]).map(|pieces| pieces.len()), Ok(2));
        assert!(new_file(None, 1).is_err());
        let is = Some(Is::Absent(false));
        assert!(condition(Some(proto::FileCondition { is })).is_err());
        assert!(condition(Some(proto::FileCondition { is: None })).is_err());
        assert_eq!(condition(None), Ok(Condition::None));
    }

    #[test]
    fn content_goes_in_messages_of_bounded_size() {
        let content = Bytes::from(vec![7; CONTENT_BYTES_MAX * 2 + 1]);
        let sizes: Vec<usize> = messages(Ok(content), "r")
            .into_iter()
            .map(|message| message.map_or(0, |message| message.content.len()))
            .collect();
        assert_eq!(sizes, [CONTENT_BYTES_MAX, CONTENT_BYTES_MAX, 1]);
        let damaged = StorageError::Damaged("gone".into());
        let told = messages(Err(damaged), "r").remove(0).unwrap_err();
        assert_eq!(told.code(), Code::DataLoss);
    }

    #[test]
    fn listings_say_nothing_of_contents_that_they_leave_out() {
        assert!(shown(record(5)).content_hash.is_empty());
        // An empty file has all of its content.
        assert_eq!(shown(record(0)).content_hash.len(), 32);
        assert!(listed(record(0)).content_hash.is_empty());
    }

    #[test]
    fn failures_of_the_database_keep_their_code_and_advice() {
        let failure = Failure::new("SERVER_TIMEOUT", "late", Retry::SameSequence);
        let status = status_of(failure.into(), "r1");
        assert_eq!(status.code(), Code::Unavailable);
        let told = |key: &str| {
            status
                .metadata()
                .get(key)
                .and_then(|value| value.to_str().ok())
        };
        assert_eq!(told(yunbase_client::status::CODE), Some("SERVER_TIMEOUT"));
        assert_eq!(told(yunbase_client::status::RETRY), Some("same-sequence"));
        assert_eq!(told(yunbase_client::status::REQUEST_ID), Some("r1"));
    }
}
