//! Digests of replicas: equal on all that have applied the log up to the same entry, or one of them is wrong.
//!
//! A digest reads the whole state of a group once, below all else that the node does, and one is made at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use yunbase_consensus::applied_index;

use crate::group_runtime::GroupRuntime;
use crate::scan_threads::ScanError;

/// Longest that a digest may take, the wait for another included: a large state on a slow disk gets none.
pub const DIGEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The state of a replica behind a place of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaState {
    /// The last log index that it reflects; 0 = none.
    pub applied: u64,
    /// BLAKE3 of all replicated content.
    pub digest: Bytes,
}

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The group has no replica here.
    #[error("the group has no replica on this node")]
    NoReplica,
    /// It took too long, or the node stops.
    #[error("the digest was not done in {} s", DIGEST_TIMEOUT.as_secs())]
    Late,
    /// No thread, or it broke.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The state cannot be read.
    #[error("read the state: {0}")]
    Storage(String),
}

/// Makes digests, one at a time.
#[derive(Debug)]
pub struct Digests {
    alone: Semaphore,
}

impl Default for Digests {
    fn default() -> Self {
        Self {
            alone: Semaphore::new(1),
        }
    }
}

impl Digests {
    /// The digest of a replica, as it is when its turn comes.
    pub async fn of(&self, group: &GroupRuntime) -> Result<ReplicaState, DigestError> {
        if !group.is_replica() {
            return Err(DigestError::NoReplica);
        }
        let deadline = Instant::now() + DIGEST_TIMEOUT;
        let Ok(Ok(_turn)) = tokio::time::timeout_at(deadline.into(), self.alone.acquire()).await
        else {
            return Err(DigestError::Late);
        };
        let (database, threads) = (group.database().clone(), group.scan_threads().clone());
        let read = group.scan_threads().run(move || {
            let mut goes_on = || !threads.is_stopping() && Instant::now() < deadline;
            database.digest_while(&mut goes_on)
        });
        let storage = |error: &dyn std::fmt::Display| DigestError::Storage(error.to_string());
        let read = read.await?.map_err(|error| storage(&error))?;
        let (digest, progress) = read.ok_or(DigestError::Late)?;
        let applied = applied_index(progress.as_deref()).map_err(|error| storage(&error))?;
        Ok(ReplicaState {
            applied: applied.unwrap_or(0),
            digest: Bytes::copy_from_slice(&digest),
        })
    }
}
