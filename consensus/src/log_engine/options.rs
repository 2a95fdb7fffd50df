//! The log engine's limits and tuning, with their defaults and reasons, in one place.

use std::time::Duration;

/// Limits and tuning of a [`LogEngine`](super::LogEngine).
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes of entries that may wait for the writer over all groups; an append above it waits.
    /// Sum of a few full batches: more would only add latency.
    pub queue_bytes_max: u32,
    /// Operations that may wait for the writer over all groups; an append or vote above it waits.
    pub queue_ops_max: u32,
    /// Bytes of entries that one write (and its sync) takes; what is left goes into the next one.
    /// Bounds the latency of a sync and the memory of a write batch.
    pub batch_bytes_max: usize,
    /// Operations that one write takes.
    pub batch_ops_max: usize,
    /// How long a record that needs no sync of its own (committed position, purge) may wait for a
    /// batch to ride on.
    pub lazy_write_delay: Duration,
    /// Bytes of durable entries that each group keeps decoded for its followers and its apply loop.
    /// Entries not yet durable are always kept, bounded by `queue_bytes_max` and one batch.
    pub tail_bytes_max: usize,
    /// Bytes of entries that one read of the log returns, except that it returns at least one entry.
    pub read_bytes_max: usize,
    /// Write buffer of the log's RocksDB. Together with [`Self::write_buffer_count_max`] it bounds the
    /// memory of the log; entries purged before a flush never reach a table file.
    pub write_buffer_bytes: usize,
    /// Write buffers before writes wait for a flush.
    pub write_buffer_count_max: i32,
    /// Block cache of the log's RocksDB. Small, since the tail serves nearly every read; a follower
    /// far behind reads sequentially.
    pub block_cache_bytes: usize,
    /// Values from this size go to blob files, so that compaction moves keys instead of payloads.
    pub blob_bytes_min: u64,
    /// Open files of the log's RocksDB. The hard limit of a process is often 20,000 for all its databases.
    pub open_files_max: i32,
    /// Tables bypass the page cache. Only for file systems that can do it, which the caller must have tried.
    pub direct_writes: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            queue_bytes_max: 64 << 20,
            queue_ops_max: 16_384,
            batch_bytes_max: 8 << 20,
            batch_ops_max: 4_096,
            lazy_write_delay: Duration::from_millis(500),
            tail_bytes_max: 1 << 20,
            read_bytes_max: 4 << 20,
            write_buffer_bytes: 16 << 20,
            write_buffer_count_max: 4,
            block_cache_bytes: 8 << 20,
            blob_bytes_min: 4 << 10,
            open_files_max: 256,
            direct_writes: false,
        }
    }
}
