//! What a node holds open, and how it lets go of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use yunbase_chunkstore::Store;
use yunbase_consensus::{Host, LogEngine};
use yunbase_docdb::rocks_options::RocksShared;

use super::chunks::CLOSE_TIMEOUT;
use crate::identity::DirLock;
use crate::router::Router;
use crate::scan_threads::ScanThreads;

/// Longest wait for groups to stop as they are: a disk that does not answer must not keep the node.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the last user of a database to let go of it at a stop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);
const RELEASE_POLL: Duration = Duration::from_millis(5);

/// What has to be closed in good order before the process ends, also when a start was refused or cut off half way.
pub(super) struct Opened {
    pub(super) host: Host,
    pub(super) router: Arc<Router>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) stop_peers: watch::Sender<bool>,
    pub(super) tasks: Vec<JoinHandle<()>>,
    pub(super) scan_threads: ScanThreads,
    pub(super) shared: RocksShared,
    pub(super) log: LogEngine,
    pub(super) chunks: Store,
    pub(super) _lock: DirLock,
}

impl Opened {
    /// Stops everything as it is.
    pub(super) async fn abandon(self) {
        self.stop.send_replace(true);
        self.scan_threads.stop();
        if tokio::time::timeout(ABANDON_TIMEOUT, self.host.abandon())
            .await
            .is_err()
        {
            tracing::warn!("the groups were not stopped in time");
        }
        self.release().await;
    }

    /// Lets go of everything and returns when the databases are closed: RocksDB's own threads must be gone before the
    /// process ends, or they meet its globals half destroyed.
    pub(super) async fn release(self) {
        self.stop_peers.send_replace(true);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        if tokio::time::timeout(CLOSE_TIMEOUT, self.chunks.close())
            .await
            .is_err()
        {
            tracing::warn!("the disks for chunks were not closed in time");
        }
        drop(self.chunks);
        self.router.close();
        drop(self.router);
        drop(self.host);
        let given_up = Instant::now() + RELEASE_TIMEOUT;
        while self.shared.holders() > 1 || self.log.holders() > 1 {
            if Instant::now() >= given_up {
                tracing::warn!(
                    states = self.shared.holders() - 1,
                    logs = self.log.holders() - 1,
                    "some databases are still in use at the end"
                );
                return;
            }
            tokio::time::sleep(RELEASE_POLL).await;
        }
    }
}
