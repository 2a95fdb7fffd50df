//! The seam under a volume: one directory with files and an index. The file system and RocksDB in
//! production; in tests a simulation that loses what was not synced, tears writes, fills up and fails.

mod files;
mod marker;
#[cfg(test)]
pub(crate) mod sim;

use std::io;
use std::sync::Arc;

pub(crate) use files::FileDisk;
pub(crate) use marker::Marker;
pub use marker::{DiskId, MarkerError};

use crate::index::Index;

/// One disk. Calls block.
///
/// What correctness demands:
/// * Names that were made, or taken away, before a [`sync_names`](Self::sync_names) that succeeded are as
///   they were then after a crash. Without it, any of these changes may be undone.
/// * A file that is removed stays readable for those who have it open.
pub(crate) trait Disk: Send + Sync + 'static {
    /// What operators know the disk by.
    fn name(&self) -> String;

    /// The marker as it was found.
    fn marker(&self) -> &Marker;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file; one that exists is an error.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync_names(&self) -> io::Result<()>;

    /// The room that is left, and all room there is.
    fn space(&self) -> io::Result<DiskSpace>;

    /// Opens the index, or makes an empty one.
    fn open_index(&self) -> io::Result<Box<dyn Index>>;

    /// Removes the index, which must not be open.
    fn remove_index(&self) -> io::Result<()>;
}

/// A file.
///
/// What correctness demands:
/// * When [`sync`](Self::sync) returns `Ok`, every write and length before it survives a crash. When it fails,
///   nothing is known about those since the last one that succeeded, although reads may go on showing them.
/// * After a crash each write that was not synced is there, or not, or in part, whatever became of others.
/// * Writes come from one thread at a time; reads from any thread at any time.
pub(crate) trait DiskFile: Send + Sync {
    /// Reads into `buffer` from `offset` on; returns how many bytes there were, fewer only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, lengthening the file as needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;

    /// The length.
    fn bytes(&self) -> io::Result<u64>;

    /// Cuts the file.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Forgets what is cached in memory of a part and is not waiting to be written, so that reads show what
    /// the device has. After a failed sync the two may differ.
    fn forget_cache(&self, offset: u64, bytes: u64) -> io::Result<()>;
}

/// Room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskSpace {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
