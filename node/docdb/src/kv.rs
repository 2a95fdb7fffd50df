//! The narrow ordered key-value seam under the database: four families of keys, atomic batches,
//! consistent views, bounded cursors, whole-store copies.
//!
//! Everything above this file is a pure function of what it reads here. An implementation knows
//! nothing of documents; it promises order, atomicity and consistency, and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;

/// A separate ordered key space of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Documents by collection and `_id`.
    Docs,
    /// Index entries.
    Index,
    /// The change log.
    Changes,
    /// Catalog, sessions, counters, progress.
    Meta,
}

impl Family {
    /// All families, in the order in which digests and checkpoints visit them.
    pub const ALL: [Self; 4] = [Self::Docs, Self::Index, Self::Changes, Self::Meta];

    /// The name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docs => "docs",
            Self::Index => "index",
            Self::Changes => "changes",
            Self::Meta => "meta",
        }
    }
}

/// The store failed or holds what it cannot hold. Never the caller's fault; stops a replica.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused a file operation.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, as a verb phrase.
        action: String,
        /// The cause.
        source: io::Error,
    },
    /// RocksDB reported a failure.
    #[error("{action}: {message}")]
    Engine {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// RocksDB's words.
        message: String,
    },
    /// A record cannot be read back as what it was written as.
    #[error("corrupt record: {0}")]
    Corrupt(String),
    /// An earlier write failed, so what memory believes and what the store holds may differ.
    #[error("the store is closed after an earlier failure; restart the node")]
    Poisoned,
}

impl StorageError {
    /// An operating system failure while doing `action`.
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            action: action.into(),
            source,
        }
    }

    /// A record that does not parse.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        Self::other(error)
    }
}

/// Result of a storage call.
pub type StorageResult<T> = Result<T, StorageError>;

/// A range of keys, `start` included, `end` not. Both are always given: a cursor without bounds
/// would wade through the tombstones of its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key of the range.
    pub start: Vec<u8>,
    /// First key behind the range.
    pub end: Vec<u8>,
}

impl KeyRange {
    /// All keys that begin with `prefix`, which must contain a byte other than 0xff.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self {
            start: prefix.to_vec(),
            end: after_prefix(prefix),
        }
    }

    /// Whether no key can be inside.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Whether `key` is inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && key < self.end.as_slice()
    }

    /// The bounds in the form that `BTreeMap::range` takes.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(&self.start), Bound::Excluded(&self.end))
    }
}

/// The first key behind all keys that begin with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Only a prefix of nothing but 0xff gets here; all keys of this crate start with small ids.
    vec![u8::MAX; prefix.len() + 1]
}

/// Which way a cursor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the largest key down.
    Backward,
}

/// A position inside a range. Starts before the first entry.
pub trait Cursor {
    /// Moves to the next entry; false at the end. After false it stays at the end.
    fn advance(&mut self) -> StorageResult<bool>;
    /// The key of the current entry; empty before the first and behind the last.
    fn key(&self) -> &[u8];
    /// The value of the current entry; empty before the first and behind the last.
    fn value(&self) -> &[u8];
}

/// One consistent state of the store: writes after its creation are not seen.
pub trait View {
    /// The value under `key`.
    fn get(&self, family: Family, key: &[u8]) -> StorageResult<Option<Vec<u8>>>;
    /// A cursor over `range`.
    fn scan<'a>(
        &'a self,
        family: Family,
        range: &KeyRange,
        direction: Direction,
    ) -> Box<dyn Cursor + 'a>;
}

/// What one atomic write does: first the range deletions, then the single changes.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// Ranges to delete.
    pub deleted_ranges: Vec<(Family, KeyRange)>,
    /// For each family the new value of a key, `None` to delete it; indexed by `Family as usize`.
    pub changes: [BTreeMap<Vec<u8>, Option<Vec<u8>>>; 4],
}

impl WriteBatch {
    /// Sets `key`.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.changes[family as usize].insert(key, Some(value));
    }

    /// The changes of one family, in key order.
    pub fn family(&self, family: Family) -> &BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        &self.changes[family as usize]
    }
}

/// An ordered key-value store with four families.
///
/// What correctness demands of an implementation:
/// * a batch becomes visible, and later durable, as a whole and in the order of the `write` calls;
///   after a crash the store holds what some prefix of the `write` calls left;
/// * a view never changes, whatever is written beside it;
/// * `restore` waits for open views to end, and no view must be held while calling it.
pub trait Store: Send + Sync {
    /// The newest value under `key`.
    fn get(&self, family: Family, key: &[u8]) -> StorageResult<Option<Vec<u8>>>;

    /// Those of `keys` that have no value, in any order.
    fn absent(&self, family: Family, keys: Vec<Vec<u8>>) -> StorageResult<Vec<Vec<u8>>> {
        let mut absent = Vec::new();
        for key in keys {
            if self.get(family, &key)?.is_none() {
                absent.push(key);
            }
        }
        Ok(absent)
    }

    /// Runs `read` over one consistent view. The view lives in a closure because a RocksDB snapshot
    /// borrows its database, and an owner of both would need unsafe code.
    fn with_view(&self, read: &mut dyn FnMut(&dyn View)) -> StorageResult<()>;

    /// Writes a batch atomically. Need not be durable on return.
    fn write(&self, batch: &WriteBatch) -> StorageResult<()>;

    /// Makes everything written so far durable.
    fn flush(&self) -> StorageResult<()>;

    /// Copies the current state into the existing, empty folder `into` as plain files. May run beside `write`.
    fn checkpoint(&self, into: &Path) -> StorageResult<()>;

    /// The value under `key` in a checkpoint that [`checkpoint`](Self::checkpoint) wrote to `folder`. May leave
    /// further plain files there, but does not change what a restore sees.
    fn checkpoint_get(
        &self,
        folder: &Path,
        family: Family,
        key: &[u8],
    ) -> StorageResult<Option<Vec<u8>>>;

    /// Replaces the whole state by a checkpoint in `from`, which it may move away. Atomic and durable on return.
    fn restore(&self, from: &Path) -> StorageResult<()>;

    /// Bytes that the store occupies, roughly: on disk, and in memory beyond shared caches.
    fn size_bytes(&self) -> StorageResult<StoreSize>;
}

/// What a store occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Bytes in files.
    pub disk_bytes: u64,
    /// Bytes in buffers that are not yet in files.
    pub buffer_bytes: u64,
}
