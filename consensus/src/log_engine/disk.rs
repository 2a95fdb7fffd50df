//! The seam under the log engine: an ordered store of entries and hard-state records that writes a
//! batch atomically and syncs on demand. RocksDB in production, memory in simulations and tests.

use std::io;

use bytes::Bytes;

use super::keys::{HardKey, LogKey};
use crate::types::GroupId;

/// One change. A batch of them is applied in order and as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskWrite {
    /// Stores an encoded entry, replacing one at the same key.
    PutEntry(LogKey, Bytes),
    /// Removes the entries of `group` with `from <= index`, and `index < to` unless `to` is `None`.
    DeleteEntries {
        /// Whose entries.
        group: GroupId,
        /// First index removed.
        from: u64,
        /// First index kept; `None` removes all from `from` on.
        to: Option<u64>,
    },
    /// Stores a hard-state record.
    PutHard(HardKey, Vec<u8>),
    /// Removes every entry and record of a group.
    DropGroup(GroupId),
}

/// An entry as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawEntry {
    /// The index in the entry's key.
    pub(crate) index: u64,
    /// The encoded entry.
    pub(crate) record: Bytes,
}

/// A store of log entries. Calls block.
///
/// What correctness demands:
/// * [`write`](Self::write) is atomic: after a crash, all of a batch is there or none of it, and no batch
///   is there without every batch before it.
/// * When `write` returns, its batch is visible to the reads.
/// * When [`sync`](Self::sync) returns, every batch written before it survives a crash.
/// * Writes and syncs come from one thread at a time; reads from any thread at any time.
/// * After an error of `write` or `sync` nothing is known about the batches since the last sync, and
///   the caller stops writing for good.
pub(crate) trait LogDisk: Send + Sync + 'static {
    /// Applies `writes` as one batch.
    fn write(&self, writes: &[DiskWrite]) -> io::Result<()>;

    /// Makes everything written durable.
    fn sync(&self) -> io::Result<()>;

    /// Entries of `group` in `from..to` in index order, stopping after the first entry that brings
    /// the total to `bytes_max` or more. Whether indexes are missing is for the caller to judge.
    fn read_entries(
        &self,
        group: GroupId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<RawEntry>>;

    /// Every hard-state record of every group, in key order.
    fn read_hard(&self) -> io::Result<Vec<(HardKey, Vec<u8>)>>;

    /// Whether [`read_entries`](Self::read_entries) may wait for a device, so that an async caller
    /// has to move it off its worker thread.
    fn reads_block(&self) -> bool;
}
