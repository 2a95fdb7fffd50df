//! What the writer of a volume can be asked for, and what it answers.

use bytes::Bytes;
use thiserror::Error;

use crate::chunk::ChunkHash;
use crate::compression::Payload;
use crate::index::Location;
use crate::record::record_bytes;

/// One change. Whether it is still due is decided when its turn comes.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Stores a chunk; one that is there is refreshed instead.
    Put {
        hash: ChunkHash,
        payload: Payload,
        plain_bytes: u32,
        payload_crc: u32,
        put_ms: u64,
    },
    /// Notes that a chunk which is there was put again.
    Touch { hash: ChunkHash, put_ms: u64 },
    /// Deletes a chunk that was last put at `put_ms_max` or before.
    Delete {
        hash: ChunkHash,
        put_ms_max: u64,
        now_ms: u64,
    },
    /// Compaction: writes the record at `from` again, if it still is the chunk's.
    Move {
        hash: ChunkHash,
        from: Location,
        payload: Bytes,
        payload_crc: u32,
    },
    /// Compaction: writes the chunk's put time again.
    KeepTouch { hash: ChunkHash },
    /// Compaction: writes the deletion again, if the chunk is still deleted.
    KeepTombstone { hash: ChunkHash, deleted_ms: u64 },
    /// Notes that the record at `at` is damaged.
    MarkCorrupt { hash: ChunkHash, at: Location },
}

impl Change {
    /// Bytes held in memory.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Put { payload, .. } => payload.bytes.len(),
            Self::Move { payload, .. } => payload.len(),
            Self::Touch { .. }
            | Self::Delete { .. }
            | Self::KeepTouch { .. }
            | Self::KeepTombstone { .. }
            | Self::MarkCorrupt { .. } => 0,
        }
    }

    /// The room that it takes in a segment at most.
    pub(crate) fn record_bytes_max(&self) -> u64 {
        record_bytes(self.payload_bytes() as u32)
    }
}

/// What became of a change. It is durable when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was carried out.
    Done,
    /// [`Change::Put`]: the chunk was there, and is refreshed.
    Refreshed,
    /// It was not due.
    Skipped,
}

/// Why a change was refused. But for [`Self::Full`] it may still be found carried out when the store is
/// opened again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CommitError {
    /// There is no room; the change has not happened.
    #[error("no room on the disk")]
    Full,
    /// The disk failed, now or before.
    #[error("disk is read-only: {reason}")]
    ReadOnly { reason: String },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}
