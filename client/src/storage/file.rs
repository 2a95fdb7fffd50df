//! What a file is, and what one is to be. Nothing a node sends is believed before it is checked.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::proto;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its path, as the cluster says: whoever makes a local name of it checks it first.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Media type.
    pub content_type: String,
    /// Changes with the content.
    pub etag: String,
    /// Changes with each put and copy.
    pub version: String,
    /// The openid of the user that it belongs to.
    pub owner: Option<String>,
    /// What whoever stored it says about it.
    pub metadata: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub modified_at_ms: i64,
    /// See [`Fingerprint::content_hash`](super::Fingerprint); `None` in listings.
    pub content_hash: Option<[u8; 32]>,
}

impl From<proto::StoredFile> for StoredFile {
    fn from(file: proto::StoredFile) -> Self {
        Self {
            path: file.path,
            bytes: file.bytes,
            content_type: file.content_type,
            etag: file.etag,
            version: file.version,
            owner: Some(file.owner).filter(|owner| !owner.is_empty()),
            metadata: file.metadata.into_iter().collect(),
            modified_at_ms: file.modified_at_ms,
            content_hash: file.content_hash[..].try_into().ok(),
        }
    }
}

/// The file that an answer must have.
pub(super) fn required(file: Option<proto::StoredFile>) -> Result<StoredFile> {
    file.map(StoredFile::from)
        .ok_or_else(|| Error::malformed("the node's answer names no file"))
}

/// A deleted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedFile {
    /// As it was. Its version is what restores it.
    pub file: StoredFile,
    /// Milliseconds since 1970.
    pub deleted_at_ms: i64,
}

/// A page of deleted files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedPage {
    /// In no order that means anything.
    pub files: Vec<DeletedFile>,
    /// Where the next page begins; `None` = this is the last.
    pub next: Option<String>,
}

impl TryFrom<proto::ListDeletedResponse> for DeletedPage {
    type Error = Error;

    fn try_from(told: proto::ListDeletedResponse) -> Result<Self> {
        let files = told.files.into_iter().map(|deleted| {
            Ok(DeletedFile {
                file: required(deleted.file)?,
                deleted_at_ms: deleted.deleted_at_ms,
            })
        });
        Ok(Self {
            files: files.collect::<Result<_>>()?,
            next: Some(told.next).filter(|next| !next.is_empty()),
        })
    }
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
    /// It has this etag; `*` = any.
    Etag(String),
}

impl From<Condition> for Option<proto::FileCondition> {
    fn from(condition: Condition) -> Self {
        use proto::file_condition::Is;
        let is = match condition {
            Condition::None => return None,
            Condition::Absent => Is::Absent(true),
            Condition::Version(version) => Is::Version(version),
            Condition::Etag(etag) => Is::Etag(etag),
        };
        Some(proto::FileCondition { is: Some(is) })
    }
}

/// A file to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewFile {
    pub(super) path: String,
    pub(super) content_type: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) owner: Option<String>,
    pub(super) condition: Condition,
}

impl NewFile {
    /// One of this path. It replaces a file that is there, unless told otherwise.
    pub fn at(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// Its media type; without one it follows from the ending of the path.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Says something about it.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// The openid of the user that it shall belong to.
    pub fn owner(mut self, openid: impl Into<String>) -> Self {
        self.owner = Some(openid.into());
        self
    }

    /// What must be so.
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// Only if there is no file of this name.
    pub fn if_absent(self) -> Self {
        self.condition(Condition::Absent)
    }

    /// Only if the file of this name has this version.
    pub fn if_version(self, version: impl Into<String>) -> Self {
        self.condition(Condition::Version(version.into()))
    }
}

impl From<&str> for NewFile {
    fn from(path: &str) -> Self {
        Self::at(path)
    }
}

impl From<String> for NewFile {
    fn from(path: String) -> Self {
        Self::at(path)
    }
}

impl From<NewFile> for proto::NewStoredFile {
    fn from(file: NewFile) -> Self {
        Self {
            path: file.path,
            content_type: file.content_type.unwrap_or_default(),
            metadata: file.metadata.into_iter().collect(),
            owner: file.owner.unwrap_or_default(),
            condition: file.condition.into(),
        }
    }
}

/// What an upload has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The file.
    pub file: StoredFile,
    /// How much of its content was sent; the rest was in the cluster already.
    pub sent_bytes: u64,
}

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileQuery {
    /// Only paths that begin with this.
    pub prefix: String,
    /// Paths that go on after the prefix with this somewhere are told once, up to and with it.
    pub delimiter: Option<String>,
    /// Only what comes after this; the `next` of an earlier page.
    pub after: String,
    /// Most files and prefixes of a page; 0 = as many as a page can hold.
    pub limit: u32,
}

impl FileQuery {
    /// Everything whose path begins with `prefix`.
    pub fn below(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// One level of a folder: `prefix` is empty or ends with `/`.
    pub fn level(prefix: impl Into<String>) -> Self {
        Self {
            delimiter: Some("/".to_owned()),
            ..Self::below(prefix)
        }
    }
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePage {
    /// Files.
    pub files: Vec<StoredFile>,
    /// Common prefixes, with their delimiter.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` = this is the last.
    pub next: Option<String>,
}

impl From<proto::ListFilesResponse> for FilePage {
    fn from(told: proto::ListFilesResponse) -> Self {
        Self {
            files: told.files.into_iter().map(StoredFile::from).collect(),
            prefixes: told.prefixes,
            next: Some(told.next).filter(|next| !next.is_empty()),
        }
    }
}

/// An address that opens one file for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLink {
    /// The address. It is a secret: whoever has it can read the file.
    pub url: String,
    /// Its end, in seconds since 1970.
    pub until_s: i64,
}
