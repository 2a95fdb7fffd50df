//! Uploads that have ended: every node is told, of many at once, so that a small file does not cost a message more to each.
//!
//! A node that does not hear of it keeps the chunks until the lease of the pins ends, which is all that depends on it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use yunbase_chunkstore::UploadId;

use super::Blobs;

/// How long an upload that has ended waits for others.
const INTERVAL: Duration = Duration::from_millis(100);
/// Uploads that wait; beyond it they are left to their lease.
const WAITING_MAX: usize = 65_536;
/// Uploads that one message tells of.
pub(super) const MESSAGE_UPLOADS_MAX: usize = 4096;

/// Uploads that have ended and that others have not been told of.
#[derive(Default)]
pub(super) struct Releases(Mutex<Vec<UploadId>>);

impl Releases {
    pub(super) fn add(&self, upload: UploadId) {
        let mut waiting = self.0.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push(upload);
        }
    }

    fn take(&self) -> Vec<UploadId> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Tells of uploads that have ended until the node stops.
pub async fn run(blobs: Blobs, mut stopping: watch::Receiver<bool>) {
    let work = async {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let ended = blobs.inner.releases.take();
            for part in ended.chunks(MESSAGE_UPLOADS_MAX) {
                blobs.tell(part).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

impl Blobs {
    async fn tell(&self, ended: &[UploadId]) {
        let layout = self.inner.layout.get();
        let told = layout.hosts().iter().map(|host| async move {
            if host.id != self.inner.node && !self.inner.peers.is_suspect(host.id) {
                let _ = self.inner.peers.release(host.id, ended).await;
            }
        });
        futures::future::join_all(told).await;
    }
}
