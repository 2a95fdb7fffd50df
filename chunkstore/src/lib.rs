//! A node's chunks: content-addressed, in append-only segment files on several disks, verified on every read.
//! It knows no Raft and no network; to bring chunks to the nodes where `placement` has them, and what chunks make a file,
//! is for those who use it.
//!
//! # Map
//! * **Names**: `chunk` is a chunk under the BLAKE3 hash of its bytes; `split` cuts a stream into chunks where its
//!   content says so; `placement` is which nodes of a cluster a chunk belongs on.
//! * **Entrance**: `store` is what callers use: put, get, list, [`pin`](Store::pin), [`collect`](Store::collect),
//!   status. `options` has every limit and timing, `error` what callers are told.
//! * **Races**: `hash_locks` lets put, pin and collection of a chunk take turns, `pins` knows what uploads rely
//!   on; why each delay is there is written in `store::collect`.
//! * **Writing**: `writer_queue` gathers changes for one sync, `volume::commit` appends them, `volume::draft` is what
//!   they do to the index; `compression` decides what is compressed.
//! * **Long run**: `volume::recovery` opens a disk after whatever happened, `volume::compaction` gives room back,
//!   `volume::scrub` looks for damage, `background` paces both.
//! * **Formats**: `record` and `segment` on disk, `index` in RocksDB, `disk::marker` for which disk is which.
//! * **Edges**: `disk` is the seam to files, `edges` to clocks and randomness, `blocking` to threads.
//!
//! # Promises
//! * A chunk that [`Store::put`] acknowledged survives a crash and a loss of power; also the time of the put does,
//!   when the chunk was there already.
//! * [`Store::get`] returns the bytes of that name or an error, never others. A record that was found damaged is
//!   set aside, and the next put replaces it.
//! * A chunk that an upload has pinned, or that was put within the grace period, is not collected; one whose
//!   deletion was acknowledged does not come back, not even when the index is made anew.
//! * The segments decide; the index can be made anew from them at any time.
//! * A disk on which a write or a sync failed is read-only until the store is opened again, and nothing of what
//!   failed is acknowledged. The other disks go on.
//! * Whatever stands in a segment file, reading it neither panics nor takes more memory than the largest chunk.
//! * Queues, caches, pins and calls are bounded, and refused with a typed error, or made to wait, beyond it.

#![forbid(unsafe_code)]

pub mod background;
mod blocking;
mod chunk;
mod compression;
mod disk;
mod edges;
mod error;
mod hash_locks;
mod index;
mod mutant;
mod options;
mod pins;
pub mod placement;
mod record;
mod segment;
pub mod split;
mod store;
mod volume;
mod writer_queue;

pub use chunk::{CHUNK_BYTES_MAX, Chunk, ChunkHash, InvalidChunk, InvalidHash};
pub use compression::CompressionOptions;
pub use disk::{DiskId, DiskSpace, MarkerError};
pub use edges::{Edges, SystemEdges};
pub use error::{CollectError, GetError, InitializeError, OpenError, PinError, PutError};
pub use options::StoreOptions;
pub use pins::UploadId;
pub use split::{SplitParameters, Splitter, split_bytes};
pub use store::{
    ChunkInfo, Collected, CompactionStep, DiskStatus, Listed, PutOutcome, ScrubStep, Store,
    StoreStatus, initialize_disk,
};
pub use volume::DiskState;
