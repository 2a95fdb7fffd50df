//! The index of a disk: which record has which chunk. It is a shortcut through the segments, which alone
//! decide: what it lacks is read from them at the start, and all of it can be made anew.
//!
//! This is the seam: an ordered key-value store. RocksDB in production, memory in simulations.

mod entry;
#[cfg(test)]
pub(crate) mod memory;
mod rocks;

use std::io;

pub(crate) use entry::{
    Entry, Location, Position, SegmentStats, chunk_key, chunk_of_key, chunks_end, decode_count,
    encode_count, meta_key, segment_key, segment_of_key, segments_range,
};
pub(crate) use rocks::{IndexShared, RocksIndex};

/// One change; `None` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexWrite {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// A key and its value.
pub(crate) type IndexItem = (Vec<u8>, Vec<u8>);

/// An ordered store. Calls block.
///
/// What correctness demands:
/// * [`write`](Self::write) is atomic and at once visible.
/// * After a crash the store has the writes up to some moment, all of them and none later, and at least
///   those before the last [`flush`](Self::flush) that succeeded.
/// * Reads come from any thread at any time, each from one moment.
pub(crate) trait Index: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Up to `count_max` items with `from <= key < to`, in order.
    fn scan(&self, from: &[u8], to: &[u8], count_max: usize) -> io::Result<Vec<IndexItem>>;

    /// Applies `writes` as a whole.
    fn write(&self, writes: &[IndexWrite]) -> io::Result<()>;

    /// Makes everything written durable.
    fn flush(&self) -> io::Result<()>;
}
