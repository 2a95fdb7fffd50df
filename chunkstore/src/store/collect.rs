//! Collection: deleting chunks that nothing needs any more.
//!
//! Whoever calls knows which chunks no manifest names; this module keeps the races apart that come with knowing
//! it late. Each delay stands beside the race that it closes:
//!
//! * **The lock of a chunk**, held by put, pin and collection: a chunk cannot be deleted between the moment in
//!   which an upload is told that it is here and the moment in which it is pinned.
//! * **Pins**, for `pin_lease`: a chunk that was put and is not yet named by a manifest is not deleted while
//!   its upload goes on, however long that takes; the upload renews the lease.
//! * **No collection for `pin_lease` after a start**: pins are in memory. Those from before the restart have
//!   expired by then, or have been set again.
//! * **`grace` between the last put and `as_of_ms`**, the time at which the caller began to look for
//!   chunks that nothing names: an upload that commits its manifest after the caller looked at it, or whose
//!   manifest had not reached the caller's replica, put its chunks, or was told that they are here, less than
//!   `grace` before. Being told refreshes the put time durably, so this holds for chunks that
//!   were here all along, and after a restart.
//!
//! What remains assumed: an upload commits within `grace` of its last put or pin, or renews its pins; and
//! the clock does not jump forward by more than `grace` between a put and the caller's pass. Leases go by the
//! monotonic clock, so a jump does not end them.

use std::time::Duration;

use super::{Inner, Store};
use crate::chunk::ChunkHash;
use crate::error::CollectError;
use crate::hash_locks::HashGuard;
use crate::mutant;
use crate::volume::{Change, Outcome};

/// What became of the candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Deleted, durably.
    pub deleted: usize,
    /// Kept: an upload relies on them.
    pub pinned: usize,
    /// Kept: put less than the grace period before.
    pub fresh: usize,
    /// Not here.
    pub absent: usize,
    /// Whether they are deleted is unknown: a disk failed, or is full.
    pub failed: usize,
}

/// Candidates whose locks are held at once: enough to share syncs, few enough to be in nobody's way.
const GROUP: usize = 256;

enum Verdict {
    Pinned,
    Fresh,
    Absent,
    /// To be deleted from these disks.
    Delete(Vec<usize>),
}

impl Store {
    /// Deletes those of `candidates` that no upload has pinned and that were last put more than `grace` before
    /// `as_of_ms`: the time, in milliseconds since 1970, at which the caller began to find out that nothing needs
    /// them. A time in the future counts as now.
    pub async fn collect(
        &self,
        candidates: &[ChunkHash],
        as_of_ms: u64,
    ) -> Result<Collected, CollectError> {
        let count_max = self.inner.options.hashes_per_call_max;
        if candidates.len() > count_max {
            return Err(CollectError::TooManyHashes {
                count: candidates.len(),
                count_max,
            });
        }
        self.inner.check_pins_have_expired()?;
        let mut collected = Collected::default();
        for group in candidates.chunks(GROUP) {
            let guards = self.inner.locks.lock_all(group).await;
            self.collect_group(guards, as_of_ms, &mut collected).await;
        }
        Ok(collected)
    }

    async fn collect_group(
        &self,
        guards: Vec<HashGuard>,
        as_of_ms: u64,
        collected: &mut Collected,
    ) {
        let now_ms = self.inner.edges.unix_ms();
        let grace_ms = match mutant::has("collect-pinned") {
            true => 0,
            false => self.inner.options.grace.as_millis() as u64,
        };
        let Some(put_ms_max) = as_of_ms.min(now_ms).checked_sub(grace_ms) else {
            collected.fresh += guards.len();
            return;
        };
        let hashes: Vec<_> = guards.iter().map(HashGuard::hash).collect();
        let verdicts = self
            .blocking(move |inner| {
                inner.pins.lock().expire(inner.edges.monotonic());
                let judge = |hash| inner.judge(hash, put_ms_max);
                hashes.iter().map(judge).collect::<Vec<_>>()
            })
            .await;
        let mut deletions: Vec<Vec<_>> = self.inner.disks.iter().map(|_| Vec::new()).collect();
        let mut doomed = Vec::new();
        for (guard, verdict) in guards.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Pinned => collected.pinned += 1,
                Verdict::Fresh => collected.fresh += 1,
                Verdict::Absent => collected.absent += 1,
                Verdict::Delete(disks) => {
                    doomed.push((guard.hash(), disks.len()));
                    let hash = guard.hash();
                    // The lock travels with the first deletion and comes back. If the caller stops waiting in
                    // between, the second of a chunk on two disks is decided by the put time alone.
                    let mut guard = Some(guard);
                    for disk in disks {
                        let delete = Change::Delete {
                            hash,
                            put_ms_max,
                            now_ms,
                        };
                        deletions[disk].push((delete, guard.take()));
                    }
                }
            }
        }
        let deleted = self.delete(deletions).await;
        for (hash, disks) in doomed {
            self.inner.cache.invalidate(&hash);
            let done = deleted.iter().filter(|done| **done == hash).count();
            if done == disks {
                collected.deleted += 1;
            } else {
                collected.failed += 1;
            }
        }
    }

    /// Carries out deletions, by disk; returns which were done.
    async fn delete(&self, deletions: Vec<Vec<(Change, Option<HashGuard>)>>) -> Vec<ChunkHash> {
        let mut done = Vec::new();
        // A lock is held until its chunk is deleted from every disk: a put in between would refresh what is
        // left of it, and be told that it is here.
        let mut guards = Vec::new();
        for (disk, deletions) in self.inner.disks.iter().zip(deletions) {
            let hashes: Vec<_> = deletions
                .iter()
                .map(|(change, _)| match change {
                    Change::Delete { hash, .. } => Some(*hash),
                    _ => None,
                })
                .collect();
            let answered = disk.queue.submit_all(deletions).await;
            for (hash, answered) in hashes.into_iter().zip(answered) {
                if answered.result == Ok(Outcome::Done) {
                    done.extend(hash);
                }
                guards.extend(answered.guard);
            }
        }
        done
    }
}

impl Inner {
    fn check_pins_have_expired(&self) -> Result<(), CollectError> {
        let open = self.edges.monotonic().saturating_sub(self.opened);
        let wait = self.options.pin_lease.saturating_sub(open);
        if wait > Duration::ZERO {
            return Err(CollectError::TooEarly {
                wait_ms: wait.as_millis().max(1) as u64,
            });
        }
        Ok(())
    }

    /// Judges a chunk whose lock is held.
    fn judge(&self, hash: &ChunkHash, put_ms_max: u64) -> Verdict {
        if self.pins.lock().contains(hash) && !mutant::has("collect-pinned") {
            return Verdict::Pinned;
        }
        let mut disks = Vec::new();
        for (number, disk) in self.disks.iter().enumerate() {
            match disk.volume.lookup(hash) {
                Ok(Some(entry)) if entry.put_ms > put_ms_max => return Verdict::Fresh,
                Ok(Some(_)) => disks.push(number),
                Ok(None) => {}
                // When it was put there is unknown.
                Err(_) => return Verdict::Fresh,
            }
        }
        if disks.is_empty() {
            Verdict::Absent
        } else {
            Verdict::Delete(disks)
        }
    }
}
