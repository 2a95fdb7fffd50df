//! Snapshots as folders of plain files: built beside the running state machine, sent in verified parts,
//! received so that an interruption costs only the parts not yet there, and installed atomically.
//!
//! On disk, below a folder of the group's own:
//! * `snap-<id>/`: a complete snapshot; the current one, and older ones that are still being read.
//! * `building/`: one being built. `restoring/`: links handed to the state machine. Both are
//!   worthless after a crash and removed at start.
//! * `staging-<id>/`: one being received. Kept over a restart; what arrived is verified again.
//! * `staged-<id>/`: received completely, not yet installed.
//!
//! Each holds `manifest` and the folder `files/`. A rename is what moves one from a role to the next, and
//! everything in it is synced before.

mod data;
mod files;
mod manifest;
mod options;
mod staging;
mod store;

#[cfg(test)]
mod tests;

use std::io;

use thiserror::Error;

use crate::types::GroupId;

pub(crate) use data::SnapshotData;
pub(crate) use manifest::{MANIFEST_BYTES_MAX, PartId, snapshot_id};
pub use options::SnapshotOptions;
pub(crate) use staging::SnapshotStaging;
pub(crate) use store::SnapshotStore;

/// Why a snapshot, or a piece of one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum SnapshotError {
    /// A manifest with too many files.
    #[error("snapshot of {files} files is beyond the limit of {max}", max = manifest::FILES_MAX)]
    TooManyFiles {
        /// Files in the manifest.
        files: usize,
    },
    /// A name that is not a plain file name, or is there twice.
    #[error("snapshot file name {name:?} is not a plain, unique file name")]
    Name {
        /// The name, escaped.
        name: String,
    },
    /// Length and number of parts contradict each other.
    #[error("snapshot file {name} of {length_bytes} bytes cannot have {parts} parts")]
    PartCount {
        /// The file.
        name: String,
        /// Its length.
        length_bytes: u64,
        /// Hashes in the manifest.
        parts: usize,
    },
    /// A part that the manifest does not have.
    #[error("snapshot has no part {part} of file {file}")]
    NoSuchPart {
        /// File number.
        file: u32,
        /// Part number.
        part: u32,
    },
    /// A part whose bytes are not what the manifest says: damaged on the way, or on the sender's disk.
    #[error(
        "part {part} of snapshot file {name} does not have the hash in its manifest; send it again"
    )]
    Corrupted {
        /// The file.
        name: String,
        /// Part number.
        part: u32,
    },
    /// A file whose parts were right when they were written and which is wrong as a whole.
    #[error("snapshot file {name} does not have the hash in its manifest")]
    CorruptedFile {
        /// The file.
        name: String,
    },
    /// A snapshot of another group.
    #[error("snapshot of {found} offered to {expected}")]
    WrongGroup {
        /// Group in the manifest.
        found: GroupId,
        /// Group of this store.
        expected: GroupId,
    },
    /// Parts are still missing.
    #[error("snapshot is incomplete: {missing} parts are missing")]
    Incomplete {
        /// How many.
        missing: usize,
    },
    /// Another snapshot took the place of this one, or it was finished already.
    #[error("this snapshot transfer has ended; begin again")]
    Ended,
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
