//! Pinning: an upload asks which of its chunks are there, and relies on the answer until it commits.

use std::collections::HashMap;

use super::Store;
use crate::chunk::ChunkHash;
use crate::error::PinError;
use crate::pins::UploadId;
use crate::volume::{Change, Outcome};

impl Store {
    /// Pins chunks for an upload and says which of them are here, in the order of `hashes`: those need not be
    /// sent. All of them are pinned, here or not; no pinned chunk is collected before the lease
    /// ([`StoreOptions::pin_lease`](crate::StoreOptions::pin_lease)) ends, which each call makes last anew for
    /// all pins of the upload.
    ///
    /// A chunk that is here is not read for that; what damage it may have is found by scrubbing and by reading.
    /// What is said to be here counts as put now, durably. That is what protects it after the pins are
    /// lost in a restart: collection then waits for the length of a lease, and after that goes by the put time.
    pub async fn pin(&self, upload: UploadId, hashes: &[ChunkHash]) -> Result<Vec<bool>, PinError> {
        let count_max = self.inner.options.hashes_per_call_max;
        if hashes.len() > count_max {
            return Err(PinError::TooManyHashes {
                count: hashes.len(),
                count_max,
            });
        }
        // With the locks, a collection has either deleted a chunk before it is looked up here, or looks for
        // pins after they are set.
        let guards = self.inner.locks.lock_all(hashes).await;
        let now = self.inner.edges.monotonic();
        let expires = now + self.inner.options.pin_lease;
        self.inner.pins.lock().pin(upload, hashes, now, expires)?;

        let wanted: Vec<_> = guards.iter().map(|guard| guard.hash()).collect();
        let holders = self
            .blocking(move |inner| {
                let holders = wanted.iter().map(|hash| inner.holder(hash));
                holders.collect::<Vec<_>>()
            })
            .await;
        let put_ms = self.inner.edges.unix_ms();
        let mut touches: Vec<Vec<_>> = self.inner.disks.iter().map(|_| Vec::new()).collect();
        for (guard, holder) in guards.into_iter().zip(holders) {
            if let Some(disk) = holder {
                let hash = guard.hash();
                touches[disk].push((Change::Touch { hash, put_ms }, Some(guard)));
            }
        }
        let mut here = HashMap::new();
        for (disk, touches) in self.inner.disks.iter().zip(touches) {
            let touched: Vec<_> = touches
                .iter()
                .filter_map(|(_, guard)| guard.as_ref().map(|guard| guard.hash()))
                .collect();
            let answered = disk.queue.submit_all(touches).await;
            for (hash, answered) in touched.into_iter().zip(answered) {
                // A disk that could not note it is none to rely on: the chunk is to be sent again.
                here.insert(hash, answered.result == Ok(Outcome::Done));
            }
        }
        let is_here = |hash| here.get(hash).copied().unwrap_or(false);
        Ok(hashes.iter().map(is_here).collect())
    }

    /// Makes the pins of an upload last for another lease. `false` when they have ended: the upload must pin its
    /// chunks again, and may find that some have to be sent again.
    pub fn renew(&self, upload: UploadId) -> bool {
        let now = self.inner.edges.monotonic();
        let expires = now + self.inner.options.pin_lease;
        self.inner.pins.lock().renew(upload, now, expires)
    }

    /// Ends the pins of an upload: it has committed, or was given up.
    pub fn release(&self, upload: UploadId) {
        self.inner.pins.lock().release(upload);
    }
}
