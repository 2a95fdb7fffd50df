//! The node's chunks: its disks for them, the way to those of other nodes, and what goes on by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use yunbase_chunkstore::background::{self, Pace};
use yunbase_chunkstore::{Store, StoreOptions, initialize_disk};

use crate::call::Execute;
use crate::cluster::map::SharedMap;
use crate::config::Config;
use crate::gateway;
use crate::identity::{DataDir, Identity};
use crate::router::Router;
use crate::storage::blobs::layout::SharedLayout;
use crate::storage::blobs::peers::ChunkPeers;
use crate::storage::blobs::{BlobLimits, Blobs, releases, repairs};
use crate::storage::status::StatusBoard;
use crate::storage::{Files, StorageLimits};
use crate::surface::lanes;
use crate::surface::peer::PeerAddresses;

/// Damaged chunks that a scrub may report before somebody listens.
const CORRUPT_QUEUE: usize = 1024;

/// What the cluster shall know of a node's disks for chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChunkDisks {
    /// Their size in GiB.
    pub(super) weight: i64,
    /// Their markers.
    pub(super) markers: Vec<String>,
}

/// Opens the disks for chunks. A folder that is empty or missing becomes a new disk: what belonged on it is fetched from others.
pub(super) async fn open_store(config: &Config, data: &DataDir) -> anyhow::Result<Store> {
    let dirs: Vec<PathBuf> = match config.chunk_dirs.is_empty() {
        true => vec![data.path().join("chunks")],
        false => config.chunk_dirs.iter().map(PathBuf::from).collect(),
    };
    for dir in &dirs {
        let is_new = match std::fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(error).with_context(|| format!("look at {}", dir.display())),
        };
        if is_new {
            let disk = initialize_disk(dir)
                .with_context(|| format!("make {} a disk for chunks", dir.display()))?;
            tracing::info!(dir = %dir.display(), %disk, "a new disk for chunks");
        }
    }
    let options = StoreOptions {
        cache_bytes: config.chunk_cache_bytes,
        reserve_bytes: config.chunk_reserve_bytes,
        grace: config.chunk_grace,
        pin_lease: config.chunk_pin_lease,
        ..StoreOptions::default()
    };
    Store::open(&dirs, options)
        .await
        .context("open the disks for chunks")
}

/// What to tell the cluster of the store's disks.
pub(super) async fn disks_of(store: &Store) -> ChunkDisks {
    let status = store.status().await;
    let disks = status.disks.iter().filter(|disk| disk.id.is_some());
    let bytes: u64 = disks.clone().map(|disk| disk.space.total_bytes).sum();
    ChunkDisks {
        weight: i64::try_from(bytes >> 30).unwrap_or(i64::MAX).max(1),
        markers: disks
            .filter_map(|disk| disk.id)
            .map(|id| id.to_string())
            .collect(),
    }
}

/// Files over the store.
pub(super) fn files(
    config: &Config,
    identity: &Identity,
    store: Store,
    map: &SharedMap,
    addresses: &PeerAddresses,
    execute: Arc<dyn Execute>,
) -> Files {
    let limits = BlobLimits {
        audit_interval: config.chunk_audit_interval,
        collect_interval: config.chunk_collect_interval,
        ..BlobLimits::default()
    };
    let addresses = addresses.clone();
    let peers = ChunkPeers::new(
        Arc::new(move |node| addresses.endpoint(node, None)),
        lanes::bulk_channel,
        limits.call_timeout,
        limits.suspicion,
    );
    let layout = SharedLayout::new(map.clone());
    let blobs = Blobs::new(identity.node_id, store, layout, peers, limits);
    let limits = StorageLimits {
        request_timeout: config.request_timeout,
        retention: config.file_retention,
        ..StorageLimits::default()
    };
    let clock = Arc::new(gateway::SystemClock);
    Files::new(
        execute,
        blobs,
        map.clone(),
        clock,
        limits,
        config.chunk_grace,
    )
}

/// Starts what goes on by itself: compaction, scrubbing, repair, audits, collection.
pub(super) fn start(
    files: &Files,
    router: &Arc<Router>,
    status: StatusBoard,
    stopping: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let blobs = files.blobs().clone();
    let (corrupt, mut found) = mpsc::channel(CORRUPT_QUEUE);
    let stop = |mut stopping: watch::Receiver<bool>| async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let compaction = {
        let (store, stop) = (blobs.store().clone(), stop(stopping.clone()));
        tokio::spawn(async move { background::compact(&store, &Pace::COMPACTION, stop).await })
    };
    let scrub = {
        let (store, stop) = (blobs.store().clone(), stop(stopping.clone()));
        tokio::spawn(async move { background::scrub(&store, &Pace::SCRUB, &corrupt, stop).await })
    };
    let healing = {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            while let Some(hash) = found.recv().await {
                blobs.heal(hash);
            }
        })
    };
    vec![
        compaction,
        scrub,
        healing,
        tokio::spawn(repairs::run(blobs.clone(), stopping.clone())),
        tokio::spawn(releases::run(blobs, stopping.clone())),
        tokio::spawn(
            files
                .auditor()
                .clone()
                .run(router.clone(), stopping.clone()),
        ),
        tokio::spawn(files.collector().clone().run(stopping.clone())),
        tokio::spawn(status.run(files.clone(), stopping.clone())),
    ]
}

/// Whether two sizes are different enough to move chunks for it.
pub(super) fn is_resized(known: Option<i64>, weight: i64) -> bool {
    known.is_none_or(|known| known.abs_diff(weight) > known.unsigned_abs() / 10)
}

/// How long a stop waits for the store.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
