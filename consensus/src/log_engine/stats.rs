//! Counters of the log engine, cheap enough to be always on; the node turns them into metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds; a last bucket takes the rest. Syncs of a
/// calm disk take 0.1 to 0.3 ms, of a busy one some milliseconds.
pub const LATENCY_BUCKETS_MICROS: [u64; 12] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 51_200, 204_800, 819_200,
];

/// A reading of the engine's counters since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Batches written.
    pub writes: u64,
    /// Batches that were synced.
    pub syncs: u64,
    /// Operations (appends, votes, truncations, purges, committed positions) in those batches.
    pub operations: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes of encoded entries written.
    pub entry_bytes: u64,
    /// Time spent in writes without their syncs.
    pub write_micros: u64,
    /// Time spent in syncs.
    pub sync_micros: u64,
    /// Syncs by duration: one count for each bound of [`LATENCY_BUCKETS_MICROS`], then the rest.
    pub sync_latency: [u64; LATENCY_BUCKETS_MICROS.len() + 1],
    /// Entries served from memory.
    pub tail_reads: u64,
    /// Entries read from disk.
    pub disk_reads: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) entry_bytes: AtomicU64,
    write_micros: AtomicU64,
    sync_micros: AtomicU64,
    sync_latency: [AtomicU64; LATENCY_BUCKETS_MICROS.len() + 1],
    pub(crate) tail_reads: AtomicU64,
    pub(crate) disk_reads: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, value: usize) {
        counter.fetch_add(value as u64, Ordering::Relaxed);
    }

    pub(crate) fn write_took(&self, took: Duration) {
        Self::add(&self.writes, 1);
        self.write_micros.fetch_add(micros(took), Ordering::Relaxed);
    }

    pub(crate) fn sync_took(&self, took: Duration) {
        Self::add(&self.syncs, 1);
        let micros = micros(took);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
        let bucket = LATENCY_BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        Self::add(&self.sync_latency[bucket], 1);
    }

    pub(crate) fn read(&self) -> LogStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            writes: get(&self.writes),
            syncs: get(&self.syncs),
            operations: get(&self.operations),
            entries: get(&self.entries),
            entry_bytes: get(&self.entry_bytes),
            write_micros: get(&self.write_micros),
            sync_micros: get(&self.sync_micros),
            sync_latency: std::array::from_fn(|bucket| get(&self.sync_latency[bucket])),
            tail_reads: get(&self.tail_reads),
            disk_reads: get(&self.disk_reads),
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_the_bucket_that_bounds_them() {
        let counters = Counters::default();
        for micros in [0, 50, 51, 819_200, 819_201] {
            counters.sync_took(Duration::from_micros(micros));
        }
        let stats = counters.read();
        assert_eq!(stats.syncs, 5);
        assert_eq!((stats.sync_latency[0], stats.sync_latency[1]), (2, 1));
        assert_eq!(&stats.sync_latency[11..], [1, 1]);
    }
}
