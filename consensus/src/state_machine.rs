//! The state that a group replicates, as the consensus layer sees it: opaque commands in, opaque
//! replies out. Nothing here knows documents; the node bridges this trait to its database.

use std::io;
use std::path::Path;

use bytes::Bytes;

/// One committed command, in log order.
#[derive(Debug, Clone)]
pub struct Command {
    /// Raft log index of the entry that carried the command. Several commands share one entry.
    pub log_index: u64,
    /// Position of the command inside its entry; `(log_index, position)` orders all commands of a group.
    pub position: u32,
    /// The proposer's bytes, unchanged.
    pub payload: Bytes,
}

/// A deterministic state machine with its own durable storage.
///
/// Calls to [`apply`](Self::apply), [`flush`](Self::flush), [`checkpoint`](Self::checkpoint) and
/// [`restore`](Self::restore) block, so consensus makes them on its own threads and never on an async
/// worker. At most one of `apply` and `restore` runs at a time; `flush` and `checkpoint` may run beside
/// `apply` and beside each other, but not beside `restore`.
///
/// What correctness demands of an implementation:
/// * `apply` is a function of the commands and the state before them: no clock, no randomness, no
///   iteration order of a hash map, no configuration that may differ between nodes.
/// * The effects of one `apply` call and its `progress` become visible, and later durable, together.
///   They need not be durable on return: after a crash the commands since the last durable
///   `progress` are applied again from the Raft log.
/// * After a crash the state is one that some prefix of the `apply` calls left behind, and
///   [`progress`](Self::progress) says which.
pub trait StateMachine: Send + Sync + 'static {
    /// The `progress` of the last `apply` (or `restore`) that the state reflects; `None` when empty.
    fn progress(&self) -> io::Result<Option<Vec<u8>>>;

    /// Applies `commands` in order and stores `progress` with them, atomically.
    ///
    /// `commands` may be empty: then only `progress` moves on. Returns exactly one reply a command.
    /// A command that the application refuses is a reply, not an error: an error here means that the
    /// storage failed or an invariant broke, and stops the group on this node.
    fn apply(&self, commands: &[Command], progress: &[u8]) -> io::Result<Vec<Bytes>>;

    /// Makes everything applied so far durable. The Raft log is purged only below what this has returned for.
    fn flush(&self) -> io::Result<()>;

    /// Writes a consistent copy of the state, including `progress`, as plain files (no folders) into
    /// the existing, empty folder `into`. Must not stop `apply`; hard links are welcome.
    fn checkpoint(&self, into: &Path) -> io::Result<()>;

    /// The `progress` in a checkpoint that [`checkpoint`](Self::checkpoint) wrote; read from its files,
    /// since the live state has moved on. May leave further plain files there, and must not change the
    /// content that a restore would see.
    fn checkpoint_progress(&self, checkpoint: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the whole state with the files of a checkpoint in `from`, which it may move away but
    /// must not write to: they share their content with the snapshot that is sent to other nodes.
    /// Atomic: a crash at any point leaves the old or the new state. Durable on return.
    fn restore(&self, from: &Path) -> io::Result<()>;
}
