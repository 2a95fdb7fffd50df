//! Files: what applications store beside documents.
//!
//! A file is a document of `_sys.files`, its manifest, that names the chunks of its content; the chunks are on a few
//! nodes each, outside of the Raft log. Committing the manifest is what makes a file exist, and the change of one
//! document is what replaces it: readers see the old content or the new one, never a mixture.
//!
//! # Map
//! | file | owns |
//! |---|---|
//! | `path`, `file_id` | names of files, and `cloud://` ids |
//! | `record` | manifests and uploads in parts, as documents |
//! | `store`, `manifests` | the documents, read and written; all contents that an environment names |
//! | `files`, `list` | what every surface calls: put, stat, open, copy, delete; listings |
//! | `deleted` | files that can be restored |
//! | `parts`, `once` | uploads in parts; uploads that send only what is missing |
//! | `blobs` | chunks of the whole cluster: where they belong, to and from other nodes, repair, collection |
//! | `links`, `address` | what opens one file for a while, to read or to write it, and the URLs with that |
//! | `access` | what end users may do: the rules of files |
//! | `door`, `transfer` | what surfaces need; uploads and downloads over HTTP |
//! | `status` | how the chunks of this node are, for operators |
//! | `s3` | the S3 port |
//! | `service` | the door for gRPC: administrators and operators |
//! | `error`, `limits` | what callers are told; every bound |
//!
//! # What it promises
//! * A put that was acknowledged is durable on two nodes (one where there is only one), and its manifest on a quorum.
//! * What is read was compared with its hash, chunk by chunk; damage is an error, never other bytes.
//! * Chunks that a manifest names are never collected; chunks that nothing names are, after a grace period.

pub mod access;
pub mod address;
pub mod blobs;
mod deleted;
pub mod door;
pub mod error;
pub mod file_id;
pub mod files;
pub mod limits;
pub mod links;
pub mod list;
pub mod manifests;
mod once;
pub mod parts;
pub mod path;
pub mod record;
pub mod s3;
pub mod service;
pub mod status;
mod store;
pub mod transfer;

pub use access::StorageAccess;
pub use deleted::DeletedPage;
pub use door::FileDoor;
pub use error::{StorageError, StorageResult};
pub use file_id::FileId;
pub use files::{Condition, FileBody, Files, NewFile, Scope};
pub use limits::StorageLimits;
pub use list::{ListQuery, Listing};
pub use path::FilePath;
pub use record::FileRecord;

#[cfg(test)]
mod bed;
#[cfg(test)]
mod files_test;
#[cfg(test)]
pub(crate) mod testing;
