//! Maintenance in steps: compaction and scrubbing. Each step does a bounded amount of work; what paces them is
//! [`background`](crate::background).

use std::io;

use super::{Damaged, Inner, Store};
use crate::chunk::ChunkHash;
use crate::disk::DiskId;
use crate::volume::{Change, CommitError, START, ScrubPart};

/// Bytes of a segment that one step of compaction deals with, on each disk. Bounds the memory of what is moved.
const COMPACTION_STEP_BYTES: u64 = 8 << 20;

/// Bytes that one call of a verification deals with: it makes room for other calls in between.
const VERIFY_STEP_BYTES: u64 = 32 << 20;

/// What a step of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionStep {
    /// Bytes of segments dealt with; 0 when there is nothing to do.
    pub bytes: u64,
    /// Segments removed.
    pub removed: usize,
}

/// What a step of scrubbing found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Bytes of segments dealt with.
    pub bytes: u64,
    /// Chunks compared with their names.
    pub chunks: u64,
    /// Chunks that are damaged. They are set aside: fetch them from elsewhere and put them again.
    pub corrupt: Vec<ChunkHash>,
    /// Disks that are through; their next step begins anew.
    pub finished: Vec<DiskId>,
}

impl Store {
    /// Compacts a part of one segment on each disk. Readers and writers go on meanwhile. A failing disk does not
    /// keep the others from it; what it said is in [`status`](Self::status).
    pub async fn compact_step(&self) -> CompactionStep {
        let mut step = CompactionStep::default();
        for disk in 0..self.inner.disks.len() {
            if let Err(error) = self.compact_disk(disk, &mut step).await {
                let disk = self.inner.disks[disk].volume.name();
                tracing::warn!(disk, %error, "compaction did not go on");
            }
        }
        step
    }

    async fn compact_disk(&self, disk: usize, step: &mut CompactionStep) -> io::Result<()> {
        let mounted = &self.inner.disks[disk];
        let mut slot = mounted.compaction.lock().await;
        let compaction = match slot.take() {
            Some(compaction) => Some(compaction),
            None => {
                self.blocking(move |inner| inner.disks[disk].volume.begin_compaction())
                    .await?
            }
        };
        let Some(mut compaction) = compaction else {
            return Ok(());
        };
        let number = compaction.number();
        let (part, compaction) = self
            .blocking(move |inner| {
                let volume = &inner.disks[disk].volume;
                let part = volume.compact_part(&mut compaction, COMPACTION_STEP_BYTES);
                (part, compaction)
            })
            .await;
        let part = part?;
        step.bytes += part.bytes.max(1);
        self.write_again(disk, part.changes).await?;
        if !part.is_last {
            *slot = Some(compaction);
            return Ok(());
        }
        drop(compaction);
        if !mounted.volume.is_emptied(number) {
            let stragglers = move |inner: &Inner| inner.disks[disk].volume.stragglers(number);
            let stragglers = self.blocking(stragglers).await?;
            self.write_again(disk, stragglers).await?;
        }
        let remove = move |inner: &Inner| inner.disks[disk].volume.remove_segment(number);
        if self.blocking(remove).await? {
            step.removed += 1;
        }
        Ok(())
    }

    /// Writes what is still needed of a segment. All of it must be durable before the segment may go.
    async fn write_again(&self, disk: usize, changes: Vec<Change>) -> io::Result<()> {
        let changes = changes.into_iter().map(|change| (change, None)).collect();
        let answered = self.inner.disks[disk].queue.submit_all(changes).await;
        let failed = answered
            .into_iter()
            .find_map(|answered| answered.result.err());
        failed.map_or(Ok(()), |error: CommitError| Err(io::Error::other(error)))
    }

    /// Scrubs about `bytes_max` on each disk from where the last step ended, also that of an earlier run.
    pub async fn scrub_step(&self, bytes_max: u64) -> ScrubStep {
        let mut step = ScrubStep::default();
        for disk in 0..self.inner.disks.len() {
            let scrub = move |inner: &Inner| inner.disks[disk].volume.scrub_part(bytes_max);
            let part = self.blocking(scrub).await;
            self.take_scrubbed(disk, part, &mut step).await;
        }
        step
    }

    /// Reads every chunk on every disk, as fast as the disks deliver, and compares each with its name. Where the
    /// scrub in steps stands is not touched.
    pub async fn verify(&self) -> ScrubStep {
        let mut total = ScrubStep::default();
        for disk in 0..self.inner.disks.len() {
            let mut next = Some(START);
            while let Some(cursor) = next {
                let scrub = move |inner: &Inner| {
                    let volume = &inner.disks[disk].volume;
                    volume.scrub_from(cursor, VERIFY_STEP_BYTES)
                };
                let part = self.blocking(scrub).await;
                next = part.as_ref().ok().and_then(|part| part.next);
                self.take_scrubbed(disk, part, &mut total).await;
            }
        }
        total
    }

    /// Adds what was found on a disk, and sets aside what is damaged.
    async fn take_scrubbed(&self, disk: usize, part: io::Result<ScrubPart>, total: &mut ScrubStep) {
        let volume = &self.inner.disks[disk].volume;
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                tracing::warn!(disk = volume.name(), %error, "scrub did not go on");
                return;
            }
        };
        total.bytes += part.bytes;
        total.chunks += part.chunks;
        if part.next.is_none() {
            total.finished.push(volume.id());
        }
        let hashes = part.corrupt.iter().map(|(hash, _)| *hash);
        total.corrupt.extend(hashes);
        let damaged = |(hash, at)| Damaged { disk, hash, at };
        self.quarantine(part.corrupt.into_iter().map(damaged).collect())
            .await;
    }
}
