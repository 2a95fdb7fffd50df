//! A cluster in one process for the tests of files: nodes with stores of their own on real files, chunks between them over
//! real connections, one database for the manifests, and a clock that the test turns.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;
use tonic::transport::server::TcpIncoming;
use yunbase_chunkstore::{Edges, Store, StoreOptions, initialize_disk};

use super::blobs::layout::SharedLayout;
use super::blobs::peers::ChunkPeers;
use super::blobs::server::ChunkService;
use super::blobs::{BlobLimits, Blobs};
use super::files::{Condition, Files, NewFile, Scope};
use super::path::FilePath;
use super::{FileRecord, StorageLimits, StorageResult};
use crate::auth::test_bed::{Bed as Documents, ENV};
use crate::cluster::map::ClusterMap;
use crate::cluster::records::{NodeRecord, SettingsRecord};
use crate::gateway::Clock;
use crate::peer_proto::chunks_server::ChunksServer;

/// As the nodes of the test have it.
pub(super) const GRACE: Duration = Duration::from_secs(60);
pub(super) const LEASE: Duration = Duration::from_secs(30);

const STOP_MAX: Duration = Duration::from_secs(3);

/// Time that passes when the test says so.
#[derive(Debug)]
pub(super) struct TurnedClock(AtomicU64);

impl TurnedClock {
    const START_MS: u64 = 1_700_000_000_000;

    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(Self::START_MS)))
    }

    pub(super) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for TurnedClock {
    fn now_unix_ms(&self) -> i64 {
        self.now_ms() as i64
    }
}

impl Edges for TurnedClock {
    fn unix_ms(&self) -> u64 {
        self.now_ms()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms() - Self::START_MS)
    }

    fn random(&self) -> std::io::Result<[u8; 16]> {
        Ok(rand::random())
    }
}

/// A node.
pub(super) struct BedNode {
    pub(super) id: u64,
    pub(super) files: Files,
    pub(super) dir: PathBuf,
    server: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// A cluster.
pub(super) struct Bed {
    pub(super) clock: Arc<TurnedClock>,
    pub(super) nodes: Vec<BedNode>,
    documents: Arc<Documents>,
    addresses: Arc<Mutex<std::collections::HashMap<u64, SocketAddr>>>,
    folder: tempfile::TempDir,
    /// Disks made so far.
    disks: AtomicU64,
}

impl Bed {
    /// A cluster of `count` nodes, with ids from 1.
    pub(super) async fn new(count: u64) -> Self {
        let mut bed = Self {
            clock: TurnedClock::new(),
            nodes: Vec::new(),
            documents: Documents::new(),
            addresses: Arc::default(),
            folder: tempfile::tempdir().expect("a folder"),
            disks: AtomicU64::new(0),
        };
        bed.set_members(1..=count);
        for id in 1..=count {
            let node = bed.start(id, None).await;
            bed.nodes.push(node);
        }
        bed
    }

    /// Makes these nodes the members of the cluster.
    pub(super) fn set_members(&self, ids: impl Iterator<Item = u64>) {
        let known = self.documents.map().get();
        let nodes = ids.map(|id| {
            let record = NodeRecord {
                id: id as i64,
                disk_id: String::new(),
                peer_address: String::new(),
                http_address: String::new(),
                zone: String::new(),
                joined_at_ms: 0,
                leaving_since_ms: None,
                storage_weight: None,
                chunk_disks: Vec::new(),
            };
            (id, record)
        });
        self.documents.map().set(ClusterMap {
            nodes: nodes.collect(),
            environments: known.environments.clone(),
            settings: Some(SettingsRecord {
                id: "cluster".into(),
                cluster_id: "c".into(),
                groups: 1,
                replicas: 3,
                next_node_id: 99,
                join_secret: "s".into(),
                authority_certificate: String::new(),
                authority_key: String::new(),
            }),
            ..ClusterMap::default()
        });
    }

    /// Starts a node on a disk with what is in `from`, or on an empty one. Whoever is still at work on the disk of an earlier
    /// process, as no dead process is, has nothing to do with this one's.
    async fn start(&self, id: u64, from: Option<&Path>) -> BedNode {
        let number = self.disks.fetch_add(1, Ordering::Relaxed);
        let dir = self.folder.path().join(format!("disk-{number}"));
        if let Some(from) = from {
            copy_folder(from, &dir).expect("a copy");
        } else {
            initialize_disk(&dir).expect("a disk");
        }
        let options = StoreOptions {
            segment_bytes: 4 << 20,
            reserve_bytes: 0,
            grace: GRACE,
            pin_lease: LEASE,
            ..StoreOptions::default()
        };
        let dirs = [dir.clone()];
        let store = Store::open_with_edges(&dirs, options, self.clock.clone())
            .await
            .expect("the store opens");
        let addresses = self.addresses.clone();
        let limits = BlobLimits {
            call_timeout: Duration::from_secs(2),
            suspicion: Duration::from_millis(200),
            repair_bytes_per_second: 1 << 30,
            ..BlobLimits::default()
        };
        let peers = ChunkPeers::new(
            Arc::new(move |node| {
                let address = addresses.lock().get(&node).copied();
                let address = address.ok_or_else(|| format!("node {node} has no address"))?;
                Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())
            }),
            Endpoint::connect_lazy,
            limits.call_timeout,
            limits.suspicion,
        );
        let layout = SharedLayout::new(self.documents.map());
        let blobs = Blobs::new(id, store, layout, peers, limits);
        let files = Files::new(
            self.documents.clone(),
            blobs.clone(),
            self.documents.map(),
            self.clock.clone(),
            StorageLimits::default(),
            GRACE,
        );
        let service = ChunkService::new(blobs, files.collector().clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        self.addresses.lock().insert(id, address);
        let (stop, stopped) = oneshot::channel();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tonic::transport::Server::builder()
            .add_service(ChunksServer::new(service).max_decoding_message_size(64 << 20))
            .serve_with_incoming_shutdown(incoming, async move { drop(stopped.await) });
        let server = tokio::spawn(async move {
            let _ = serving.await;
        });
        BedNode {
            id,
            files,
            dir,
            server: Some((stop, server)),
        }
    }

    /// Stops a node: it answers nobody from now on.
    pub(super) async fn stop(&mut self, at: usize) {
        self.addresses.lock().remove(&self.nodes[at].id);
        if let Some((stop, server)) = self.nodes[at].server.take() {
            // Connections end with it, and let go of the store.
            let _ = stop.send(());
            let _ = tokio::time::timeout(STOP_MAX, server).await;
        }
        self.nodes[at].files.blobs().store().close().await;
    }

    /// Stops a node and starts it again on its disk, or on an empty one.
    pub(super) async fn restart(&mut self, at: usize, wiped: bool) {
        self.stop(at).await;
        let stopped = self.nodes.remove(at);
        let from = (!wiped).then_some(stopped.dir.as_path());
        let node = self.start(stopped.id, from).await;
        self.nodes.insert(at, node);
    }

    /// Makes missing copies of everything, and tells what was found.
    pub(super) async fn audit(&self) -> super::blobs::audit::VerifyReport {
        let auditor = self.nodes[0].files.auditor();
        auditor
            .verify(ENV, false, |_| {})
            .await
            .expect("an audit gets through")
    }

    /// Removes what could still be restored.
    pub(super) async fn forget_deleted(&self) {
        let store = &self.nodes[0].files.inner().store;
        let all = bson::Document::new();
        store
            .remove_all(&scope(), super::record::DELETED_FILES, all)
            .await
            .expect("removed");
    }

    /// Has every node collect; says how many chunks were deleted.
    pub(super) async fn collect(&self) -> u64 {
        let mut deleted = 0;
        for node in &self.nodes {
            deleted += node.files.collector().pass().await.expect("a pass");
        }
        deleted
    }
}

pub(super) fn scope() -> Scope {
    Scope {
        env: ENV.to_owned(),
        request_id: "test".to_owned(),
    }
}

pub(super) fn new_file(path: &str) -> NewFile {
    NewFile {
        path: FilePath::parse(path).expect("a path"),
        content_type: None,
        metadata: std::collections::BTreeMap::new(),
        owner: None,
        condition: Condition::None,
        md5_etag: false,
        md5: None,
        bytes_max: u64::MAX,
    }
}

/// Bytes that nothing compresses.
pub(super) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}

/// The content of a file, read whole.
pub(super) async fn read(files: &Files, record: &FileRecord) -> StorageResult<Vec<u8>> {
    read_range(files, record, 0..record.bytes()).await
}

pub(super) async fn read_range(
    files: &Files,
    record: &FileRecord,
    range: std::ops::Range<u64>,
) -> StorageResult<Vec<u8>> {
    use futures::StreamExt as _;
    let mut body = files.open(record, range);
    let mut content = Vec::new();
    while let Some(part) = body.next().await {
        content.extend_from_slice(&part?);
    }
    Ok(content)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
