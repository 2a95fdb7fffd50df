//! How the chunks of this node are, looked at from time to time so that whoever asks need not wait for disks.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use yunbase_chunkstore::DiskState;

use super::Files;
use crate::peer_proto::ChunksReport;

/// How old an answer may be.
const INTERVAL: Duration = Duration::from_secs(2);

/// The last look.
#[derive(Clone, Default)]
pub struct StatusBoard {
    last: Arc<ArcSwap<ChunksReport>>,
}

impl StatusBoard {
    /// The last look.
    pub fn get(&self) -> ChunksReport {
        ChunksReport::clone(&self.last.load())
    }

    /// Looks from time to time until the node stops.
    pub async fn run(self, files: Files, mut stopping: watch::Receiver<bool>) {
        let work = async {
            loop {
                self.last.store(Arc::new(look(&files).await));
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = work => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}

async fn look(files: &Files) -> ChunksReport {
    let store = files.blobs().store().status().await;
    let repairs = files.blobs().repairs().status();
    let audits = files.auditor().status();
    let problem = |state: &DiskState| match state {
        DiskState::Writable => None,
        DiskState::Full => Some("it is full: it takes no new chunks".to_owned()),
        DiskState::ReadOnly { reason } => Some(format!("it can only be read: {reason}")),
        DiskState::Absent { reason } => Some(format!("it could not be opened: {reason}")),
    };
    let sum = |of: fn(&yunbase_chunkstore::DiskStatus) -> u64| store.disks.iter().map(of).sum();
    ChunksReport {
        chunks: sum(|disk| disk.chunks),
        plain_bytes: sum(|disk| disk.plain_bytes),
        stored_bytes: sum(|disk| disk.stored_bytes),
        free_bytes: sum(|disk| disk.space.free_bytes),
        total_bytes: sum(|disk| disk.space.total_bytes),
        damaged_chunks: sum(|disk| disk.corrupt_chunks),
        missing_copies: repairs.waiting,
        repaired_copies: repairs.repaired,
        audits: audits.finished,
        audited_files: audits.files,
        lost_chunks: audits.last.lost_chunks,
        problems: store
            .disks
            .iter()
            .filter_map(|disk| Some(format!("{}: {}", disk.name, problem(&disk.state)?)))
            .collect(),
    }
}
