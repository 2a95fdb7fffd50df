//! Copies that are known to be missing, and making them.
//!
//! What is known is kept in memory, bounded: it only says sooner what the next audit finds anyway.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use yunbase_chunkstore::{Chunk, ChunkHash, Store};

use super::here::{self, Got};
use super::{Blobs, peers::HolderError};
use crate::peer_proto::ChunkState;

/// Copies made at once.
const BATCH: usize = 256;
/// Pause after holders did not take what they should: they are probably down.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Chunks that a node fetches at once.
const FETCHES_AT_ONCE: usize = 16;

/// Missing copies.
pub struct Repairs {
    missing: Mutex<HashMap<ChunkHash, BTreeSet<u64>>>,
    count_max: usize,
    added: Notify,
    /// Copies made since the start.
    repaired: AtomicU64,
    /// Copies that could not be remembered since the start.
    forgotten: AtomicU64,
}

/// How repairs stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// Copies known to be missing.
    pub waiting: u64,
    /// Copies made since the start.
    pub repaired: u64,
    /// Copies that could not be remembered since the start: the next audit finds them.
    pub forgotten: u64,
}

impl Repairs {
    pub(super) fn new(count_max: usize) -> Self {
        Self {
            missing: Mutex::default(),
            count_max,
            added: Notify::new(),
            repaired: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// `holder` should have a chunk and does not, or has it damaged.
    pub(super) fn add(&self, hash: ChunkHash, holder: u64) {
        let mut missing = self.missing.lock();
        if missing.len() >= self.count_max && !missing.contains_key(&hash) {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            return;
        }
        missing.entry(hash).or_default().insert(holder);
        drop(missing);
        self.added.notify_one();
    }

    /// How they stand.
    pub fn status(&self) -> RepairStatus {
        let missing = self.missing.lock();
        RepairStatus {
            waiting: missing.values().map(|holders| holders.len() as u64).sum(),
            repaired: self.repaired.load(Ordering::Relaxed),
            forgotten: self.forgotten.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count_repaired(&self, copies: u64) {
        self.repaired.fetch_add(copies, Ordering::Relaxed);
    }

    /// Some of the missing copies, most dangerous first: a chunk of which more copies are missing has fewer left.
    fn take(&self) -> Vec<(ChunkHash, BTreeSet<u64>)> {
        let mut missing = self.missing.lock();
        let mut hashes: Vec<(usize, ChunkHash)> = missing
            .iter()
            .map(|(hash, holders)| (holders.len(), *hash))
            .collect();
        hashes.sort_by(|a, b| b.cmp(a));
        hashes.truncate(BATCH);
        hashes
            .into_iter()
            .filter_map(|(_, hash)| missing.remove_entry(&hash))
            .collect()
    }
}

/// Makes missing copies until the node stops.
pub async fn run(blobs: Blobs, mut stopping: watch::Receiver<bool>) {
    let work = async {
        loop {
            let taken = blobs.repairs().take();
            if taken.is_empty() {
                blobs.repairs().added.notified().await;
                continue;
            }
            if !blobs.repair(taken).await {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

impl Blobs {
    /// Makes copies; those that could not be made are remembered again. Whether all were made.
    async fn repair(&self, missing: Vec<(ChunkHash, BTreeSet<u64>)>) -> bool {
        let layout = self.inner.layout.get();
        let mut by_holder: HashMap<u64, Vec<ChunkHash>> = HashMap::new();
        for (hash, holders) in missing {
            for holder in holders {
                // Members may have changed since.
                let is_own_damage = holder == self.inner.node;
                if is_own_damage || layout.holds(holder, &hash) {
                    by_holder.entry(holder).or_default().push(hash);
                }
            }
        }
        let mut is_complete = true;
        for (holder, hashes) in by_holder {
            match self.fetch_at(holder, &hashes).await {
                Ok(states) => {
                    for (hash, state) in hashes.into_iter().zip(states) {
                        match state {
                            ChunkState::Intact => self.inner.repairs.count_repaired(1),
                            // Nobody has it: it was never acknowledged, or was collected meanwhile.
                            ChunkState::Absent => {}
                            ChunkState::Damaged | ChunkState::Unknown => {
                                tracing::debug!(%hash, holder, "a copy could not be made");
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(holder, %error, "copies could not be made");
                    is_complete = false;
                    for hash in hashes {
                        self.inner.repairs.add(hash, holder);
                    }
                }
            }
        }
        is_complete
    }

    /// Has `holder` get chunks from whoever has them; tells what it has of them then.
    pub(super) async fn fetch_at(
        &self,
        holder: u64,
        hashes: &[ChunkHash],
    ) -> Result<Vec<ChunkState>, HolderError> {
        let layout = self.inner.layout.get();
        let sources: Vec<u64> = layout.hosts().iter().map(|host| host.id).collect();
        if holder != self.inner.node {
            return self.inner.peers.fetch(holder, hashes, &sources).await;
        }
        self.fetch_here(hashes, &sources).await;
        Ok(here::have(&self.inner.store, hashes.to_vec(), false).await)
    }

    /// Gets chunks that this node lacks from `sources`, at the pace of repairs.
    pub(super) async fn fetch_here(&self, hashes: &[ChunkHash], sources: &[u64]) {
        let states = here::have(&self.inner.store, hashes.to_vec(), false).await;
        let lacking: Vec<ChunkHash> = hashes
            .iter()
            .zip(states)
            .filter_map(|(hash, state)| (state != ChunkState::Intact).then_some(*hash))
            .collect();
        for part in lacking.chunks(FETCHES_AT_ONCE) {
            let mut wanted = part.to_vec();
            for source in sources {
                if wanted.is_empty() {
                    break;
                }
                if *source == self.inner.node {
                    continue;
                }
                let Ok(got) = self.inner.peers.get(*source, &wanted).await else {
                    continue;
                };
                let mut arrived = Vec::new();
                for got in got {
                    if let Got::Bytes(bytes) = got
                        && let Ok(chunk) = Chunk::new(bytes)
                    {
                        arrived.push(chunk);
                    }
                }
                self.keep(&self.inner.store, &mut wanted, arrived).await;
            }
        }
    }

    async fn keep(&self, store: &Store, wanted: &mut Vec<ChunkHash>, arrived: Vec<Chunk>) {
        let bytes: usize = arrived.iter().map(|chunk| chunk.bytes().len()).sum();
        self.inner.repair_pace.pass(bytes as u64).await;
        if let Err(error) = here::put_unpinned(store, arrived.iter()).await {
            tracing::warn!(%error, "copies could not be stored");
            return;
        }
        wanted.retain(|hash| arrived.iter().all(|chunk| chunk.hash() != *hash));
    }

    /// What this node has of chunks; whoever asks in earnest has the damaged ones repaired.
    pub(super) async fn states_here(&self, hashes: Vec<ChunkHash>, deep: bool) -> Vec<ChunkState> {
        let states = here::have(&self.inner.store, hashes.clone(), deep).await;
        for (hash, state) in hashes.into_iter().zip(&states) {
            if *state == ChunkState::Damaged {
                self.heal(hash);
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_dangerous_come_first_and_no_more_than_allowed_are_kept() {
        let repairs = Repairs::new(3);
        let name = |number: u8| ChunkHash::of(&[number]);
        repairs.add(name(1), 1);
        repairs.add(name(2), 1);
        repairs.add(name(2), 2);
        repairs.add(name(2), 2);
        repairs.add(name(3), 1);
        repairs.add(name(4), 1);
        let status = repairs.status();
        assert_eq!((status.waiting, status.forgotten), (4, 1));
        let taken = repairs.take();
        assert_eq!(taken[0], (name(2), [1, 2].into()));
        assert_eq!(taken.len(), 3);
        assert_eq!(repairs.status().waiting, 0);
        repairs.add(name(4), 1);
        assert_eq!(repairs.status().waiting, 1, "there is room again");
    }
}
