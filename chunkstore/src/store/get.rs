//! Reading chunks, each compared with its name when it comes from a disk; and listing what there is.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Damaged, Inner, Store};
use crate::chunk::ChunkHash;
use crate::error::GetError;
use crate::index::Entry;
use crate::volume::{ReadError, Volume};

/// Compaction moves a chunk between looking it up and opening its segment; more than a few times in a row is
/// something else.
const LOOKUPS_MAX: usize = 4;

/// What the store knows of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Its size.
    pub plain_bytes: u32,
    /// What it takes on disk, without the record's header.
    pub stored_bytes: u32,
    /// When it was last put, in milliseconds since 1970.
    pub put_ms: u64,
    /// Whether it is known to be damaged: it cannot be read until it is put again.
    pub is_corrupt: bool,
}

/// A chunk of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub hash: ChunkHash,
    /// What is known of it.
    pub info: ChunkInfo,
}

/// What looking for a chunk on all disks came to.
struct Sought {
    result: Result<Bytes, GetError>,
    damaged: Vec<Damaged>,
}

impl Store {
    /// Reads a chunk. Its bytes have been compared with its name. A damaged record is set aside before
    /// [`GetError::Corrupt`] is returned, and a chunk that another disk has too is read from there.
    pub async fn get(&self, hash: ChunkHash) -> Result<Bytes, GetError> {
        let sought = self.blocking(move |inner| inner.seek(&hash)).await;
        self.quarantine(sought.damaged).await;
        sought.result
    }

    /// Reads a part of a chunk. The whole chunk is compared with its name nevertheless.
    pub async fn get_range(&self, hash: ChunkHash, range: Range<u64>) -> Result<Bytes, GetError> {
        let bytes = self.get(hash).await?;
        let total = bytes.len() as u64;
        if range.start > range.end || range.end > total {
            return Err(GetError::Range {
                range,
                bytes: total,
            });
        }
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }

    /// What is known of a chunk, without reading it; `None` if it is not here.
    pub async fn info(&self, hash: ChunkHash) -> Result<Option<ChunkInfo>, GetError> {
        let look = move |inner: &Inner| inner.info(&hash);
        self.blocking(look).await.map_err(|error| GetError::Io {
            hash,
            source: Arc::new(error),
        })
    }

    /// What is known of each of several chunks, without reading them.
    pub async fn infos(&self, hashes: Vec<ChunkHash>) -> io::Result<Vec<Option<ChunkInfo>>> {
        self.blocking(move |inner| hashes.iter().map(|hash| inner.info(hash)).collect())
            .await
    }

    /// Up to `count_max` chunks behind `after` in the order of their names, damaged ones included. A chunk that
    /// is put or deleted meanwhile may be missed or listed; all others are listed once.
    pub async fn list(
        &self,
        after: Option<ChunkHash>,
        count_max: usize,
    ) -> io::Result<Vec<Listed>> {
        self.blocking(move |inner| inner.list(after.as_ref(), count_max))
            .await
    }
}

impl Inner {
    fn seek(&self, hash: &ChunkHash) -> Sought {
        let mut damaged = Vec::new();
        let mut failure = None;
        for (disk, mounted) in self.disks.iter().enumerate() {
            match self.read_from(&mounted.volume, hash) {
                Ok(Some(bytes)) => {
                    return Sought {
                        result: Ok(bytes),
                        damaged,
                    };
                }
                Ok(None) => {}
                Err(Unread::Corrupt(entry, reason)) => {
                    failure = Some(GetError::Corrupt {
                        hash: *hash,
                        reason,
                    });
                    if !entry.is_corrupt {
                        damaged.push(Damaged {
                            disk,
                            hash: *hash,
                            at: entry.location,
                        });
                    }
                }
                Err(Unread::Io(error)) => {
                    failure.get_or_insert(GetError::Io {
                        hash: *hash,
                        source: Arc::new(error),
                    });
                }
            }
        }
        Sought {
            result: Err(failure.unwrap_or(GetError::NotFound(*hash))),
            damaged,
        }
    }

    fn read_from(&self, volume: &Volume, hash: &ChunkHash) -> Result<Option<Bytes>, Unread> {
        let mut last = None;
        for _ in 0..LOOKUPS_MAX {
            let Some(entry) = volume.lookup(hash).map_err(Unread::Io)? else {
                return Ok(None);
            };
            if entry.is_corrupt {
                return Err(Unread::Corrupt(entry, "it was found damaged before"));
            }
            if let Some(bytes) = self.cache.get(hash) {
                return Ok(Some(bytes));
            }
            match volume.read(hash, &entry.location) {
                Ok(bytes) => {
                    self.cache.insert(*hash, bytes.clone());
                    return Ok(Some(bytes));
                }
                Err(ReadError::Gone) => last = Some(entry),
                Err(ReadError::Corrupt(reason)) => return Err(Unread::Corrupt(entry, reason)),
                Err(ReadError::Io(error)) => return Err(Unread::Io(error)),
            }
        }
        last.map_or(Ok(None), |entry| {
            Err(Unread::Corrupt(entry, "its segment is gone"))
        })
    }

    fn info(&self, hash: &ChunkHash) -> io::Result<Option<ChunkInfo>> {
        let mut best: Option<ChunkInfo> = None;
        for disk in &self.disks {
            if let Some(entry) = disk.volume.lookup(hash)? {
                best = Some(merge(best, entry));
            }
        }
        Ok(best)
    }

    fn list(&self, after: Option<&ChunkHash>, count_max: usize) -> io::Result<Vec<Listed>> {
        let mut merged: BTreeMap<ChunkHash, ChunkInfo> = BTreeMap::new();
        for disk in &self.disks {
            for (hash, entry) in disk.volume.list(after, count_max)? {
                let info = merge(merged.get(&hash).copied(), entry);
                merged.insert(hash, info);
            }
        }
        // Each disk delivered its first ones, so the first of all are among them.
        let first = merged.into_iter().take(count_max);
        Ok(first.map(|(hash, info)| Listed { hash, info }).collect())
    }
}

/// Why a disk did not deliver a chunk that it has.
enum Unread {
    Corrupt(Entry, &'static str),
    Io(io::Error),
}

/// A chunk may be on two disks: it is intact if one copy is, and as old as the younger.
fn merge(known: Option<ChunkInfo>, entry: Entry) -> ChunkInfo {
    let info = ChunkInfo {
        plain_bytes: entry.location.plain_bytes,
        stored_bytes: entry.location.stored_bytes,
        put_ms: entry.put_ms,
        is_corrupt: entry.is_corrupt,
    };
    known.map_or(info, |known| ChunkInfo {
        put_ms: known.put_ms.max(info.put_ms),
        is_corrupt: known.is_corrupt && info.is_corrupt,
        ..info
    })
}
