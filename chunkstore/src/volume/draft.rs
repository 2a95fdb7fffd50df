//! What a batch of records does to the index, prepared in memory and then written at once. Commits and
//! recovery both go through here, so that reading a segment again gives what writing it gave.

use std::collections::{BTreeMap, HashMap};
use std::io;

use parking_lot::RwLock;

use crate::chunk::ChunkHash;
use crate::index::{
    Entry, Index, IndexWrite, Location, Position, SegmentStats, chunk_key, encode_count, meta_key,
    segment_key,
};
use crate::record::{RecordHeader, RecordKind};

/// Under this name: up to where the segments are in the index.
pub(crate) const POSITION: &str = "position";
/// Under this name: how many chunks are known to be corrupt.
pub(crate) const QUARANTINED: &str = "quarantined";

/// The segments of a volume.
pub(crate) type SegmentTable = RwLock<BTreeMap<u64, SegmentStats>>;

/// Changes that are not written yet.
pub(crate) struct Draft<'a> {
    index: &'a dyn Index,
    segments: &'a SegmentTable,
    entries: HashMap<ChunkHash, Option<Entry>>,
    stats: BTreeMap<u64, SegmentStats>,
    quarantined: u64,
}

/// Changes as they are written, and what the volume keeps in memory afterwards.
pub(crate) struct Prepared {
    pub(crate) writes: Vec<IndexWrite>,
    pub(crate) stats: BTreeMap<u64, SegmentStats>,
    pub(crate) quarantined: u64,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(index: &'a dyn Index, segments: &'a SegmentTable, quarantined: u64) -> Self {
        Self {
            index,
            segments,
            entries: HashMap::new(),
            stats: BTreeMap::new(),
            quarantined,
        }
    }

    /// Whether nothing would be written but the position.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.stats.is_empty()
    }

    /// How many chunks have been changed or looked at.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is known of a chunk, this draft included.
    pub(crate) fn entry(&mut self, hash: &ChunkHash) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.entries.get(hash) {
            return Ok(*entry);
        }
        let value = self.index.get(&chunk_key(hash))?;
        value.map(|value| Entry::decode(&value)).transpose()
    }

    /// Carries out a record that stands at `offset` of `segment`.
    pub(crate) fn apply(
        &mut self,
        header: &RecordHeader,
        segment: u64,
        offset: u64,
    ) -> io::Result<()> {
        self.lengthen(segment, offset + header.record_bytes());
        let old = self.entry(&header.hash)?;
        let new = match (header.kind, old) {
            (RecordKind::Put, old) => Some(Entry {
                location: Location {
                    segment,
                    offset,
                    stored_bytes: header.stored_bytes,
                    plain_bytes: header.plain_bytes,
                    encoding: header.encoding,
                },
                // A clock that went back must not make a chunk older.
                put_ms: old.map_or(0, |old| old.put_ms).max(header.put_ms),
                is_corrupt: false,
            }),
            (RecordKind::Touch, Some(old)) => Some(Entry {
                put_ms: old.put_ms.max(header.put_ms),
                ..old
            }),
            // The record with the chunk was lost, and with it what this one is about.
            (RecordKind::Touch, None) => return Ok(()),
            (RecordKind::Tombstone, _) => None,
        };
        self.replace(header.hash, old, new);
        Ok(())
    }

    /// Notes that the record at `at` is damaged; `false` when the chunk is no longer there.
    pub(crate) fn mark_corrupt(&mut self, hash: ChunkHash, at: &Location) -> io::Result<bool> {
        match self.entry(&hash)? {
            Some(old) if old.location == *at && !old.is_corrupt => {
                let new = Entry {
                    is_corrupt: true,
                    ..old
                };
                self.replace(hash, Some(old), Some(new));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Notes that a segment is `bytes` long at least.
    pub(crate) fn lengthen(&mut self, segment: u64, bytes: u64) {
        if let Some(stats) = self.stats_mut(segment) {
            stats.file_bytes = stats.file_bytes.max(bytes);
        }
    }

    /// Everything, with the position up to which the segments are in the index then.
    pub(crate) fn prepare(self, position: Option<Position>) -> Prepared {
        let mut writes = Vec::with_capacity(self.entries.len() + self.stats.len() + 2);
        for (hash, entry) in &self.entries {
            writes.push(IndexWrite {
                key: chunk_key(hash),
                value: entry.map(|entry| entry.encode()),
            });
        }
        for (number, stats) in &self.stats {
            writes.push(IndexWrite {
                key: segment_key(*number),
                value: Some(stats.encode()),
            });
        }
        writes.push(IndexWrite {
            key: meta_key(QUARANTINED),
            value: Some(encode_count(self.quarantined)),
        });
        if let Some(position) = position {
            writes.push(IndexWrite {
                key: meta_key(POSITION),
                value: Some(position.encode()),
            });
        }
        Prepared {
            writes,
            stats: self.stats,
            quarantined: self.quarantined,
        }
    }

    fn replace(&mut self, hash: ChunkHash, old: Option<Entry>, new: Option<Entry>) {
        match old {
            // The bytes of a corrupt record are dead since it was found out.
            Some(old) if old.is_corrupt => self.quarantined = self.quarantined.saturating_sub(1),
            Some(old) => {
                if let Some(stats) = self.stats_mut(old.location.segment) {
                    stats.subtract(&old.location);
                }
            }
            None => {}
        }
        match new {
            Some(new) if new.is_corrupt => self.quarantined += 1,
            Some(new) => {
                if let Some(stats) = self.stats_mut(new.location.segment) {
                    stats.add(&new.location);
                }
            }
            None => {}
        }
        self.entries.insert(hash, new);
    }

    /// `None` for a segment that is gone.
    fn stats_mut(&mut self, segment: u64) -> Option<&mut SegmentStats> {
        if !self.stats.contains_key(&segment) {
            let stats = *self.segments.read().get(&segment)?;
            self.stats.insert(segment, stats);
        }
        self.stats.get_mut(&segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Encoding;
    use crate::index::memory::MemoryIndex;
    use crate::record::record_bytes;

    fn put(hash: ChunkHash, put_ms: u64) -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Put,
            encoding: Encoding::Zstd,
            stored_bytes: 100,
            plain_bytes: 1_000,
            payload_crc: 0,
            put_ms,
            hash,
        }
    }

    #[test]
    fn live_bytes_follow_the_chunk() {
        let index = MemoryIndex::default();
        let segments = SegmentTable::default();
        segments.write().insert(1, SegmentStats::default());
        segments.write().insert(2, SegmentStats::default());
        let hash = ChunkHash::from_bytes([1; 32]);
        let mut draft = Draft::new(&index, &segments, 0);
        assert!(draft.is_empty());

        draft.apply(&put(hash, 50), 1, 64).unwrap();
        let first = draft.entry(&hash).unwrap().unwrap();
        assert_eq!(draft.stats[&1].live_plain_bytes, 1_000);
        assert_eq!(draft.stats[&1].file_bytes, 64 + record_bytes(100));

        // Moved, with an older time: the chunk does not get older.
        draft.apply(&put(hash, 40), 2, 64).unwrap();
        let moved = draft.entry(&hash).unwrap().unwrap();
        assert_eq!((moved.location.segment, moved.put_ms), (2, 50));
        assert_eq!(
            (draft.stats[&1].live_chunks, draft.stats[&2].live_chunks),
            (0, 1)
        );

        let touch = RecordHeader::bare(RecordKind::Touch, hash, 60);
        draft.apply(&touch, 1, 256).unwrap();
        assert_eq!(draft.entry(&hash).unwrap().unwrap().put_ms, 60);

        // Only the record that was read is damaged, not the one that replaced it.
        assert!(!draft.mark_corrupt(hash, &first.location).unwrap());
        assert!(draft.mark_corrupt(hash, &moved.location).unwrap());
        assert!(!draft.mark_corrupt(hash, &moved.location).unwrap());
        assert_eq!((draft.stats[&2].live_chunks, draft.quarantined), (0, 1));

        let tombstone = RecordHeader::bare(RecordKind::Tombstone, hash, 70);
        draft.apply(&tombstone, 2, 256).unwrap();
        assert_eq!(draft.entry(&hash).unwrap(), None);
        assert_eq!(draft.quarantined, 0);
        // What is deleted cannot be touched.
        draft.apply(&touch, 2, 320).unwrap();
        assert_eq!(draft.entry(&hash).unwrap(), None);

        let prepared = draft.prepare(Some(Position {
            segment: 2,
            offset: 384,
        }));
        index.write(&prepared.writes).unwrap();
        assert_eq!(index.get(&chunk_key(&hash)).unwrap(), None);
        assert_eq!(prepared.stats[&2].file_bytes, 384);
    }
}
