//! A lock for each chunk: what puts a chunk and what decides about its deletion take turns.
//!
//! A lock is held by a value, which travels with the change to the writer: when the caller stops waiting, the
//! lock is still held until the change is done.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::chunk::ChunkHash;

type Locks = Mutex<HashMap<ChunkHash, Arc<AsyncMutex<()>>>>;

/// The locks that are held or waited for.
#[derive(Debug, Default, Clone)]
pub(crate) struct HashLocks {
    locks: Arc<Locks>,
}

/// The lock of a chunk, or a place in the queue for it.
#[derive(Debug)]
pub(crate) struct HashGuard {
    hash: ChunkHash,
    held: Option<OwnedMutexGuard<()>>,
    locks: Arc<Locks>,
}

impl HashLocks {
    /// Waits for the lock of a chunk. Whoever holds one waits for no other but by [`Self::lock_all`].
    pub(crate) async fn lock(&self, hash: ChunkHash) -> HashGuard {
        let lock = self.locks.lock().entry(hash).or_default().clone();
        let mut guard = HashGuard {
            hash,
            held: None,
            locks: self.locks.clone(),
        };
        guard.held = Some(lock.lock_owned().await);
        guard
    }

    /// Waits for the locks of several chunks, in the order of their names: so no two callers wait for each
    /// other. Returns them in that order, one for each different chunk.
    pub(crate) async fn lock_all(&self, hashes: &[ChunkHash]) -> Vec<HashGuard> {
        let mut hashes = hashes.to_vec();
        hashes.sort_unstable();
        hashes.dedup();
        let mut guards = Vec::with_capacity(hashes.len());
        for hash in hashes {
            guards.push(self.lock(hash).await);
        }
        guards
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.locks.lock().len()
    }
}

impl HashGuard {
    /// Whose lock.
    pub(crate) fn hash(&self) -> ChunkHash {
        self.hash
    }
}

impl Drop for HashGuard {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut locks = self.locks.lock();
        // References are only added under this mutex: a single one is that of the table.
        if locks
            .get(&self.hash)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    fn hash(number: u8) -> ChunkHash {
        ChunkHash::from_bytes([number; 32])
    }

    #[tokio::test]
    async fn one_holder_at_a_time_and_nothing_is_left_behind() {
        let locks = HashLocks::default();
        let first = locks.lock(hash(1)).await;
        let _other = locks.lock(hash(2)).await;
        let mut second = pin!(locks.lock(hash(1)));
        assert!(poll!(&mut second).is_pending());
        {
            let mut given_up = pin!(locks.lock(hash(1)));
            assert!(poll!(&mut given_up).is_pending());
        }
        assert_eq!(first.hash(), hash(1));
        drop(first);
        drop(second.await);
        assert_eq!(locks.len(), 1);
    }

    #[tokio::test]
    async fn several_locks_are_taken_in_one_order() {
        let locks = HashLocks::default();
        let guards = locks.lock_all(&[hash(3), hash(1), hash(3), hash(2)]).await;
        let order: Vec<_> = guards.iter().map(HashGuard::hash).collect();
        assert_eq!(order, [hash(1), hash(2), hash(3)]);
        let wanted = [hash(2), hash(0)];
        let mut all = pin!(locks.lock_all(&wanted));
        assert!(poll!(&mut all).is_pending());
        drop(guards);
        assert_eq!(all.await.len(), 2);
        assert_eq!(locks.len(), 0);
    }
}
