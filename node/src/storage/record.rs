//! Files as documents: the manifest of a file, and of an upload in parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use yunbase_chunkstore::ChunkHash;

use super::error::StorageError;
use super::path::FilePath;

/// Manifests: [`FileRecord`], by path.
pub const FILES: &str = "_sys.files";
/// Manifests of deleted files: [`DeletedRecord`].
pub const DELETED_FILES: &str = "_sys.files_deleted";
/// Uploads in parts: [`UploadRecord`].
pub const UPLOADS: &str = "_sys.file_uploads";
/// Their parts: [`PartRecord`].
pub const PARTS: &str = "_sys.file_parts";

/// What a file is, and where its content is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its path.
    #[serde(rename = "_id")]
    pub path: String,
    /// Bytes.
    pub size: i64,
    /// Media type.
    #[serde(rename = "type")]
    pub content_type: String,
    /// Changes with the content: without quotes, never empty.
    pub etag: String,
    /// Drawn anew by every put and copy, so that what was read can be told from what is there now.
    pub version: String,
    /// The openid of the user that it belongs to; `None` where an administrator stored it.
    #[serde(rename = "_openid", default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What whoever stored it says about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Milliseconds since 1970, of this content.
    pub modified_at_ms: i64,
    /// The content; empty where a listing left it out.
    #[serde(default)]
    pub content: Content,
}

impl FileRecord {
    /// Its path; one that is not allowed any more is an error.
    pub fn file_path(&self) -> Result<FilePath, StorageError> {
        FilePath::parse(&self.path)
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.size).unwrap_or(0)
    }
}

/// The chunks of a content, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// [`Piece`]s of 36 bytes each: chunks, or lists of chunks when `are_lists`.
    #[serde(with = "serde_bytes")]
    pub pieces: Vec<u8>,
    /// Whether each piece is a chunk that holds such pieces itself; its bytes are then those that they stand for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub are_lists: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The form that serde asks for.
fn is_false(value: &bool) -> bool {
    !*value
}

/// A chunk and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Its name.
    pub hash: ChunkHash,
    /// Bytes of content that it stands for; below 4 GiB.
    pub bytes: u32,
}

impl Piece {
    /// Size of an encoded piece.
    pub const BYTES: usize = ChunkHash::BYTES + 4;

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.hash.as_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
    }

    /// Reads pieces.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, StorageError> {
        let (pieces, []) = bytes.as_chunks::<{ Self::BYTES }>() else {
            return Err(StorageError::Damaged(
                "a list of chunks is cut short".to_owned(),
            ));
        };
        Ok(pieces
            .iter()
            .map(|piece| {
                let (hash, size) = piece.split_at(ChunkHash::BYTES);
                let mut name = [0; ChunkHash::BYTES];
                name.copy_from_slice(hash);
                let mut bytes = [0; 4];
                bytes.copy_from_slice(size);
                Self {
                    hash: ChunkHash::from_bytes(name),
                    bytes: u32::from_le_bytes(bytes),
                }
            })
            .collect())
    }
}

impl Content {
    /// A content of these chunks or lists.
    pub fn of(pieces: &[Piece], are_lists: bool) -> Self {
        let mut encoded = Vec::with_capacity(pieces.len() * Piece::BYTES);
        for piece in pieces {
            piece.encode(&mut encoded);
        }
        Self {
            pieces: encoded,
            are_lists,
        }
    }

    /// Its chunks or lists.
    pub fn pieces(&self) -> Result<Vec<Piece>, StorageError> {
        Piece::decode_all(&self.pieces)
    }
}

/// A file that was deleted, and can be restored for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeletedRecord {
    /// The version of the file.
    #[serde(rename = "_id")]
    pub id: String,
    /// Its path.
    pub path: String,
    /// When: the database removes the record some time after, and the content goes with the next collection.
    pub deleted_at: bson::DateTime,
    /// As it was.
    pub file: FileRecord,
}

/// An upload in parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: String,
    /// Where the file will be.
    pub path: String,
    /// Media type.
    #[serde(rename = "type")]
    pub content_type: String,
    /// As of files.
    #[serde(rename = "_openid", default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// As of files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When it began: the database removes the record some time after.
    pub begun_at: bson::DateTime,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartRecord {
    /// `{upload}/{number}`.
    #[serde(rename = "_id")]
    pub id: String,
    /// The upload.
    pub upload: String,
    /// From 1.
    pub number: i64,
    /// Bytes.
    pub size: i64,
    /// Hexadecimal MD5 of it.
    pub etag: String,
    /// When it arrived.
    pub stored_at: bson::DateTime,
    /// The content; empty where a listing left it out.
    #[serde(default)]
    pub content: Content,
}
