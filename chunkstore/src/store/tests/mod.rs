//! Tests of the store as its callers see it.

mod faults;
mod killed_process;
mod model;
mod real_disks;
mod simulated;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::chunk::Chunk;
use crate::disk::sim::SimDisk;
use crate::volume::DiskState;

/// A clock that moves when it is told to, and numbers that do not repeat.
#[derive(Debug)]
pub(crate) struct TestEdges {
    now_ms: AtomicU64,
    random: AtomicU64,
}

impl TestEdges {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            now_ms: AtomicU64::new(1_000_000_000),
            random: AtomicU64::new(1),
        })
    }

    pub(crate) fn advance(&self, time: Duration) {
        let ms = time.as_millis() as u64;
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Edges for TestEdges {
    fn unix_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.unix_ms())
    }

    fn random(&self) -> std::io::Result<[u8; 16]> {
        let number = self.random.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Ok(bytes)
    }
}

const GRACE: Duration = Duration::from_secs(100);
const LEASE: Duration = Duration::from_secs(10);

/// Small enough that a few chunks fill a segment.
pub(crate) fn small_options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 8 << 10,
        reserve_bytes: 1 << 10,
        grace: GRACE,
        pin_lease: LEASE,
        open_segments_max: 4,
        ..StoreOptions::default()
    }
}

/// Opens a store on simulated disks, all of it on this thread.
pub(crate) async fn open_sim(
    disks: &[SimDisk],
    edges: &Arc<TestEdges>,
    options: StoreOptions,
) -> Result<Store, OpenError> {
    let disks = disks
        .iter()
        .map(|disk| Arc::new(disk.clone()) as Arc<dyn Disk>)
        .collect();
    Store::mount(disks, Vec::new(), options, edges.clone(), Threads::Inline).await
}

/// A chunk of `bytes` that is different for each number. Even ones compress.
pub(crate) fn chunk(number: u64, bytes: usize) -> Chunk {
    let content: Vec<u8> = if number.is_multiple_of(2) {
        let word = number.to_le_bytes();
        word.iter().copied().cycle().take(bytes).collect()
    } else {
        let mut content = vec![0; bytes];
        blake3::Hasher::new()
            .update(&number.to_le_bytes())
            .finalize_xof()
            .fill(&mut content);
        content
    };
    Chunk::new(content.into()).unwrap()
}
