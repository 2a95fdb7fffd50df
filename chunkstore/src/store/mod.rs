//! The store: the chunks of all disks of a node, for many callers at once.

mod collect;
mod get;
mod maintenance;
mod pin;
mod put;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

pub use self::collect::Collected;
pub use self::get::{ChunkInfo, Listed};
pub use self::maintenance::{CompactionStep, ScrubStep};
pub use self::put::PutOutcome;
pub use self::status::{DiskStatus, StoreStatus};
use crate::blocking::{Blocking, Threads};
use crate::chunk::ChunkHash;
use crate::disk::{Disk, DiskId, FileDisk, Marker};
use crate::edges::{Edges, SystemEdges};
use crate::error::{InitializeError, OpenError};
use crate::hash_locks::HashLocks;
use crate::index::IndexShared;
use crate::options::StoreOptions;
use crate::pins::Pins;
use crate::volume::{Change, Compaction, Volume, VolumeOptions};
use crate::writer_queue::WriterQueue;

/// Makes `dir` a disk for chunks. It must be empty or not exist.
pub fn initialize_disk(dir: &Path) -> Result<DiskId, InitializeError> {
    let edges = SystemEdges::default();
    let random = edges.random().map_err(|source| InitializeError::Io {
        path: dir.display().to_string(),
        source,
    })?;
    let disk = DiskId(random);
    Marker { disk }.write(dir)?;
    Ok(disk)
}

/// The chunks of a node. Clones are the same store; it ends with [`close`](Self::close).
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// A disk in use.
struct Mounted {
    volume: Arc<Volume>,
    queue: WriterQueue,
    /// A segment in the middle of its compaction.
    compaction: AsyncMutex<Option<Compaction>>,
}

/// A disk that could not be opened.
struct Absent {
    name: String,
    reason: String,
}

struct Inner {
    disks: Vec<Mounted>,
    absent: Vec<Absent>,
    options: StoreOptions,
    edges: Arc<dyn Edges>,
    blocking: Blocking,
    locks: HashLocks,
    pins: Mutex<Pins>,
    /// Verified chunks. What the index does not have is not served from here.
    cache: Cache<ChunkHash, Bytes>,
    opened: Duration,
}

impl Store {
    /// Opens the store on these disks, each made by [`initialize_disk`]. A disk that cannot be opened is
    /// reported by [`status`](Self::status) while the others serve; an error means that none can.
    pub async fn open(dirs: &[PathBuf], options: StoreOptions) -> Result<Self, OpenError> {
        let edges: Arc<dyn Edges> = Arc::new(SystemEdges::default());
        Self::open_with_edges(dirs, options, edges).await
    }

    /// Opens the store with other clocks and random numbers.
    pub async fn open_with_edges(
        dirs: &[PathBuf],
        options: StoreOptions,
        edges: Arc<dyn Edges>,
    ) -> Result<Self, OpenError> {
        let shared = IndexShared::new(options.index_cache_bytes, options.index_write_buffer_bytes);
        let mut disks: Vec<Arc<dyn Disk>> = Vec::new();
        let mut absent = Vec::new();
        for dir in dirs {
            match FileDisk::open(dir, shared.clone()) {
                Ok(disk) => disks.push(Arc::new(disk)),
                Err(error) => absent.push(Absent {
                    name: dir.display().to_string(),
                    reason: describe(&error),
                }),
            }
        }
        Self::mount(disks, absent, options, edges, Threads::Pool).await
    }

    async fn mount(
        disks: Vec<Arc<dyn Disk>>,
        mut absent: Vec<Absent>,
        options: StoreOptions,
        edges: Arc<dyn Edges>,
        threads: Threads,
    ) -> Result<Self, OpenError> {
        check_different(&disks)?;
        let blocking = Blocking::new(threads, options.blocking_calls_max);
        let volume_options = VolumeOptions {
            segment_bytes: options.segment_bytes,
            reserve_bytes: options.reserve_bytes,
            open_segments_max: options.open_segments_max,
            read_errors_max: options.read_errors_max,
            grace_ms: options.grace.as_millis() as u64,
            compaction_live_ratio: options.compaction_live_ratio,
        };
        let mut mounted = Vec::new();
        for disk in disks {
            let name = disk.name();
            let (edges, volume_options) = (edges.clone(), volume_options.clone());
            let rebuilds = options.rebuilds_index;
            let open = move || Volume::open(disk, edges, volume_options, rebuilds);
            match blocking.run(open).await {
                Ok(volume) => {
                    let volume = Arc::new(volume);
                    let queue = WriterQueue::start(volume.clone(), &options, threads)
                        .map_err(OpenError::Thread)?;
                    mounted.push(Mounted {
                        volume,
                        queue,
                        compaction: AsyncMutex::new(None),
                    });
                }
                Err(error) => {
                    tracing::error!(disk = name, %error, "disk cannot be opened");
                    let reason = describe(&error);
                    absent.push(Absent { name, reason });
                }
            }
        }
        if mounted.is_empty() {
            let reasons = absent.iter().map(|a| format!("{}: {}", a.name, a.reason));
            return Err(OpenError::NoDisk(reasons.collect()));
        }
        let cache = Cache::builder()
            .max_capacity(options.cache_bytes)
            .weigher(|_: &ChunkHash, bytes: &Bytes| cache_cost_bytes(bytes))
            .build();
        let inner = Inner {
            disks: mounted,
            absent,
            blocking,
            locks: HashLocks::default(),
            pins: Mutex::new(Pins::new(options.uploads_max, options.pins_max)),
            cache,
            opened: edges.monotonic(),
            edges,
            options,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Finishes what was begun, makes the indexes durable and refuses changes from then on. Without it nothing is
    /// lost; the next start only reads more.
    pub async fn close(&self) {
        for disk in &self.inner.disks {
            disk.queue.close().await;
        }
    }

    /// Runs a blocking call.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> T {
        let inner = self.inner.clone();
        self.inner.blocking.run(move || work(&inner)).await
    }

    /// Sets damaged records aside. When this returns the chunk can be put again.
    async fn quarantine(&self, damaged: Vec<Damaged>) {
        for Damaged { disk, hash, at } in damaged {
            tracing::warn!(
                disk = self.inner.disks[disk].volume.name(),
                %hash,
                "chunk is corrupt and set aside"
            );
            let mark = Change::MarkCorrupt { hash, at };
            // A disk that cannot note it finds it out again at the next read.
            let _ = self.inner.disks[disk].queue.submit(mark, None).await;
            self.inner.cache.invalidate(&hash);
        }
    }
}

/// A record that was found damaged.
struct Damaged {
    disk: usize,
    hash: ChunkHash,
    at: crate::index::Location,
}

/// Entries of the cache also take room for their name and the table.
const CACHE_ENTRY_BYTES: usize = 128;

fn cache_cost_bytes(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len() + CACHE_ENTRY_BYTES).unwrap_or(u32::MAX)
}

fn check_different(disks: &[Arc<dyn Disk>]) -> Result<(), OpenError> {
    for (number, disk) in disks.iter().enumerate() {
        let twin = disks[..number]
            .iter()
            .find(|other| other.marker() == disk.marker());
        if let Some(twin) = twin {
            return Err(OpenError::SameDisk(twin.name(), disk.name()));
        }
    }
    Ok(())
}

/// An error with its sources, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
