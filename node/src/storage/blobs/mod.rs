//! The chunks of the whole cluster: to and from the nodes that hold them.
//!
//! | file | idea |
//! |---|---|
//! | `layout` | which nodes those are, from the cluster map |
//! | `peers`, `server`, `here` | chunks between nodes: the calling side, the answering side, and what both do with the own store |
//! | `write`, `spread` | a content becomes chunks; chunks to their holders, each durable on two before it is told |
//! | `content` | contents from their chunks, and back |
//! | `read` | a range of a content, from the nearest that has it, and from the next where that one fails |
//! | `releases` | uploads that have ended |
//! | `repairs` | copies that are known to be missing |
//! | `audit` | looks for missing copies of what manifests name |
//! | `collect` | deletes what no manifest names |
//! | `limits` | every bound |

pub mod audit;
pub mod collect;
pub mod content;
mod here;
pub mod layout;
pub mod limits;
pub mod peers;
mod read;
pub mod releases;
pub mod repairs;
pub mod server;
mod spread;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use yunbase_chunkstore::split::SplitAlgorithm;
use yunbase_chunkstore::{ChunkHash, SplitParameters, Store};

use self::here::Throttle;
use self::layout::SharedLayout;
pub use self::limits::BlobLimits;
use self::peers::ChunkPeers;
use self::releases::Releases;
use self::repairs::Repairs;
pub use self::write::{PinnedContent, WriteOptions, Written};

/// How contents are cut. Small chunks, since an edit costs a chunk or two: a file of 100 MiB with 1% of scattered edits
/// stores some percent anew. Smaller ones would make manifests long.
pub const SPLIT: SplitParameters = SplitParameters {
    algorithm: SplitAlgorithm::FastCdc2020,
    chunk_bytes_min: 8 << 10,
    chunk_bytes_average: 32 << 10,
    chunk_bytes_max: 128 << 10,
};

/// The chunks of the cluster, as one node reaches them. Clones are the same.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    node: u64,
    store: Store,
    layout: SharedLayout,
    peers: ChunkPeers,
    repairs: Repairs,
    releases: Releases,
    limits: BlobLimits,
    /// Chunks of other nodes that were read here.
    cache: Cache<ChunkHash, Bytes>,
    /// Bytes that slow holders may still be sent after their chunks were acknowledged.
    stragglers: Arc<Semaphore>,
    repair_pace: Throttle,
}

impl Blobs {
    /// The chunks of a cluster, seen from `node`.
    pub fn new(
        node: u64,
        store: Store,
        layout: SharedLayout,
        peers: ChunkPeers,
        limits: BlobLimits,
    ) -> Self {
        let cache = Cache::builder()
            .max_capacity(limits.remote_cache_bytes)
            .weigher(|_: &ChunkHash, bytes: &Bytes| {
                u32::try_from(bytes.len() + 128).unwrap_or(u32::MAX)
            })
            .build();
        Self {
            inner: Arc::new(Inner {
                node,
                store,
                layout,
                peers,
                repairs: Repairs::new(limits.repairs_max),
                releases: Releases::default(),
                stragglers: Arc::new(Semaphore::new(limits.straggling_bytes_max)),
                cache,
                repair_pace: Throttle::new(limits.repair_bytes_per_second),
                limits,
            }),
        }
    }

    /// The store of this node.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Which nodes hold what.
    pub fn layout(&self) -> &SharedLayout {
        &self.inner.layout
    }

    /// Copies that are known to be missing.
    pub fn repairs(&self) -> &Repairs {
        &self.inner.repairs
    }
}
