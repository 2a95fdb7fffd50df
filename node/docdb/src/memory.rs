//! The store in memory: ordered maps, for deterministic simulation and as the model that RocksDB is
//! tested against. A view holds a read lock, so writers wait for it; a checkpoint is one checked file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use parking_lot::RwLock;

use crate::kv::{
    Cursor, Direction, Family, KeyRange, StorageError, StorageResult, Store, StoreSize, View,
    WriteBatch,
};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The name of the one file of a checkpoint.
const CHECKPOINT_FILE: &str = "memory.kv";

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    families: RwLock<[Map; 4]>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

struct MemoryView<'a>(&'a [Map; 4]);

impl View for MemoryView<'_> {
    fn get(&self, family: Family, key: &[u8]) -> StorageResult<Option<Vec<u8>>> {
        Ok(self.0[family as usize].get(key).cloned())
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        range: &KeyRange,
        direction: Direction,
    ) -> Box<dyn Cursor + 'a> {
        // An inverted range would panic in BTreeMap.
        let entries =
            (!range.is_empty()).then(|| self.0[family as usize].range::<[u8], _>(range.bounds()));
        Box::new(MemoryCursor {
            entries,
            direction,
            current: None,
        })
    }
}

struct MemoryCursor<'a> {
    entries: Option<std::collections::btree_map::Range<'a, Vec<u8>, Vec<u8>>>,
    direction: Direction,
    current: Option<(&'a [u8], &'a [u8])>,
}

impl Cursor for MemoryCursor<'_> {
    fn advance(&mut self) -> StorageResult<bool> {
        self.current = self
            .entries
            .as_mut()
            .and_then(|entries| match self.direction {
                Direction::Forward => entries.next(),
                Direction::Backward => entries.next_back(),
            })
            .map(|(key, value)| (key.as_slice(), value.as_slice()));
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        self.current.map_or(&[], |(key, _)| key)
    }

    fn value(&self) -> &[u8] {
        self.current.map_or(&[], |(_, value)| value)
    }
}

impl Store for MemoryStore {
    fn get(&self, family: Family, key: &[u8]) -> StorageResult<Option<Vec<u8>>> {
        Ok(self.families.read_recursive()[family as usize]
            .get(key)
            .cloned())
    }

    fn with_view(&self, read: &mut dyn FnMut(&dyn View)) -> StorageResult<()> {
        read(&MemoryView(&self.families.read_recursive()));
        Ok(())
    }

    fn write(&self, batch: &WriteBatch) -> StorageResult<()> {
        let mut families = self.families.write();
        for (family, range) in &batch.deleted_ranges {
            families[*family as usize].retain(|key, _| !range.contains(key));
        }
        for family in Family::ALL {
            let map = &mut families[family as usize];
            for (key, value) in batch.family(family) {
                match value {
                    Some(value) => map.insert(key.clone(), value.clone()),
                    None => map.remove(key),
                };
            }
        }
        Ok(())
    }

    fn flush(&self) -> StorageResult<()> {
        Ok(())
    }

    fn checkpoint(&self, into: &Path) -> StorageResult<()> {
        let body = encode(&self.families.read());
        fs::write(into.join(CHECKPOINT_FILE), body)
            .map_err(|e| StorageError::io("write memory checkpoint", e))
    }

    fn checkpoint_get(
        &self,
        folder: &Path,
        family: Family,
        key: &[u8],
    ) -> StorageResult<Option<Vec<u8>>> {
        Ok(read_checkpoint(folder)?[family as usize].get(key).cloned())
    }

    fn restore(&self, from: &Path) -> StorageResult<()> {
        *self.families.write() = read_checkpoint(from)?;
        Ok(())
    }

    fn size_bytes(&self) -> StorageResult<StoreSize> {
        let families = self.families.read();
        let bytes = families
            .iter()
            .flatten()
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum();
        Ok(StoreSize {
            disk_bytes: 0,
            buffer_bytes: bytes,
        })
    }
}

fn read_checkpoint(folder: &Path) -> StorageResult<[Map; 4]> {
    let body = fs::read(folder.join(CHECKPOINT_FILE))
        .map_err(|e| StorageError::io("read memory checkpoint", e))?;
    decode(&body).ok_or_else(|| StorageError::corrupt("memory checkpoint fails its checksum"))
}

/// For each family the number of entries, then each key and value behind its length; BLAKE3 of all that.
fn encode(families: &[Map; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    for map in families {
        out.extend_from_slice(&(map.len() as u64).to_le_bytes());
        for bytes in map.iter().flat_map(|(key, value)| [key, value]) {
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<[Map; 4]> {
    let (mut body, hash) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>()?;
    if blake3::hash(body).as_bytes() != hash {
        return None;
    }
    let mut families = <[Map; 4]>::default();
    for map in &mut families {
        for _ in 0..take_u64(&mut body)? {
            let key = take_bytes(&mut body)?;
            map.insert(key, take_bytes(&mut body)?);
        }
    }
    body.is_empty().then_some(families)
}

fn take_u64(body: &mut &[u8]) -> Option<u64> {
    let (head, rest) = body.split_first_chunk::<8>()?;
    *body = rest;
    Some(u64::from_le_bytes(*head))
}

fn take_bytes(body: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(take_u64(body)?).ok()?;
    let (head, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(head.to_vec())
}
