//! Putting chunks: a chunk that is there is refreshed, another one is stored on the disk that its name and the
//! disks' room choose.

use crate::chunk::{Chunk, ChunkHash};
use crate::compression::{self, Payload};
use crate::error::PutError;
use crate::hash_locks::HashGuard;
use crate::volume::{Change, CommitError, Outcome, Volume};

use super::{Inner, Store};

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The chunk was stored.
    Stored,
    /// The chunk was there; it counts as put now.
    Refreshed,
}

/// How a put is carried out.
enum Plan {
    /// The chunk is on this disk.
    Refresh(usize),
    /// The chunk goes to the first of these disks that takes it.
    Write(Vec<usize>, Encoded),
}

/// A chunk as it is written.
struct Encoded {
    payload: Payload,
    payload_crc: u32,
}

impl Store {
    /// Stores a chunk. When this returns `Ok` the chunk is durable on one disk, and its put time is now.
    ///
    /// A chunk that is there is not written again; but the time at which it was put again is durable before it is
    /// acknowledged, since collection goes by it.
    pub async fn put(&self, chunk: &Chunk) -> Result<PutOutcome, PutError> {
        let mut guard = Some(self.inner.locks.lock(chunk.hash()).await);
        let put_ms = self.inner.edges.unix_ms();
        let plan = {
            let chunk = chunk.clone();
            self.blocking(move |inner| inner.plan(&chunk)).await
        };
        let (disks, encoded) = match plan {
            Plan::Write(disks, encoded) => (disks, encoded),
            Plan::Refresh(disk) => {
                let hash = chunk.hash();
                let touch = Change::Touch { hash, put_ms };
                match self.submit(disk, touch, &mut guard).await {
                    Ok(Outcome::Done | Outcome::Refreshed) => return Ok(PutOutcome::Refreshed),
                    Err(CommitError::Closed) => return Err(PutError::Closed),
                    // Its disk cannot note it: the chunk is written to another one.
                    Ok(Outcome::Skipped) | Err(_) => {
                        let chunk = chunk.clone();
                        self.blocking(move |inner| inner.plan_write(&chunk)).await
                    }
                }
            }
        };
        let mut refused = PutError::ReadOnly {
            reason: "every disk has failed".into(),
        };
        for disk in disks {
            let change = Change::Put {
                hash: chunk.hash(),
                payload: encoded.payload.clone(),
                plain_bytes: chunk.bytes().len() as u32,
                payload_crc: encoded.payload_crc,
                put_ms,
            };
            match self.submit(disk, change, &mut guard).await {
                Ok(Outcome::Refreshed) => return Ok(PutOutcome::Refreshed),
                Ok(_) => return Ok(PutOutcome::Stored),
                Err(CommitError::Closed) => return Err(PutError::Closed),
                Err(CommitError::Full) => refused = PutError::Full,
                Err(CommitError::ReadOnly { reason }) => {
                    refused = PutError::ReadOnly { reason };
                }
            }
        }
        Err(refused)
    }

    /// Has a change carried out that holds the lock of its chunk, and takes the lock back.
    async fn submit(
        &self,
        disk: usize,
        change: Change,
        guard: &mut Option<HashGuard>,
    ) -> Result<Outcome, CommitError> {
        let queue = &self.inner.disks[disk].queue;
        let answered = queue.submit(change, guard.take()).await;
        *guard = answered.guard;
        answered.result
    }
}

impl Inner {
    fn plan(&self, chunk: &Chunk) -> Plan {
        match self.holder(&chunk.hash()) {
            Some(disk) => Plan::Refresh(disk),
            None => {
                let (disks, encoded) = self.plan_write(chunk);
                Plan::Write(disks, encoded)
            }
        }
    }

    fn plan_write(&self, chunk: &Chunk) -> (Vec<usize>, Encoded) {
        let payload = compression::encode(chunk.bytes(), &self.options.compression);
        let payload_crc = crc32fast::hash(&payload.bytes);
        let encoded = Encoded {
            payload,
            payload_crc,
        };
        (self.disks_for(&chunk.hash()), encoded)
    }

    /// A disk that has the chunk intact and can be written to.
    pub(super) fn holder(&self, hash: &ChunkHash) -> Option<usize> {
        self.disks.iter().position(|disk| {
            // A disk whose index cannot be read has nothing that could be relied on.
            !disk.volume.is_read_only()
                && matches!(disk.volume.lookup(hash), Ok(Some(entry)) if !entry.is_corrupt)
        })
    }

    /// Where a new chunk may go, the best disk first: rendezvous hashing weighted by the room that is left, so
    /// that disks of different size fill up together. Full ones come last: they refuse by themselves.
    fn disks_for(&self, hash: &ChunkHash) -> Vec<usize> {
        let mut scored: Vec<_> = self
            .disks
            .iter()
            .enumerate()
            .filter(|(_, disk)| !disk.volume.is_read_only())
            .map(|(number, disk)| (score(hash, &disk.volume), number))
            .collect();
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        scored.into_iter().map(|(_, number)| number).collect()
    }
}

fn score(hash: &ChunkHash, volume: &Volume) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(hash.as_bytes()).update(&volume.id().0);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // Uniform in (0, 1).
    let uniform = ((u64::from_le_bytes(bytes) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    volume.room() as f64 / -uniform.ln()
}
