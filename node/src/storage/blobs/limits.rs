//! Every bound of the transfer of chunks, with its default.

use std::time::Duration;

/// Bounds of chunks between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobLimits {
    /// Bytes of a content that are cut, and sent to a holder, at once.
    pub batch_bytes: usize,
    /// Such batches of one upload that are on their way at once. With the batch it bounds what an upload holds in memory.
    pub batches_in_flight_max: usize,
    /// Longest that one call to a holder may take: it writes a batch and syncs.
    pub call_timeout: Duration,
    /// After so long without enough answers the next nodes of the ranking are asked too.
    pub write_patience: Duration,
    /// After so long without an answer the next holder is asked too.
    pub read_patience: Duration,
    /// How long a node that failed is asked after all others.
    pub suspicion: Duration,
    /// Bytes of all uploads that slow holders may still be sent after two others have acknowledged; beyond it the copy is
    /// left to repair.
    pub straggling_bytes_max: usize,
    /// Bytes of a content that a reader gets ready ahead of what was taken.
    pub read_run_bytes: usize,
    /// Such runs at once.
    pub read_runs: usize,
    /// Chunks of other nodes kept in memory.
    pub remote_cache_bytes: u64,
    /// Chunks that one call between nodes may name.
    pub hashes_per_call_max: usize,
    /// Missing copies that are remembered; more are found by the next audit.
    pub repairs_max: usize,
    /// Bytes that a node fetches in a second to make copies, so that requests keep most of network and disk.
    pub repair_bytes_per_second: u64,
    /// Pause between two audits.
    pub audit_interval: Duration,
    /// Pause between two collections.
    pub collect_interval: Duration,
    /// Chunks that one pass of a collection looks at, 32 bytes each and their table; a store with more takes several passes.
    pub candidates_max: usize,
}

impl Default for BlobLimits {
    fn default() -> Self {
        Self {
            batch_bytes: 1 << 20,
            batches_in_flight_max: 6,
            call_timeout: Duration::from_secs(10),
            write_patience: Duration::from_secs(2),
            read_patience: Duration::from_millis(200),
            suspicion: Duration::from_secs(3),
            straggling_bytes_max: 32 << 20,
            read_run_bytes: 512 << 10,
            read_runs: 4,
            remote_cache_bytes: 32 << 20,
            hashes_per_call_max: 4096,
            repairs_max: 100_000,
            repair_bytes_per_second: 64 << 20,
            audit_interval: Duration::from_secs(600),
            collect_interval: Duration::from_secs(3600),
            candidates_max: 500_000,
        }
    }
}
