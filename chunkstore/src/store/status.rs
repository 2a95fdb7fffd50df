//! What operators see.

use super::Store;
use crate::disk::{DiskId, DiskSpace};
use crate::record::HEADER_BYTES;
use crate::volume::DiskState;

/// A disk and what is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskStatus {
    /// Its directory.
    pub name: String,
    /// Its identity; `None` when it could not be opened.
    pub id: Option<DiskId>,
    /// What it can do.
    pub state: DiskState,
    /// Room on it.
    pub space: DiskSpace,
    /// Its segment files.
    pub segments: u64,
    /// Chunks that are intact as far as is known.
    pub chunks: u64,
    /// Their bytes.
    pub plain_bytes: u64,
    /// Their bytes as they are stored.
    pub stored_bytes: u64,
    /// Bytes of segments that nothing needs, which compaction gives back.
    pub dead_bytes: u64,
    /// Chunks that were found damaged and have not been put again.
    pub corrupt_chunks: u64,
    /// Reads that the device refused since the start.
    pub read_errors: u64,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// Every disk, those that could not be opened last.
    pub disks: Vec<DiskStatus>,
    /// Uploads that have pins.
    pub uploads: usize,
    /// Their pins.
    pub pins: usize,
}

impl Store {
    /// How the store is.
    pub async fn status(&self) -> StoreStatus {
        let mut disks = self
            .blocking(|inner| {
                let status = |disk: &super::Mounted| disk_status(&disk.volume);
                inner.disks.iter().map(status).collect::<Vec<_>>()
            })
            .await;
        disks.extend(self.inner.absent.iter().map(absent_status));
        let (uploads, pins) = {
            let mut pins = self.inner.pins.lock();
            pins.expire(self.inner.edges.monotonic());
            pins.counts()
        };
        StoreStatus {
            disks,
            uploads,
            pins,
        }
    }
}

fn disk_status(volume: &crate::volume::Volume) -> DiskStatus {
    let totals = volume.totals();
    let headers = totals.segments * HEADER_BYTES as u64;
    DiskStatus {
        name: volume.name().to_owned(),
        id: Some(volume.id()),
        state: volume.state(),
        space: volume.space().unwrap_or_default(),
        segments: totals.segments,
        chunks: totals.live.live_chunks,
        plain_bytes: totals.live.live_plain_bytes,
        stored_bytes: totals.live.live_stored_bytes,
        dead_bytes: totals
            .file_bytes
            .saturating_sub(totals.live.live_record_bytes + headers),
        corrupt_chunks: volume.quarantined(),
        read_errors: volume.read_errors(),
    }
}

fn absent_status(absent: &super::Absent) -> DiskStatus {
    DiskStatus {
        name: absent.name.clone(),
        id: None,
        state: DiskState::Absent {
            reason: absent.reason.clone(),
        },
        space: DiskSpace::default(),
        segments: 0,
        chunks: 0,
        plain_bytes: 0,
        stored_bytes: 0,
        dead_bytes: 0,
        corrupt_chunks: 0,
        read_errors: 0,
    }
}
