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
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        Self::other(error)
    }
}
