//! What callers are told, by what they can do about it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::chunk::ChunkHash;
use crate::disk::MarkerError;

/// Why a store does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// None of its disks can be used. Each is listed with its reason.
    #[error("no disk can be used: {}", .0.join("; "))]
    NoDisk(Vec<String>),
    /// Two directories have the same marker: one is a copy of the other.
    #[error("{0} and {1} are the same disk, or one is a copy of the other")]
    SameDisk(String, String),
    /// A thread could not be started.
    #[error("cannot start the writer of a disk")]
    Thread(#[source] io::Error),
}

/// Why a directory could not be made a disk.
pub type InitializeError = MarkerError;

/// Why a chunk was not stored. After any of these it may be there or not; putting it again is safe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PutError {
    /// No disk has room for it.
    #[error("no disk has room for the chunk")]
    Full,
    /// No disk can be written to.
    #[error("no disk can be written to: {reason}")]
    ReadOnly {
        /// Why the last one that was tried cannot.
        reason: String,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a chunk is not returned.
#[derive(Debug, Clone, Error)]
pub enum GetError {
    /// The store does not have it.
    #[error("chunk {0} is not here")]
    NotFound(ChunkHash),
    /// The store has it and cannot read it as it was. It is set aside: fetch the chunk from elsewhere and put it
    /// again.
    #[error("chunk {hash} is damaged: {reason}")]
    Corrupt {
        /// The chunk.
        hash: ChunkHash,
        /// What is wrong.
        reason: &'static str,
    },
    /// The range does not lie within the chunk.
    #[error("bytes {}..{} of a chunk of {bytes}", .range.start, .range.end)]
    Range {
        /// What was asked for.
        range: Range<u64>,
        /// Size of the chunk.
        bytes: u64,
    },
    /// The machine refused; whether the store has the chunk is unknown.
    #[error("cannot look for chunk {hash}")]
    Io {
        /// The chunk.
        hash: ChunkHash,
        /// The refusal.
        #[source]
        source: Arc<io::Error>,
    },
}

/// Why chunks were not pinned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PinError {
    /// More chunks than one call may name.
    #[error("{count} chunks in one call; at most {count_max} are allowed")]
    TooManyHashes {
        /// Chunks named.
        count: usize,
        /// Chunks allowed.
        count_max: usize,
    },
    /// Too many uploads have pins.
    #[error("{count_max} uploads have pins already")]
    TooManyUploads {
        /// Uploads allowed.
        count_max: usize,
    },
    /// Too many chunks are pinned.
    #[error("more than {count_max} chunks would be pinned")]
    TooManyPins {
        /// Pins allowed.
        count_max: usize,
    },
}

/// Why nothing was collected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CollectError {
    /// Pins from before the start may still hold: they are kept in memory only.
    #[error(
        "nothing is collected before every pin from before the start has expired, in {wait_ms} ms"
    )]
    TooEarly {
        /// How long to wait.
        wait_ms: u64,
    },
    /// More chunks than one call may name.
    #[error("{count} chunks in one call; at most {count_max} are allowed")]
    TooManyHashes {
        /// Chunks named.
        count: usize,
        /// Chunks allowed.
        count_max: usize,
    },
}
