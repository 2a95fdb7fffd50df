//! What every surface calls. Nothing here knows a protocol, a token or a rule: surfaces ask `access` first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use tokio::io::AsyncRead;

use super::error::{StorageError, StorageResult};
use super::path::FilePath;
use super::record::FileRecord;

/// Which environment, and under which request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The environment.
    pub env: String,
    /// Travels through logs and into every error.
    pub request_id: String,
}

/// What must be so for a change to take place, in the instant in which it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// There is no file of this name.
    Absent,
    /// The file of this name has this version.
    Version(String),
    /// It has this etag; `*` = whatever etag.
    Etag(String),
}

/// A file to be.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its name.
    pub path: FilePath,
    /// Media type; `None` = by the ending of the name.
    pub content_type: Option<String>,
    /// What is to be said about it.
    pub metadata: BTreeMap<String, String>,
    /// The openid of the user that it shall belong to.
    pub owner: Option<String>,
    /// What must be so at the end.
    pub condition: Condition,
    /// Whether the etag is the MD5 of the content, which S3 tools compare, rather than what costs less.
    pub md5_etag: bool,
    /// What the MD5 of the content must be.
    pub md5: Option<[u8; 16]>,
    /// Most bytes.
    pub bytes_max: u64,
}

/// What to list, by path in the order of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only paths that begin with this.
    pub prefix: String,
    /// Paths that go on after the prefix with this somewhere are told once, up to and with it.
    pub delimiter: Option<String>,
    /// Only what comes after this; the `next` of an earlier page.
    pub after: String,
    /// Most files and prefixes together; at most [`LIST_FILES_MAX`](super::limits::LIST_FILES_MAX).
    pub limit: usize,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Files, without their content.
    pub files: Vec<FileRecord>,
    /// Common prefixes, with their delimiter.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` = this is the last.
    pub next: Option<String>,
}

/// Content of a file, piece by piece.
pub type FileBody = Pin<Box<dyn Stream<Item = StorageResult<Bytes>> + Send>>;
