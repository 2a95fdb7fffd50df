//! The limits and timings of a store, with their defaults and reasons, in one place.

use std::time::Duration;

use crate::compression::CompressionOptions;

/// Limits and timings of a [`Store`](crate::Store).
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// A segment ends before it would exceed this. Bounds what a start reads again and what compaction
    /// moves at once; smaller ones would only be more files.
    pub segment_bytes: u64,
    /// Room on each disk that new chunks do not take: deletions, refreshed chunks and compaction need some to
    /// make room again, and the file system slows down without any.
    pub reserve_bytes: u64,
    /// Bytes of chunks that may wait for the writer of a disk; a put above it waits. A few full batches: more
    /// would only add latency.
    pub queue_bytes_max: u32,
    /// Changes that may wait for the writer of a disk.
    pub queue_changes_max: usize,
    /// Bytes of chunks that share one sync; what is left goes with the next. Bounds the latency of a sync.
    pub batch_bytes_max: usize,
    /// Changes that share one sync.
    pub batch_changes_max: usize,
    /// Chunks kept in memory, by their bytes.
    pub cache_bytes: u64,
    /// Calls that read, hash, compress or look up at once, each on a thread of the runtime's blocking pool.
    /// With twice the largest chunk each it bounds what they hold in memory.
    pub blocking_calls_max: usize,
    /// Block cache that the indexes of all disks share. It holds their filters too: 10 bits a chunk.
    pub index_cache_bytes: usize,
    /// Write buffer of each disk's index; a chunk takes about 100 bytes of it.
    pub index_write_buffer_bytes: usize,
    /// Segments of each disk that stay open for reading.
    pub open_segments_max: u64,
    /// Reads that a device may refuse before its disk is read-only. One bad place is repaired by putting the
    /// chunk again; more of them are a device that dies.
    pub read_errors_max: u64,
    /// How long a chunk is kept after it was last put, whoever says that nothing needs it.
    /// See [`collect`](crate::Store::collect).
    pub grace: Duration,
    /// How long a pin lasts unless it is renewed. See [`pin`](crate::Store::pin).
    pub pin_lease: Duration,
    /// Uploads that have pins at once.
    pub uploads_max: usize,
    /// Pins of all uploads together; each takes about 150 bytes of memory.
    pub pins_max: usize,
    /// Chunks that one call may name: bounds the locks that it holds.
    pub hashes_per_call_max: usize,
    /// When chunks are compressed.
    pub compression: CompressionOptions,
    /// A segment with at most this share of a full one still needed is compacted. A half writes each byte
    /// once more at worst, and wastes half of the disk at worst.
    pub compaction_live_ratio: f64,
    /// Makes the indexes anew at the start. It is done by itself where an index is found to be damaged.
    pub rebuilds_index: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            reserve_bytes: 1 << 30,
            queue_bytes_max: 64 << 20,
            queue_changes_max: 4_096,
            batch_bytes_max: 16 << 20,
            batch_changes_max: 1_024,
            cache_bytes: 64 << 20,
            blocking_calls_max: 64,
            index_cache_bytes: 32 << 20,
            index_write_buffer_bytes: 4 << 20,
            open_segments_max: 128,
            read_errors_max: 16,
            grace: Duration::from_secs(24 * 3600),
            pin_lease: Duration::from_secs(3600),
            uploads_max: 10_000,
            pins_max: 1_000_000,
            hashes_per_call_max: 4_096,
            compression: CompressionOptions::default(),
            compaction_live_ratio: 0.5,
            rebuilds_index: false,
        }
    }
}
