//! A volume: the chunks of one disk. Segments hold them, an index finds them, one writer appends.
//!
//! It is synchronous; threads, queues, locks and pins are the store's. Each disk has an index of its own, so
//! that a disk that dies takes nothing of the others with it, and one that is moved has all that it needs.

mod change;
mod commit;
mod compaction;
mod draft;
mod health;
mod recovery;
mod scrub;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use moka::sync::Cache;
use parking_lot::Mutex;
use thiserror::Error;

pub(crate) use self::change::{Change, CommitError, Outcome};
pub(crate) use self::compaction::Compaction;
use self::draft::{Draft, SegmentTable};
pub use self::health::DiskState;
use self::health::Health;
pub(crate) use self::scrub::{START, ScrubPart};
use crate::chunk::ChunkHash;
use crate::compression;
use crate::disk::{Disk, DiskId, DiskSpace};
use crate::edges::Edges;
use crate::index::{
    Entry, Index, IndexItem, Location, Position, SegmentStats, chunk_key, chunk_of_key, chunks_end,
};
use crate::mutant;
use crate::segment::{Segment, file_name};

/// Limits of a volume.
#[derive(Debug, Clone)]
pub(crate) struct VolumeOptions {
    pub(crate) segment_bytes: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) open_segments_max: u64,
    pub(crate) read_errors_max: u64,
    pub(crate) grace_ms: u64,
    pub(crate) compaction_live_ratio: f64,
}

/// Why a record cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// Its segment is gone: it was compacted, or the file was taken away.
    #[error("the segment is gone")]
    Gone,
    /// Its bytes are not the chunk's.
    #[error("{0}")]
    Corrupt(&'static str),
    /// The machine refuses, for reasons that have nothing to do with the record.
    #[error(transparent)]
    Io(io::Error),
}

/// The segment that is appended to.
struct Active {
    segment: Arc<Segment>,
    /// Its length, all of it synced.
    bytes: u64,
}

/// What only the writer changes.
struct Writer {
    active: Option<Active>,
    next_number: u64,
}

pub(crate) struct Volume {
    name: String,
    id: DiskId,
    disk: Arc<dyn Disk>,
    index: Box<dyn Index>,
    edges: Arc<dyn Edges>,
    options: VolumeOptions,
    health: Health,
    segments: SegmentTable,
    /// Segments that are open for reading.
    open_segments: Cache<u64, Arc<Segment>>,
    writer: Mutex<Writer>,
    quarantined: AtomicU64,
    /// Segments that compaction could not empty; not tried again by this process.
    stuck: Mutex<Vec<u64>>,
}

/// What a volume holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct VolumeTotals {
    pub(crate) segments: u64,
    pub(crate) file_bytes: u64,
    pub(crate) live: SegmentStats,
}

impl Volume {
    /// The identity of its disk.
    pub(crate) fn id(&self) -> DiskId {
        self.id
    }

    /// What operators know it by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it can do.
    pub(crate) fn state(&self) -> DiskState {
        self.health.state()
    }

    /// Whether it takes no changes any more.
    pub(crate) fn is_read_only(&self) -> bool {
        self.health.has_failed()
    }

    /// Reads that the device refused since the start.
    pub(crate) fn read_errors(&self) -> u64 {
        self.health.read_errors()
    }

    /// Chunks whose record is known to be corrupt.
    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Room on the disk.
    pub(crate) fn space(&self) -> io::Result<DiskSpace> {
        self.disk.space()
    }

    /// Bytes that new chunks may take now.
    pub(crate) fn room(&self) -> u64 {
        let free = self.disk.space().map_or(0, |space| space.free_bytes);
        free.saturating_sub(self.options.reserve_bytes)
    }

    /// What all segments hold together.
    pub(crate) fn totals(&self) -> VolumeTotals {
        let mut totals = VolumeTotals::default();
        for stats in self.segments.read().values() {
            totals.segments += 1;
            totals.file_bytes += stats.file_bytes;
            totals.live.live_chunks += stats.live_chunks;
            totals.live.live_record_bytes += stats.live_record_bytes;
            totals.live.live_stored_bytes += stats.live_stored_bytes;
            totals.live.live_plain_bytes += stats.live_plain_bytes;
        }
        totals
    }

    /// What is known of a chunk.
    pub(crate) fn lookup(&self, hash: &ChunkHash) -> io::Result<Option<Entry>> {
        let value = self.index.get(&chunk_key(hash))?;
        value.map(|value| Entry::decode(&value)).transpose()
    }

    /// Up to `count_max` chunks behind `after` in the order of their names.
    pub(crate) fn list(
        &self,
        after: Option<&ChunkHash>,
        count_max: usize,
    ) -> io::Result<Vec<(ChunkHash, Entry)>> {
        let mut from = chunk_key(&ChunkHash::from_bytes([0; ChunkHash::BYTES]));
        if let Some(after) = after {
            from = chunk_key(after);
            // The smallest key after it.
            from.push(0);
        }
        let items = self.index.scan(&from, &chunks_end(), count_max)?;
        let decode = |(key, value): &IndexItem| -> io::Result<(ChunkHash, Entry)> {
            Ok((chunk_of_key(key)?, Entry::decode(value)?))
        };
        items.iter().map(decode).collect()
    }

    /// Reads a chunk from the disk and checks that it is the one of that name.
    pub(crate) fn read(&self, hash: &ChunkHash, at: &Location) -> Result<Bytes, ReadError> {
        let stored = self.read_stored(at)?;
        if mutant::has("serve-unverified") && stored.len() == at.plain_bytes as usize {
            return Ok(stored);
        }
        check(hash, at, stored)
    }

    /// Reads a chunk as it is stored, unchecked.
    fn read_stored(&self, at: &Location) -> Result<Bytes, ReadError> {
        let segment = self
            .segment(at.segment)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => ReadError::Gone,
                _ => self.read_failed(error),
            })?;
        segment
            .read_payload(at.offset, at.stored_bytes)
            .map_err(|error| self.read_failed(error))
    }

    /// Tells a place that cannot be read from a machine that is short of something.
    fn read_failed(&self, error: io::Error) -> ReadError {
        const EIO: i32 = 5;
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return ReadError::Corrupt("the segment ends before the record does");
        }
        if error.raw_os_error() == Some(EIO) {
            self.health
                .read_error(&self.name, self.options.read_errors_max);
            return ReadError::Corrupt("the device cannot read it");
        }
        ReadError::Io(error)
    }

    /// An open segment.
    fn segment(&self, number: u64) -> io::Result<Arc<Segment>> {
        if let Some(segment) = self.open_segments.get(&number) {
            return Ok(segment);
        }
        let file = self.disk.open(&file_name(number))?;
        let segment = Arc::new(Segment::open(number, self.id, file)?);
        self.open_segments.insert(number, segment.clone());
        if !self.segments.read().contains_key(&number) {
            // Removed in this moment: kept open, it would go on taking room.
            self.open_segments.invalidate(&number);
        }
        Ok(segment)
    }

    fn draft(&self) -> Draft<'_> {
        Draft::new(&*self.index, &self.segments, self.quarantined())
    }

    /// Writes what was prepared, then takes it over in memory.
    fn write_index(&self, draft: Draft<'_>, position: Option<Position>) -> io::Result<()> {
        let prepared = draft.prepare(position);
        self.index.write(&prepared.writes)?;
        self.segments.write().extend(prepared.stats);
        self.quarantined
            .store(prepared.quarantined, Ordering::Relaxed);
        Ok(())
    }

    fn failed(&self) -> CommitError {
        CommitError::ReadOnly {
            reason: match self.health.state() {
                DiskState::ReadOnly { reason } => reason,
                DiskState::Writable | DiskState::Full | DiskState::Absent { .. } => String::new(),
            },
        }
    }
}

/// Decodes what was stored and compares it with the chunk's name.
fn check(hash: &ChunkHash, at: &Location, stored: Bytes) -> Result<Bytes, ReadError> {
    let plain = compression::decode(stored, at.encoding, at.plain_bytes as usize)
        .map_err(|_| ReadError::Corrupt("it does not decompress to its length"))?;
    if ChunkHash::of(&plain) == *hash {
        Ok(plain)
    } else {
        Err(ReadError::Corrupt("its hash is not its name"))
    }
}

#[cfg(test)]
#[path = "volume_test.rs"]
mod tests;
