//! How a disk is. A disk on which a write or a sync failed is read-only until the store is opened again:
//! what it holds of the failed write is unknown, and trying again would report success without having it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// What a disk can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskState {
    /// Everything.
    Writable,
    /// No new chunks until there is room again; chunks that it has can be refreshed and deleted.
    Full,
    /// Reads only, until the store is opened again.
    ReadOnly {
        /// The first failure.
        reason: String,
    },
    /// Nothing: it could not be opened.
    Absent {
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Health {
    failure: Mutex<Option<String>>,
    has_failed: AtomicBool,
    is_full: AtomicBool,
    read_errors: AtomicU64,
}

impl Health {
    pub(crate) fn state(&self) -> DiskState {
        match &*self.failure.lock() {
            Some(reason) => DiskState::ReadOnly {
                reason: reason.clone(),
            },
            None if self.is_full.load(Ordering::Relaxed) => DiskState::Full,
            None => DiskState::Writable,
        }
    }

    /// Whether changes are refused; costs one load.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Makes the disk read-only. The first reason stays.
    pub(crate) fn fail(&self, disk: &str, reason: String) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            tracing::error!(
                disk,
                reason,
                "disk is read-only until the store is opened again"
            );
            *failure = Some(reason);
            self.has_failed.store(true, Ordering::Release);
        }
    }

    /// Notes whether there is room.
    pub(crate) fn set_full(&self, disk: &str, is_full: bool) {
        if self.is_full.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::warn!(disk, "disk takes no new chunks: its reserve is reached");
            } else {
                tracing::info!(disk, "disk takes new chunks again");
            }
        }
    }

    /// Counts a read that the device refused; above `count_max` the disk is not to be written to.
    pub(crate) fn read_error(&self, disk: &str, count_max: u64) {
        let count = 1 + self.read_errors.fetch_add(1, Ordering::Relaxed);
        if count > count_max {
            self.fail(disk, format!("{count} reads failed"));
        }
    }

    pub(crate) fn read_errors(&self) -> u64 {
        self.read_errors.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_final_and_fullness_is_not() {
        let health = Health::default();
        health.set_full("d", true);
        assert_eq!(health.state(), DiskState::Full);
        health.set_full("d", false);
        assert_eq!(health.state(), DiskState::Writable);
        health.read_error("d", 1);
        assert!(!health.has_failed());
        health.read_error("d", 1);
        health.fail("d", "later".into());
        let reason = "2 reads failed".to_owned();
        assert_eq!(health.state(), DiskState::ReadOnly { reason });
        assert!(health.has_failed());
        assert_eq!(health.read_errors(), 2);
    }
}
