//! Why the log engine refuses, as a type that survives the trip through `io::Error`.

use std::io;

use thiserror::Error;

use crate::types::GroupId;

/// A refusal of the log engine; found inside the `io::Error`s it returns.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// A write or sync failed earlier, so what is on disk is unknown. The node must stop; after a
    /// restart the log is read back and the rest comes from the other replicas.
    #[error("log storage failed earlier and refuses everything until a restart: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The engine was closed.
    #[error("log storage is closed")]
    Closed,
    /// The group's log was dropped from this node.
    #[error("log of {0} was dropped")]
    Dropped(GroupId),
    /// Entries that the log must have are not there.
    #[error(
        "log of {group} lacks index {index}, which lies between its first and last entry; restore this node from its peers"
    )]
    Hole {
        /// Whose log.
        group: GroupId,
        /// The first index missing.
        index: u64,
    },
    /// An append that would leave a hole.
    #[error("append to {group} starts at index {found}, expected {expected}")]
    NotConsecutive {
        /// Whose log.
        group: GroupId,
        /// Index of the entry offered.
        found: u64,
        /// Index that continues the log.
        expected: u64,
    },
    /// Last entry and last-log-id record disagree: the disk lost or kept something it must not.
    #[error(
        "log of {group} ends at {found}, its record says {recorded}; restore this node from its peers"
    )]
    Inconsistent {
        /// Whose log.
        group: GroupId,
        /// What the entries say.
        found: String,
        /// What the record says.
        recorded: String,
    },
    /// The log ends before what was synced and acknowledged: its end was cut off or replaced.
    #[error(
        "the log ends at batch {last}, but {watermark} says that batch {durable} was durable: entries that this node has acknowledged are lost, so it must not vote or lead with what is left. Give the node an empty data folder and let it join again, or restore the folder of the log from a copy that is not older. Only if no other node has a copy: remove {watermark} to start with what is left"
    )]
    TailLost {
        /// Number of the last batch found.
        last: u64,
        /// Number of a batch that was durable.
        durable: u64,
        /// The file that says so.
        watermark: String,
    },
    /// The record of how far the log was durable cannot be read.
    #[error(
        "{watermark} is damaged, so whether the log has lost its end cannot be told. Restore the file from a copy, or give the node an empty data folder and let it join again. Only if no other node has a copy: remove the file to start without it"
    )]
    WatermarkDamaged {
        /// The file.
        watermark: String,
    },
}

impl LogError {
    /// Whether a node must not start on this log, because it would break a promise that it has made.
    pub fn forbids_start(&self) -> bool {
        matches!(
            self,
            Self::TailLost { .. } | Self::WatermarkDamaged { .. } | Self::Inconsistent { .. }
        )
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        Self::other(error)
    }
}
