//! Limits that the snapshots of all groups of a node share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Limits of building and sending snapshots. Clones share one build slot and one read budget: give
/// every group of a node a clone of the same value.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    builds: Arc<Semaphore>,
    reads: Arc<Throttle>,
}

/// Reads for hashing and sending. A member that catches up must not be felt by those who write meanwhile: each byte is
/// read, encrypted, sent, decrypted, hashed and written on the processors that serve them.
const READ_BYTES_PER_SECOND: u64 = 32 << 20;

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self::new(READ_BYTES_PER_SECOND)
    }
}

impl SnapshotOptions {
    /// One build at a time, and at most `read_bytes_per_second` read by builds and transfers together.
    pub fn new(read_bytes_per_second: u64) -> Self {
        let reads = Throttle {
            bytes_per_second: read_bytes_per_second.max(1),
            free_at: Mutex::new(Instant::now()),
        };
        Self {
            builds: Arc::new(Semaphore::new(1)),
            reads: Arc::new(reads),
        }
    }

    pub(super) fn builds(&self) -> Arc<Semaphore> {
        self.builds.clone()
    }

    /// Waits, blocking the thread, until another `bytes` may be read.
    pub(super) fn wait_to_read(&self, bytes: u64) {
        let wait = self.reads.reserve(bytes, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}

/// Spreads reads over time: each reservation begins where the one before ends.
#[derive(Debug)]
struct Throttle {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Throttle {
    fn reserve(&self, bytes: u64, now: Instant) -> Duration {
        let mut free_at = self.free_at.lock();
        let begin = now.max(*free_at);
        *free_at = begin + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_spread_over_time_and_idle_time_is_not_saved_up() {
        let start = Instant::now();
        let throttle = Throttle {
            bytes_per_second: 1000,
            free_at: Mutex::new(start),
        };
        assert_eq!(throttle.reserve(500, start), Duration::ZERO);
        assert_eq!(throttle.reserve(500, start), Duration::from_millis(500));
        let later = start + Duration::from_secs(60);
        assert_eq!(throttle.reserve(100, later), Duration::ZERO);
        assert_eq!(throttle.reserve(100, later), Duration::from_millis(100));
    }
}
